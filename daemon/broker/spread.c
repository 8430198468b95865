/* SPDX-License-Identifier: MIT */
/*
 * The job of a share: visiting the clients that joined it, counting depths below it, and freeing its joins.
 * These lists can be as long as the quotas of all users together, so the work is done in pieces. A join that
 * was visited goes to the end of its list; a new one is added behind those that are still to be visited.
 */
#include "parts.h"

static void visit_join(struct join *join)
{
	struct share *share = join->share;

	list_remove(&join->of_share);
	list_append(&share->joins, &join->of_share);
	share->joins_left--;
	share->broker->work += WORK_ITEM;
	join_charge_remote(join);
	if (share->cancel)
		cancel_visit(join);
	/* The client joined an unclaimed share after a restart, and the owner's mode does not let it. */
	if (!share->unclaimed && !is_joined_by_pipe(share) && !may_use_share(join->peer, share, RIGHT_SEE))
		join_free(join);
	else
		join_tell(join);
}

/*
 * Hides a share that is too deep. Its job then hides what is shared below it: not here, since that can be a
 * long chain.
 */
static void hide_too_deep(struct share *share)
{
	share->too_deep = true;
	share_hide(share);
	job_queue(share->broker, &share->job);
}

/*
 * Sets the depth of the next share below. It was shared when the share above was unclaimed, so its depth was
 * counted without what is above that. If it turns out to be too deep, it is hidden.
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
		share_recount_depths(below);
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

/* Frees a join, or once the bridge was told that the share is withdrawn. */
static void free_or_tell(struct join *join)
{
	struct share *share = join->share;

	if (!join_owes_withdrawal(join)) {
		join_free(join);
		return;
	}
	list_remove(&join->of_share);
	list_append(&share->untold, &join->of_share);
	join_tell(join);
}

/* Frees some joins, and takes shares below out of the list. False: all is done, and the share is freed,
 * unless the bridge is still to be told: then the last join that is freed has this called again. */
static bool free_piece(struct share *share)
{
	struct broker *broker = share->broker;

	for (; !list_empty(&share->joins) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct join *join = container_of(share->joins.next, struct join, of_share);
		if (share->cancel)
			cancel_visit(join);
		free_or_tell(join);
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
	if (list_empty(&share->untold))
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
