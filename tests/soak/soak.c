/* SPDX-License-Identifier: MIT */
/*
 * A storm of everything that the library does, for minutes or hours: rings of all kinds, contexts, callbacks,
 * sources, task groups, blocking calls, forks and a service that dies, done at random by several threads. All
 * the time it looks at what must hold: each operation ends once, nothing is cancelled under a context that
 * looks live, a buffer is untouched after a drain; and after each round descriptors, memory and the slots of
 * the table must be back.
 *
 *	soak [--seed NUMBER] [--weights LIST] [--service PATH] [--stop] [DURATION]
 *
 * DURATION is in seconds, or with m or h. The seed is printed first: with it each thread decides the same
 * again. Ctrl-C ends the storm after what is being done, with the verdict so far. With --stop the
 * program stops when something breaks, so that a debugger can look at it.
 */
#include <getopt.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "soak/actor.h"
#include "soak/allocation.h"
#include "soak/base.h"
#include "soak/crew.h"
#include "soak/program.h"
#include "soak/scope.h"
#include "soak/service.h"
#include "soak/verdict.h"

#define ROUND_NS (2 * NS_PER_SECOND)
#define SKIPPED 77

/* Idle threads of task groups end after that long, so that each round leaves none behind (pool.c). */
extern uint64_t pool_idle_ns;

static volatile sig_atomic_t interrupted;
static uint64_t end_ns;
static const char *service;
static char self[4096];

bool program_is_to_end(void)
{
	return interrupted || clock_now_ns() >= end_ns;
}

const char *program_service(void)
{
	return service;
}

const char *program_self(void)
{
	return self;
}

static void interrupt(int signo)
{
	interrupted = signo;
}

static uint64_t duration_of(const char *text)
{
	char *unit;
	double number = strtod(text, &unit);

	if (*unit == 'm')
		number *= 60;
	else if (*unit == 'h')
		number *= 3600;
	if (number <= 0 || (*unit && !strchr("smh", *unit)) || (*unit && unit[1])) {
		fprintf(stderr, "soak: %s is no duration: 60, 20m, 2h\n", text);
		exit(2);
	}
	return (uint64_t)(number * 1e9);
}

static void read_arguments(int argc, char **argv, uint64_t *ret_duration_ns)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"weights", required_argument, NULL, 'w'},
		{"service", required_argument, NULL, 'd'},
		{"owner", required_argument, NULL, 'o'},
		{"become", required_argument, NULL, 'b'},
		{"stop", no_argument, NULL, 'p'},
		{0},
	};

	verdict_run.seed = clock_read_ns(CLOCK_REALTIME) / 1000 % 1000000007;
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		exit(2);
	for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
		if (option == 's')
			verdict_run.seed = strtoull(optarg, NULL, 0);
		else if (option == 'p')
			verdict_run.stops = true;
		else if (option == 'd')
			service = optarg;
		else if (option == 'o')
			exit(service_be_owner(optarg, argv[optind]));
		else if (option == 'b')
			exit(service_become(argv + optind - 1));
		else if (option != 'w' || !weights_set(optarg)) {
			fprintf(stderr, "soak: [--seed NUMBER] [--weights LIST] [--service PATH] [--stop] "
					"[DURATION]\nweights:");
			weights_print();
			exit(2);
		}
	}
	*ret_duration_ns = duration_of(optind < argc ? argv[optind] : "60");
}

static void leave_without_uring(void)
{
	struct io_uring uring;
	int error = io_uring_queue_init(2, &uring, 0);

	if (!error) {
		io_uring_queue_exit(&uring);
		return;
	}
	printf("soak: io_uring cannot be used here: %s\n", strerror(-error));
	exit(SKIPPED);
}

static void prepare(void)
{
	struct sigaction action = {.sa_handler = interrupt};
	struct rlimit files;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	verdict_run.sanitized = true;
#endif
	pool_idle_ns = NS_PER_SECOND / 10;
	allocation_use();
	crew_warm_up();
	base_prepare();
}

static void print_progress(uint64_t began_ns, bool last)
{
	static uint64_t next_ns;
	const struct verdict_counts *counts = &verdict_counts;
	uint64_t now_ns = clock_now_ns();

	if (!last && now_ns < next_ns)
		return;
	next_ns = now_ns + 10 * NS_PER_SECOND;
	printf("soak: %llu s, round %llu: %llu steps, %llu contexts, %llu operations (%llu of them ended "
	       "early), "
	       "%llu drains, %llu rings, %llu calls, %llu tasks, %llu forks, %llu services\n",
	       (unsigned long long)((now_ns - began_ns) / NS_PER_SECOND),
	       (unsigned long long)verdict_run.round, (unsigned long long)actors_steps(),
	       (unsigned long long)counts->contexts, (unsigned long long)counts->operations,
	       (unsigned long long)counts->cancelled, (unsigned long long)counts->drains,
	       (unsigned long long)counts->rings, (unsigned long long)counts->calls,
	       (unsigned long long)counts->tasks, (unsigned long long)counts->forks,
	       (unsigned long long)counts->services);
}

int main(int argc, char **argv)
{
	uint64_t duration_ns, began_ns = clock_now_ns();

	read_arguments(argc, argv, &duration_ns);
	leave_without_uring();
	prepare();
	printf("soak: the seed is %llu\n", (unsigned long long)verdict_run.seed);
	end_ns = began_ns + duration_ns;
	watchdog_start();
	for (uint64_t round = 0; !program_is_to_end(); round++) {
		scopes_begin();
		actors_run(round, round < 3 ? ROUND_NS / 4 : ROUND_NS);
		scopes_end();
		base_check(round);
		print_progress(began_ns, false);
	}
	print_progress(began_ns, true);
	printf("soak: nothing broke%s\n", interrupted ? ", until it was interrupted" : "");
	return 0;
}
