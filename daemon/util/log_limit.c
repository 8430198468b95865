/* SPDX-License-Identifier: MIT */
/*
 * How many lines of the log each user can cause. The counts outlive connections and accounts, since a user
 * could end those at will.
 */
#include <inttypes.h>

#include "clock.h"
#include "log.h"

#define WINDOW_NS 10000000000ull
#define LINES_MAX 100u
/* How many users have a budget of their own at a time. Further users share one. */
#define BUDGETS_MAX 64u
#define OTHERS ((uid_t)-1)

struct budget {
	uid_t uid;
	uint64_t end_ns; /* The end of the window of this budget. 0: not in use. */
	uint64_t written[LOG_KINDS], left_out[LOG_KINDS];
};

static struct budget budgets[BUDGETS_MAX + 1];

static bool is_short(const struct budget *budget)
{
	return budget->left_out[LOG_CANCEL_OF_OTHERS] || budget->left_out[LOG_CANCEL] ||
	       budget->left_out[LOG_TROUBLE];
}

/* Writes how many lines were left out, and frees the budget. */
static void end_budget(struct budget *budget)
{
	if (budget->end_ns && is_short(budget))
		log_event(LOG_LEVEL_AUDIT, "left-out",
			  "uid=%d cancels_of_others=%" PRIu64 " cancels=%" PRIu64 " other=%" PRIu64
			  " reason=\"more than %u lines in %u s\"",
			  (int)budget->uid, budget->left_out[LOG_CANCEL_OF_OTHERS],
			  budget->left_out[LOG_CANCEL], budget->left_out[LOG_TROUBLE], LINES_MAX,
			  (unsigned)(WINDOW_NS / 1000000000ull));
	*budget = (struct budget){0};
}

static struct budget *find_budget(uid_t uid, uint64_t now_ns)
{
	struct budget *vacant = &budgets[BUDGETS_MAX];

	for (struct budget *budget = budgets; budget <= &budgets[BUDGETS_MAX]; budget++) {
		if (budget->end_ns && now_ns >= budget->end_ns)
			end_budget(budget);
		if (budget->end_ns && budget->uid == uid)
			return budget;
		if (!budget->end_ns && vacant == &budgets[BUDGETS_MAX])
			vacant = budget;
	}
	if (!vacant->end_ns) {
		vacant->uid = vacant == &budgets[BUDGETS_MAX] ? OTHERS : uid;
		vacant->end_ns = now_ns + WINDOW_NS;
	}
	return vacant;
}

bool log_admits(enum log_level level, uid_t uid, enum log_kind kind)
{
	if (!log_is_written(level))
		return false;
	if (uid == 0)
		return true;
	struct budget *budget = find_budget(uid, clock_now_ns());
	if (budget->written[kind] >= LINES_MAX) {
		budget->left_out[kind]++;
		return false;
	}
	budget->written[kind]++;
	return true;
}

uint64_t log_next_ns(void)
{
	uint64_t next_ns = UINT64_MAX;

	for (const struct budget *budget = budgets; budget <= &budgets[BUDGETS_MAX]; budget++)
		if (budget->end_ns && is_short(budget) && budget->end_ns < next_ns)
			next_ns = budget->end_ns;
	return next_ns;
}

void log_tick(uint64_t now_ns)
{
	for (struct budget *budget = budgets; budget <= &budgets[BUDGETS_MAX]; budget++)
		if (budget->end_ns && now_ns >= budget->end_ns)
			end_budget(budget);
}

void log_finish(void)
{
	for (struct budget *budget = budgets; budget <= &budgets[BUDGETS_MAX]; budget++)
		end_budget(budget);
}
