/* SPDX-License-Identifier: MIT */
/*
 * Races of two threads, repeated until both outcomes have been seen. The second thread
 * is kept from round to round; both leave a barrier together, one of them after a
 * random delay.
 */
#ifndef TEST_RACE_H
#define TEST_RACE_H

struct race {
	const char *name;
	/* Makes what is fought over, in data. */
	void (*prepare)(void *data);
	void (*left)(void *data);
	void (*right)(void *data);
	/* Checks what must hold after each round and cleans up; returns the outcome, 0 or 1. */
	int (*judge)(void *data);
};

/*
 * Runs at least rounds of race and until both outcomes have occurred; fails when one has not within half a
 * minute, unless others had the processors meanwhile. Prints how often each did.
 */
void race_run(const struct race *race, void *data, unsigned rounds);

/* In left or right: who is first here? 0 for the first of two that ask about a ticket that began as 0. */
unsigned race_ticket(unsigned *ticket);

#endif
