/* SPDX-License-Identifier: MIT */
/*
 * Contexts with what is known of them: from whom they were derived, whether somebody has asked for their end,
 * and the earliest deadline that they ever had. From that follows when a context may be done, and when it has
 * to be. Some are common to all actors, and any of them may derive from these, end them and wait for them.
 */
#ifndef SOAK_SCOPE_H
#define SOAK_SCOPE_H

#include "clock.h"
#include "soak/actor.h"
#include "soak/verdict.h"

struct scope {
	const struct ctx_context *ctx;
	struct ctx_context *own; /* ctx, where it can be ended by itself; else NULL */
	struct scope *parents[2];
	unsigned parent_count, depth;
	bool shields;		      /* its parent's end does not reach it */
	bool movable;		      /* its deadline may become later */
	bool by_event;		      /* a source may end it */
	_Atomic bool asked;	      /* set before its end is asked for */
	_Atomic uint64_t earliest_ns; /* set before the deadline is */
	_Atomic unsigned references;
};

/* The first reference of a context that was made already. parent and other may be NULL; they are referred to.
 */
struct scope *scope_wrap(const struct ctx_context *ctx, struct ctx_context *own, struct scope *parent,
			 struct scope *other);

/* One of any kind below parent. */
struct scope *scope_derive(struct chance *chance, struct scope *parent);
struct scope *scope_child(struct scope *parent);
struct scope *scope_with_timeout(struct scope *parent, uint64_t timeout_ns);

struct scope *scope_take(struct scope *scope);
void scope_drop(struct scope *scope);

/* Whether scope ends for sure when top does, or is it. */
bool scope_is_below(const struct scope *scope, const struct scope *top);

/* Whether scope was made from top in any way, as ctx_ring_drain(3) says "below"; or is it. */
bool scope_stems_from(const struct scope *scope, const struct scope *top);

/* Breaks if the context's state is one that nobody brought about. */
void scope_check(const struct scope *scope);

/* Ends it, and looks whether the common ones below are marked. */
void scope_end(struct chance *chance, struct scope *scope);

/* Moves its deadline, or tries to. */
void scope_move(struct chance *chance, struct scope *scope);

/* Waits until it is done, which must come soon; for those that were asked to end or have a deadline. */
void scope_await(struct scope *scope);

/* ---- those that are common to all */

void scopes_begin(void);
/* Ends all of them, which must then be done, and lets go of them. */
void scopes_end(void);

/* A reference to any of them, or to the root of the round, which ends with the round. */
struct scope *scope_common(struct chance *chance);
/* Takes over the reference; another one makes room. */
void scope_publish(struct chance *chance, struct scope *scope);

#endif
