/* SPDX-License-Identifier: MIT */
/*
 * Who has joined a shared context has the read end of its pipe, and keeps the pipe locked while it reads into
 * memory that does not answer. The owner goes on all the same. The reader here is a thread of the test, with
 * a copy of the read end, as a process of another user would have.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "clock.h"
#include "support/fleet_played.h"
#include "support/hung.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

static void answer_share(struct stage *stage)
{
	struct wire_message share = hear(stage, WIRE_SHARE), result = {.type = WIRE_RESULT,
								       .serial = share.serial,
								       .result = {.id = {PLAYED_EPOCH, 3}}};

	say(stage, &result);
}

/* So many owners end while somebody tries to read: who comes between the words and the close is by chance. */
#define ATTEMPTS 30

struct reader {
	pthread_t thread;
	struct hung hung;
	int pipe; /* its copy */
	_Atomic bool begun;
};

/* Tries all the time, so that it reads as soon as there are words. */
static void *read_hung(void *data)
{
	struct reader *reader = data;

	while (read(reader->pipe, reader->hung.page, 64) <= 0)
		reader->begun = true;
	return NULL;
}

static void reader_begin(struct reader *reader, int pipe)
{
	reader->pipe = fcntl(pipe, F_DUPFD_CLOEXEC, 0);
	reader->begun = false;
	ck_assert_int_ge(reader->pipe, 0);
	ck_assert_ok(pthread_create(&reader->thread, NULL, read_hung, reader));
	while (!reader->begun)
		sched_yield();
}

/* The reader has locked the pipe, and goes on. */
static void reader_end(struct reader *reader)
{
	hung_await(&reader->hung);
	hung_release(&reader->hung);
	pthread_join(reader->thread, NULL);
	close(reader->pipe);
	hung_end(&reader->hung);
}

struct owner {
	pthread_t thread;
	struct ctx_context *shared, *other; /* other is not shared, and has a pipe */
	sem_t ended;
};

static void *end_both(void *data)
{
	struct owner *owner = data;

	ctx_finish(owner->shared);
	ctx_finish(owner->other);
	sem_post(&owner->ended);
	return NULL;
}

/* Whether the owner of a shared context goes on while a reader has its pipe locked. */
static bool owner_goes_on(struct stage *stage)
{
	struct owner owner = {.shared = child_of(ctx_background()), .other = child_of(ctx_background())};
	struct reader reader = {.hung = hung_new()};
	struct timespec end;

	sem_init(&owner.ended, 0, 0);
	stage_answer(stage, answer_share);
	ck_assert_ok(ctxd_share(stage->client, owner.shared, NULL, 0, NULL));
	stage_answered(stage);
	ck_assert_int_ge(ctx_done_fd(owner.other), 0);
	reader_begin(&reader, ctx_done_fd(owner.shared));
	ck_assert_ok(pthread_create(&owner.thread, NULL, end_both, &owner));
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20;
	int result = sem_timedwait(&owner.ended, &end);
	reader_end(&reader);
	pthread_join(owner.thread, NULL);
	hear(stage, WIRE_ENDED);
	return result == 0;
}

START_TEST(the_owner_ends_what_a_reader_has_locked)
{
	struct stage stage;

	stage_open(&stage, HOUR, 0);
	for (unsigned i = 0; i < ATTEMPTS; i++)
		ck_assert(owner_goes_on(&stage));
	stage_close(&stage);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client locked pipe");
	TCase *pipes = test_case(suite, "pipes");

	tcase_add_test(pipes, the_owner_ends_what_a_reader_has_locked);
	return suite;
}
