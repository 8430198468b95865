/* SPDX-License-Identifier: MIT */
/*
 * The control memfd (struct ctx_control in table_format.h): how another process has this one keep the
 * journals of what is past.
 *
 * The library loads the wish of the recorder through a pointer that is never NULL: before there is a memfd,
 * and where none could be made, it points to memory of the process's own that stays 0.
 */
#ifndef CTX_CONTROL_H
#define CTX_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "table_format.h"

/* Stored with the table's lock held, loaded without it. What it points to is mapped before the store. A
 * thread that still loads the older value reads 0 from memory that stays. */
extern struct ctx_control *_Atomic control_shared __attribute__((visibility("hidden")));

static inline uint64_t control_until_ns(void)
{
	const struct ctx_control *control = atomic_load_explicit(&control_shared, memory_order_relaxed);

	return atomic_load_explicit(&control->record_until_ns, memory_order_relaxed);
}

/* Makes the memfd. Where that fails nobody can record this process. Called with the table's lock held. */
void control_make(void);

/* In a forked child: what is mapped is the parent's, and is unmapped. */
void control_forget(void);

/* Whether somebody may be recording: control_confirm() has the last word. */
static inline bool control_is_on(void)
{
	return __builtin_expect(control_until_ns() != 0, 0);
}

/* Puts right what is stored there: not later than CTX_CONTROL_AHEAD_NS from now, and 0 when it is past.
 * Returns whether somebody records. */
bool control_correct(uint64_t until_ns, uint64_t now_ns);

/* Whether somebody records, after control_is_on() has said so. now_ns may be the time of the coarse clock. */
static inline bool control_confirm(uint64_t now_ns)
{
	uint64_t until_ns = control_until_ns();

	/* One comparison for both limits: what is past is far ahead, too. */
	if (__builtin_expect(until_ns - now_ns - 1 < CTX_CONTROL_AHEAD_NS, 1))
		return true;
	return control_correct(until_ns, now_ns);
}

#endif
