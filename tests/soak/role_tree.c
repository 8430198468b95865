/* SPDX-License-Identifier: MIT */
/* A thread that makes, moves and ends the common contexts, and all that hangs on contexts beside rings. */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <liburing.h>

#include "soak/calls.h"
#include "soak/fork.h"
#include "soak/scope.h"
#include "soak/tasks.h"

/* ---- contexts */

static void derive(struct actor *actor)
{
	struct scope *parent = scope_common(&actor->chance);
	struct scope *scope = scope_derive(&actor->chance, parent);

	scope_check(scope);
	scope_publish(&actor->chance, scope);
	scope_drop(parent);
}

/* The root of the round stays until its end: a child of it ends instead. */
static void end_common(struct actor *actor)
{
	struct scope *scope = scope_common(&actor->chance);

	if (scope->parent_count)
		scope_end(&actor->chance, scope);
	scope_drop(scope);
}

static void move_common(struct actor *actor)
{
	struct scope *scope = scope_common(&actor->chance);

	if (scope->parent_count)
		scope_move(&actor->chance, scope);
	scope_drop(scope);
}

static void look(struct actor *actor)
{
	struct scope *scope = scope_common(&actor->chance);
	struct ctx_cause cause;
	char text[300];

	scope_check(scope);
	must(ctx_format(scope->ctx, text, sizeof(text)) > 0, "ctx_format");
	must(ctx_get_cause(scope->ctx, &cause) == 0, "ctx_get_cause");
	must(cause.kind == CTX_CAUSE_NONE || ctx_err(scope->ctx), "a cause without an end");
	scope_drop(scope);
}

static void poll_done(struct actor *actor)
{
	struct scope *scope = scope_common(&actor->chance);
	struct pollfd done = {.fd = ctx_done_fd(scope->ctx), .events = POLLIN};

	must(done.fd >= 0, "ctx_done_fd: %d", done.fd);
	int ready = poll(&done, 1, chance_one_in(&actor->chance, 2) ? 0 : 1);
	must(ready <= 0 || ctx_err(scope->ctx), "ready, but it looks live");
	scope_drop(scope);
}

static void await_timeout(struct actor *actor)
{
	struct scope *parent = scope_common(&actor->chance);
	struct scope *scope = scope_with_timeout(parent, chance_short_ns(&actor->chance));

	scope_await(scope);
	scope_drop(scope);
	scope_drop(parent);
}

static void end_by_signal(struct actor *actor)
{
	struct scope *parent = scope_common(&actor->chance);
	struct scope *scope = scope_child(parent);

	scope->asked = true;
	must(ctx_signal_prepare(scope->own) == 0, "ctx_signal_prepare");
	must(ctx_cancel_from_signal(scope->own, 10) == 0, "ctx_cancel_from_signal");
	scope_await(scope);
	scope_drop(scope);
	scope_drop(parent);
}

/* ---- sources without a ring */

static void end_by_hangup(struct actor *actor)
{
	struct scope *parent = scope_common(&actor->chance);
	struct ctx_context *ctx = NULL;
	int fds[2];

	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "no sockets");
	int error = chance_one_in(&actor->chance, 2)
			    ? ctx_with_hangup(parent->ctx, NULL, fds[0], 0, "hang-up", &ctx)
			    : ctx_with_fd(parent->ctx, NULL, fds[0], POLLIN, "readable", &ctx);
	must(error == 0, "no source: %d", error);
	struct scope *scope = scope_wrap(ctx, ctx, parent, NULL);
	scope->by_event = true;
	unsigned way = chance_below(&actor->chance, 3);
	if (way == 0)
		scope_end(&actor->chance, scope);
	close(fds[1]);
	if (way == 1)
		scope_await(scope);
	scope_drop(scope);
	close(fds[0]);
	scope_drop(parent);
}

static void end_by_process(struct actor *actor)
{
	struct scope *parent = scope_common(&actor->chance);
	struct ctx_context *ctx = NULL;
	pid_t pid;

	must(!posix_spawn(&pid, "/bin/true", NULL, NULL, (char *[]){(char[]){"true"}, NULL}, NULL),
	     "no process");
	int pidfd = pidfd_open(pid, 0);
	must(pidfd >= 0 && ctx_with_process(parent->ctx, NULL, pidfd, "process", &ctx) == 0, "no source");
	close(pidfd);
	struct scope *scope = scope_wrap(ctx, ctx, parent, NULL);
	scope->by_event = true;
	if (chance_one_in(&actor->chance, 2))
		scope_await(scope);
	scope_drop(scope);
	fork_await(pid, "/bin/true");
	scope_drop(parent);
}

/* ---- threads */

static void *make_and_leave(void *data)
{
	struct scope *scope = data;
	struct ctx_context *children[40];

	for (unsigned i = 0; i < 40; i++)
		must(ctx_with_cancel(scope->ctx, "left", &children[i]) == 0, "no child");
	actors_lock_mappings();
	int fd = ctxio_openat(scope->ctx, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
	actors_unlock_mappings();
	must(fd >= 0 || fd == -ECANCELED || fd == -ETIME, "ctxio_openat: %d", fd);
	if (fd >= 0)
		close(fd);
	for (unsigned i = 0; i < 40; i++)
		i % 2 ? ctx_finish(children[i]) : ctx_unref(children[i]);
	return NULL;
}

static void run_thread(struct actor *actor)
{
	struct scope *scope = scope_common(&actor->chance);
	pthread_t thread;

	must(!pthread_create(&thread, NULL, make_and_leave, scope), "no thread");
	must(!pthread_join(thread, NULL), "no end of a thread");
	scope_drop(scope);
}

struct orphan {
	struct scope *scope;
	struct ctx_ring *ring;
	struct ctx_op ops[4];
	int ends[2];
	char bytes[4];
	unsigned setup_flags;
};

static void *open_and_leave(void *data)
{
	struct orphan *orphan = data;
	struct ctx_ring_options options = {.setup_flags = orphan->setup_flags};

	actors_lock_mappings();
	int error = ctx_ring_open(8, &options, &orphan->ring);
	if (error == -EINVAL) /* the kernel lacks a flag */
		error = ctx_ring_open(8, NULL, &orphan->ring);
	actors_unlock_mappings();
	must(error == 0, "no ring: %d", error);
	for (unsigned i = 0; i < 4; i++) {
		ctx_op_init(&orphan->ops[i], NULL, i);
		io_uring_prep_read(ctx_ring_get_sqe(orphan->ring, orphan->scope->ctx, &orphan->ops[i]),
				   orphan->ends[0], &orphan->bytes[i], 1, 0);
	}
	must(ctx_ring_submit(orphan->ring) >= 0, "ctx_ring_submit");
	return NULL;
}

/* A ring whose owner has ended is closed by another thread. */
static void close_orphan(struct actor *actor)
{
	struct orphan orphan = {.scope = scope_common(&actor->chance)};
	pthread_t thread;

	must(!pipe(orphan.ends), "no pipe");
	if (chance_one_in(&actor->chance, 2))
		orphan.setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	must(!pthread_create(&thread, NULL, open_and_leave, &orphan), "no thread");
	must(!pthread_join(thread, NULL), "no end of a thread");
	actors_lock_mappings();
	int error = ctx_ring_close(orphan.ring, SOAK_SOON_NS, NULL, 0, NULL);
	actors_unlock_mappings();
	must(error == 0, "ctx_ring_close of a ring whose owner has ended: %d", error);
	close(orphan.ends[0]);
	close(orphan.ends[1]);
	scope_drop(orphan.scope);
}

/* ---- forks */

static void fork_without_ring(struct actor *actor)
{
	struct scope *scope = scope_common(&actor->chance);

	fork_and_look(&actor->chance, NULL, scope);
	scope_drop(scope);
}

static void begin(struct actor *actor)
{
	(void)actor;
}

static struct action actions[] = {
	{"tree-derive", 30, derive},	     {"tree-end", 8, end_common},
	{"tree-move", 6, move_common},	     {"tree-look", 6, look},
	{"tree-done-fd", 4, poll_done},	     {"tree-await", 4, await_timeout},
	{"tree-signal", 2, end_by_signal},   {"tree-callback", 8, calls_add},
	{"tree-stop", 6, calls_stop},	     {"tree-callback-frees", 4, calls_add_freeing},
	{"tree-hangup", 3, end_by_hangup},   {"tree-process", 1, end_by_process},
	{"tree-group", 4, tasks_run_group},  {"tree-group-freed", 2, tasks_free_within},
	{"tree-thread", 2, run_thread},	     {"tree-orphan", 2, close_orphan},
	{"tree-fork", 1, fork_without_ring}, {"tree-first", 3, tasks_run_first},
	{0},
};

const struct role role_tree = {"tree", actions, begin, calls_end};
