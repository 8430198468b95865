/* SPDX-License-Identifier: MIT */
/*
 * What one message, or one end, brings about for many is cut into pieces: the first is done at once, so that
 * what is small is done when it is answered; the rest waits among what others wait for. A piece is WORK_TURN,
 * and what it began last.
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
		return; /* it has had its first piece */
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
