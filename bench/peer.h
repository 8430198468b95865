/* SPDX-License-Identifier: MIT */
/*
 * A measuring program in another language. It runs beside ours so that the two can take turns: it reads lines
 * of "CASE COUNT" and answers each with the nanoseconds that one operation took.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "bench.h"

#include <sys/wait.h>

struct peer {
	pid_t pid;
	FILE *ask, *answer;
};

static inline void peer_start(struct peer *peer, const char *program)
{
	int to[2], from[2];
	if (pipe(to) || pipe(from))
		bench_fail("pipe: %s", strerror(errno));
	fflush(NULL);
	peer->pid = fork();
	if (peer->pid < 0)
		bench_fail("fork: %s", strerror(errno));
	if (!peer->pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		close(to[1]);
		close(from[0]);
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	peer->ask = fdopen(to[1], "w");
	peer->answer = fdopen(from[0], "r");
	if (!peer->ask || !peer->answer)
		bench_fail("fdopen: %s", strerror(errno));
}

static inline double peer_measure(struct peer *peer, const char *name, unsigned count)
{
	double result;
	fprintf(peer->ask, "%s %u\n", name, count);
	if (fflush(peer->ask) || fscanf(peer->answer, "%lf", &result) != 1)
		bench_fail("the other side does not answer %s", name);
	return result;
}

static inline void peer_stop(struct peer *peer)
{
	fclose(peer->ask); /* the program ends at the end of its input */
	fclose(peer->answer);
	waitpid(peer->pid, NULL, 0);
}

#endif
