/* SPDX-License-Identifier: MIT */
/* Task groups on threads: every task that was started runs once, and none outlives its group. */
#ifndef SOAK_TASKS_H
#define SOAK_TASKS_H

#include "soak/actor.h"

void tasks_run_group(struct actor *actor);
/* The first success ends the rest: at least one was first, and who was not started is never called. */
void tasks_run_first(struct actor *actor);
/* A task frees the group for which a thread waits. */
void tasks_free_within(struct actor *actor);

#endif
