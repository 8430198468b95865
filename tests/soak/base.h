/* SPDX-License-Identifier: MIT */
/*
 * What must be back after each round: descriptors, blocks of memory, slots of the table. The library keeps
 * some things for good (threads, the arrays of its heaps), which the first rounds bring about.
 */
#ifndef SOAK_BASE_H
#define SOAK_BASE_H

/* Before the first round: starts the threads of the library, and what else it starts but once. */
void base_prepare(void);

/* Waits, bounded, until everything is back; the first rounds find out what stays. Breaks if it does not. */
void base_check(unsigned long round);

#endif
