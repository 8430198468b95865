/* SPDX-License-Identifier: MIT */
/*
 * A thread for each receive, in poll(2) on its socket and on an eventfd that ends it: one eventfd for the
 * group, or one for each request. An eventfd stays readable until it is read, so one write wakes all threads.
 * The main thread sleeps until the last of them has told its end.
 */
#include "work.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

struct receiver {
	sem_t start;
	int socket, token;
};

static struct receiver *receivers;
static int group;
static sem_t all_done;
static _Atomic unsigned waiting, cancelled, received;
static _Atomic unsigned wanted; /* the last of so many posts all_done */

static void token_clear(int token)
{
	uint64_t value;
	if (read(token, &value, sizeof(value)) != sizeof(value))
		work_fail("read of an eventfd");
}

static void token_end(int token)
{
	const uint64_t one = 1;
	if (write(token, &one, sizeof(one)) != sizeof(one))
		work_fail("write to an eventfd");
}

static int token_new(void)
{
	int token = eventfd(0, EFD_CLOEXEC);
	if (token < 0)
		work_fail("eventfd");
	return token;
}

static void *thread_main(void *data)
{
	struct receiver *receiver = data;
	char buffer[WORK_BUFFER];
	for (;;) {
		struct pollfd fds[2] = {{receiver->socket, POLLIN, 0}, {receiver->token, POLLIN, 0}};
		while (sem_wait(&receiver->start))
			;
		waiting++;
		while (poll(fds, 2, -1) < 0)
			;
		if (fds[0].revents) {
			if (recv(receiver->socket, buffer, sizeof(buffer), 0) != WORK_MESSAGE)
				work_fail("recv");
			received++;
		} else {
			cancelled++;
		}
		if (cancelled + received == wanted)
			sem_post(&all_done);
	}
	return NULL;
}

static void open_threads(unsigned count)
{
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	receivers = work_allocate(count, sizeof(*receivers));
	sem_init(&all_done, 0, 0);
	group = token_new();
	for (unsigned i = 0; i < count; i++) {
		pthread_t thread;
		sem_init(&receivers[i].start, 0, 0);
		receivers[i].socket = work.near_fds[i % work.sockets];
		receivers[i].token = work_is("idle") ? group : token_new();
		errno = pthread_create(&thread, &small, thread_main, &receivers[i]);
		if (errno)
			work_fail("pthread_create");
	}
}

static void group_open(void)
{
	waiting = cancelled = received = 0;
	wanted = work.count;
}

static void receive(unsigned i)
{
	sem_post(&receivers[i].start);
}

/* Idle receives must sleep in poll(2). They are given the time to come from the count to there. */
static void submit(void)
{
	if (!work_is("idle"))
		return;
	while (waiting < work.count)
		usleep(100);
	usleep(500);
}

static void group_end(void)
{
	token_end(group);
}

static void leave(unsigned i)
{
	token_end(receivers[i].token);
}

/* The last thread may have ended before it is waited for. */
static void run_until(unsigned done)
{
	if (!work_is("idle"))
		wanted = done;
	while (cancelled + received < done)
		sem_wait(&all_done);
	while (!sem_trywait(&all_done))
		;
	work.cancelled = cancelled;
	work.received = received;
}

static void request_end(unsigned i)
{
	struct pollfd fd = {receivers[i].token, POLLIN, 0};
	if (poll(&fd, 1, 0) == 1)
		token_clear(receivers[i].token);
}

static void group_close(void)
{
	token_clear(group);
}

static void token(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(token_new());
}

const struct peer peer = {
	.open = open_threads,
	.group_open = group_open,
	.receive = receive,
	.submit = submit,
	.group_end = group_end,
	.leave = leave,
	.wait = run_until,
	.request_end = request_end,
	.group_close = group_close,
	.token = token,
	.idle_max = 4096,
	.idle_max_reason = "more than 4,096 threads are not made here",
};
