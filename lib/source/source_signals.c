/* SPDX-License-Identifier: MIT */
/*
 * Contexts that end with a signal to the process. Each has a signalfd(2). Whichever of these reads a signal
 * ends all contexts that wait for it.
 *
 * Which thread takes a signal. The kernel gives a signal to any thread that does not block it. As long as a
 * context waits for a signal, all threads that we know of block it: the caller of ctx_with_signals, the
 * threads it starts later, and the threads of the library. When no context waits for it any more, because it
 * came or because the contexts were ended or released, one thread unblocks it: the poller's, or the owner's
 * of the ring. That one thread is enough: the kernel picks it and takes the default action, as if no thread
 * had ever blocked the signal. The masks of other threads cannot be changed from outside.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "source.h"

struct signal_source {
	struct source source;
	sigset_t signals;
};

static struct {
	struct lock lock;
	struct list sources;	 /* of struct source, by link */
	sigset_t blocked;	 /* signals that we have ever blocked in some thread */
	sigset_t open;		 /* signals that the poller's thread does not block */
	_Atomic uint32_t fitted; /* Counts the changes of open. A futex for wait_for_poller. */
} shared;

static struct signal_source *signals_of(const struct source *source)
{
	return container_of(source, struct signal_source, source);
}

/* ---- masks */

/* Finds the signals that we have blocked and no context waits for. The lock is held. */
static void find_idle_signals(sigset_t *ret_idle)
{
	*ret_idle = shared.blocked;
	for (struct list *link = shared.sources.next; link != &shared.sources; link = link->next) {
		const struct source *source = container_of(link, struct source, link);
		for (int signo = 1; signo < NSIG; signo++)
			if (!source->chosen && sigismember(&signals_of(source)->signals, signo) == 1)
				sigdelset(ret_idle, signo);
	}
}

static bool signal_sets_intersect(const sigset_t *a, const sigset_t *b)
{
	for (int signo = 1; signo < NSIG; signo++)
		if (sigismember(a, signo) == 1 && sigismember(b, signo) == 1)
			return true;
	return false;
}

/*
 * Fits the mask of the poller's thread, which runs this: it unblocks the signals of ours that no context
 * waits for, and blocks the others of ours.
 */
static void fit_poller(void)
{
	sigset_t idle, waited;

	lock_acquire(&shared.lock);
	find_idle_signals(&idle);
	waited = shared.blocked;
	for (int signo = 1; signo < NSIG; signo++)
		if (sigismember(&idle, signo) == 1)
			sigdelset(&waited, signo);
	pthread_sigmask(SIG_BLOCK, &waited, NULL);
	shared.open = idle;
	lock_release(&shared.lock);
	atomic_fetch_add(&shared.fitted, 1);
	sys_futex_wake(&shared.fitted, INT32_MAX);
	/* The kernel acts on pending signals during this call. */
	pthread_sigmask(SIG_UNBLOCK, &idle, NULL);
}

/*
 * Unblocks those of signals that no context waits for any more, on the thread of a ring, when one of its
 * sources has ended.
 */
static void fit_owner(const sigset_t *signals)
{
	sigset_t idle;

	lock_acquire(&shared.lock);
	find_idle_signals(&idle);
	lock_release(&shared.lock);
	for (int signo = 1; signo < NSIG; signo++)
		if (sigismember(signals, signo) != 1)
			sigdelset(&idle, signo);
	pthread_sigmask(SIG_UNBLOCK, &idle, NULL);
}

/* Waits until the poller's thread has blocked all of these signals. */
static void wait_for_poller(const sigset_t *signals)
{
	for (;;) {
		uint32_t fitted = atomic_load(&shared.fitted);
		lock_acquire(&shared.lock);
		bool open = signal_sets_intersect(signals, &shared.open);
		lock_release(&shared.lock);
		if (!open)
			return;
		if (poller_is_self()) {
			fit_poller();
			continue;
		}
		if (poller_wake()) {
			sys_futex_wait(&shared.fitted, fitted, NULL);
			continue;
		}
		/* That thread is gone, and unblocks nothing. */
		lock_acquire(&shared.lock);
		sigemptyset(&shared.open);
		lock_release(&shared.lock);
	}
}

/* ---- events */

static bool waits_for(const struct source *source, void *signo)
{
	return sigismember(&signals_of(source)->signals, *(int *)signo) == 1;
}

static void signal_describe(const struct source *source, int code, char *text, size_t size)
{
	const char *name = sigdescr_np(code);

	(void)source;
	if (name)
		snprintf(text, size, "signal %d (%s)", code, name);
	else
		snprintf(text, size, "signal %d", code);
}

static void end_waiting(struct ctx_ring *here, int signo)
{
	char text[CTX_CAUSE_TEXT_MAX];
	struct source_choice choice = {
		.lock = &shared.lock,
		.list = &shared.sources,
		.here = here,
		.chooses = waits_for,
		.data = &signo,
		.code = signo,
		.text = text,
	};

	signal_describe(NULL, signo, text, sizeof(text));
	source_end_chosen(&choice);
}

/*
 * The signalfd is readable. Reads all pending signals before the first context is ended, so that signals that
 * came together all count as first ones. A signal that comes later counts as a second one: it stays pending
 * until a thread unblocks it. If the source of another thread was quicker, there is nothing to read.
 */
static void signals_ready(struct source *source, uint32_t events)
{
	struct signalfd_siginfo info;
	int taken[NSIG], count = 0;

	(void)events;
	while (count < NSIG && sys_read(source->fd, &info, sizeof(info)) == sizeof(info))
		taken[count++] = (int)info.ssi_signo;
	for (int i = 0; i < count; i++)
		end_waiting(source->ring, taken[i]);
	if (count && !source->ring)
		fit_poller();
	source_again(source);
}

static void signals_started(struct source *source)
{
	lock_acquire(&shared.lock);
	list_append(&shared.sources, &source->link);
	lock_release(&shared.lock);
}

static void signals_stopped(struct source *source)
{
	lock_acquire(&shared.lock);
	bool was_listed = !list_empty(&source->link);
	list_remove(&source->link);
	lock_release(&shared.lock);
	if (!was_listed)
		return;
	if (source->ring)
		fit_owner(&signals_of(source)->signals);
	else
		poller_wake();
}

static const struct source_ops signal_ops = {
	.kind = CTX_CAUSE_SIGNAL,
	.stays = true,
	.ready = signals_ready,
	.started = signals_started,
	.stopped = signals_stopped,
	.describe = signal_describe,
};

/* ---- making one */

static int check_signals(const sigset_t *signals)
{
	bool any = false;

	for (int signo = 1; signo < NSIG; signo++) {
		if (sigismember(signals, signo) != 1)
			continue;
		any = true;
		if (signo == SIGKILL || signo == SIGSTOP || (signo >= 32 && signo < SIGRTMIN))
			return -EINVAL; /* signals 32 to SIGRTMIN - 1 are the C library's */
	}
	return any ? 0 : -EINVAL;
}

/*
 * Takes out of signals those that are ignored, as nohup(1) or a script's "&" leaves them. 0; -EBUSY: the
 * program handles or has blocked another of them, or none is left.
 */
static int select_signals(sigset_t *signals, const sigset_t *blocked)
{
	int result = -EBUSY;

	for (int signo = 1; signo < NSIG; signo++) {
		struct sigaction action;
		if (sigismember(signals, signo) != 1)
			continue;
		if (sigaction(signo, NULL, &action))
			return -EBUSY;
		if (action.sa_handler == SIG_IGN) {
			sigdelset(signals, signo);
			continue;
		}
		if (action.sa_handler != SIG_DFL ||
		    (sigismember(blocked, signo) == 1 && sigismember(&shared.blocked, signo) != 1))
			return -EBUSY;
		result = 0;
	}
	return result;
}

/* Blocks in this thread those of signals that can be waited for, and leaves only these in signals. */
static int block_signals(sigset_t *signals, sigset_t *ret_before)
{
	pthread_sigmask(SIG_SETMASK, NULL, ret_before);
	lock_acquire(&shared.lock);
	int result = select_signals(signals, ret_before);
	for (int signo = 1; signo < NSIG && !result; signo++)
		if (sigismember(signals, signo) == 1)
			sigaddset(&shared.blocked, signo);
	lock_release(&shared.lock);
	if (!result)
		pthread_sigmask(SIG_BLOCK, signals, NULL);
	return result;
}

static int signals_begin(struct signal_source *signals, struct source_request *request,
			 struct ctx_context **ret_ctx)
{
	int fd = sys_signalfd(&signals->signals);

	if (fd < 0) {
		source_discard(&signals->source);
		return fd;
	}
	signals->source.fd = fd;
	signals->source.owns_fd = true;
	signals->source.file = file_id_of(fd);
	return source_begin(&signals->source, request, ret_ctx);
}

int ctx_with_signals(const struct ctx_context *parent, struct ctx_ring *ring, const sigset_t *signals,
		     const char *label, struct ctx_context **ret_ctx)
{
	struct source_request request = {
		.parent = parent,
		.label = label,
		.site = __builtin_return_address(0),
		.events = POLLIN,
	};
	sigset_t before;
	int error = source_check(parent, ring, ret_ctx);

	if (!error)
		error = signals ? check_signals(signals) : -EINVAL;
	if (!error && !ring)
		error = poller_start();
	if (error)
		return source_result(CTX_CAUSE_SIGNAL, error);
	struct signal_source *source = (struct signal_source *)source_new(sizeof(*source), &signal_ops, ring);
	if (!source)
		return source_result(CTX_CAUSE_SIGNAL, -ENOMEM);
	sigset_t waited = *signals;
	error = block_signals(&waited, &before);
	if (error) {
		source_discard(&source->source);
		return source_result(CTX_CAUSE_SIGNAL, error);
	}
	source->signals = waited;
	for (int signo = 1; signo < NSIG; signo++)
		if (sigismember(&waited, signo) == 1)
			request.watched.detail |= 1ull << (signo - 1);
	error = signals_begin(source, &request, ret_ctx);
	if (error || context_error(*ret_ctx)) /* the second: the parent was done */
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	else
		wait_for_poller(&waited);
	return source_result(CTX_CAUSE_SIGNAL, error);
}

/* ---- fork: in the child no source waits for signals, and only this thread can take them */

static void fork_prepare(void)
{
	lock_acquire(&shared.lock);
}

static void fork_parent(void)
{
	lock_release(&shared.lock);
}

static void fork_child(void)
{
	sigset_t blocked = shared.blocked;

	shared.lock = (struct lock){0};
	while (!list_empty(&shared.sources))
		list_remove(shared.sources.next);
	sigemptyset(&shared.blocked);
	sigemptyset(&shared.open);
	pthread_sigmask(SIG_UNBLOCK, &blocked, NULL);
}

__attribute__((constructor)) static void prepare_signals(void)
{
	list_init(&shared.sources);
	sigemptyset(&shared.blocked);
	sigemptyset(&shared.open);
	poller_set_errand(fit_poller);
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
