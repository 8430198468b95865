/* SPDX-License-Identifier: MIT */
/*
 * Idle keep-alive connections of the example server, as many as the limit of descriptors allows: the memory
 * that they take, and the time that it takes to end them, with httpd --park beside httpd without.
 *
 * Each connection has had one answer, to /slow, during which the server also watches whether the client
 * leaves. Each turn starts a server of its own. What is measured of it:
 *
 * With --park the connections are measured when their operations are parked, and no more than the server's
 * own are in the kernel.
 *
 *  - Memory of the kernel: growth of the caches that operations, polls and epoll sets come from, as
 *    /sys/kernel/slab shows them, from before the first connection until all are idle; without root, growth
 * of Slab in /proc/meminfo. Most of the memory of the sockets, some 6 kB each with buffers and inodes, comes
 * from other caches. The rest of it is the same on both sides, so the difference of the two sides is what
 * counts. What other programs take from these caches meanwhile is counted as well, which is a reason for the
 * turns.
 *  - Memory of the server: growth of its Pss.
 *  - The end: SIGTERM cancels the context under which everything is pending. The times of the batch are those
 *    that the server logs, see log_batch in examples/server/log.c. The second of them, the time until the
 * server has exited and its processor time include what the callbacks do meanwhile: they close the sockets.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "server.h"

/* Descriptors of the server that are no connections, with room for connections that wait to be accepted. */
#define OTHER_FDS 128u
/* More connections would show nothing more. They take time, and some 30 kB of memory each. */
#define CONNECTIONS_MAX 50000u
#define CONNECTIONS_QUICK 5000u
#define WAVE 512u
#define SIDES 2u /* parked, pending */
/* The operations that a server with --park has in the kernel: accept, the read of signals, the wait for
 * readiness. */
#define IN_KERNEL_MAX 8u

enum metric {
	KERNEL,
	OWN,
	FIRST_LOOK,
	BATCH,
	EXIT,
	CPU,
	METRICS
};

static const char *const metric_names[] = {
	[KERNEL] = "memory of the kernel, for each",	  [OWN] = "memory of the server, for each",
	[FIRST_LOOK] = "until all cancels are submitted", [BATCH] = "until all callbacks have run",
	[EXIT] = "until the server has exited",		  [CPU] = "processor time for that",
};

static int *clients;
static unsigned client_count;
static struct bench_turns results[METRICS];

/* ---- the server */

static int temporary_file(void)
{
	char path[] = "/tmp/ctxring-idle.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC | O_APPEND);
	if (fd < 0)
		bench_fail("%s: %s", path, strerror(errno));
	unlink(path);
	return fd;
}

/* Waits until the server has used no processor time for a while. */
static void server_settle(const struct server *server)
{
	double last = -1;
	for (unsigned quiet = 0; quiet < 10; quiet++) {
		double now = server_cpu_ns(server);
		if (now > last)
			quiet = 0;
		last = now;
		usleep(20000);
	}
}

static FILE *server_proc(const struct server *server, const char *name)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", server->pid, name);
	FILE *file = fopen(path, "re");
	if (!file)
		bench_fail("%s: %s", path, strerror(errno));
	return file;
}

static double server_memory(const struct server *server)
{
	FILE *file = server_proc(server, "smaps_rollup");
	char line[256];
	double kilobytes = 0;
	while (fgets(line, sizeof(line), file) && sscanf(line, "Pss: %lf kB", &kilobytes) != 1)
		;
	fclose(file);
	return kilobytes * 1024;
}

/* How many operations its rings have in the kernel, as fdinfo lists them. */
static unsigned server_in_kernel(const struct server *server)
{
	unsigned count = 0;
	for (int fd = 0; fd < 16; fd++) {
		char path[64], target[64] = "", line[256];
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", server->pid, fd);
		if (readlink(path, target, sizeof(target) - 1) < 0 || !strstr(target, "io_uring"))
			continue;
		snprintf(path, sizeof(path), "fdinfo/%d", fd);
		FILE *file = server_proc(server, path);
		while (fgets(line, sizeof(line), file))
			count += !strncmp(line, "  op=", 5);
		fclose(file);
	}
	return count;
}

/* Waits until the operations of the idle connections are parked, which they are soon. */
static void server_await_parked(const struct server *server)
{
	while (server_in_kernel(server) > IN_KERNEL_MAX)
		usleep(200000);
}

/* ---- the clients */

static struct sockaddr_in loopback(unsigned host, unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + host);
	return address;
}

/*
 * Takes another address of its own for each thousand connections. With one address for all the kernel
 * searches longer and longer for a free port, up to a millisecond.
 */
static int connect_to(unsigned port)
{
	struct sockaddr_in from = loopback(1 + client_count / 1000, 0), to = loopback(0, port);
	/* close(2) is to reset the connection: then nothing is left of it when the next turn begins. */
	struct linger reset = {.l_onoff = 1};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof(from)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)))
		bench_fail("connection %u: %s", client_count, strerror(errno));
	return fd;
}

static void ask(unsigned port)
{
	static const char question[] = "GET /slow?ms=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
	int fd = connect_to(port);
	clients[client_count++] = fd;
	if (send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) != sizeof(question) - 1)
		bench_fail("send: %s", strerror(errno));
}

static bool answer_complete(const char *text)
{
	const char *body = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
	return body && length && strlen(body + 4) >= strtoul(length + strlen("Content-Length: "), NULL, 10);
}

static void take_answer(int fd)
{
	char text[4096] = "";
	size_t filled = 0;
	while (!answer_complete(text)) {
		ssize_t size = recv(fd, text + filled, sizeof(text) - 1 - filled, 0);
		if (size <= 0)
			bench_fail("no answer: %s", size ? strerror(errno) : "closed");
		filled += (size_t)size;
		text[filled] = '\0';
	}
	if (strncmp(text, "HTTP/1.1 200 ", 13) || !strstr(text, "Connection: keep-alive"))
		bench_fail("the answer is %.*s", (int)strcspn(text, "\r"), text);
}

/* Opens the connections in waves, so that little memory is left over from a time at which many were busy. */
static void connect_all(unsigned port, unsigned count)
{
	for (unsigned first = 0; first < count; first = client_count) {
		while (client_count < count && client_count < first + WAVE)
			ask(port);
		for (unsigned i = first; i < client_count; i++)
			take_answer(clients[i]);
	}
}

static void close_all(void)
{
	while (client_count)
		close(clients[--client_count]);
}

/* ---- what is measured */

static double slab_of_meminfo(void)
{
	char line[256];
	double kilobytes = 0;
	FILE *file = fopen("/proc/meminfo", "re");
	while (file && fgets(line, sizeof(line), file) && sscanf(line, "Slab: %lf kB", &kilobytes) != 1)
		;
	if (file)
		fclose(file);
	return kilobytes * 1024;
}

static bool read_number(const char *cache, const char *name, double *ret_number)
{
	char path[128];
	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/%s", cache, name);
	FILE *file = fopen(path, "re");
	bool known = file && fscanf(file, "%lf", ret_number) == 1;
	if (file)
		fclose(file);
	return known;
}

/* Reads the caches by name, since /proc/slabinfo shows only one name for caches that the kernel has merged.
 */
static double kernel_memory(void)
{
	static const char *const caches[] = {
		"io_kiocb",    "eventpoll_epi", "eventpoll_pwq", "ep_head",	"kmalloc-32",
		"kmalloc-64",  "kmalloc-96",	"kmalloc-128",	 "kmalloc-192", "kmalloc-256",
		"kmalloc-512", "kmalloc-1k",	"kmalloc-2k",
	};
	double sum = 0, objects, size;
	for (unsigned i = 0; i < sizeof(caches) / sizeof(caches[0]); i++)
		if (read_number(caches[i], "objects", &objects) && read_number(caches[i], "slab_size", &size))
			sum += objects * size;
	return sum > 0 ? sum : slab_of_meminfo();
}

/* Takes the times from the last line of the log about a batch that ended the whole server. */
static void take_batch(const struct server *server, unsigned side, unsigned turn)
{
	char line[512], *fields;
	unsigned operations = 0, sqes, enters;
	unsigned long long submit_us = 0, reap_us = 0;
	FILE *log = fdopen(server->log, "r");
	if (!log)
		bench_fail("the log: %s", strerror(errno));
	rewind(log);
	while (fgets(line, sizeof(line), log))
		if ((fields = strstr(line, "conn=- req=- event=batch ")))
			sscanf(fields,
			       "conn=- req=- event=batch operations=%u sqes=%u enters=%u submit_us=%llu "
			       "reap_us=%llu",
			       &operations, &sqes, &enters, &submit_us, &reap_us);
	fclose(log);
	if (operations < client_count)
		bench_fail("the batch had %u operations for %u connections", operations, client_count);
	results[FIRST_LOOK].results[side][turn] = (double)submit_us / 1e3;
	results[BATCH].results[side][turn] = (double)reap_us / 1e3;
}

static void end_server(const struct server *server, unsigned side, unsigned turn)
{
	struct rusage usage;
	int status;
	double cpu_ns = server_cpu_ns(server);
	uint64_t begin_ns = bench_now_ns();
	kill(server->pid, SIGTERM);
	if (wait4(server->pid, &status, 0, &usage) != server->pid || status)
		bench_fail("httpd ended with status %d", status);
	results[EXIT].results[side][turn] = (double)(bench_now_ns() - begin_ns) / 1e6;
	results[CPU].results[side][turn] = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
					   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3 -
					   cpu_ns / 1e6;
	take_batch(server, side, turn);
	close(server->out);
}

static void take_turn(const char *ring, unsigned count, unsigned side, unsigned turn)
{
	alarm(BENCH_CASE_SECONDS_MAX);
	char *arguments[] = {"httpd", "--ring", (char *)(uintptr_t)ring, side == 0 ? "--park" : NULL, NULL};
	struct server server = server_start(arguments, temporary_file());
	server_settle(&server);
	double kernel = kernel_memory(), own = server_memory(&server);
	connect_all(server.port, count);
	if (side == 0)
		server_await_parked(&server);
	server_settle(&server);
	results[KERNEL].results[side][turn] = (kernel_memory() - kernel) / count;
	results[OWN].results[side][turn] = (server_memory(&server) - own) / count;
	end_server(&server, side, turn);
	close_all();
}

static void report(enum metric metric, const char *ring, unsigned count)
{
	const char *unit = metric == KERNEL || metric == OWN ? "bytes" : "ms";
	struct bench_turns *turns = &results[metric];
	char name[96];
	snprintf(name, sizeof(name), "%s, %u connections, %s", metric_names[metric], count, ring);
	/* No ratio: the memory of the sockets is in both values. */
	bench_report(name, bench_turns_median(turns, 0), unit,
		     metric == KERNEL ? NAN : bench_turns_ratio(turns, 0, 1), "pending in the kernel", NULL);
	bench_report("pending", bench_turns_median(turns, 1), unit, NAN, name, NULL);
	if (metric == KERNEL)
		bench_report("parking saves", bench_turns_median(turns, 1) - bench_turns_median(turns, 0),
			     unit, NAN, name, NULL);
}

static void measure(const char *ring, unsigned count, unsigned turn_count)
{
	char name[64];
	snprintf(name, sizeof(name), "%u idle connections, %s", count, ring);
	if (!bench_wanted(name))
		return;
	for (unsigned turn = 0; turn < turn_count; turn++)
		for (unsigned k = 0; k < SIDES; k++)
			take_turn(ring, count, turn % 2 ? SIDES - 1 - k : k, turn);
	for (unsigned metric = 0; metric < METRICS; metric++) {
		results[metric].count = turn_count;
		report((enum metric)metric, ring, count);
	}
}

int main(int count, char **arguments)
{
	struct rlimit limit;
	bench_start("idle", count, arguments);
	if (!server_find()) {
		fprintf(stderr, "idle: skipped: %s is not built\n", httpd);
		return 0;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit))
		bench_fail("getrlimit: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 2 * OTHER_FDS)
		bench_fail("%lu descriptors are too few", (unsigned long)limit.rlim_cur);
	unsigned connections = limit.rlim_cur < CONNECTIONS_MAX + OTHER_FDS
				       ? (unsigned)limit.rlim_cur - OTHER_FDS
				       : CONNECTIONS_MAX;
	if (bench.quick && connections > CONNECTIONS_QUICK)
		connections = CONNECTIONS_QUICK;
	clients = bench_allocate(connections, sizeof(*clients));
	measure("defer", connections, 3);
	if (!bench.quick)
		measure("ordinary", connections, 3);
	free(clients);
	return 0;
}
