/* SPDX-License-Identifier: MIT */
/* The calls that ask the service about others: listing, watching, cancelling, tables of processes. */
#include <string.h>

#include "client.h"
#include "clock.h"

#define KINDS (CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS | CTXD_DEAD)

static int ask_service(struct ctxd_client *client, struct wire_message *request, enum wire_type type,
		       struct wire_message *ret_answer)
{
	int result = call_make(client, request, -1, client->options.timeout_ns, ret_answer, NULL);

	return !result && ret_answer->type != type ? -EPROTO : result;
}

int ctxd_list(struct ctxd_client *client, unsigned kinds,
	      int (*visit)(const struct ctxd_entry *entry, void *data), void *data)
{
	struct wire_message request = {.type = WIRE_LIST, .list = {.kinds = kinds}}, answer;
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!visit || !kinds || kinds & ~(unsigned)KINDS)
		return debug_invalid("another argument is out of range", visit);
	do {
		result = ask_service(client, &request, WIRE_ENTRIES, &answer);
		if (result)
			return client_result(result);
		int state = thread_hold();
		for (uint32_t i = 0; !result && i < answer.entries.count; i++)
			result = visit(&answer.entries.entries[i], data);
		thread_release(state);
		if (result)
			return result;
		/* A cursor that does not grow would make this endless. */
		if (answer.entries.next && answer.entries.next <= request.list.cursor)
			return client_result(-EPROTO);
		request.list.cursor = answer.entries.next;
	} while (request.list.cursor);
	return 0;
}

int ctxd_watch(struct ctxd_client *client, unsigned kinds)
{
	struct wire_message request = {.type = WIRE_WATCH, .watch = {.kinds = kinds}}, answer;
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (kinds & ~(unsigned)KINDS || !client->options.event)
		return debug_error(-EINVAL, "another argument is out of range");
	result = ask_service(client, &request, WIRE_RESULT, &answer);
	if (result)
		return client_result(result);
	lock_acquire(&client->lock);
	client->watch_kinds = kinds;
	lock_release(&client->lock);
	return 0;
}

int ctxd_cancel(struct ctxd_client *client, const struct ctxd_target *target, unsigned flags, int error,
		const char *text, uint64_t wait_ns, struct ctxd_report *ret_report)
{
	struct wire_message request = {.type = WIRE_CANCEL}, answer;
	struct wire_cancel *cancel = &request.cancel;
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!target || error > 0 || error < -WIRE_ERRNO_MAX || flags & ~CTXD_DRY_RUN)
		return debug_invalid("another argument is out of range", target);
	*cancel = (struct wire_cancel){.id = target->id,
				       .wait_ns = wait_ns,
				       .error = error,
				       .flags = flags & CTXD_DRY_RUN ? WIRE_DRY_RUN : 0};
	if (wire_id_is_none(target->id)) {
		cancel->table = target->table;
		cancel->ctx_id = target->ctx_id;
		if (!cancel->table || !cancel->ctx_id)
			return client_result(-EINVAL);
	} else if (!target->id.epoch || !target->id.number) {
		return client_result(-EINVAL);
	}
	if (text)
		strncpy(cancel->text, text, sizeof(cancel->text) - 1);
	uint64_t timeout_ns = clock_after_ns(client->options.timeout_ns, wait_ns);
	result = call_make(client, &request, -1, timeout_ns, &answer, NULL);
	if (!result && answer.type != WIRE_REPORT)
		result = -EPROTO;
	if (!result && ret_report)
		*ret_report = answer.report.report;
	return client_result(result ? result : answer.report.error);
}

int ctxd_table(struct ctxd_client *client, enum ctxd_entry_kind kind, pid_t pid, struct ctxd_entry *ret_entry,
	       int *ret_fd)
{
	struct wire_message request = {.type = WIRE_TABLE, .table = {.kind = kind, .pid = pid}}, answer;
	int fds[WIRE_FDS_MAX];
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!ret_fd || pid < 0 || (kind != CTXD_PROCESS && kind != CTXD_DEAD))
		return debug_invalid("another argument is out of range", ret_fd);
	result = call_make(client, &request, -1, client->options.timeout_ns, &answer, fds);
	if (!result && answer.type != WIRE_FOUND) {
		dispose(fds, wire_fd_count(&answer));
		result = -EPROTO;
	}
	if (result)
		return client_result(result);
	if (ret_entry)
		*ret_entry = answer.found.entry;
	*ret_fd = fds[0];
	return 0;
}
