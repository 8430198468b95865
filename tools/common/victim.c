/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ending.h"
#include "format.h"
#include "victim.h"

static struct ending ending_of_victim(const struct victim *victim)
{
	const struct snapshot *snapshot = &victim->process->snapshot;

	return ending_of(snapshot, (uint32_t)(victim->context - snapshot->contexts));
}

void victim_count(struct victim *victim)
{
	const struct reader_context *context;

	victim->operations = 0;
	victim->contexts = victim->process ? 0 : 1;
	if (!victim->process)
		return;
	struct ending ending = ending_of_victim(victim);
	while ((context = ending_next(&ending))) {
		victim->contexts += (context->record.state & CTX_TABLE_LIVE) != 0;
		victim->operations += context->operation_count;
	}
}

char *victim_name(const struct victim *victim, char buffer[VICTIM_NAME_SIZE])
{
	char id[ID_SIZE], label[ESCAPED_SIZE];
	const struct ctxd_entry *entry;

	if (victim->process) {
		snprintf(buffer, VICTIM_NAME_SIZE, "%s \"%s\"",
			 format_id(victim->process, victim->context, id),
			 escape(victim->context->record.label, label, sizeof(label)));
		return buffer;
	}
	entry = service_shared(victim->id);
	ctxd_format_id(victim->id, id, sizeof(id));
	snprintf(buffer, VICTIM_NAME_SIZE, "%s \"%s\"", id,
		 entry ? escape(entry->label, label, sizeof(label)) : "");
	return buffer;
}

static void add_report(struct ctxd_report *sum, const struct ctxd_report *report)
{
	sum->asked += report->asked;
	sum->ended += report->ended;
	sum->silent += report->silent;
	sum->batches += report->batches;
	sum->operations += report->operations;
	sum->unsent += report->unsent;
	sum->timed += report->timed;
	sum->sqes += report->sqes;
	sum->enters += report->enters;
	sum->cancelled += report->cancelled;
	sum->finished += report->finished;
	sum->held += report->held;
	if (report->submit_ns > sum->submit_ns)
		sum->submit_ns = report->submit_ns;
	if (report->reap_ns > sum->reap_ns)
		sum->reap_ns = report->reap_ns;
}

/* A process that is stopped ends nothing. What other processes joined of it is ended without it, by id. */
static void cancel_joined(const struct victim *victim, int error, const char *text, uint64_t wait_ns,
			  struct ctxd_report *report)
{
	struct ending ending = ending_of_victim(victim);
	const struct reader_context *context;

	while ((context = ending_next(&ending))) {
		const struct ctxd_entry *entry =
			service_entry_of(CTXD_SHARED, victim->process->inode, service_ctx_id(context));
		struct ctxd_report more;

		if (!entry || entry->ended_ns)
			continue;
		struct ctxd_target target = {.id = entry->id};
		if (!ctxd_cancel(service_client(), &target, 0, error, text, wait_ns, &more))
			add_report(report, &more);
	}
}

/* ---- ctxtool run: SIGTERM ends its only context too */

/*
 * Tells a run by its name alone. Its command line is in its own memory, where it could keep a reader waiting
 * for ever. No other command of ctxtool makes contexts, and a process named timeout has contexts only if it
 * is ctxtool.
 */
bool process_is_run(const struct process *process)
{
	return !process->is_core && process->descriptors.directory >= 0 &&
	       (strcmp(process->name, "ctxtool") == 0 || strcmp(process->name, "timeout") == 0);
}

/* Sends the signal by the open directory /proc/PID, which stands for one process only, as a pidfd does. */
static int signal_run(const struct victim *victim, int signo)
{
	return syscall(SYS_pidfd_send_signal, victim->process->descriptors.directory, signo, NULL, 0) < 0
		       ? -errno
		       : 0;
}

/*
 * For a run that the service cannot reach, because there is none or the run has not connected yet: sends it
 * the signal. Returns result for everything else.
 */
static int cancel_run_directly(const struct victim *victim, int result, int signo,
			       struct ctxd_report *ret_report)
{
	if (!victim->process || !process_is_run(victim->process) || signal_run(victim, signo))
		return result;
	*ret_report = (struct ctxd_report){.asked = 1, .ended = 1};
	return 0;
}

static int ask_service(const struct ctxd_target *target, unsigned flags, int error, const char *text,
		       uint64_t wait_ns, struct ctxd_report *ret_report)
{
	struct ctxd_client *client = service_client();

	return client ? ctxd_cancel(client, target, flags, error, text, wait_ns, ret_report)
		      : service_error();
}

int victim_try(const struct victim *victim, struct ctxd_report *ret_report)
{
	struct ctxd_target target = {.id = victim->id};

	if (victim->process) {
		target.table = victim->process->inode;
		target.ctx_id = service_ctx_id(victim->context);
	}
	int result = ask_service(&target, CTXD_DRY_RUN, 0, NULL, 0, ret_report);
	return result ? cancel_run_directly(victim, result, 0, ret_report) : 0;
}

int victim_cancel(const struct victim *victim, int error, const char *text, uint64_t wait_ns,
		  struct ctxd_report *ret_report)
{
	struct ctxd_target target = {.id = victim->id};

	if (victim->process) {
		target.table = victim->process->inode;
		target.ctx_id = service_ctx_id(victim->context);
	}
	int result = ask_service(&target, 0, error, text, wait_ns, ret_report);
	if (result && result != -EALREADY)
		return cancel_run_directly(victim, result, SIGTERM, ret_report);
	if (!result && ret_report->silent && victim->process)
		cancel_joined(victim, error, text, wait_ns, ret_report);
	return result;
}

char *victim_explain(const struct victim *victim, int error, char *buffer, size_t size)
{
	if (error == -ENOENT && victim->process && !service_publishes(victim->process->inode))
		snprintf(buffer, size,
			 "its process is not published: start it with CTXRING_PUBLISH=1, or have it call "
			 "ctxd_connect with CTXD_PUBLISH");
	else if (error == -ENOENT)
		snprintf(
			buffer, size,
			"there is no such context, or this user may not end it: try as root or as its owner");
	else if (error == -ESTALE)
		snprintf(buffer, size,
			 "this id is of an earlier life of the service: look again with ctxtool tree");
	else if (error == -EALREADY)
		snprintf(buffer, size, "it has ended already");
	else if (error == -ENOTSUP)
		snprintf(buffer, size,
			 "its process cannot find contexts by id, because it may not call membarrier(2)");
	else
		ctxd_explain(error, buffer, size);
	return buffer;
}

char *report_text(const struct ctxd_report *report, char *buffer, size_t size)
{
	char submit[16], reap[16];
	size_t length = (size_t)snprintf(buffer, size, "ended in %u process%s", report->ended,
					 report->ended == 1 ? "" : "es");

	if (report->silent)
		length += (size_t)snprintf(buffer + length, size - length, ", %u did not answer",
					   report->silent);
	if (!report->operations)
		return buffer;
	duration_text(report->submit_ns, submit);
	duration_text(report->reap_ns, reap);
	length += (size_t)snprintf(
		buffer + length, size - length, "; %u operation%s reaped: %u cancelled, %u finished first",
		report->operations, plural(report->operations), report->cancelled, report->finished);
	if (report->held)
		length += (size_t)snprintf(buffer + length, size - length, ", %u still held", report->held);
	snprintf(buffer + length, size - length,
		 "; %u cancel SQE%s in %u system call%s, %s to submit, %s until the last was back",
		 report->sqes, plural(report->sqes), report->enters, plural(report->enters), submit, reap);
	return buffer;
}
