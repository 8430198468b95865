/* SPDX-License-Identifier: MIT */
/*
 * Two ends of a fleet's engine in one process: engine_talk ADDRESS COUNT [CA_FILE]. Waits until both are up,
 * takes leases, and sends so many messages from one to the other, each when the one before has come. Prints
 * what an examination said, and how long messages took. Exits with 1 and the reason when the first connection
 * fails, or nothing comes for ten seconds.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "engine_redis.h"

struct end {
	struct engine *engine;
	bool is_up, has_lease, has_examined;
	unsigned messages;
	struct engine_status status;
};

static struct end ends[2];

static void on_message(void *link, const uint8_t *bytes, size_t size)
{
	(void)bytes;
	(void)size;
	((struct end *)link)->messages++;
}

static void on_up(void *link, bool fresh)
{
	(void)fresh;
	((struct end *)link)->is_up = true;
}

static void on_down(void *link)
{
	((struct end *)link)->is_up = false;
}

static void on_writable(void *link)
{
	(void)link;
}

static void on_own_lease(void *link, uint64_t incarnation)
{
	((struct end *)link)->has_lease = incarnation;
}

static void on_lease(void *link, const char *host, uint64_t incarnation)
{
	(void)link;
	(void)host;
	(void)incarnation;
}

static void on_trouble(void *link, const char *text)
{
	(void)link;
	printf("trouble: %s\n", text);
	exit(1);
}

static void on_examined(void *link, const struct engine_status *status)
{
	struct end *end = link;

	end->status = *status;
	end->has_examined = true;
}

static void open_end(struct end *end, const char *host, const char *address, const char *ca_file)
{
	struct engine_redis_config config = {.address = address,
					     .fleet = "talk",
					     .host = host,
					     .ca_file = ca_file,
					     .lease_ns = 6000000000};
	struct engine_events events = {.message = on_message,
				       .up = on_up,
				       .down = on_down,
				       .writable = on_writable,
				       .own_lease = on_own_lease,
				       .lease = on_lease,
				       .trouble = on_trouble,
				       .examined = on_examined,
				       .link = end};
	char reason[256];

	if (engine_redis_open(&config, &events, &end->engine, reason, sizeof(reason))) {
		printf("%s\n", reason);
		exit(1);
	}
}

/* One turn of the loop. */
static void turn(void)
{
	struct pollfd poll_entries[2];
	uint64_t now_ns = clock_now_ns(), next_ns = now_ns + 10 * NS_PER_SECOND;
	static uint64_t quiet_ns;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t due_ns = ends[i].engine->calls->next_ns(ends[i].engine);
		poll_entries[i] =
			(struct pollfd){.fd = ends[i].engine->calls->fd(ends[i].engine), .events = POLLIN};
		if (due_ns < next_ns)
			next_ns = due_ns;
	}
	struct timespec wait = clock_timespec(next_ns > now_ns ? next_ns - now_ns : 0);
	ppoll(poll_entries, 2, &wait, NULL);
	now_ns = clock_now_ns();
	for (unsigned i = 0; i < 2; i++)
		ends[i].engine->calls->dispatch(ends[i].engine, now_ns);
	if (ends[0].is_up && ends[1].is_up)
		quiet_ns = now_ns;
	else if (!quiet_ns)
		quiet_ns = now_ns;
	if (now_ns - quiet_ns > 10 * NS_PER_SECOND) {
		printf("never up\n");
		exit(1);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return one < other ? -1 : one > other;
}

static void time_messages(const char *to, unsigned count)
{
	uint64_t *times = calloc(count, sizeof(*times));

	for (unsigned i = 0; times && i < count; i++) {
		uint64_t begun_ns = clock_now_ns();
		ends[0].engine->calls->send(ends[0].engine, to, (const uint8_t *)"message", 7);
		while (ends[1].messages <= i)
			turn();
		times[i] = clock_now_ns() - begun_ns;
	}
	if (!times || count == 0)
		return;
	qsort(times, count, sizeof(*times), compare);
	printf("messages=%u p50_us=%.0f p99_us=%.0f\n", count, (double)times[count / 2] / 1000,
	       (double)times[count * 99 / 100] / 1000);
	free(times);
}

int main(int argc, char **argv)
{
	/* Names that no other run has, whose messages may still be there. */
	char a[32], b[32];

	if (argc < 3)
		return 2;
	snprintf(a, sizeof(a), "a-%d", getpid());
	snprintf(b, sizeof(b), "b-%d", getpid());
	setvbuf(stdout, NULL, _IOLBF, 0);
	open_end(&ends[0], a, argv[1], argc > 3 ? argv[3] : NULL);
	open_end(&ends[1], b, argv[1], argc > 3 ? argv[3] : NULL);
	while (!ends[0].is_up || !ends[1].is_up)
		turn();
	ends[0].engine->calls->lease_take(ends[0].engine, 1);
	ends[0].engine->calls->examine(ends[0].engine);
	while (!ends[0].has_lease || !ends[0].has_examined)
		turn();
	printf("up software=%s version=%s round_trip_us=%.0f message_us=%.0f\n", ends[0].status.software,
	       ends[0].status.version, (double)ends[0].status.round_trip_ns / 1000,
	       (double)ends[0].status.message_ns / 1000);
	time_messages(b, (unsigned)atoi(argv[2]));
	for (unsigned i = 0; i < 2; i++)
		ends[i].engine->calls->close(ends[i].engine);
	return 0;
}
