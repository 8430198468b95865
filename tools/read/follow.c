/* SPDX-License-Identifier: MIT */
#include "follow.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct followed *follow_find(const struct follow *follow, pid_t pid)
{
	for (size_t i = 0; i < follow->count; i++)
		if (follow->processes[i]->process.pid == pid)
			return follow->processes[i];
	return NULL;
}

static bool is_known(const struct follow *follow, const struct process *process)
{
	for (size_t i = 0; i < follow->count; i++) {
		const struct process *known = &follow->processes[i]->process;

		if (known->pid == process->pid && known->inode == process->inode)
			return true;
	}
	return false;
}

void followed_free(struct followed *followed)
{
	for (size_t i = 0; i < JOURNAL_KINDS; i++)
		journal_close(&followed->journals[i]);
	if (followed->pidfd >= 0)
		close(followed->pidfd);
	process_free(&followed->process);
	free(followed);
}

static int open_journals(struct followed *followed, unsigned kinds, const struct process *process,
			 char reason[READER_REASON_SIZE])
{
	int result = 0;

	for (unsigned kind = 0; kind < JOURNAL_KINDS && !result; kind++)
		if (kinds & 1u << kind)
			result = journal_open(&followed->journals[kind], process->table, process->table_size,
					      (enum journal_kind)kind, reason);
	return result;
}

int follow_take(struct follow *follow, struct survey *survey, size_t index, char reason[READER_REASON_SIZE])
{
	const struct process *found = &survey->processes[index];
	struct followed **larger, *followed;

	if (!found->table || is_known(follow, found))
		return -EEXIST;
	snprintf(reason, READER_REASON_SIZE, "not enough memory");
	larger = reallocarray(follow->processes, follow->count + 1, sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	follow->processes = larger;
	followed = calloc(1, follow->size);
	if (!followed)
		return -ENOMEM;
	*followed = (struct followed){.process.descriptors.directory = -1, .pidfd = -1};
	int result = open_journals(followed, follow->kinds, found, reason);
	if (result) {
		followed_free(followed);
		return result;
	}
	followed->process = survey_take_process(survey, index);
	if (!followed->process.is_core)
		followed->pidfd = (int)syscall(SYS_pidfd_open, followed->process.pid, 0);
	larger[follow->count++] = followed;
	return 0;
}

/* Without a pidfd a process counts as there until it has been waited for. */
static bool has_died(const struct followed *followed)
{
	struct pollfd ended = {.fd = followed->pidfd, .events = POLLIN};
	char path[32];

	if (followed->pidfd >= 0)
		return poll(&ended, 1, 0) > 0;
	snprintf(path, sizeof(path), "/proc/%d", (int)followed->process.pid);
	return access(path, F_OK) && errno == ENOENT;
}

void follow_note_deaths(struct follow *follow)
{
	for (size_t i = 0; i < follow->count; i++)
		if (!follow->processes[i]->died)
			follow->processes[i]->died = has_died(follow->processes[i]);
}

void follow_free(struct follow *follow)
{
	for (size_t i = 0; i < follow->count; i++)
		followed_free(follow->processes[i]);
	free(follow->processes);
	follow->processes = NULL;
	follow->count = 0;
}
