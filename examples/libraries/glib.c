/* SPDX-License-Identifier: MIT */
/*
 * A context in the main loop of GLib: its done descriptor is a source of the loop.
 *
 * g_unix_fd_add() gives the descriptor to the loop. When the context ends, by its deadline or from any
 * thread, the loop calls on_done() on its own thread, and that quits the loop. To end asynchronous calls of
 * GIO with a context, call g_cancellable_cancel() there.
 *
 *	glib TICKS MS	counts TICKS ticks, a millisecond apart; exits with 1 when the time was over
 */
#include <ctxring.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct program {
	GMainLoop *loop;
	guint tick, done; /* ids of the sources, 0: removed */
	unsigned long ticks, ticks_max;
};

static gboolean on_tick(gpointer data)
{
	struct program *program = data;

	if (program->ticks == program->ticks_max)
		g_main_loop_quit(program->loop);
	else
		program->ticks++;
	return G_SOURCE_CONTINUE;
}

static gboolean on_done(gint fd, GIOCondition condition, gpointer data)
{
	struct program *program = data;

	(void)fd;
	(void)condition;
	g_main_loop_quit(program->loop);
	/* The descriptor stays readable, so the loop would call the source in every turn. */
	program->done = 0;
	return G_SOURCE_REMOVE;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	struct program program = {0};
	struct ctx_cause cause;
	int done, error;

	if (argc != 3) {
		fprintf(stderr, "Usage: glib TICKS MS\n");
		return 2;
	}
	error = ctx_with_timeout(ctx_background(), strtoul(argv[2], NULL, 10) * UINT64_C(1000000), "loop",
				 &ctx);
	if (error) {
		fprintf(stderr, "glib: %s\n", strerror(-error));
		return 2;
	}
	ctx_set_deadline_cause(ctx, 0, "not all ticks within %s ms", argv[2]);
	/* The descriptor belongs to the context, which closes it. */
	done = ctx_done_fd(ctx);
	if (done < 0) {
		fprintf(stderr, "glib: %s\n", strerror(-done));
		return 2;
	}
	program.ticks_max = strtoul(argv[1], NULL, 10);
	program.loop = g_main_loop_new(NULL, FALSE);
	program.tick = g_timeout_add(1, on_tick, &program);
	program.done = g_unix_fd_add(done, G_IO_IN, on_done, &program);
	g_main_loop_run(program.loop);
	/* The sources are removed before the context closes the descriptor. */
	g_clear_handle_id(&program.done, g_source_remove);
	g_clear_handle_id(&program.tick, g_source_remove);
	g_main_loop_unref(program.loop);

	printf("%lu tick%s\n", program.ticks, program.ticks == 1 ? "" : "s");
	if (!ctx_err(ctx))
		return 0;
	ctx_get_cause(ctx, &cause);
	printf("ended: %s (%s)\n", strerror(-cause.error), cause.text);
	return 1;
}
