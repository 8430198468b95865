/* SPDX-License-Identifier: MIT */
/*
 * Makes system calls and allocations of the library fail, in programs that are
 * linked with its CTX_FAULTS build. Calls are counted over all threads.
 *
 *	for (unsigned k = 1; ; k++) {
 *		faults_arm(FAULTS_RESOURCES, k, false, 0);
 *		...scenario, which must cope...
 *		if (!faults_disarm())
 *			break;	// fewer than k calls: every one has failed once
 *	}
 */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <stdbool.h>

#include "sys.h"

/* Kinds of calls, as a mask. */
#define FAULT(call) (UINT64_C(1) << (call))
#define FAULTS_ALL (FAULT(SYS_CALL_COUNT) - 1)
/* Those that merely wait or wake: failing for ever, they would be asked for ever. */
#define FAULTS_WAITS                                                                                        \
	(FAULT(SYS_CALL_READ) | FAULT(SYS_CALL_WRITE) | FAULT(SYS_CALL_POLL) | FAULT(SYS_CALL_FUTEX_WAIT) | \
	 FAULT(SYS_CALL_URING_ENTER) | FAULT(SYS_CALL_EPOLL_WAIT))
#define FAULTS_RESOURCES (FAULTS_ALL & ~FAULTS_WAITS)

/*
 * From now on the k-th call of these kinds (counted from 1) fails, or from the k-th
 * on all of them, with the positive errno error, or with the usual one of the call
 * for 0. Counts start at zero.
 */
void faults_arm(uint64_t calls, unsigned k, bool for_ever, int error);

/* No more failures. Returns how many there were since faults_arm. */
unsigned faults_disarm(void);

/* Calls of a kind since faults_arm, or since the start. */
unsigned faults_count(enum sys_call call);

/* Each io_uring_enter(2) takes at most this many SQEs; 0: no limit. */
void faults_limit_submit(unsigned most);

const char *faults_name(enum sys_call call);

#endif
