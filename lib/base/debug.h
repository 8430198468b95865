/* SPDX-License-Identifier: MIT */
/*
 * Explanations on stderr, for a program that runs with CTXRING_DEBUG=1 in its environment: what an error or a
 * NULL of a public function meant, once for each place in the program that made the call and each
 * explanation.
 *
 * A public function returns its errors by debug_error(), debug_invalid() or debug_result(). Where the reason
 * is known only further down, the code there leaves it by debug_note(), and the explanation of the public
 * function has it. Without the variable an error costs one load and a branch more, and a success nothing.
 *
 * One explanation is one write(2), so that lines of several threads do not mix. No lock is held and no memory
 * allocated here; errno stays as it is.
 */
#ifndef CTX_DEBUG_H
#define CTX_DEBUG_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEBUG_HIDDEN __attribute__((visibility("hidden")))
#define DEBUG_COLD __attribute__((noinline, cold)) DEBUG_HIDDEN

/* CTXRING_DEBUG is 1. Constant once the constructors of the library have run. */
extern bool debug_wanted DEBUG_HIDDEN;

/* Sets debug_wanted from the environment, and forgets what has been explained: for tests. */
void debug_read_environment(void);

static inline bool debug_is_wanted(void)
{
	return __builtin_expect(debug_wanted, 0);
}

/* The call of the program, and the function that it called: for use in a public function only. */
#define DEBUG_HERE __builtin_return_address(0), __func__

/* Explain that a public function returns error, or NULL if error is 0; or, if error is a positive errno, that
 * the operation which it begins will complete with that error. A reason that debug_note() has left for the
 * same error stands in place of format. Return error. */
int debug_tell(const void *site, const char *function, int error, const char *format, ...) DEBUG_COLD
	__attribute__((format(printf, 4, 5)));

/* The same for -EINVAL: names the first of the arguments that is NULL. They follow otherwise as pairs of name
 * and pointer, and end with NULL. otherwise is the explanation when none is NULL. */
int debug_tell_invalid(const void *site, const char *function, const char *otherwise, ...) DEBUG_COLD
	__attribute__((sentinel));

/* The same, async-signal-safe. */
int debug_tell_in_handler(const void *site, const char *function, int error, const char *text) DEBUG_COLD;

/* Explains something that happens outside of a call, once for each key and format. */
void debug_tell_event(uintptr_t key, const char *format, ...) DEBUG_COLD
	__attribute__((format(printf, 2, 3)));

/* Leaves a reason for the explanation that this thread gives next, if that is of the same error. */
int debug_leave_reason(int error, const char *format, unsigned long first, unsigned long second) DEBUG_COLD;

/* Makes the reason that was left, if one was, that of error. */
void debug_change_reason(int error) DEBUG_COLD;

/* An error that a public function returns, and its explanation as of printf(3). */
#define debug_error(error, ...) (debug_is_wanted() ? debug_tell(DEBUG_HERE, (error), __VA_ARGS__) : (error))

/* The same for a public function that returns NULL. Its value is NULL. */
#define debug_null(...) (debug_is_wanted() ? (void)debug_tell(DEBUG_HERE, 0, __VA_ARGS__) : (void)0, NULL)

/* These always have the same reason, which their names say. */
static inline bool debug_is_usual(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EINTR;
}

/* A result of which only a negative one is an error, and to be explained unless it is a usual one. */
#define debug_result(result, ...)                                                                           \
	({                                                                                                  \
		__typeof__(result) result_ = (result);                                                      \
		if (__builtin_expect(result_ < 0, 0) && debug_is_wanted() && !debug_is_usual((int)result_)) \
			debug_tell(DEBUG_HERE, (int)result_, __VA_ARGS__);                                  \
		result_;                                                                                    \
	})

/* -EINVAL of a public function, one of whose pointer arguments may be NULL: debug_invalid(otherwise, ctx,
 * ...). otherwise says what else may be wrong; NULL: nothing. */
#define DEBUG_PAIR(argument) #argument, (const void *)(uintptr_t)(argument)
#define DEBUG_PAIRS_1(a) DEBUG_PAIR(a)
#define DEBUG_PAIRS_2(a, ...) DEBUG_PAIR(a), DEBUG_PAIRS_1(__VA_ARGS__)
#define DEBUG_PAIRS_3(a, ...) DEBUG_PAIR(a), DEBUG_PAIRS_2(__VA_ARGS__)
#define DEBUG_PAIRS_4(a, ...) DEBUG_PAIR(a), DEBUG_PAIRS_3(__VA_ARGS__)
#define DEBUG_PAIRS_OF(_1, _2, _3, _4, name, ...) name
#define DEBUG_PAIRS(...) \
	DEBUG_PAIRS_OF(__VA_ARGS__, DEBUG_PAIRS_4, DEBUG_PAIRS_3, DEBUG_PAIRS_2, DEBUG_PAIRS_1, )(__VA_ARGS__)
#define debug_invalid(otherwise, ...)                                                                  \
	(debug_is_wanted() ? debug_tell_invalid(DEBUG_HERE, otherwise, DEBUG_PAIRS(__VA_ARGS__), NULL) \
			   : -EINVAL)

/* An error of an internal function, with the reason for it: a format with at most two %lu. Its value is the
 * error. */
#define debug_note(error, format, first, second)                                                          \
	(debug_is_wanted()                                                                                \
		 ? debug_leave_reason((error), (format), (unsigned long)(first), (unsigned long)(second)) \
		 : (error))

#endif
