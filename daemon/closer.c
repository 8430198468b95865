/* SPDX-License-Identifier: MIT */
#include "closer.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "passed.h"

/* How many jobs a closer is sent at once, so that it need not wait for the next one. */
#define SENT_MAX 32
/* If so many descriptors of a user wait, further ones are put into a bag. */
#define LOOSE_MAX 256
/* As many descriptors of a user may wait as it may hold, or this many, if that is more. */
#define WAITING_MIN 256
/* What a closer with a process takes at most: both ends of its socket, two pidfds, both ends of a bag. */
#define CLOSER_FDS 6
/* How many packets in the queue of one socket are looked at for descriptors. A user may have some hundred
 * sockets with some hundred packets each, and all may hang up at once. */
#define LOOKED_AT_MAX 16
#define IDLE_NS 1000000000ull
#define RETRY_NS 100000000ull

struct closer_job {
	struct closer_job *next;
	struct closer_message message;
	void (*done)(void *data, int result); /* NULL: nobody waits for the result. */
	void *data;
};

/* The closer of one user. */
struct closer {
	struct loop_group group; /* First in the structure, for casts. In use while running is set. */
	struct closers *all;
	struct closer *next;
	uid_t uid;
	bool is_own; /* This is the closer of the service itself. */
	/* The closer has a process, or the group of a process that ended is not gone yet. */
	bool running;
	bool told_to_end;  /* The process has been told to end, or has ended. */
	bool crowded;	   /* It has been logged that too much waits, or that no process can be started. */
	pid_t pid;	   /* -1: the process could not be started. */
	int fd, far_fd;	   /* The socket. The process has the same table of descriptors and uses far_fd. */
	int pidfd;	   /* -1: there is none, so the death of the process is not seen. */
	int service_pidfd; /* A pidfd of the service, for its own closer. -1 in the others. */
	struct loop_entry results, process_end;
	struct closer_job *jobs, **jobs_end; /* The oldest job is first. */
	struct closer_job *unsent;
	unsigned waiting, sent;
	/*
	 * The bag: a socket pair. Sockets are sent into bag[0] and never received, so they take no place in
	 * the table of descriptors; closing bag[1] closes them. -1: there is none.
	 */
	int bag[2];
	uint64_t idle_ns;  /* Since when the closer has had nothing to do. */
	uint64_t retry_ns; /* The time at which it tries again what failed. 0: nothing failed. */
};

/* ---- jobs */

static void send_jobs(struct closer *closer)
{
	if (!closer->running || closer->told_to_end || closer->group.ending)
		return;
	while (closer->unsent && closer->sent < SENT_MAX) {
		const struct closer_message *message = &closer->unsent->message;
		if (send(closer->fd, message, sizeof(*message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			closer->retry_ns = clock_now_ns() + RETRY_NS;
			return;
		}
		closer->unsent = closer->unsent->next;
		closer->sent++;
	}
}

static void closer_start(struct closer *closer);

/* Adds a job, and takes over the descriptor in it. False: no memory, and nothing is done. */
static bool add_job(struct closer *closer, const struct closer_message *message,
		    void (*done)(void *data, int result), void *data)
{
	struct closer_job *job = malloc(sizeof(*job));

	if (!job)
		return false;
	*job = (struct closer_job){.message = *message, .done = done, .data = data};
	*closer->jobs_end = job;
	closer->jobs_end = &job->next;
	closer->waiting++;
	closer->all->waiting++;
	if (!closer->unsent)
		closer->unsent = job;
	if (closer->running)
		send_jobs(closer);
	else if (!closer->retry_ns)
		closer_start(closer);
	return true;
}

static void close_bag(struct closer *closer)
{
	struct closer_message message = {.kind = CLOSER_CLOSE, .fd = closer->bag[1]};

	if (closer->bag[0] < 0 || !add_job(closer, &message, NULL, NULL))
		return;
	close(closer->bag[0]);
	closer->bag[0] = closer->bag[1] = -1;
}

/* The oldest job is done: reports its result and frees it. */
static void finish_first_job(struct closer *closer, int result)
{
	struct closer_job *job = closer->jobs;

	if (closer->unsent == job)
		closer->unsent = job->next;
	closer->jobs = job->next;
	if (!closer->jobs)
		closer->jobs_end = &closer->jobs;
	closer->waiting--;
	closer->all->waiting--;
	closer->crowded &= closer->waiting > 0;
	closer->idle_ns = clock_now_ns();
	if (job->done)
		job->done(job->data, result);
	free(job);
	if (!closer->waiting)
		close_bag(closer);
}

static void take_results(struct closer *closer)
{
	int32_t result;

	while (closer->sent &&
	       recv(closer->fd, &result, sizeof(result), MSG_DONTWAIT) == (ssize_t)sizeof(result)) {
		closer->sent--;
		finish_first_job(closer, result);
	}
}

static void results_ready(struct loop_entry *entry, short revents)
{
	struct closer *closer = (struct closer *)entry->group;

	(void)revents;
	take_results(closer);
	send_jobs(closer);
	loop_arm(entry, POLLIN);
}

/* ---- the process of a closer */

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void closer_gone(struct loop_group *group)
{
	struct closer *closer = (struct closer *)group;

	close_if_open(closer->fd);
	close_if_open(closer->far_fd);
	close_if_open(closer->pidfd);
	close_if_open(closer->service_pidfd);
	if (closer->pid > 0)
		waitpid(closer->pid, NULL, WNOHANG);
	closer->group = (struct loop_group){0};
	closer->running = false;
	closer->all->count--;
	if (closer->jobs && !closer->retry_ns)
		closer->retry_ns = clock_now_ns();
}

/* The process has ended: it was told to, or something killed it. */
static void process_ended(struct loop_entry *entry, short revents)
{
	struct closer *closer = (struct closer *)entry->group;
	bool killed = !closer->told_to_end;

	(void)revents;
	closer->told_to_end = true; /* No more jobs are sent to it. */
	take_results(closer);
	/*
	 * Nobody knows whether the process closed this one. It is not closed again, since its number may be
	 * another file's by now.
	 */
	if (closer->sent)
		finish_first_job(closer, -EIO);
	if (killed) {
		log_event(LOG_LEVEL_ERROR, "closer", "uid=%u pid=%d reason=\"the closer was killed\"",
			  closer->uid, closer->pid);
		closer->retry_ns = clock_now_ns() + RETRY_NS;
	}
	closer->sent = 0;
	closer->unsent = closer->jobs;
	loop_group_end(&closer->group, closer_gone);
}

/*
 * Makes a process as fork(2) does, but with the same table of descriptors. 0 in the new process, its pid in
 * the service, or -errno.
 */
static int clone_with_descriptors(void)
{
	const unsigned long flags = CLONE_FILES | SIGCHLD;
#ifdef __s390__
	long pid = syscall(SYS_clone, 0l, flags, 0l, 0l, 0l);
#else
	long pid = syscall(SYS_clone, flags, 0l, 0l, 0l, 0l);
#endif
	return pid < 0 ? -errno : (int)pid;
}

/* 0, or -errno. */
static int start_closer_process(struct closer *closer)
{
	int ends[2];
	pid_t service = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	closer->fd = ends[0];
	closer->far_fd = ends[1];
	if (closer->is_own)
		closer->service_pidfd = (int)syscall(SYS_pidfd_open, service, 0);
	const struct closer_setup setup = {.jobs = closer->far_fd,
					   .service = service,
					   .service_gone = closer->service_pidfd,
					   .listener = closer->all->listener,
					   .spares_listener = closer->all->spares_listener};
	closer->pid = clone_with_descriptors();
	if (closer->pid == 0)
		closer_work(&setup);
	if (closer->pid < 0)
		return closer->pid;
	closer->pidfd = (int)syscall(SYS_pidfd_open, closer->pid, 0);
	return 0;
}

static void closer_start(struct closer *closer)
{
	int error = loop_group_begin(closer->all->loop, &closer->group, "closer");
	bool begun = !error;

	closer->pid = closer->fd = closer->far_fd = closer->pidfd = closer->service_pidfd = -1;
	closer->told_to_end = false;
	closer->retry_ns = 0;
	if (begun) {
		closer->running = true;
		closer->all->count++;
		error = start_closer_process(closer);
	}
	if (error) {
		if (!closer->crowded)
			log_event(LOG_LEVEL_ERROR, "closer", "uid=%u error=%s waiting=%u", closer->uid,
				  strerrorname_np(-error), closer->waiting);
		closer->crowded = true;
		closer->retry_ns = clock_now_ns() + RETRY_NS;
		if (begun)
			loop_group_end(&closer->group, closer_gone);
		return;
	}
	closer->idle_ns = clock_now_ns();
	loop_entry_init(&closer->results, &closer->group, closer->fd, results_ready);
	loop_entry_init(&closer->process_end, &closer->group, closer->pidfd, process_ended);
	loop_arm(&closer->results, POLLIN);
	if (closer->pidfd >= 0)
		loop_arm(&closer->process_end, POLLIN);
	send_jobs(closer);
}

/* Tells the process to end: it sees that its socket is shut down. */
static void closer_end_process(struct closer *closer)
{
	closer->told_to_end = true;
	shutdown(closer->fd, SHUT_RDWR);
	if (closer->pidfd < 0)
		loop_group_end(&closer->group, closer_gone);
}

/* ---- all closers */

static struct closer *find_closer(const struct closers *closers, uid_t uid)
{
	struct closer *closer = closers->first;

	while (closer && (closer->uid != uid || closer->is_own))
		closer = closer->next;
	return closer;
}

static struct closer *closer_new(struct closers *closers, uid_t uid)
{
	struct closer *closer = calloc(1, sizeof(*closer));

	if (!closer)
		return NULL;
	closer->all = closers;
	closer->uid = uid;
	closer->jobs_end = &closer->jobs;
	closer->bag[0] = closer->bag[1] = -1;
	closer->next = closers->first;
	closers->first = closer;
	return closer;
}

static struct closer *find_or_make_closer(struct closers *closers, uid_t uid)
{
	struct closer *closer = find_closer(closers, uid);

	return closer ? closer : closer_new(closers, uid);
}

void closers_open(struct closers *closers, struct loop *loop, int listener, bool spares_listener)
{
	*closers = (struct closers){.loop = loop, .listener = listener, .spares_listener = spares_listener};
	struct closer *own = closer_new(closers, getuid());
	if (!own)
		return;
	own->is_own = true;
	closer_start(own);
}

/* Sends fd into the bag of the closer. The caller still has fd then, and closes it. */
static bool put_in_bag(struct closer *closer, int fd)
{
	union passed_one control;
	char byte = 0;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	passed_attach(&header, control.bytes, &fd, 1);
	for (int attempt = 0; attempt < 2; attempt++) {
		if (closer->bag[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, closer->bag))
			return false;
		if (sendmsg(closer->bag[0], &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return true;
		close_bag(closer);
		if (closer->bag[0] >= 0)
			return false;
	}
	return false;
}

void closers_close(struct closers *closers, uid_t uid, int fd, bool known)
{
	struct closer *closer = find_or_make_closer(closers, uid);
	struct closer_message message = {.kind = CLOSER_CLOSE, .fd = fd};
	bool bagged = known && closer && closer->waiting >= LOOSE_MAX && put_in_bag(closer, fd);

	/*
	 * If the socket is in a bag, this does not close the file, so it does not wait. Without memory for a
	 * job nothing else can be done.
	 */
	if (bagged || !closer || !add_job(closer, &message, NULL, NULL))
		close(fd);
}

static void closers_copy(struct closers *closers, uid_t uid, int fd, uint64_t bytes_max,
			 void (*done)(void *data, int result), void *data)
{
	struct closer *closer = find_or_make_closer(closers, uid);
	struct closer_message message = {.kind = CLOSER_COPY, .fd = fd, .bytes_max = bytes_max};

	if (closer && add_job(closer, &message, done, data))
		return;
	closers_close(closers, uid, fd, true);
	done(data, -ENOMEM);
}

void closers_hang_up(struct closers *closers, uid_t uid, int fd)
{
	if (passed_nothing(fd, LOOKED_AT_MAX))
		close(fd);
	else
		closers_close(closers, uid, fd, true);
}

uint64_t closers_fds(const struct closers *closers)
{
	return closers->waiting + (uint64_t)closers->count * CLOSER_FDS;
}

bool closers_have_room(const struct closers *closers, uid_t uid, uint32_t fds_max)
{
	struct closer *closer = find_closer(closers, uid);

	if (!closer || closer->waiting < (fds_max > WAITING_MIN ? fds_max : WAITING_MIN))
		return true;
	if (!closer->crowded && log_admits(LOG_LEVEL_WARNING, uid, LOG_TROUBLE))
		log_event(LOG_LEVEL_WARNING, "closer",
			  "uid=%u waiting=%u reason=\"descriptors of this user are not closed yet: "
			  "its new clients are refused\"",
			  uid, closer->waiting);
	closer->crowded = true;
	return false;
}

/* ---- the disposal of the broker */

static void disposal_close(void *link, uid_t uid, int fd, bool known)
{
	closers_close(link, uid, fd, known);
}

static void disposal_copy(void *link, uid_t uid, int fd, uint64_t bytes_max,
			  void (*done)(void *data, int result), void *data)
{
	closers_copy(link, uid, fd, bytes_max, done, data);
}

static bool disposal_has_room(void *link, uid_t uid, uint32_t fds_max)
{
	return closers_have_room(link, uid, fds_max);
}

struct disposal closers_disposal(struct closers *closers)
{
	return (struct disposal){.close = disposal_close,
				 .copy = disposal_copy,
				 .has_room = disposal_has_room,
				 .link = closers};
}

/* ---- time, and the end */

static bool is_idle(const struct closer *closer)
{
	return closer->running && !closer->told_to_end && !closer->jobs &&
	       (!closer->is_own || closer->all->ending);
}

static void closer_tick(struct closer *closer, uint64_t now_ns)
{
	uint64_t idle_ns = closer->all->ending ? 0 : IDLE_NS;

	if (closer->retry_ns && now_ns >= closer->retry_ns && !closer->group.ending) {
		closer->retry_ns = 0;
		if (closer->running)
			send_jobs(closer);
		else if (closer->jobs || (closer->is_own && !closer->all->ending))
			closer_start(closer);
	}
	if (is_idle(closer) && now_ns >= closer->idle_ns + idle_ns)
		closer_end_process(closer);
}

void closers_tick(struct closers *closers, uint64_t now_ns)
{
	for (struct closer **place = &closers->first; *place;) {
		struct closer *closer = *place;
		closer_tick(closer, now_ns);
		if (!closer->jobs)
			close_bag(closer);
		if (closer->running || closer->jobs || (closer->is_own && !closers->ending)) {
			place = &closer->next;
			continue;
		}
		*place = closer->next;
		free(closer);
	}
}

uint64_t closers_next_ns(const struct closers *closers)
{
	uint64_t next_ns = UINT64_MAX;

	for (struct closer *closer = closers->first; closer; closer = closer->next) {
		uint64_t due_ns = UINT64_MAX;
		if (closer->retry_ns && !closer->group.ending)
			due_ns = closer->retry_ns;
		else if (is_idle(closer))
			due_ns = closers->ending ? 0 : closer->idle_ns + IDLE_NS;
		next_ns = due_ns < next_ns ? due_ns : next_ns;
	}
	return next_ns;
}

void closers_end(struct closers *closers)
{
	closers->ending = true;
	closers_tick(closers, clock_now_ns());
}

void closers_fail_jobs(struct closers *closers)
{
	for (struct closer *closer = closers->first; closer; closer = closer->next) {
		if (closer->waiting)
			log_event(LOG_LEVEL_WARNING, "closer",
				  "uid=%u pid=%d waiting=%u reason=\"descriptors of this user cannot be "
				  "closed\"",
				  closer->uid, closer->pid, closer->waiting);
		while (closer->jobs)
			finish_first_job(closer, -ECANCELED);
	}
}
