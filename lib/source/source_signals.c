/* SPDX-License-Identifier: MIT */
/*
 * Contexts that end with a signal to the process. Each has a signalfd(2); whoever reads a signal from one of
 * these ends all contexts that wait for it.
 *
 * Who takes a signal. A signal to the process goes to any thread that has it not blocked. As long as a
 * context waits for it, all threads that we know of block it: the caller of ctx_with_signals, those it starts
 * later, and the threads of the library. When no context waits for it any more, because it came, or because
 * they were ended or released, one thread unblocks it: the poller's, or the owner's of the ring. That one
 * thread is enough for the default action to be taken as if nothing had ever been blocked, and is never busy
 * in the kernel's view. Other threads' masks cannot be changed from outside.
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
	struct list sources; /* of struct source */
	sigset_t blocked;    /* that we have ever blocked in some thread */
	sigset_t open;	     /* that the poller's thread takes */
	_Atomic uint32_t
		fitted; /* counts how often that was changed, and is what who waits for it sleeps on */
} shared;

static struct signal_source *signals_of(const struct source *source)
{
	return container_of(source, struct signal_source, source);
}

/* ---- masks; all under the lock */

/* Those that we have blocked and no context waits for. */
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

/* On the poller's thread: takes those signals, and only those, that nobody waits for. */
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
	/* What is pending is acted on in here. */
	pthread_sigmask(SIG_UNBLOCK, &idle, NULL);
}

/* On a ring's thread, after one of its contexts needs no signals any more. */
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

/* Until the poller's thread takes none of these. */
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
		/* That thread is gone, and what it took with it. */
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
 * Takes all that are pending, so that signals that came together are all a first one, before the first
 * context is ended: what comes after that is a second one, and stays pending until somebody unblocks it.
 * Somebody else may have been quicker: then there is nothing to read.
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
			return -EINVAL; /* the last are the C library's */
	}
	return any ? 0 : -EINVAL;
}

/*
 * Takes out of signals those that are ignored, as a program under nohup(1) or one that a script has started
 * with
 * "&" leaves them. 0, or -EBUSY: another is the program's own business, or none is left.
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

/* Blocks in this thread those of them that are to be waited for, and leaves these in signals. */
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

static int signals_begin(struct signal_source *signals, const struct source_request *request,
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
		return error;
	struct signal_source *source = (struct signal_source *)source_new(sizeof(*source), &signal_ops, ring);
	if (!source)
		return -ENOMEM;
	sigset_t waited = *signals;
	error = block_signals(&waited, &before);
	if (error) {
		source_discard(&source->source);
		return error;
	}
	source->signals = waited;
	error = signals_begin(source, &request, ret_ctx);
	if (error || context_error(*ret_ctx)) /* of a parent that is done */
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	else
		wait_for_poller(&waited);
	return error;
}

/* ---- fork: in the child nothing waits for them, and nothing but this thread can take them */

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
