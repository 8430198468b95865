/* SPDX-License-Identifier: MIT */
/* The real ctxd for tests: in a directory of its own, ended with the test, also when that fails. */
#ifndef TEST_SERVICE_H
#define TEST_SERVICE_H

#include <stdbool.h>
#include <sys/types.h>

#include "ctxring.h"
#include "support/contexts.h"

struct service {
	char directory[64], socket[96], config[96], log[96];
	const char *loop; /* "ring" or "poll"; NULL: as it chooses */
	pid_t pid;
};

/* Runs test once for each way in which the service waits, which is SERVICE_LOOP(_i) in it. */
#define ON_EACH_LOOP(test_case, test) tcase_add_loop_test(test_case, test, test_no_uring() ? 1 : 0, 2)
#define SERVICE_LOOP(number) ((number) == 0 && !test_no_uring() ? "ring" : "poll")

/* To be called before a test becomes another user and starts the service. */
void service_find(void);

/*
 * Starts it, with these lines of configuration (NULL: none), and waits until it answers. $CTXD_SOCKET leads
 * to it, for children as well.
 */
void service_start(struct service *service, const char *configuration);

/* What it reads when it starts, or is told to, the next time. */
void service_configure(const struct service *service, const char *configuration);

/* Again at the same place, after service_kill. */
void service_restart(struct service *service);
void service_kill(struct service *service);

/* Asks it to end, and fails unless it does so with success: then all quotas were returned. */
void service_end(struct service *service);

/* Whether its log has the text. */
bool service_logged(const struct service *service, const char *text);

/* Connected, with a thread of the library. */
struct ctxd_client *client_of(const struct service *service);
struct ctxd_client *client_with(const struct service *service, const struct ctxd_options *options);

/* What ctxd_list shows of these kinds; at most 64. */
struct listing {
	unsigned count;
	struct ctxd_entry entries[64];
};
struct listing list_of(struct ctxd_client *client, unsigned kinds);

/* Waits, bounded, until that many are listed. */
bool await_listed(struct ctxd_client *client, unsigned kinds, unsigned count);

/*
 * A process of its own: function runs in it with one end of a socket pair, over which both tell each other
 * single bytes at which point they are.
 */
struct other {
	pid_t pid;
	int channel;
};
struct other other_start(int (*function)(int channel, void *data), void *data);
void tell(int channel, char what);
/* Fails unless that is what comes. */
void expect(int channel, char what);
/* Waits for its end: the exit status, or 256 plus the signal. */
int other_end(struct other *other);
void other_kill(struct other *other);

#endif
