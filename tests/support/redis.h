/* SPDX-License-Identifier: MIT */
/*
 * Real redis-servers and Sentinels for tests: each in a directory of its own, without saved data, ended with
 * the test, also when that fails. They listen on a unix socket there, and on a free port of 127.0.0.1 where
 * that is wanted.
 */
#ifndef TEST_REDIS_H
#define TEST_REDIS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redis {
	char directory[32], socket[64], config[64];
	uint16_t port; /* 0: none */
	bool is_sentinel;
	pid_t pid;
};

/* Skips the test where redis-server is not installed. */
void redis_require(void);

/* Starts it with these lines of configuration (NULL: none) and waits until it answers. */
void redis_start(struct redis *redis, bool has_port, const char *configuration);
/* Starts a Sentinel that watches the master on 127.0.0.1, as "fleet". */
void redis_start_sentinel(struct redis *sentinel, uint16_t master_port, unsigned down_after_ms);
/* Kills it, with SIGKILL. Its directory stays. */
void redis_kill(struct redis *redis);
/* Starts it once more, with the same socket and port, and without its data. */
void redis_restart(struct redis *redis);
/* Kills it, if it runs, and removes the directory. */
void redis_end(struct redis *redis);

/*
 * Asks a command, whose words are separated by single blanks, and returns the answer as the server writes it,
 * without the last line end. The text lives until the next call.
 */
const char *redis_ask(const struct redis *redis, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Asks until the answer contains the text. Fails after half a minute. */
void redis_await(const struct redis *redis, const char *text, const char *command);

/* A port of 127.0.0.1 that nobody uses now. */
uint16_t redis_free_port(void);

#endif
