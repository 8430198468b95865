/* SPDX-License-Identifier: MIT */
/*
 * Numbers for the library's own requests of one kind. Each request carries its number, so that its completion
 * counts once: a program that adopted its io_uring may show the same completion several times, in the queue,
 * as a copy, or as a value that only looks like one of ours.
 */
#ifndef CTX_RING_TICKET_H
#define CTX_RING_TICKET_H

#include <stdbool.h>
#include <stdint.h>

#define TICKET_MASK 0x3fffffu /* as many bits as user_data has for the number, see ring.h */
#define TICKETS_MAX 64u

struct tickets {
	uint64_t given; /* how many were given; cut to TICKET_MASK, the number of the last one */
	uint64_t out;	/* bit n: the request whose number is n modulo 64 has no completion yet */
};

/* Whether a further number could not be told from those that are out. */
static inline bool tickets_full(const struct tickets *tickets)
{
	return tickets->out >> (tickets->given + 1) % TICKETS_MAX & 1;
}

/* Gives out a number. Must not be called when the tickets are full. */
static inline uint32_t ticket_take(struct tickets *tickets)
{
	uint64_t number = ++tickets->given;

	tickets->out |= 1ull << number % TICKETS_MAX;
	return (uint32_t)number & TICKET_MASK;
}

static inline uint32_t ticket_last(const struct tickets *tickets)
{
	return (uint32_t)tickets->given & TICKET_MASK;
}

static inline uint32_t ticket_age(const struct tickets *tickets, uint32_t number)
{
	return (ticket_last(tickets) - number) & TICKET_MASK;
}

/* Whether this number was ever given out. */
static inline bool ticket_was_given(const struct tickets *tickets, uint32_t number)
{
	return ticket_age(tickets, number) < tickets->given;
}

static inline bool ticket_is_out(const struct tickets *tickets, uint32_t number)
{
	return ticket_was_given(tickets, number) && ticket_age(tickets, number) < TICKETS_MAX &&
	       (tickets->out >> number % TICKETS_MAX & 1);
}

/* The request of this number has completed. False: none with this number was out. */
static inline bool ticket_return(struct tickets *tickets, uint32_t number)
{
	bool out = ticket_is_out(tickets, number);

	if (out)
		tickets->out &= ~(1ull << number % TICKETS_MAX);
	return out;
}

#endif
