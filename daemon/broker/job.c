/* SPDX-License-Identifier: MIT */
/*
 * Work in pieces. A message, or the end of a client, can have effects for many: the first piece is done at
 * once, so that a small effect is there when the answer is. What is left is queued, and the users take turns.
 * A piece is over when WORK_TURN of work is done; the item that was begun last is completed.
 */
#include "parts.h"

bool piece_lasts(const struct broker *broker)
{
	return broker->work < broker->piece_end;
}

void piece_begin(struct broker *broker)
{
	broker->piece_end = broker->work + WORK_TURN;
}

void job_queue(struct broker *broker, struct job *job)
{
	if (list_empty(&job->link))
		lanes_add(&broker->jobs, job->uid, &job->link);
}

void job_begin(struct broker *broker, struct job *job)
{
	if (!list_empty(&job->link))
		return; /* It is queued, so it has had its first piece. */
	if (!piece_lasts(broker) || job->run(job))
		job_queue(broker, job);
}

static bool run_next(struct broker *broker)
{
	struct list *link = lanes_take(&broker->jobs);
	struct job *job = link ? container_of(link, struct job, link) : NULL;

	if (!job)
		return false;
	piece_begin(broker);
	broker->work += WORK_ITEM;
	if (job->run(job))
		job_queue(broker, job);
	return true;
}

void jobs_run(struct broker *broker)
{
	uint64_t end = broker->work + WORK_ROUND;

	while (broker->work < end && run_next(broker))
		;
}

void jobs_finish(struct broker *broker)
{
	while (run_next(broker))
		;
}
