/* SPDX-License-Identifier: MIT */
#include "support/engine_end.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "support/harness.h"

/* ---- what it tells */

static void on_message(void *link, const uint8_t *bytes, size_t size)
{
	struct engine_end *end = link;

	end->size = size < sizeof(end->bytes) ? size : sizeof(end->bytes);
	memcpy(end->bytes, bytes, end->size);
	end->messages++;
	if (end->on_message)
		end->on_message(end);
}

static void on_up(void *link, bool fresh)
{
	struct engine_end *end = link;

	ck_assert(fresh);
	ck_assert(!end->is_up);
	end->is_up = true;
	end->ups++;
}

static void on_down(void *link)
{
	struct engine_end *end = link;

	ck_assert(end->is_up);
	end->is_up = false;
	end->downs++;
}

static void on_writable(void *link)
{
	((struct engine_end *)link)->writables++;
}

static void on_own_lease(void *link, uint64_t incarnation)
{
	struct engine_end *end = link;

	end->own_lease = incarnation;
	end->own_leases++;
}

static void on_lease(void *link, const char *host, uint64_t incarnation)
{
	struct engine_end *end = link;

	if (end->leases == END_LEASES_MAX)
		return;
	strcpy(end->lease[end->leases].host, host);
	end->lease[end->leases++].incarnation = incarnation;
}

static void on_trouble(void *link, const char *text)
{
	struct engine_end *end = link;
	size_t length = strlen(end->all_troubles);

	end->troubles++;
	snprintf(end->trouble, sizeof(end->trouble), "%s", text);
	snprintf(end->all_troubles + length, sizeof(end->all_troubles) - length, "%s\n", text);
}

static void on_host(void *link, const char *host, int error)
{
	struct engine_end *end = link;

	ck_assert(!end->is_list_over);
	if (host) {
		size_t length = strlen(end->hosts);
		snprintf(end->hosts + length, sizeof(end->hosts) - length, "%s ", host);
		return;
	}
	end->is_list_over = true;
	end->list_error = error;
}

static void on_examined(void *link, const struct engine_status *status)
{
	struct engine_end *end = link;

	end->status = *status;
	end->examined++;
}

/* ---- opening, turning */

void engine_end_open(struct engine_end *end, const char *host, const char *address, unsigned lease_ms,
		     const char *user, const char *password_file)
{
	struct engine_redis_config config = {.address = address,
					     .fleet = "test",
					     .host = host,
					     .user = user,
					     .password_file = password_file,
					     .lease_ns = (lease_ms ? lease_ms : 6000) * 1000000ull};
	struct engine_events events = {.message = on_message,
				       .up = on_up,
				       .down = on_down,
				       .writable = on_writable,
				       .own_lease = on_own_lease,
				       .lease = on_lease,
				       .trouble = on_trouble,
				       .host = on_host,
				       .examined = on_examined,
				       .link = end};
	char reason[128];

	memset(end, 0, sizeof(*end));
	strcpy(end->host, host);
	ck_assert_msg(engine_redis_open(&config, &events, &end->engine, reason, sizeof(reason)) == 0, "%s",
		      reason);
}

void engine_end_close(struct engine_end *end)
{
	end->engine->calls->close(end->engine);
}

void engine_end_turn(struct engine_end *end, unsigned wait_ms)
{
	const struct engine_calls *calls = end->engine->calls;
	struct pollfd poll_entry = {.fd = calls->fd(end->engine), .events = POLLIN};
	uint64_t now_ns = clock_now_ns(), next_ns = calls->next_ns(end->engine);
	uint64_t wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;

	if (wait_ns > wait_ms * 1000000ull)
		wait_ns = wait_ms * 1000000ull;
	ppoll(&poll_entry, 1,
	      &(struct timespec){.tv_sec = (time_t)(wait_ns / 1000000000),
				 .tv_nsec = (long)(wait_ns % 1000000000)},
	      NULL);
	calls->dispatch(end->engine, clock_now_ns());
}

void engine_ends_await(const char *what, struct engine_end *const *ends, engine_end_condition *condition)
{
	uint64_t limit_ns = clock_now_ns() + 30 * NS_PER_SECOND;
	bool is_alone = !ends[1];

	while (!condition(ends[0])) {
		ck_assert_msg(clock_now_ns() < limit_ns, "%s: never; the engine of %s said: %s", what,
			      ends[0]->host, ends[0]->all_troubles);
		for (unsigned i = 0; ends[i]; i++)
			engine_end_turn(ends[i], is_alone ? 100 : 1);
	}
}

/* ---- conditions */

bool end_is_up(struct engine_end *end)
{
	return end->is_up;
}

bool end_is_down(struct engine_end *end)
{
	return !end->is_up;
}

bool end_has_message(struct engine_end *end)
{
	return end->messages;
}

bool end_has_own_lease(struct engine_end *end)
{
	return end->own_leases;
}

static bool end_has_lease(struct engine_end *end)
{
	return end->leases;
}

bool end_has_list(struct engine_end *end)
{
	return end->is_list_over;
}

bool end_is_examined(struct engine_end *end)
{
	return end->examined;
}

bool end_has_trouble(struct engine_end *end)
{
	return end->troubles;
}

/* ---- asking */

bool engine_end_send(struct engine_end *end, const char *host, const char *text)
{
	return end->engine->calls->send(end->engine, host, (const uint8_t *)text, strlen(text));
}

uint64_t engine_end_take(struct engine_end *end, uint64_t incarnation)
{
	end->own_leases = 0;
	end->engine->calls->lease_take(end->engine, incarnation);
	engine_end_await(end, end_has_own_lease);
	return end->own_lease;
}

uint64_t engine_end_renew(struct engine_end *end, uint64_t incarnation)
{
	end->own_leases = 0;
	end->engine->calls->lease_renew(end->engine, incarnation);
	engine_end_await(end, end_has_own_lease);
	return end->own_lease;
}

uint64_t engine_end_read(struct engine_end *end, const char *host)
{
	const char *const hosts[] = {host};

	end->leases = 0;
	end->engine->calls->lease_read(end->engine, hosts, 1);
	engine_end_await(end, end_has_lease);
	ck_assert_str_eq(end->lease[0].host, host);
	return end->lease[0].incarnation;
}
