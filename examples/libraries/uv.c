/* SPDX-License-Identifier: MIT */
/*
 * A context in a libuv loop: its done descriptor is a poll handle of the loop.
 *
 * When the context ends, by its deadline or from any thread, on_done() runs on the thread of the loop. It
 * closes the handles, and then uv_run() returns. A handle belongs to the loop until its close callback, and
 * the descriptor to the context. So the context is released last.
 *
 *	uv TICKS MS	counts TICKS ticks, a millisecond apart; exits with 1 when the time was over
 */
#include <ctxring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct program {
	uv_timer_t timer;
	uv_poll_t done;
	unsigned long ticks, ticks_max;
};

/* Called when the ticks are counted or when the context has ended, whichever comes first. */
static void stop(struct program *program)
{
	uv_close((uv_handle_t *)&program->timer, NULL);
	uv_close((uv_handle_t *)&program->done, NULL);
}

static void on_tick(uv_timer_t *timer)
{
	struct program *program = timer->data;

	if (program->ticks == program->ticks_max)
		stop(program);
	else
		program->ticks++;
}

/* The descriptor stays readable, so an active handle would be called in every turn. */
static void on_done(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	stop(poll->data);
}

/* Returns 0 when the loop has ended, or an error of libuv. */
static int run(struct program *program, int done)
{
	uv_loop_t loop;
	int error;

	error = uv_loop_init(&loop);
	if (error)
		return error;
	uv_timer_init(&loop, &program->timer);
	program->timer.data = program;
	error = uv_poll_init(&loop, &program->done, done);
	if (error) {
		uv_close((uv_handle_t *)&program->timer, NULL);
	} else {
		program->done.data = program;
		error = uv_poll_start(&program->done, UV_READABLE, on_done);
		if (!error)
			error = uv_timer_start(&program->timer, on_tick, 1, 1);
		if (error)
			stop(program);
	}
	/* Returns when the last handle has been closed. Then the loop can be closed as well. */
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return error;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	struct program program = {0};
	struct ctx_cause cause;
	int done, error;

	if (argc != 3) {
		fprintf(stderr, "Usage: uv TICKS MS\n");
		return 2;
	}
	error = ctx_with_timeout(ctx_background(), strtoul(argv[2], NULL, 10) * UINT64_C(1000000), "loop",
				 &ctx);
	if (error) {
		fprintf(stderr, "uv: %s\n", strerror(-error));
		return 2;
	}
	ctx_set_deadline_cause(ctx, 0, "not all ticks within %s ms", argv[2]);
	program.ticks_max = strtoul(argv[1], NULL, 10);
	/* The descriptor belongs to the context, which closes it. */
	done = ctx_done_fd(ctx);
	/* Errors of libuv are negative errnos. */
	error = done < 0 ? done : run(&program, done);
	if (error) {
		fprintf(stderr, "uv: %s\n", strerror(-error));
		return 2;
	}
	printf("%lu tick%s\n", program.ticks, program.ticks == 1 ? "" : "s");
	if (!ctx_err(ctx))
		return 0;
	ctx_get_cause(ctx, &cause);
	printf("ended: %s (%s)\n", strerror(-cause.error), cause.text);
	return 1;
}
