/* SPDX-License-Identifier: MIT */
/* Callbacks that are not a ring's, which one thread registers and another stops: each runs once, or never. */
#ifndef SOAK_CALLS_H
#define SOAK_CALLS_H

#include "soak/actor.h"

void calls_add(struct actor *actor);
void calls_stop(struct actor *actor);
/* One whose function frees it. */
void calls_add_freeing(struct actor *actor);

/* Stops all that are left. */
void calls_end(struct actor *actor);

#endif
