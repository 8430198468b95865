/* SPDX-License-Identifier: MIT */
/*
 * What a shared context has to tell many: those who joined it, and what stands below it. Both lists may be as
 * long as the quotas of all users together, so they are gone through in pieces: who was visited goes to the
 * end, and who comes meanwhile stands behind those that are still to be visited.
 */
#include "parts.h"

static void visit_join(struct join *join)
{
	struct share *share = join->share;

	list_remove(&join->of_share);
	list_append(&share->joins, &join->of_share);
	share->joins_left--;
	share->broker->work += WORK_ITEM;
	if (share->cancel)
		cancel_visit(join);
	/* One that came first after a restart, and may not see what it joined. */
	if (!may_use_share(join->peer, share, RIGHT_SEE))
		join_free(join);
	else
		join_tell(join);
}

/* It goes, and so does what is below it. Not at once: that may be a long chain. */
static void hide_too_deep(struct share *share)
{
	share->too_deep = true;
	share_hide(share);
	job_queue(share->broker, &share->job);
}

/*
 * What was shared below share before that was claimed knew nothing of what is above it. What turns out to be
 * too deep does not stay, nor does what is below that.
 */
static void visit_below(struct share *share)
{
	struct broker *broker = share->broker;
	struct share *below = container_of(share->below.next, struct share, beside);

	list_remove(&below->beside);
	list_append(&share->below, &below->beside);
	share->below_left--;
	broker->work += WORK_ITEM;
	below->depth = share->depth + 1;
	if (below->depth > broker->config.depth_max)
		hide_too_deep(below);
	else
		share_count_depths(below);
}

bool shares_count_depths(struct job *job)
{
	struct broker *broker = container_of(job, struct broker, count_depths);

	while (!list_empty(&broker->to_count) && piece_lasts(broker)) {
		struct share *share = container_of(broker->to_count.next, struct share, of_to_count);
		if (share->below_left)
			visit_below(share);
		if (!share->below_left)
			list_remove(&share->of_to_count);
	}
	return !list_empty(&broker->to_count);
}

/* False: it is freed. */
static bool free_piece(struct share *share)
{
	struct broker *broker = share->broker;

	for (; !list_empty(&share->joins) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct join *join = container_of(share->joins.next, struct join, of_share);
		if (share->cancel)
			cancel_visit(join);
		join_free(join);
	}
	for (; !list_empty(&share->below) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct share *below = container_of(share->below.next, struct share, beside);
		list_remove(&below->beside);
		below->above = NULL;
		if (share->too_deep)
			hide_too_deep(below);
	}
	if (!list_empty(&share->joins) || !list_empty(&share->below))
		return true;
	if (share->cancel)
		cancel_visited(share->cancel);
	share_free_memory(share);
	return false;
}

bool share_run(struct job *job)
{
	struct share *share = container_of(job, struct share, job);
	struct broker *broker = share->broker;

	if (share->hidden)
		return free_piece(share);
	while (share->joins_left && piece_lasts(broker))
		visit_join(container_of(share->joins.next, struct join, of_share));
	if (!share->joins_left && share->cancel)
		cancel_visited(share->cancel);
	return share->joins_left != 0;
}
