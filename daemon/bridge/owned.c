/* SPDX-License-Identifier: MIT */
/*
 * The owner's side: contexts of this host that other hosts have joined. The bridge joins each of them at ctxd
 * as any client would, so it has its done pipe, and a pidfd of its owner, one for each process. ctxd is not
 * on the way of an end. When ctxd is started again, what is joined is registered there again.
 *
 * A join that ctxd refuses for want of room, or for which there are no descriptors, is asked for again each
 * second while another host is interested. Until then that host has no answer, as if this one could not be
 * reached.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "hash.h"
#include "parts.h"

#define RETRY_NS NS_PER_SECOND
/* So many that were refused are asked for again at once. */
#define RETRY_MAX 256

enum owned_state {
	OWNED_FREE, /* The slot is not in use. */
	OWNED_WANTED,
	OWNED_REFUSED, /* It is wanted, and is asked for again later. */
	OWNED_ASKED,   /* JOIN_GLOBAL was sent. */
	OWNED_JOINED,
	OWNED_LEAVING, /* LEAVE is to be sent. It is not in by_key any more. */
};

/* Its size is part of what a joined context costs, see the memory in ctxd-fleet(8). */
struct owned_context {
	uint32_t tag; /* Of the request that has no answer; 0: there is none. Of the store in a free slot. */
	int pipe;
	struct fleet_key key;
	uint64_t number; /* Of its id at ctxd as it runs now; 0: it has none. */
	struct store_link pending;
	struct store_link of_process;
	uint32_t process;
	uint8_t state;
	bool is_pending, is_registering; /* REJOIN is to be sent, or was. */
};

/* A process that owns some of them. */
struct process {
	uint32_t next_free;
	int pidfd;
	pid_t pid;
	uid_t uid;
	uint32_t count;
	struct store_list contexts;
};

static uint64_t key_number(const struct fleet_key *key)
{
	return hash_bytes(key, sizeof(*key));
}

static uint64_t number_of_key(const void *structure)
{
	return key_number(&((const struct owned_context *)structure)->key);
}

static uint64_t number_at_service(const void *structure)
{
	return ((const struct owned_context *)structure)->number;
}

void bridge_owned_init(struct bridge *bridge)
{
	struct owned_contexts *owned = &bridge->owned;

	store_init(&owned->store, sizeof(struct owned_context));
	store_init(&owned->processes, sizeof(struct process));
	lookup_init(&owned->by_key, &owned->store, number_of_key);
	lookup_init(&owned->by_number, &owned->store, number_at_service);
	store_list_init(&owned->pending, offsetof(struct owned_context, pending));
	store_list_init(&owned->refused, offsetof(struct owned_context, pending));
	owned->retry_ns = UINT64_MAX;
}

void bridge_owned_finish(struct bridge *bridge)
{
	struct owned_contexts *owned = &bridge->owned;

	for (uint32_t slot = 0; slot < owned->store.used; slot++) {
		const struct owned_context *context = store_at(&owned->store, slot);
		if (context->state != OWNED_FREE && context->pipe >= 0)
			close(context->pipe);
	}
	for (uint32_t slot = 0; slot < owned->processes.used; slot++) {
		const struct process *process = store_at(&owned->processes, slot);
		if (process->count)
			close(process->pidfd);
	}
	lookup_free(&owned->by_key);
	lookup_free(&owned->by_number);
	store_free(&owned->store);
	store_free(&owned->processes);
}

static struct owned_context *find_by_key(const struct owned_contexts *owned, const struct fleet_key *key,
					 uint32_t *ret_slot)
{
	struct owned_context *context;
	uint32_t at = 0;

	while ((context = lookup_next(&owned->by_key, key_number(key), &at, ret_slot)))
		if (fleet_key_equal(&context->key, key))
			return context;
	return NULL;
}

static struct owned_context *find_by_number(const struct owned_contexts *owned, uint64_t number,
					    uint32_t *ret_slot)
{
	uint32_t at = 0;

	return number ? lookup_next(&owned->by_number, number, &at, ret_slot) : NULL;
}

static void set_pending(struct owned_contexts *owned, struct owned_context *context, uint32_t slot)
{
	if (context->is_pending)
		return;
	context->is_pending = true;
	store_list_append(&owned->store, &owned->pending, slot);
}

static void clear_pending(struct owned_contexts *owned, struct owned_context *context, uint32_t slot)
{
	if (context->is_pending)
		store_list_remove(&owned->store,
				  context->state == OWNED_REFUSED ? &owned->refused : &owned->pending, slot);
	context->is_pending = false;
}

/* ctxd has the same open file, so closing this descriptor does not take it out of the epoll instance. */
static void watched_close(const struct bridge *bridge, int fd)
{
	watch_remove(bridge, fd);
	close(fd);
}

/* ---- owners */

static bool is_dead(const struct process *process)
{
	struct pollfd ended = {.fd = process->pidfd, .events = POLLIN};

	return poll(&ended, 1, 0) == 1;
}

/* The slot of the process; takes pidfd over. STORE_NONE: no memory, or no room in the epoll instance. */
static uint32_t process_get(struct bridge *bridge, const struct wire_joined *joined, int pidfd)
{
	struct store *processes = &bridge->owned.processes;
	struct process *process;
	uint32_t slot;

	/*
	 * A process that is not dead is the same one under the same number. 0 stands for a process of another
	 * PID namespace.
	 */
	for (slot = 0; joined->owner_pid && slot < processes->used; slot++) {
		process = store_at(processes, slot);
		if (!process->count || process->pid != joined->owner_pid || is_dead(process))
			continue;
		close(pidfd);
		return slot;
	}
	slot = store_take(processes);
	if (slot == STORE_NONE || watch_add(bridge, WATCHED_PROCESS, slot, pidfd, EPOLLIN)) {
		if (slot != STORE_NONE)
			store_release(processes, slot);
		close(pidfd);
		return STORE_NONE;
	}
	process = store_at(processes, slot);
	process->pidfd = pidfd;
	process->pid = joined->owner_pid;
	process->uid = joined->owner_uid;
	store_list_init(&process->contexts, offsetof(struct owned_context, of_process));
	return slot;
}

static void process_add(struct owned_contexts *owned, uint32_t number, struct owned_context *context,
			uint32_t slot)
{
	struct process *process = store_at(&owned->processes, number);

	context->process = number;
	process->count++;
	store_list_append(&owned->store, &process->contexts, slot);
}

static void process_release(struct bridge *bridge, uint32_t number)
{
	struct owned_contexts *owned = &bridge->owned;
	struct process *process = store_at(&owned->processes, number);

	if (process->count)
		return;
	watched_close(bridge, process->pidfd);
	store_release(&owned->processes, number);
}

static void process_remove(struct bridge *bridge, struct owned_context *context, uint32_t slot)
{
	struct owned_contexts *owned = &bridge->owned;
	struct process *process = store_at(&owned->processes, context->process);

	store_list_remove(&owned->store, &process->contexts, slot);
	process->count--;
	process_release(bridge, context->process);
}

/* ---- freeing */

static void forget_number(struct owned_contexts *owned, struct owned_context *context, uint32_t slot)
{
	if (context->number)
		lookup_remove(&owned->by_number, slot);
	context->number = 0;
}

static void context_free(struct bridge *bridge, struct owned_context *context, uint32_t slot)
{
	struct owned_contexts *owned = &bridge->owned;

	clear_pending(owned, context, slot);
	if (context->pipe >= 0)
		watched_close(bridge, context->pipe);
	if (context->state == OWNED_JOINED)
		process_remove(bridge, context, slot);
	if (context->state != OWNED_LEAVING)
		lookup_remove(&owned->by_key, slot);
	forget_number(owned, context, slot);
	store_release(&owned->store, slot);
}

/*
 * Stops being a member, and frees the context when ctxd has been told. Its pipe is closed only then: that can
 * wait, and other hosts wait for the ends of other contexts. The pipe is watched for changes only, so it does
 * not wake the bridge again and again.
 */
static void context_leave(struct bridge *bridge, struct owned_context *context, uint32_t slot)
{
	struct owned_contexts *owned = &bridge->owned;

	if (!context->number) {
		context_free(bridge, context, slot);
		return;
	}
	clear_pending(owned, context, slot);
	process_remove(bridge, context, slot);
	lookup_remove(&owned->by_key, slot);
	context->state = OWNED_LEAVING;
	set_pending(owned, context, slot);
}

/* ---- what the core wants */

void bridge_owned_join(struct bridge *bridge, const struct fleet_key *key)
{
	struct owned_contexts *owned = &bridge->owned;
	uint32_t slot;
	struct owned_context *context = find_by_key(owned, key, &slot);

	/* Of one that it asks for again it needs the answer again. */
	if (context && context->state == OWNED_JOINED)
		context_leave(bridge, context, slot);
	else if (context)
		return;
	slot = store_take(&owned->store);
	/* Without memory the other host gets no answer, as if this one could not be reached. */
	if (slot == STORE_NONE)
		return;
	context = store_at(&owned->store, slot);
	context->key = *key;
	context->pipe = -1;
	context->state = OWNED_WANTED;
	if (lookup_add(&owned->by_key, slot))
		store_release(&owned->store, slot);
	else
		set_pending(owned, context, slot);
}

void bridge_owned_leave(struct bridge *bridge, const struct fleet_key *key)
{
	struct owned_contexts *owned = &bridge->owned;
	uint32_t slot;
	struct owned_context *context = find_by_key(owned, key, &slot);

	/* The answer to a JOIN is then for nobody, and the join that it gives is left. */
	if (context)
		context_leave(bridge, context, slot);
}

/* ---- what ctxd answers */

/* The request failed, though the context may be there. */
static void context_refused(struct bridge *bridge, struct owned_context *context, uint32_t slot)
{
	struct owned_contexts *owned = &bridge->owned;

	clear_pending(owned, context, slot);
	context->state = OWNED_REFUSED;
	context->is_pending = true;
	store_list_append(&owned->store, &owned->refused, slot);
	if (owned->retry_ns == UINT64_MAX)
		owned->retry_ns = clock_after_ns(bridge->now_ns, RETRY_NS);
}

static void report_refused(struct bridge *bridge, int error)
{
	report_event(&bridge->reports, error == -EMFILE ? REPORT_DESCRIPTORS : REPORT_REFUSED, bridge->now_ns,
		     LOG_LEVEL_WARNING, "join", "error=%s side=owner remedy=\"%s\"", strerrorname_np(-error),
		     error == -EDQUOT ? "raise remote_contexts in the configuration of ctxd"
				      : "raise LimitNOFILE= or ulimit -Hn");
}

static void close_joined(const struct wire_joined *joined, const int *fds, bool is_cut)
{
	if (joined->ended || is_cut)
		return;
	close(fds[0]);
	if (!(joined->flags & WIRE_REMOTE))
		close(fds[1]);
}

static void send_leave(struct bridge *bridge, struct ctxd_id id)
{
	struct wire_message leave = {.type = WIRE_LEAVE, .attach = {.id = id}};

	service_answer(bridge, &leave, -1);
}

/* 0 or negative errno: the descriptors are closed then. */
static int context_joined(struct bridge *bridge, struct owned_context *context, uint32_t slot,
			  const struct wire_joined *joined, const int *fds)
{
	struct owned_contexts *owned = &bridge->owned;
	uint32_t process = process_get(bridge, joined, fds[1]);
	int result = process == STORE_NONE
			     ? -ENOMEM
			     : watch_add(bridge, WATCHED_OWNED, slot, fds[0], EPOLLIN | EPOLLET);

	context->number = joined->id.number;
	if (!result)
		result = lookup_add(&owned->by_number, slot);
	if (result) {
		context->number = 0;
		watched_close(bridge, fds[0]);
		if (process != STORE_NONE)
			process_release(bridge, process);
		return result;
	}
	context->pipe = fds[0];
	context->state = OWNED_JOINED;
	process_add(owned, process, context, slot);
	fleet_owned_live(bridge->fleet, &context->key, joined->deadline_ns, joined->flags & WIRE_MOVABLE,
			 joined->label, bridge->now_ns);
	return 0;
}

static void take_joined(struct bridge *bridge, struct owned_context *context, uint32_t slot,
			const struct wire_joined *joined, const int *fds, bool is_cut)
{
	struct fleet_key key = context->key;
	int result;

	if (joined->ended) {
		context_free(bridge, context, slot);
		fleet_owned_ended(bridge->fleet, &key, &joined->cause, bridge->now_ns);
		return;
	}
	if (is_cut) {
		result = -EMFILE;
	} else if (joined->flags & WIRE_REMOTE) {
		close_joined(joined, fds, is_cut);
		result = -EPROTO; /* A context of this host is no mirror. */
	} else {
		result = context_joined(bridge, context, slot, joined, fds);
	}
	if (!result)
		return;
	report_refused(bridge, result);
	send_leave(bridge, joined->id);
	context_refused(bridge, context, slot);
}

static void take_result(struct bridge *bridge, struct owned_context *context, uint32_t slot,
			const struct wire_result *answer)
{
	struct owned_contexts *owned = &bridge->owned;
	struct fleet_key key = context->key;

	if (context->state == OWNED_JOINED) {
		/* The context goes on without ctxd, by its pipe and the pidfd, if that refuses it. */
		if (!answer->error && !wire_id_is_none(answer->id)) {
			context->number = answer->id.number;
			if (lookup_add(&owned->by_number, slot))
				context->number = 0;
		}
	} else if (answer->error == -ENOENT || answer->error == -ESTALE || answer->error == -EACCES ||
		   answer->error == -EPERM) {
		context_free(bridge, context, slot);
		fleet_owned_unknown(bridge->fleet, &key, bridge->now_ns);
	} else {
		report_refused(bridge, answer->error);
		context_refused(bridge, context, slot);
	}
}

void bridge_owned_answer(struct bridge *bridge, const struct wire_message *message, const int *fds,
			 bool is_cut)
{
	struct owned_context *context = store_at(&bridge->owned.store, (uint32_t)message->serial);
	bool is_joined = message->type == WIRE_JOINED;

	bridge->service.waiting--;
	if (!context || context->state == OWNED_FREE || !context->tag ||
	    context->tag != service_tag(message->serial)) {
		/* It was left before this answer came. */
		if (is_joined)
			close_joined(&message->joined, fds, is_cut);
		if (is_joined ? !message->joined.ended
			      : !message->result.error && !wire_id_is_none(message->result.id))
			send_leave(bridge, is_joined ? message->joined.id : message->result.id);
		return;
	}
	context->tag = 0;
	if (is_joined)
		take_joined(bridge, context, (uint32_t)message->serial, &message->joined, fds, is_cut);
	else
		take_result(bridge, context, (uint32_t)message->serial, &message->result);
}

/* O(contexts): cancels are rare. */
static const struct owned_context *find_joined(const struct owned_contexts *owned, struct ctxd_id id)
{
	for (uint32_t slot = 0; slot < owned->store.used; slot++) {
		const struct owned_context *context = store_at(&owned->store, slot);
		if (context->state == OWNED_JOINED && wire_id_equal(context->key.id, id))
			return context;
	}
	return NULL;
}

uint64_t bridge_owned_number(const struct bridge *bridge, struct ctxd_id id, uint32_t *ret_uid)
{
	const struct owned_contexts *owned = &bridge->owned;
	const struct owned_context *context = find_joined(owned, id);

	if (!context)
		return 0;
	*ret_uid = ((const struct process *)store_at(&owned->processes, context->process))->uid;
	return context->number;
}

bool bridge_owned_has_ended(const struct bridge *bridge, struct ctxd_id id)
{
	const struct owned_context *context = find_joined(&bridge->owned, id);
	struct pollfd pipe = {.fd = context ? context->pipe : -1, .events = POLLIN};

	return !context || poll(&pipe, 1, 0) == 1;
}

bool bridge_owned_is_known(const struct bridge *bridge, uint64_t number)
{
	uint32_t slot;

	return find_by_number(&bridge->owned, number, &slot) != NULL;
}

void bridge_owned_moved(struct bridge *bridge, const struct wire_move *move)
{
	uint32_t slot;
	const struct owned_context *context = find_by_number(&bridge->owned, move->id.number, &slot);

	if (context && context->state == OWNED_JOINED)
		fleet_owned_moved(bridge->fleet, &context->key, move->deadline_ns, bridge->now_ns);
}

void bridge_owned_released(struct bridge *bridge, struct ctxd_id id)
{
	uint32_t slot;
	const struct owned_context *context = find_by_number(&bridge->owned, id.number, &slot);

	if (context && context->state == OWNED_JOINED)
		fleet_owned_released(bridge->fleet, &context->key);
}

/* ---- ends */

/* words: the last words; NULL: there are none. */
static void context_ended(struct bridge *bridge, struct owned_context *context, uint32_t slot,
			  const struct wire_cause *words)
{
	struct owned_contexts *owned = &bridge->owned;
	const struct process *process = store_at(&owned->processes, context->process);
	struct fleet_key key = context->key;
	struct wire_cause cause;

	if (words) {
		cause = *words;
	} else {
		words_cause(&cause, CTX_CAUSE_OWNER, bridge->now_ns, "",
			    is_dead(process) ? "process %d, its owner, died"
					     : "process %d, its owner, died or released it",
			    process->pid);
		cause.pid = process->pid;
		cause.uid = process->uid;
	}
	context_leave(bridge, context, slot);
	fleet_owned_ended(bridge->fleet, &key, &cause, bridge->now_ns);
}

static struct owned_context *joined_at(const struct bridge *bridge, uint32_t slot)
{
	struct owned_context *context = store_at(&bridge->owned.store, slot);

	return context && context->state == OWNED_JOINED ? context : NULL;
}

void bridge_owned_pipes_ready(struct bridge *bridge, const uint32_t *slots, unsigned count)
{
	struct wire_cause causes[WORDS_MANY_MAX];
	int pipes[WORDS_MANY_MAX], results[WORDS_MANY_MAX];
	uint32_t joined[WORDS_MANY_MAX];
	unsigned found = 0;

	for (unsigned i = 0; i < count; i++) {
		const struct owned_context *context = joined_at(bridge, slots[i]);
		if (!context)
			continue;
		joined[found] = slots[i];
		pipes[found++] = context->pipe;
	}
	if (!found)
		return;
	words_copy_many(pipes, found, bridge->scratch, causes, results);
	for (unsigned i = 0; i < found; i++) {
		struct owned_context *context = joined_at(bridge, joined[i]);
		/* If there is nothing to read, the event was of a context that had the slot before. */
		if (context && results[i] != -EAGAIN)
			context_ended(bridge, context, joined[i], results[i] ? NULL : &causes[i]);
	}
}

void bridge_owned_process_ready(struct bridge *bridge, uint32_t number)
{
	struct owned_contexts *owned = &bridge->owned;
	struct process *process = store_at(&owned->processes, number);

	if (!process || !process->count || !is_dead(process))
		return;
	/* The process is released with its last context. */
	for (uint32_t left = process->count; left; left--) {
		uint32_t slot = process->contexts.first;
		struct owned_context *context = store_at(&owned->store, slot);
		struct wire_cause words;
		/* It may have ended some of them before it died. */
		int result = words_copy(context->pipe, bridge->scratch, &words);
		context_ended(bridge, context, slot, result ? NULL : &words);
	}
}

/* ---- the connection */

void bridge_owned_service_lost(struct bridge *bridge)
{
	struct owned_contexts *owned = &bridge->owned;

	lookup_clear(&owned->by_number);
	for (uint32_t slot = 0; slot < owned->store.used; slot++) {
		struct owned_context *context = store_at(&owned->store, slot);
		context->number = 0;
		if (context->state == OWNED_FREE)
			continue;
		context->tag = 0;
		context->is_registering = false;
		if (context->state == OWNED_LEAVING) {
			context_free(bridge, context, slot);
			continue;
		}
		clear_pending(owned, context, slot);
		if (context->state != OWNED_JOINED)
			context->state = OWNED_WANTED;
	}
	owned->retry_ns = UINT64_MAX;
}

void bridge_owned_service_ready(struct bridge *bridge)
{
	struct owned_contexts *owned = &bridge->owned;

	for (uint32_t slot = 0; slot < owned->store.used; slot++) {
		struct owned_context *context = store_at(&owned->store, slot);
		if (context->state == OWNED_FREE)
			continue;
		context->is_registering = context->state == OWNED_JOINED;
		set_pending(owned, context, slot);
	}
}

void bridge_owned_tick(struct bridge *bridge)
{
	struct owned_contexts *owned = &bridge->owned;

	if (bridge->now_ns < owned->retry_ns)
		return;
	for (unsigned i = 0; i < RETRY_MAX && owned->refused.first != STORE_NONE; i++) {
		uint32_t slot = owned->refused.first;
		struct owned_context *context = store_at(&owned->store, slot);
		clear_pending(owned, context, slot);
		context->state = OWNED_WANTED;
		set_pending(owned, context, slot);
	}
	owned->retry_ns =
		owned->refused.first == STORE_NONE ? UINT64_MAX : clock_after_ns(bridge->now_ns, RETRY_NS);
}

static int send_join(struct bridge *bridge, struct owned_context *context, uint32_t slot)
{
	struct wire_message message = {.type = WIRE_JOIN_GLOBAL};
	struct wire_global *global = &message.join_global.global;
	uint32_t tag;

	message.serial = service_serial(&bridge->service, REQUEST_JOIN, slot, &tag);
	global->id = context->key.id;
	global->secret = context->key.secret;
	strcpy(global->host, bridge->host);
	int result = service_send(bridge, &message, -1);
	if (result)
		return result;
	bridge->service.waiting++;
	context->tag = tag;
	context->state = OWNED_ASKED;
	return 0;
}

/* The deadline is not kept here. When the owner's differs from what is said now, MOVED tells it. */
static int send_rejoin(struct bridge *bridge, struct owned_context *context, uint32_t slot)
{
	struct wire_message message = {.type = WIRE_REJOIN};
	uint32_t tag;

	message.serial = service_serial(&bridge->service, REQUEST_REJOIN, slot, &tag);
	message.rejoin.old_id = context->key.id;
	message.rejoin.deadline_ns = CTX_FOREVER;
	int result = service_send(bridge, &message, context->pipe);
	if (result)
		return result;
	bridge->service.waiting++;
	context->tag = tag;
	context->is_registering = false;
	return 0;
}

static int send_left(struct bridge *bridge, struct owned_context *context, uint32_t slot)
{
	struct wire_message message = {.type = WIRE_LEAVE};

	message.attach.id = (struct ctxd_id){bridge->service.epoch, context->number};
	int result = service_send(bridge, &message, -1);
	if (!result)
		context_free(bridge, context, slot);
	return result;
}

int bridge_owned_send(struct bridge *bridge)
{
	struct owned_contexts *owned = &bridge->owned;
	uint32_t slot = owned->pending.first;
	int result = 0;

	if (slot == STORE_NONE)
		return 0;
	struct owned_context *context = store_at(&owned->store, slot);
	if (context->state == OWNED_LEAVING) {
		result = send_left(bridge, context, slot);
		return result ? result : 1;
	}
	if (!service_has_room(&bridge->service))
		return 0;
	if (context->state == OWNED_WANTED)
		result = send_join(bridge, context, slot);
	else if (context->is_registering)
		result = send_rejoin(bridge, context, slot);
	if (!result)
		clear_pending(owned, context, slot);
	return result ? result : 1;
}
