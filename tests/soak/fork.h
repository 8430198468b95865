/* SPDX-License-Identifier: MIT */
/* Forks in the middle of the storm: what a child does with what it inherited, and with the library of its
 * own. */
#ifndef SOAK_FORK_H
#define SOAK_FORK_H

#include "soak/scope.h"

/* Forks, and waits until the child has done all of it, which must come soon. ring (NULL: none) is the
 * caller's. */
void fork_and_look(struct chance *chance, struct ctx_ring *ring, struct scope *scope);

/* Waits for a child's end, which must come soon: its wait status. */
int fork_await(int pid, const char *what);

#endif
