/* SPDX-License-Identifier: MIT */
/*
 * The control memfd (struct ctx_control in table_format.h): how another process has this one keep the
 * journals of what is past.
 *
 * It is mapped over a page of the library's own data. So to ask whether somebody records takes one load from
 * a constant address, and there is something to load also where the memfd could not be made.
 */
#ifndef CTX_CONTROL_H
#define CTX_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "table_format.h"

/* The largest page that a kernel for this machine has. */
#ifdef __x86_64__
#define CONTROL_PAGE 4096
#else
#define CONTROL_PAGE 65536
#endif

union control_page {
	struct ctx_control shared;
	char bytes[CONTROL_PAGE];
};

extern union control_page control_page __attribute__((visibility("hidden")));

/* Makes the memfd. Where that fails nobody can record this process. Called with the table's lock held. */
void control_make(void);

/* In a forked child: what is mapped is the parent's, and is not looked at any more. */
void control_forget(void);

/* Whether somebody may be recording: control_confirm() has the last word. */
static inline bool control_is_on(void)
{
	return __builtin_expect(
		atomic_load_explicit(&control_page.shared.record_until_ns, memory_order_relaxed) != 0, 0);
}

/* Puts right what is stored there: not later than CTX_CONTROL_AHEAD_NS from now, and 0 when it is past.
 * Returns whether somebody records. */
bool control_correct(uint64_t until_ns, uint64_t now_ns);

/* Whether somebody records, after control_is_on() has said so. now_ns may be the time of the coarse clock. */
static inline bool control_confirm(uint64_t now_ns)
{
	uint64_t until_ns = atomic_load_explicit(&control_page.shared.record_until_ns, memory_order_relaxed);

	/* One comparison for both limits: what is past is far ahead, too. */
	if (__builtin_expect(until_ns - now_ns - 1 < CTX_CONTROL_AHEAD_NS, 1))
		return true;
	return control_correct(until_ns, now_ns);
}

#endif
