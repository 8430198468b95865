/* SPDX-License-Identifier: MIT */
/* One host's end of a real engine for tests: what it has told, and a loop that runs it until something holds.
 */
#ifndef TEST_ENGINE_END_H
#define TEST_ENGINE_END_H

#include "engine_redis.h"

#define END_LEASES_MAX 64

struct engine_end {
	struct engine *engine;
	char host[64];

	/* The latest message, and how many there were. */
	uint8_t bytes[128 * 1024];
	size_t size;
	unsigned messages;

	bool is_up;
	unsigned ups, downs, writables;
	/* The latest answers. */
	unsigned own_leases;
	uint64_t own_lease;
	unsigned leases;
	struct {
		char host[64];
		uint64_t incarnation;
	} lease[END_LEASES_MAX];
	char hosts[4096]; /* "a b ": those of the list. */
	bool is_list_over;
	int list_error;
	unsigned examined;
	struct engine_status status;
	unsigned troubles;
	char trouble[256]; /* the latest */
	char all_troubles[4096];

	void (*on_message)(struct engine_end *end);
	void *data;
};

/* lease_ms 0: 6 s. user and password_file may be NULL. */
void engine_end_open(struct engine_end *end, const char *host, const char *address, unsigned lease_ms,
		     const char *user, const char *password_file);
void engine_end_close(struct engine_end *end);

/* One turn of the loop of an end: waits until something is due, for at most wait_ms, and dispatches. */
void engine_end_turn(struct engine_end *end, unsigned wait_ms);

/*
 * Turns the loops of all ends, NULL at the end, until condition() of the first holds. Fails the test after
 * half a minute.
 */
typedef bool engine_end_condition(struct engine_end *end);
void engine_ends_await(const char *what, struct engine_end *const *ends, engine_end_condition *condition);
#define engine_end_await(end, condition) \
	engine_ends_await(#condition, (struct engine_end *[]){end, NULL}, condition)
#define engine_pair_await(end, other, condition) \
	engine_ends_await(#condition, (struct engine_end *[]){end, other, NULL}, condition)

/* Conditions. */
bool end_is_up(struct engine_end *end);
bool end_is_down(struct engine_end *end);
bool end_has_message(struct engine_end *end);
bool end_has_own_lease(struct engine_end *end);
bool end_has_list(struct engine_end *end);
bool end_is_examined(struct engine_end *end);
bool end_has_trouble(struct engine_end *end);

/* Sends a text. Whether the engine took it. */
bool engine_end_send(struct engine_end *end, const char *host, const char *text);
/* Takes or renews the own lease and waits for the answer, which is returned. */
uint64_t engine_end_take(struct engine_end *end, uint64_t incarnation);
uint64_t engine_end_renew(struct engine_end *end, uint64_t incarnation);
/* Reads the lease of a host and waits for the answer, which is returned. */
uint64_t engine_end_read(struct engine_end *end, const char *host);

#endif
