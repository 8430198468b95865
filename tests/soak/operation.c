/* SPDX-License-Identifier: MIT */
#include "soak/crew.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define POISON 0xa5

struct scope *crew_scope(struct crew *crew)
{
	struct chance *chance = &crew->actor->chance;
	unsigned which = chance_below(chance, CREW_SCOPES * 2);
	bool any = chance_one_in(chance, 8);

	if (which < CREW_SCOPES && crew->scopes[which] && (any || !ctx_err(crew->scopes[which]->ctx)))
		return scope_take(crew->scopes[which]);
	return scope_common(chance);
}

/* ---- buffers after a drain */

void operations_poison(struct crew *crew, const struct scope *scope)
{
	for (unsigned i = 0; i < CREW_OPERATIONS; i++) {
		struct soak_operation *operation = &crew->operations[i];
		if (!operation->used || !ctx_err(operation->scope->ctx) ||
		    !scope_stems_from(operation->scope, scope))
			continue;
		operation->poisoned = true;
		memset(operation->buffer, POISON, sizeof(operation->buffer));
		memset(&operation->iov, POISON, sizeof(operation->iov));
		memset(&operation->message, POISON, sizeof(operation->message));
		memset(&operation->time, POISON, sizeof(operation->time));
	}
}

bool operations_go_on(const struct crew *crew, const struct scope *scope)
{
	for (unsigned i = 0; i < CREW_OPERATIONS; i++) {
		const struct soak_operation *operation = &crew->operations[i];
		if (operation->used && !ctx_err(operation->scope->ctx) &&
		    scope_stems_from(operation->scope, scope))
			return true;
	}
	return false;
}

static void check_poison(const struct soak_operation *operation)
{
	for (unsigned i = 0; operation->poisoned && i < sizeof(operation->buffer); i++)
		must((unsigned char)operation->buffer[i] == POISON,
		     "byte %u of a buffer was written after its drain", i);
}

/* ---- ends */

static void check_end(const struct soak_operation *operation, const struct ctx_completion *completion)
{
	int error = ctx_err(operation->scope->ctx);

	must(completion->end != CTX_OP_CANCELLED || error || operation->may_be_cancelled ||
		     operation->crew->closing,
	     "cancelled (%d) under a context that looks live", completion->res);
	must(completion->end != CTX_OP_DEADLINE || error,
	     "ended by the deadline of a context that looks live");
	must(completion->end != CTX_OP_TIMEOUT || operation->has_timeout,
	     "ended by a timeout that it has not");
	must(completion->end != CTX_OP_FINISHED || completion->res != -ECANCELED,
	     "-ECANCELED, but it is said to have finished by itself");
	must(completion->res != -512, "a result of the kernel's own");
	scope_check(operation->scope);
}

static void restart(struct soak_operation *operation);

static void completed(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct soak_operation *operation = (struct soak_operation *)op;
	struct crew *crew = operation->crew;
	struct chance *chance = &crew->actor->chance;

	must(ring == crew->ring && crew->actor == actor_self, "delivered by another ring or thread");
	must(operation->used, "a completion (%d) after the final one", completion->res);
	if (completion->flags & IORING_CQE_F_BUFFER)
		crew_give_back_buffer(crew, completion->flags);
	if (operation->takes_fd && completion->res >= 0)
		close(completion->res);
	if (completion->more) {
		must(operation->multishot, "more of an operation that completes once");
		return;
	}
	check_end(operation, completion);
	check_poison(operation);
	operation->used = false;
	struct scope *scope = operation->scope;
	operation->scope = NULL;
	count(&verdict_counts.operations);
	if (completion->end != CTX_OP_FINISHED)
		count(&verdict_counts.cancelled);
	if (chance_one_in(chance, 16) && !crew->closing && scope->own)
		scope_end(chance, scope);
	scope_drop(scope);
	if (chance_one_in(chance, 8) && !crew->closing)
		restart(operation);
}

/* ---- beginnings */

static void prepare_read(struct soak_operation *operation, const struct channel *channel,
			 struct io_uring_sqe *sqe)
{
	struct chance *chance = &operation->crew->actor->chance;
	unsigned size = channel->kind == CHANNEL_EVENT || channel->kind == CHANNEL_TIMER
				? 8
				: 1 + chance_below(chance, OPERATION_BUFFER);
	unsigned sort = chance_below(chance, channel_is_socket(channel) ? 5 : 2);

	operation->iov = (struct iovec){operation->buffer, size};
	operation->message = (struct msghdr){.msg_iov = &operation->iov, .msg_iovlen = 1};
	if (sort == 0)
		io_uring_prep_read(sqe, channel->near, operation->buffer, size, 0);
	else if (sort == 1)
		io_uring_prep_readv(sqe, channel->near, &operation->iov, 1, 0);
	else if (sort == 2)
		io_uring_prep_recvmsg(sqe, channel->near, &operation->message, 0);
	else
		io_uring_prep_recv(sqe, channel->near, operation->buffer, size, sort == 3 ? 0 : MSG_WAITALL);
}

static void prepare_write(struct soak_operation *operation, const struct channel *channel,
			  struct io_uring_sqe *sqe)
{
	struct chance *chance = &operation->crew->actor->chance;
	unsigned size = 1 + chance_below(chance, OPERATION_BUFFER);
	unsigned sort = chance_below(chance, channel_is_socket(channel) ? 4 : 2);

	operation->iov = (struct iovec){operation->buffer, size};
	operation->message = (struct msghdr){.msg_iov = &operation->iov, .msg_iovlen = 1};
	if (sort == 0)
		io_uring_prep_write(sqe, channel->near, operation->buffer, size, 0);
	else if (sort == 1)
		io_uring_prep_writev(sqe, channel->near, &operation->iov, 1, 0);
	else if (sort == 2)
		io_uring_prep_sendmsg(sqe, channel->near, &operation->message, MSG_NOSIGNAL);
	else
		io_uring_prep_send(sqe, channel->near, operation->buffer, size,
				   MSG_NOSIGNAL | (chance_one_in(chance, 2) ? MSG_WAITALL : 0));
}

static void prepare_provided(struct soak_operation *operation, const struct channel *channel,
			     struct io_uring_sqe *sqe, bool chained)
{
	operation->provided = true;
	if (channel_is_socket(channel)) {
		operation->multishot = !chained && chance_one_in(&operation->crew->actor->chance, 2);
		if (operation->multishot)
			io_uring_prep_recv_multishot(sqe, channel->near, NULL, 0, 0);
		else
			io_uring_prep_recv(sqe, channel->near, NULL, CREW_BUFFER_SIZE, 0);
	} else {
		io_uring_prep_read(sqe, channel->near, NULL, CREW_BUFFER_SIZE, 0);
	}
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 1;
}

static void prepare_on(struct soak_operation *operation, struct io_uring_sqe *sqe, bool chained)
{
	struct crew *crew = operation->crew;
	struct chance *chance = &crew->actor->chance;
	const struct channel *channel = &crew->channels[operation->channel];

	if (chance_one_in(chance, 12)) {
		operation->multishot = !chained && chance_one_in(chance, 2);
		if (operation->multishot)
			io_uring_prep_poll_multishot(sqe, channel->near, POLLIN);
		else
			io_uring_prep_poll_add(sqe, channel->near, POLLIN | POLLOUT);
	} else if (channel->kind == CHANNEL_LISTENER) {
		operation->takes_fd = true;
		operation->multishot = !chained && chance_one_in(chance, 3);
		if (operation->multishot)
			io_uring_prep_multishot_accept(sqe, channel->near, NULL, NULL, SOCK_CLOEXEC);
		else
			io_uring_prep_accept(sqe, channel->near, NULL, NULL, SOCK_CLOEXEC);
	} else if (channel->kind == CHANNEL_OUTWARD ||
		   (channel_is_written(channel) && chance_one_in(chance, 3))) {
		prepare_write(operation, channel, sqe);
	} else if (crew->buffers && channel->kind <= CHANNEL_PIPE && chance_one_in(chance, 4)) {
		prepare_provided(operation, channel, sqe, chained);
	} else {
		prepare_read(operation, channel, sqe);
	}
}

static void prepare_on_none(struct soak_operation *operation, struct io_uring_sqe *sqe)
{
	struct chance *chance = &operation->crew->actor->chance;
	uint64_t duration_ns = chance_short_ns(chance);

	switch (chance_below(chance, 3)) {
	case 0:
		io_uring_prep_nop(sqe);
		break;
	case 1:
		operation->time = (struct __kernel_timespec){.tv_nsec = (long long)duration_ns};
		io_uring_prep_timeout(sqe, &operation->time, 0, 0);
		break;
	default:
		operation->takes_fd = true;
		io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
		break;
	}
}

/* What may be set for one run of an operation. */
static void decorate(struct soak_operation *operation, struct io_uring_sqe *sqe)
{
	static const unsigned ways[] = {CTX_OP_PARK, CTX_OP_PENDING, CTX_OP_SHUTDOWN, 0};
	struct chance *chance = &operation->crew->actor->chance;
	unsigned flags = ways[chance_below(chance, 4)];

	if (operation->takes_fd && chance_one_in(chance, 2))
		flags |= CTX_OP_CLOSE_FD;
	if (chance_one_in(chance, 4))
		must(ctx_op_set_flags(&operation->op, flags) == 0, "no flags %x", flags);
	if (chance_one_in(chance, 10)) {
		operation->has_timeout = true;
		must(ctx_op_set_timeout(&operation->op, chance_short_ns(chance)) == 0, "no timeout");
	}
	if (chance_one_in(chance, 24) && !operation->multishot)
		sqe->flags |= IOSQE_ASYNC;
}

static void reset(struct soak_operation *operation, struct crew *crew, struct scope *scope)
{
	check_poison(operation);
	operation->crew = crew;
	operation->scope = scope_take(scope);
	operation->used = true;
	operation->may_be_cancelled = operation->has_timeout = operation->multishot = false;
	operation->provided = operation->takes_fd = operation->poisoned = false;
	operation->channel = chance_below(&crew->actor->chance, CREW_CHANNELS + 3);
	if (operation->channel > CREW_CHANNELS)
		operation->channel = CREW_CHANNELS;
	ctx_op_init(&operation->op, completed, operation->channel);
}

static void prepare(struct soak_operation *operation, struct io_uring_sqe *sqe, unsigned flags)
{
	bool chained = (flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0;

	must(sqe, "no SQE for an operation");
	if (operation->channel < CREW_CHANNELS)
		prepare_on(operation, sqe, chained);
	else
		prepare_on_none(operation, sqe);
	sqe->flags |= (uint8_t)flags;
	operation->may_be_cancelled |= chained;
	decorate(operation, sqe);
}

static struct soak_operation *find_free(struct crew *crew)
{
	for (unsigned i = 0; i < CREW_OPERATIONS; i++)
		if (!crew->operations[i].used)
			return &crew->operations[i];
	return NULL;
}

struct soak_operation *operation_begin(struct crew *crew, struct scope *scope, unsigned flags)
{
	struct soak_operation *operation = find_free(crew);

	if (!operation)
		return NULL;
	reset(operation, crew, scope);
	prepare(operation, ctx_ring_get_sqe(crew->ring, scope->ctx, &operation->op), flags);
	return operation;
}

struct soak_operation *operation_begin_in(struct crew *crew, struct scope *scope, struct ctx_taskgroup *group)
{
	struct soak_operation *operation = find_free(crew);

	if (!operation)
		return NULL;
	reset(operation, crew, scope);
	prepare(operation, ctx_taskgroup_get_sqe(group, &operation->op), 0);
	return operation;
}

/* From inside its own final completion. */
static void restart(struct soak_operation *operation)
{
	struct crew *crew = operation->crew;
	struct scope *scope = crew_scope(crew);

	reset(operation, crew, scope);
	prepare(operation, ctx_ring_get_sqe(crew->ring, scope->ctx, &operation->op), 0);
	scope_drop(scope);
}
