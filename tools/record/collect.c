/* SPDX-License-Identifier: MIT */
#include "collect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "follow.h"
#include "monotonic.h"
#include "site_names.h"
#include "sites.h"

/* Until when a process is asked to record: long enough for a recorder that loses its processor. */
#define AHEAD_NS 5000000000u
/* Memory that a snapshot of a table may take. */
#define SNAPSHOT_MAX (4ull << 30)
/* How long a process may take to have all that a recorder needs, from when it makes its table. */
#define BEGINNING_NS 1000000000u
/* Descriptors of one process that are looked at each time. */
#define DESCRIPTORS_MAX 4096u
#define TARGETS_MAX 65536u
#define SITES_KEPT 4096u

/* What a descriptor was when it was looked at last. */
struct target {
	uint64_t seen_ns; /* 0: never */
	uint32_t text;
};

struct kept_site {
	uint64_t address;
	uint32_t text;
};

/* A process that is recorded. */
struct collected {
	struct followed followed; /* first, for casts */
	uint32_t index;		  /* in the recording */
	struct control control;
	struct target *targets; /* by descriptor */
	size_t target_count;
	/* A hash table of places in the code, with open addressing. When it is half full, no more are kept.
	 */
	struct kept_site sites[SITES_KEPT];
	unsigned site_count;
};

struct collector {
	struct recording *recording;
	pid_t *pids;
	size_t pid_count;
	collector_wants_fn wants;
	void *data;
	struct follow follow; /* of struct collected */
	uint64_t *refused;    /* pid and inode of tables that cannot be recorded, and were named */
	size_t refused_count;
	uint64_t looked_ns; /* when the descriptors were looked at last, and how long that took */
	uint64_t look_took_ns;
};

static struct collected *collected_at(const struct collector *collector, size_t index)
{
	return (struct collected *)collector->follow.processes[index];
}

/* ---- finding processes */

int collector_begin(struct collector **ret_collector, struct recording *recording, const pid_t *pids,
		    size_t pid_count, collector_wants_fn wants, void *data)
{
	struct collector *collector = calloc(1, sizeof(*collector));

	if (!collector)
		return -ENOMEM;
	*collector = (struct collector){
		.recording = recording,
		.wants = wants,
		.data = data,
		.follow = {.kinds = (1u << JOURNAL_KINDS) - 1, .size = sizeof(struct collected)}};
	for (size_t i = 0; i < pid_count; i++)
		if (collector_add_pid(collector, pids[i])) {
			collector_free(collector);
			return -ENOMEM;
		}
	*ret_collector = collector;
	return 0;
}

int collector_add_pid(struct collector *collector, pid_t pid)
{
	pid_t *larger = reallocarray(collector->pids, collector->pid_count + 1, sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	collector->pids = larger;
	larger[collector->pid_count++] = pid;
	return 0;
}

static void collected_close(struct collected *collected)
{
	control_close(&collected->control);
	free(collected->targets);
}

/* Names a table that cannot be recorded, once. 0 or -ENOMEM. */
static int note_refusal(struct collector *collector, pid_t pid, const char *name, uint64_t inode,
			const char *reason)
{
	char note[512];

	for (size_t i = 0; i < collector->refused_count; i++)
		if (collector->refused[2 * i] == (uint64_t)pid && collector->refused[2 * i + 1] == inode)
			return 0;
	uint64_t *larger =
		reallocarray(collector->refused, 2 * (collector->refused_count + 1), sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	collector->refused = larger;
	larger[2 * collector->refused_count] = (uint64_t)pid;
	larger[2 * collector->refused_count++ + 1] = inode;
	snprintf(note, sizeof(note), "process %d%s%s%s: %s", (int)pid, name[0] ? " (" : "", name,
		 name[0] ? ")" : "", reason);
	return recording_add_note(collector->recording, note);
}

/* A process that has just made its table is about to make the rest: it is looked at again. */
static bool is_beginning(const struct process *process)
{
	return monotonic_ns() - process->snapshot.header.created_ns < BEGINNING_NS;
}

/* Has the process that was taken last record. 0, or -errno with the reason. */
static int begin_collected(struct collector *collector, struct patience *patience, char *reason, size_t size)
{
	struct collected *collected = collected_at(collector, collector->follow.count - 1);
	const struct process *process = &collected->followed.process;
	int result =
		control_open(&collected->control, patience, process->descriptors.directory, reason, size);

	if (result)
		return result;
	struct recorded_process *recorded = recording_add_process(collector->recording);
	if (!recorded)
		return -ENOMEM;
	collected->index = (uint32_t)(collector->recording->process_count - 1);
	recorded->pid = process->pid;
	recorded->uid = process->uid;
	recorded->name = recording_text(collector->recording, process->name);
	recorded->begin_ns = monotonic_ns();
	/* A command of the recorder has written everything down since its beginning. */
	uint64_t created_ns = process->snapshot.header.created_ns;
	if (control_is_on(&collected->control) && created_ns > collector->recording->begin_ns)
		recorded->begin_ns = created_ns;
	control_extend(&collected->control, monotonic_ns() + AHEAD_NS);
	return 0;
}

/* Takes a process that was found, unless it is known or refused. 0 or -ENOMEM. */
static int add_found(struct collector *collector, struct survey *survey, size_t index)
{
	char reason[READER_REASON_SIZE + 100];
	struct follow *follow = &collector->follow;
	int result = follow_take(follow, survey, index, reason);
	const struct process *process = &survey->processes[index];
	struct followed *taken = NULL;

	if (result == -EEXIST)
		return 0;
	if (!result) {
		result = begin_collected(collector, &survey->patience, reason, sizeof(reason));
		if (!result)
			return 0;
		taken = follow->processes[--follow->count];
		process = &taken->process;
	}
	if (result != -ENOMEM)
		result = is_beginning(process) ? 0
					       : note_refusal(collector, process->pid, process->name,
							      process->inode, reason);
	if (taken) {
		collected_close((struct collected *)taken);
		followed_free(taken);
	}
	return result;
}

static int find_processes(struct collector *collector)
{
	struct survey survey;
	int result = survey_tables(collector->pids, collector->pid_count, &survey);

	if (result)
		return result;
	for (size_t i = 0; i < survey.process_count && !result; i++) {
		const struct process *process = &survey.processes[i];

		if (!collector->wants ||
		    collector->wants(process->pid, process->uid, process->name, collector->data))
			result = add_found(collector, &survey, i);
	}
	for (size_t i = 0; i < survey.unreadable_count && !result; i++) {
		const struct unreadable *unreadable = &survey.unreadables[i];

		/* A process that was named may have ended, or have no table yet. */
		if (!follow_find(&collector->follow, unreadable->pid) && !unreadable->missing)
			result = note_refusal(collector, unreadable->pid, unreadable->name, unreadable->inode,
					      unreadable->reason);
	}
	survey_free(&survey);
	return result;
}

/* ---- texts */

/* The text of a place in the code: its object and offset. name_sites() replaces it at the end. */
static uint32_t site_of(struct collector *collector, struct collected *collected, uint64_t address)
{
	size_t at = (address ^ address >> 12) % SITES_KEPT;
	char text[320];

	if (!address)
		return 0;
	while (collected->sites[at].address && collected->sites[at].address != address)
		at = (at + 1) % SITES_KEPT;
	if (collected->sites[at].address)
		return collected->sites[at].text;
	uint32_t found = recording_escaped(collector->recording, site_text(&collected->followed.process.sites,
									   address, text, sizeof(text)));
	if (found == RECORDING_NONE)
		return 0;
	if (collected->site_count < SITES_KEPT / 2) {
		collected->sites[at] = (struct kept_site){.address = address, .text = found};
		collected->site_count++;
	}
	return found;
}

/*
 * Puts names in the place of addresses, where symbols are. Each takes a while, in which a journal could be
 * overwritten, so it is done when nothing is recorded any more.
 */
static int name_sites(struct collector *collector)
{
	struct recording *recording = collector->recording;
	size_t count = recording->texts.size;
	uint32_t *names = calloc(count, sizeof(*names));
	char text[1200];

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < collector->follow.count; i++)
		for (size_t j = 0; j < SITES_KEPT; j++) {
			const struct kept_site *site = &collected_at(collector, i)->sites[j];
			if (!site->address || names[site->text])
				continue;
			uint32_t name = recording_escaped(
				recording, site_name_text(&collected_at(collector, i)->followed.process,
							  site->address, text, sizeof(text)));
			names[site->text] = name == RECORDING_NONE ? 0 : name;
		}
	for (size_t i = 0; i < recording->context_count; i++) {
		struct recorded_context *context = &recording->contexts[i];
		if (context->site < count && names[context->site])
			context->site = names[context->site];
		if (context->done_site < count && names[context->done_site])
			context->done_site = names[context->done_site];
	}
	free(names);
	return 0;
}

/* A text in a record need not end with a NUL. 0 also without memory: then it is left out. */
static uint32_t text_of(struct collector *collector, const char *bytes, size_t size)
{
	char text[CTX_TABLE_TEXT_SIZE + 1];

	size = size < sizeof(text) ? size : sizeof(text) - 1;
	memcpy(text, bytes, size);
	text[size] = '\0';
	uint32_t found = recording_text(collector->recording, text);
	return found == RECORDING_NONE ? 0 : found;
}

/* The place where it is kept what a descriptor is; NULL: there is none for such a number, or no memory. */
static struct target *target_of(struct collected *collected, int fd)
{
	if (fd < 0 || (unsigned)fd >= TARGETS_MAX)
		return NULL;
	if ((size_t)fd >= collected->target_count) {
		size_t count = ((size_t)fd + 256) / 256 * 256;
		struct target *larger = reallocarray(collected->targets, count, sizeof(*larger));
		if (!larger)
			return NULL;
		memset(larger + collected->target_count, 0,
		       (count - collected->target_count) * sizeof(*larger));
		collected->targets = larger;
		collected->target_count = count;
	}
	return &collected->targets[fd];
}

/*
 * What a descriptor was during an operation, if it was looked at meanwhile. Of one that nobody has looked at
 * since its beginning that is not known: the number may have been given to another file.
 */
static uint32_t target_text(struct collected *collected, int fd, unsigned flags, uint64_t since_ns)
{
	struct target *target = flags & CTX_TABLE_OP_FIXED_FILE ? NULL : target_of(collected, fd);

	return target && target->seen_ns >= since_ns ? target->text : 0;
}

/* Looks at the descriptors of the operations that are in flight. */
static void look_at_descriptors(struct collector *collector, struct collected *collected)
{
	struct descriptors fresh = {.directory = collected->followed.process.descriptors.directory};
	char reason[READER_REASON_SIZE];
	struct snapshot snapshot;
	unsigned looked = 0;

	if (collected->followed.died || fresh.directory < 0 ||
	    snapshot_read(collected->followed.process.table, collected->followed.process.table_size,
			  SNAPSHOT_MAX, &snapshot, reason))
		return;
	uint64_t now_ns = monotonic_ns();
	for (uint32_t i = 0; i < snapshot.operation_count && looked < DESCRIPTORS_MAX; i++) {
		const struct ctx_table_operation *record = &snapshot.operations[i].record;
		struct target *target =
			record->flags & CTX_TABLE_OP_FIXED_FILE ? NULL : target_of(collected, record->fd);
		if (!target || target->seen_ns == now_ns)
			continue;
		looked++;
		uint32_t text = recording_escaped(collector->recording, descriptor_text(&fresh, record->fd));
		if (text != RECORDING_NONE)
			*target = (struct target){.seen_ns = now_ns, .text = text};
	}
	snapshot_free(&snapshot);
	/* The directory is the process's. */
	fresh.directory = -1;
	descriptors_free(&fresh);
}

int collector_look(struct collector *collector)
{
	int result = find_processes(collector);
	uint64_t now_ns = monotonic_ns();

	follow_note_deaths(&collector->follow);
	for (size_t i = 0; i < collector->follow.count; i++) {
		struct collected *collected = collected_at(collector, i);
		struct recorded_process *recorded = &collector->recording->processes[collected->index];

		if (collected->followed.died && !recorded->died) {
			recorded->died = true;
			recorded->end_ns = now_ns;
		}
		control_extend(&collected->control, now_ns + AHEAD_NS);
	}
	/* Looks take at most a tenth of the time. */
	if (result || now_ns - collector->looked_ns < 10 * collector->look_took_ns)
		return result;
	for (size_t i = 0; i < collector->follow.count; i++)
		look_at_descriptors(collector, collected_at(collector, i));
	collector->looked_ns = monotonic_ns();
	collector->look_took_ns = collector->looked_ns - now_ns;
	return 0;
}

/* ---- reading the journals */

static int take_context(struct collector *collector, struct collected *collected,
			const struct ctx_table_context_past *past)
{
	struct recorded_context context = {
		.process = collected->index,
		.slot = past->slot,
		.generation = past->generation,
		.parent_slot = past->parent_slot,
		.parent_generation = past->parent_generation,
		.begin_ns = past->created_ns,
		.done_ns = past->state & CTX_TABLE_OWN ? past->done_ns : 0,
		.freed_ns = past->freed_ns ? past->freed_ns : 1,
		.state = past->state,
		.cause_code = past->cause_code,
		.kind = past->kind,
		.cause_kind = past->cause_kind,
		.creator_tid = past->creator_tid,
		.done_tid = past->done_tid,
	};

	/* Left by an earlier recording. */
	if (past->freed_ns < collector->recording->begin_ns)
		return 0;
	context.label = text_of(collector, past->label, sizeof(past->label));
	context.site = site_of(collector, collected, past->site);
	context.done_site = site_of(collector, collected, past->done_site);
	memcpy(context.trace, past->trace, sizeof(context.trace));
	memcpy(context.sender, past->sender, sizeof(context.sender));
	return recording_add_context(collector->recording, &context);
}

static int take_operation(struct collector *collector, struct collected *collected,
			  const struct ctx_table_operation_past *past)
{
	struct recorded_operation operation = {
		.process = collected->index,
		.context_slot = past->context_slot,
		.context_generation = past->context_generation,
		.begin_ns = past->since_ns,
		.end_ns = past->end_ns,
		.result = past->result,
		.fd = past->fd,
		.opcode = past->opcode,
		.flags = past->flags,
		.ring = past->ring,
	};

	if (past->end_ns < collector->recording->begin_ns)
		return 0;
	operation.target = target_text(collected, past->fd, past->flags, past->since_ns);
	return recording_add_operation(collector->recording, &operation);
}

static int take_end(struct collector *collector, struct collected *collected,
		    const struct ctx_table_end *past)
{
	if (past->type == CTX_TABLE_END_BATCH) {
		if (past->time_ns + past->batch.reap_ns < collector->recording->begin_ns)
			return 0;
		/* The limit counts batches alone: a process that writes nothing else fills no memory. */
		if (collector->recording->batch_count >= collector->recording->spans_max) {
			collector->recording->not_kept++;
			return 0;
		}
		struct recorded_batch *batch = recording_add_batch(collector->recording);
		if (!batch)
			return -ENOMEM;
		*batch = (struct recorded_batch){
			.process = collected->index,
			.context_slot = past->context_slot,
			.context_generation = past->context_generation,
			.begin_ns = past->time_ns,
			.submit_ns = past->batch.submit_ns,
			.reap_ns = past->batch.reap_ns,
			.ring = past->batch.ring,
			.tid = past->tid,
			.operations = past->batch.operations,
			.unsent = past->batch.unsent,
			.timed = past->batch.timed,
			.sqes = past->batch.sqes,
			.enters = past->batch.enters,
			.cancelled = past->batch.cancelled,
			.finished = past->batch.finished,
		};
		return 0;
	}
	struct recorded_end end = {
		.process = collected->index,
		.slot = past->context_slot,
		.generation = past->context_generation,
		.error = past->end.cause_error,
		.cause_pid = past->end.cause_pid,
		.cause_text = text_of(collector, past->end.text, sizeof(past->end.text)),
	};
	return recording_add_end(collector->recording, &end);
}

static int drain_journal(struct collector *collector, struct collected *collected, enum journal_kind kind)
{
	struct journal *journal = &collected->followed.journals[kind];
	int result = journal_read(journal);

	for (size_t i = 0; i < journal->entry_count && !result; i++) {
		if (kind == JOURNAL_CONTEXTS)
			result = take_context(collector, collected,
					      (const struct ctx_table_context_past *)journal->entries + i);
		else if (kind == JOURNAL_OPERATIONS)
			result =
				take_operation(collector, collected,
					       (const struct ctx_table_operation_past *)journal->entries + i);
		else
			result = take_end(collector, collected,
					  (const struct ctx_table_end *)journal->entries + i);
	}
	return result;
}

static int drain_process(struct collector *collector, struct collected *collected)
{
	int result = 0;

	/* Operations first: their contexts are written after them. */
	for (int kind = JOURNAL_KINDS - 1; kind >= 0 && !result; kind--)
		result = drain_journal(collector, collected, (enum journal_kind)kind);
	struct recorded_process *process = &collector->recording->processes[collected->index];
	process->lost_contexts = collected->followed.journals[JOURNAL_CONTEXTS].lost;
	process->lost_operations = collected->followed.journals[JOURNAL_OPERATIONS].lost;
	process->lost_ends = collected->followed.journals[JOURNAL_ENDS].lost;
	return result;
}

int collector_drain(struct collector *collector)
{
	int result = 0;

	for (size_t i = 0; i < collector->follow.count && !result; i++)
		result = drain_process(collector, collected_at(collector, i));
	return result;
}

size_t collector_processes(const struct collector *collector)
{
	return collector->follow.count;
}

size_t collector_refused(const struct collector *collector)
{
	return collector->refused_count;
}

/* ---- what is still there at the end */

static int take_open_context(struct collector *collector, struct collected *collected,
			     const struct snapshot *snapshot, const struct reader_context *open)
{
	const struct ctx_table_context *record = &open->record;
	bool own = record->state & CTX_TABLE_OWN;
	struct recorded_context context = {
		.process = collected->index,
		.slot = open->slot,
		.generation = record->generation,
		.parent_slot = record->parent_slot,
		.parent_generation = record->parent_generation,
		.begin_ns = record->created_ns,
		.done_ns = own ? record->done_ns : 0,
		.state = record->state,
		.cause_code = own ? record->cause_code : 0,
		.kind = record->kind,
		.cause_kind = own ? record->cause_kind : 0,
		.creator_tid = record->creator_tid,
		.done_tid = own ? record->done_tid : 0,
		.label = text_of(collector, record->label, sizeof(record->label)),
		.site = site_of(collector, collected, record->site),
		.done_site = own ? site_of(collector, collected, record->done_site) : 0,
	};

	if (open->cause != READER_NONE) {
		const struct ctx_table_cause *cause = &snapshot->causes[open->cause];
		context.error = cause->error;
		context.cause_text = text_of(collector, cause->text, sizeof(cause->text));
	}
	/* Of what lies in the area of identities, where the table has one. */
	const struct ctx_table_header *header = &snapshot->header;
	const struct ctx_table_area *area = &header->identities;
	if (header->header_size >= sizeof(*header) && open->slot < area->used &&
	    area->record_size == sizeof(struct ctx_table_identity) && open->slot < area->count &&
	    area->offset % 8 == 0 && area->offset < collected->followed.process.table_size &&
	    collected->followed.process.table_size - area->offset >=
		    (uint64_t)(open->slot + 1ull) * area->record_size) {
		const struct ctx_table_identity *identity =
			(const struct ctx_table_identity *)(const void *)(collected->followed.process.table +
									  area->offset) +
			open->slot;
		if (identity->generation == record->generation) {
			memcpy(context.trace, identity->trace, sizeof(context.trace));
			memcpy(context.sender, identity->sender, sizeof(context.sender));
		}
	}
	return recording_add_context(collector->recording, &context);
}

static int take_open(struct collector *collector, struct collected *collected)
{
	char reason[READER_REASON_SIZE];
	struct snapshot snapshot;

	collector->recording->processes[collected->index].snapshot_ns = monotonic_ns();
	int result = snapshot_read(collected->followed.process.table, collected->followed.process.table_size,
				   SNAPSHOT_MAX, &snapshot, reason);

	if (result == -ENOMEM)
		return result;
	if (result)
		return note_refusal(collector, collected->followed.process.pid,
				    collected->followed.process.name, 0, reason);
	if (snapshot.header.header_size >= sizeof(snapshot.header))
		collector->recording->processes[collected->index].identity_number =
			snapshot.header.identity_number;
	for (uint32_t i = 0; i < snapshot.context_count && !result; i++)
		result = take_open_context(collector, collected, &snapshot, &snapshot.contexts[i]);
	for (uint32_t i = 0; i < snapshot.operation_count && !result; i++) {
		const struct ctx_table_operation *record = &snapshot.operations[i].record;
		struct recorded_operation operation = {
			.process = collected->index,
			.context_slot = record->context_slot,
			.context_generation = record->context_generation,
			.begin_ns = record->since_ns,
			.fd = record->fd,
			.opcode = record->opcode,
			.flags = record->flags,
			.ring = record->ring,
			.target = target_text(collected, record->fd, record->flags, record->since_ns),
		};
		result = recording_add_operation(collector->recording, &operation);
	}
	snapshot_free(&snapshot);
	return result;
}

int collector_finish(struct collector *collector)
{
	int result = collector_look(collector);

	result = result == -ENOMEM ? result : 0;
	/* What is still there is read first: what ends after that is in the journals, which are read last. */
	for (size_t i = 0; i < collector->follow.count && !result; i++)
		result = take_open(collector, collected_at(collector, i));
	for (size_t i = 0; i < collector->follow.count; i++)
		control_close(&collected_at(collector, i)->control);
	if (!result)
		result = collector_drain(collector);
	uint64_t end_ns = monotonic_ns();
	if (!result)
		result = name_sites(collector);
	return result ? result : recording_finish(collector->recording, end_ns);
}

void collector_free(struct collector *collector)
{
	if (!collector)
		return;
	for (size_t i = 0; i < collector->follow.count; i++)
		collected_close(collected_at(collector, i));
	follow_free(&collector->follow);
	free(collector->pids);
	free(collector->refused);
	free(collector);
}
