/* SPDX-License-Identifier: MIT */
#include "soak/fork.h"

#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACE_SIZE 4096

/* Where a child says what it does, for the parent's message when it hangs. */
static __thread const char *_Atomic *told; /* NULL: none is waited for */

static void begin_telling(void)
{
	told = mmap(NULL, PLACE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(told != MAP_FAILED, "no memory");
	*told = "its beginning";
}

/* ---- the child */

static void look_at_deadlines(struct scope *inherited)
{
	struct ctx_context *ctx = NULL;

	*told = "a deadline of its own";
	must(ctx_with_timeout(ctx_background(), 1000000, "of a child", &ctx) == 0, "no timeout in a child");
	must(ctx_wait(ctx, SOAK_SOON_NS) == 0 && ctx_err(ctx) == -ETIME, "a child's deadline does not fire");
	ctx_unref(ctx);
	*told = "a deadline below an inherited context";
	must(ctx_with_timeout(inherited->ctx, 1000000, "of a child", &ctx) == 0, "no timeout below");
	must(ctx_wait(ctx, SOAK_SOON_NS) == 0, "a deadline below what was inherited does not fire");
	ctx_unref(ctx);
	*told = "the end of an inherited context";
	if (inherited->own) {
		int error = ctx_cancel(inherited->own);
		must(error == 0 || error == -EALREADY, "ctx_cancel in a child: %d", error);
		must(ctx_err(inherited->ctx) != 0, "live after ctx_cancel in a child");
	}
}

static void look_at_rings(struct ctx_ring *inherited)
{
	struct ctx_context *ctx = NULL;
	struct ctx_completion completion;
	struct ctx_ring *ring = NULL;
	struct ctx_op op;
	int ends[2];
	char byte;

	*told = "an inherited ring";
	must(ctx_ring_close(inherited, SOAK_SOON_NS, NULL, 0, NULL) == 0,
	     "an inherited ring is not released");
	*told = "a ring of its own";
	must(ctx_ring_open(8, NULL, &ring) == 0 && !pipe(ends), "no ring in a child");
	must(ctx_with_timeout(ctx_background(), 1000000, "of a child", &ctx) == 0, "no timeout in a child");
	ctx_op_init(&op, NULL, 0);
	io_uring_prep_read(ctx_ring_get_sqe(ring, ctx, &op), ends[0], &byte, 1, 0);
	must(ctx_ring_run(ring, NULL) == 0, "ctx_ring_run in a child");
	must(ctx_op_result(&op, &completion) == 0 && completion.res == -ECANCELED, "a read in a child: %d",
	     completion.res);
	ctx_finish(ctx);
	must(ctx_ring_close(ring, SOAK_SOON_NS, NULL, 0, NULL) == 0, "ctx_ring_close in a child");
	*told = "a blocking call";
	must(ctx_with_timeout(ctx_background(), 1000000, "of a child", &ctx) == 0, "no timeout in a child");
	must(ctxio_read(ctx, ends[0], &byte, 1) == -ETIME, "ctxio_read in a child");
	ctx_finish(ctx);
}

static int do_nothing(const struct ctx_context *ctx, void *data)
{
	(void)data;
	return ctx_err(ctx);
}

static void look_at_groups(void)
{
	struct ctx_taskgroup *group = NULL;

	*told = "a task group";
	must(ctx_taskgroup_new(ctx_background(), 1, "of a child", &group) == 0, "no group in a child");
	must(ctx_taskgroup_start(group, do_nothing, NULL, "task") == 0, "no task in a child");
	must(ctx_taskgroup_wait(group) == 0, "a task in a child failed");
	ctx_taskgroup_free(group);
}

static void be_child(struct chance *chance, struct ctx_ring *ring, struct scope *scope)
{
	if (chance_one_in(chance, 2))
		look_at_deadlines(scope);
	if (chance_one_in(chance, 2))
		look_at_rings(ring);
	if (chance_one_in(chance, 2))
		look_at_groups();
	*told = "its end";
	_exit(0);
}

/* ---- the parent */

int fork_await(int pid, const char *what)
{
	struct pollfd child = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	int status = 0;

	must(child.fd >= 0, "pidfd_open: %d", errno);
	if (poll(&child, 1, (int)(SOAK_SOON_NS / 1000000)) != 1) {
		kill(pid, SIGABRT); /* so that its core can be looked at */
		must(false, "process %d hangs: %s%s%s", pid, what, told ? " at " : "", told ? *told : "");
	}
	close(child.fd);
	must(waitpid(pid, &status, 0) == pid, "waitpid: %d", errno);
	return status;
}

void fork_and_look(struct chance *chance, struct ctx_ring *ring, struct scope *scope)
{
	/* For which all others have to be halted. */
	if (verdict_run.sanitized && !chance_one_in(chance, 24))
		return;
	begin_telling();
	actors_halt();
	pid_t pid = fork();
	if (pid == 0)
		be_child(chance, ring, scope);
	actors_resume();
	must(pid > 0, "fork: %d", errno);
	actor_note("waiting for a child");
	int status = fork_await(pid, "a forked child");
	must(status == 0, "a forked child ended with status %x at %s", (unsigned)status, *told);
	munmap(told, PLACE_SIZE);
	told = NULL;
	count(&verdict_counts.forks);
}
