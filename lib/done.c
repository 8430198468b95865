/* SPDX-License-Identifier: MIT */
#include "done.h"

#include "clock.h"
#include "file_id.h"
#include "memory.h"
#include "node.h"
#include "wire.h"

/*
 * The pipe hangs up when its write end is closed everywhere, so a forked child must
 * close its copies: it finds them in a list of all that are open. What it keeps of such a
 * pipe tells of the parent's end alone, so for its own copy of the context it makes another.
 */
struct done {
	struct list link; /* in open_pipes while write_fd is open */
	int read_fd, write_fd;
	struct file_id file; /* both ends are one file */
	bool known;	     /* its context leads to it */
	bool foreign;	     /* the parent's: it was open when this process was forked off */
	struct done *older;  /* a foreign one, of which the program may know the number */
};

/* Guards the list, and that what is in it is open and what is open is in it. */
static struct lock pipes_lock;
static struct list open_pipes = {&open_pipes, &open_pipes};
static int endless_fd = -1; /* never readable; for all contexts that never end */

static int open_pipe(struct done *done)
{
	int fds[2];

	lock_acquire(&pipes_lock);
	int result = sys_pipe2(fds, O_CLOEXEC | O_NONBLOCK);
	if (!result) {
		done->read_fd = fds[0];
		done->write_fd = fds[1];
		done->file = file_id_of(fds[0]);
		list_append(&open_pipes, &done->link);
	}
	lock_release(&pipes_lock);
	if (!result)
		/* Beyond some number of pipes the kernel gives small ones only; one byte is all we need. */
		fcntl(done->write_fd, F_SETPIPE_SZ, 4096);
	return result;
}

static void close_if_ours(const struct done *done, int fd)
{
	if (fd >= 0 && file_id_matches(done->file, fd))
		sys_close(fd);
}

/* What is to be read from the pipe of a context that ended: its cause. */
static size_t last_words(const struct ctx_context *ctx, uint8_t bytes[WIRE_LAST_WORDS_MAX])
{
	struct ctx_cause cause;
	struct wire_cause words;

	if (ctx_get_cause(ctx, &cause))
		return 0;
	wire_cause_from(&cause, ctx_err(ctx), &words);
	return wire_pack_last_words(&words, bytes);
}

void done_close(struct done *done, const struct ctx_context *ctx)
{
	uint8_t words[WIRE_LAST_WORDS_MAX];

	if (!done)
		return;
	size_t size = last_words(ctx, words);
	lock_acquire(&pipes_lock);
	if (done->write_fd >= 0) {
		/* Where a process that was cloned behind fork(2)'s back has a copy, no hang-up comes; this
		 * does. */
		if (file_id_matches(done->file, done->write_fd)) {
			sys_tell(done->write_fd, words, size);
			sys_close(done->write_fd);
		}
		done->write_fd = -1;
		list_remove(&done->link);
	}
	lock_release(&pipes_lock);
}

void done_free(struct done *done)
{
	while (done) {
		struct done *older = done->older;
		lock_acquire(&pipes_lock);
		close_if_ours(done, done->write_fd);
		close_if_ours(done, done->read_fd);
		list_remove(&done->link);
		lock_release(&pipes_lock);
		memory_release(done);
		done = older;
	}
}

static int endless_done_fd(void)
{
	lock_acquire(&pipes_lock);
	if (endless_fd < 0)
		endless_fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int result = endless_fd;
	if (result < 0)
		endless_fd = -1;
	lock_release(&pipes_lock);
	return result;
}

/* With the ctx lock held. */
static int make_done(struct ctx_context *ctx, struct extension *extension)
{
	struct done *done = memory_allocate(sizeof(*done));

	if (!done)
		return -ENOMEM;
	*done = (struct done){.older = extension->done};
	list_init(&done->link);
	int result = open_pipe(done);
	if (result) {
		memory_release(done);
		return result;
	}
	if (node_attach(ctx))
		done_close(done, ctx);
	extension->done = done;
	done->known = true;
	return 0;
}

int ctx_done_fd(const struct ctx_context *ctx)
{
	struct ctx_context *node = node_mutable(ctx);

	if (!ctx)
		return -EINVAL;
	if (ctx->flags & NODE_ENDLESS)
		return endless_done_fd();
	int result = node_serve(node); /* in a forked child the timer may not run yet */
	if (result)
		return result;
	struct extension *extension = node_extend(node);
	if (!extension)
		return -ENOMEM;
	node_lock(node);
	if (!extension->done || extension->done->foreign)
		result = make_done(node, extension);
	if (!result)
		result = extension->done->read_fd;
	lock_release(&node->lock);
	return result;
}

/* ---- waiting. Who sleeps holds the context: the program may give its last reference back meanwhile. */

static int sleep_until(struct ctx_context *node, uint64_t until_ns)
{
	struct timespec until = clock_timespec(until_ns);

	for (;;) {
		uint32_t state = atomic_fetch_or(&node->state, STATE_WAITERS) | STATE_WAITERS;
		if (state & STATE_ERRNO)
			return 0;
		if (sys_futex_wait(&node->state, state, until_ns == CTX_FOREVER ? NULL : &until) ==
		    -ETIMEDOUT)
			return context_error(node) ? 0 : -ETIMEDOUT;
	}
}

int ctx_wait(const struct ctx_context *ctx, uint64_t timeout_ns)
{
	if (!ctx)
		return -EINVAL;
	if (context_error(ctx))
		return 0;
	if (timeout_ns == 0)
		return -ETIMEDOUT;
	if (ctx->flags & NODE_ENDLESS && timeout_ns == CTX_FOREVER)
		return -EDEADLK;
	int result = node_serve(node_mutable(ctx));
	if (result)
		return result;
	uint64_t until_ns =
		timeout_ns == CTX_FOREVER ? CTX_FOREVER : clock_after_ns(clock_now_ns(), timeout_ns);
	context_hold(ctx);
	result = sleep_until(node_mutable(ctx), until_ns);
	context_let_go(ctx);
	return result;
}

static int wait_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns)
{
	/* poll(2) passes over -1: what never ends takes no descriptor. */
	bool endless = ctx->flags & NODE_ENDLESS;
	int done_fd = endless ? -1 : ctx_done_fd(ctx);
	if (done_fd < 0 && !endless)
		return done_fd;
	struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = done_fd, .events = POLLIN}};
	struct timespec timeout = clock_timespec(timeout_ns);
	int result = sys_poll(fds, 2, timeout_ns == CTX_FOREVER ? NULL : &timeout);
	if (context_error(ctx))
		return ctx_err(ctx);
	if (result < 0)
		return result;
	if (fds[0].revents)
		return fds[0].revents;
	/* Ready without an end: the program closed it, and perhaps the number is another file's now. */
	return fds[1].revents ? -EBADF : -ETIMEDOUT;
}

int ctx_wait_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns)
{
	if (!ctx || fd < 0)
		return -EINVAL;
	if (context_error(ctx))
		return ctx_err(ctx);
	context_hold(ctx);
	int result = wait_fd(ctx, fd, events, timeout_ns);
	context_let_go(ctx);
	return result;
}

/* ---- fork */

static void fork_prepare(void)
{
	lock_acquire(&pipes_lock);
}

static void fork_parent(void)
{
	lock_release(&pipes_lock);
}

static void fork_child(void)
{
	pipes_lock = (struct lock){0};
	while (!list_empty(&open_pipes)) {
		struct done *done = container_of(open_pipes.next, struct done, link);
		close_if_ours(done, done->write_fd);
		if (!done->known) /* another thread was about to say so */
			close_if_ours(done, done->read_fd);
		done->write_fd = -1;
		done->foreign = true;
		list_remove(&done->link);
	}
}

__attribute__((constructor)) static void prepare(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
