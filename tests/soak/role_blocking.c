/* SPDX-License-Identifier: MIT */
/* A thread of blocking calls, each under a context with a short time that may also end otherwise. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "soak/channel.h"
#include "soak/scope.h"

#define BUFFER_SIZE 100
#define LEFT 0x5a

struct caller {
	struct channel channels[CHANNEL_KINDS];
	/* Between two calls nobody writes to it, whatever the earlier one left behind in the kernel. */
	char buffer[BUFFER_SIZE];
};

static struct caller *caller_of(struct actor *actor)
{
	return actor->state;
}

/* A common context, with a time of its own unless it is done anyway. */
static struct scope *short_scope(struct actor *actor)
{
	struct scope *common = scope_common(&actor->chance);
	struct scope *scope = scope_with_timeout(common, chance_short_ns(&actor->chance));

	scope_drop(common);
	return scope;
}

/* A result of the call itself, or the context's error, which it has to have then. */
static void check_result(const struct scope *scope, long result, const char *call)
{
	if (result == -ECANCELED || result == -ETIME)
		must(ctx_err(scope->ctx) == result, "%s returned %ld, ctx_err is %d", call, result,
		     ctx_err(scope->ctx));
	must(result >= -4095 && result != -EINTR && result != -512, "%s returned %ld", call, result);
	scope_check(scope);
	count(&verdict_counts.calls);
}

static char *take_buffer(struct actor *actor)
{
	char *buffer = caller_of(actor)->buffer;

	for (unsigned i = 0; i < BUFFER_SIZE; i++)
		must(buffer[i] == LEFT, "byte %u of a buffer was written after the call", i);
	return buffer;
}

static void leave_buffer(struct actor *actor)
{
	memset(caller_of(actor)->buffer, LEFT, BUFFER_SIZE);
}

static struct channel *any_readable(struct actor *actor, unsigned kinds)
{
	struct channel *channel = &caller_of(actor)->channels[chance_below(&actor->chance, kinds)];

	if (chance_one_in(&actor->chance, 3))
		channel_feed(&actor->chance, channel);
	return channel;
}

static void read_some(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	struct channel *channel = any_readable(actor, CHANNEL_PIPE + 1);
	char *buffer = take_buffer(actor);
	struct iovec iov = {buffer, BUFFER_SIZE};
	size_t done = 0;
	long result;

	switch (chance_below(&actor->chance, 3)) {
	case 0:
		result = ctxio_read(scope->ctx, channel->near, buffer, BUFFER_SIZE);
		break;
	case 1:
		result = ctxio_readv(scope->ctx, channel->near, &iov, 1);
		break;
	default:
		result = ctxio_read_full(scope->ctx, channel->near, buffer, BUFFER_SIZE, &done);
		must(done <= BUFFER_SIZE, "%zu bytes were read", done);
		break;
	}
	check_result(scope, result, "a read");
	leave_buffer(actor);
	scope_drop(scope);
}

static void receive_some(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	struct channel *channel = any_readable(actor, CHANNEL_TCP + 1);
	char *buffer = take_buffer(actor);
	struct iovec iov = {buffer, BUFFER_SIZE};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (chance_one_in(&actor->chance, 2))
		check_result(scope, ctxio_recv(scope->ctx, channel->near, buffer, BUFFER_SIZE, 0),
			     "ctxio_recv");
	else
		check_result(scope, ctxio_recvmsg(scope->ctx, channel->near, &message, 0), "ctxio_recvmsg");
	leave_buffer(actor);
	scope_drop(scope);
}

static void write_some(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	struct channel *channel = any_readable(actor, CHANNEL_TCP + 1);
	static const char buffer[3000];
	size_t done = 0;

	if (chance_one_in(&actor->chance, 3))
		channel = &caller_of(actor)->channels[CHANNEL_OUTWARD];
	if (chance_one_in(&actor->chance, 2))
		check_result(scope, ctxio_write(scope->ctx, channel->near, buffer, BUFFER_SIZE),
			     "ctxio_write");
	else
		check_result(scope,
			     ctxio_write_full(scope->ctx, channel->near, buffer, sizeof(buffer), &done),
			     "ctxio_write_full");
	scope_drop(scope);
}

static void accept_one(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	struct channel *channel = &caller_of(actor)->channels[CHANNEL_LISTENER];

	if (chance_one_in(&actor->chance, 2))
		channel_feed(&actor->chance, channel);
	int fd = ctxio_accept(scope->ctx, channel->near, NULL, NULL, SOCK_CLOEXEC);
	check_result(scope, fd, "ctxio_accept");
	if (fd >= 0)
		must(ctxio_close(scope->ctx, fd) == 0, "ctxio_close");
	scope_drop(scope);
}

static void poll_some(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	struct pollfd fds[2] = {{.fd = any_readable(actor, CHANNEL_KINDS)->near, .events = POLLIN},
				{.fd = any_readable(actor, CHANNEL_KINDS)->near, .events = POLLIN}};

	check_result(scope, ctxio_poll(scope->ctx, fds, 2, chance_one_in(&actor->chance, 2) ? -1 : 1),
		     "ctxio_poll");
	scope_drop(scope);
}

static void sleep_a_little(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	uint64_t until_ns = clock_now_ns() + chance_short_ns(&actor->chance);
	int result = ctxio_sleep_until(scope->ctx, until_ns);

	must(result || clock_now_ns() >= until_ns, "a sleep was over too soon");
	check_result(scope, result, "ctxio_sleep_until");
	scope_drop(scope);
}

static void open_file(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	int fd = ctxio_openat(scope->ctx, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);

	check_result(scope, fd, "ctxio_openat");
	if (fd >= 0)
		must(ctxio_close(scope->ctx, fd) == 0, "ctxio_close");
	scope_drop(scope);
}

static void wait_on_futex(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	uint32_t word = 1;

	check_result(scope, ctxio_futex_wait(scope->ctx, &word, chance_below(&actor->chance, 4) != 0, false),
		     "ctxio_futex_wait");
	scope_drop(scope);
}

static void wait_for_context(struct actor *actor)
{
	struct scope *scope = short_scope(actor);
	int error = ctx_wait(scope->ctx, chance_one_in(&actor->chance, 2) ? CTX_FOREVER
									  : chance_short_ns(&actor->chance));

	must(error == -ETIMEDOUT || (error == 0 && ctx_err(scope->ctx)), "ctx_wait: %d", error);
	scope_check(scope);
	scope_drop(scope);
}

static void reopen(struct actor *actor)
{
	unsigned kind = chance_below(&actor->chance, CHANNEL_KINDS);
	struct channel *channel = &caller_of(actor)->channels[kind];

	must(ctxio_close(ctx_background(), channel->near) == 0, "ctxio_close");
	channel_close_far(channel);
	channel_open(channel, (enum channel_kind)kind);
}

static void begin(struct actor *actor)
{
	struct caller *caller = calloc(1, sizeof(*caller));

	must(caller, "no memory");
	actor->state = caller;
	leave_buffer(actor);
	/* The thread's ring is mapped in its first call that needs one. */
	actors_lock_mappings();
	int fd = ctxio_openat(ctx_background(), AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
	actors_unlock_mappings();
	must(fd >= 0, "ctxio_openat: %d", fd);
	close(fd);
	for (unsigned i = 0; i < CHANNEL_KINDS; i++)
		channel_open(&caller->channels[i], (enum channel_kind)i);
}

static void end(struct actor *actor)
{
	struct caller *caller = caller_of(actor);

	for (unsigned i = 0; i < CHANNEL_KINDS; i++) {
		close(caller->channels[i].near);
		channel_close_far(&caller->channels[i]);
	}
	free(caller);
	actor->state = NULL;
}

static struct action actions[] = {
	{"call-read", 6, read_some},
	{"call-recv", 6, receive_some},
	{"call-write", 6, write_some},
	{"call-accept", 3, accept_one},
	{"call-poll", 3, poll_some},
	{"call-sleep", 3, sleep_a_little},
	{"call-open", 2, open_file},
	{"call-futex", 2, wait_on_futex},
	{"call-wait", 3, wait_for_context},
	{"call-reopen", 1, reopen},
	{0},
};

const struct role role_blocking = {"blocking", actions, begin, end};
