/* SPDX-License-Identifier: MIT */
/*
 * GLib: g_input_stream_read_async() of a GSocketConnection with a GCancellable, in a GMainContext. The group
 * is one GCancellable that all receives share. In tree and token a child is a GCancellable that
 * g_cancellable_connect() chains to its parent, which is how GIO programs make trees.
 */
#include <gio/gio.h>

#include "work.h"

static GMainContext *loop;
static GInputStream **streams;
static GSocketConnection **connections;
static GCancellable *group, **tokens;
static char (*buffers)[WORK_BUFFER];
static gulong *links;

static void open_streams(unsigned count)
{
	loop = g_main_context_default();
	g_main_context_acquire(loop);
	streams = work_allocate(count, sizeof(void *));
	connections = work_allocate(count, sizeof(void *));
	tokens = work_allocate(count, sizeof(void *));
	buffers = work_allocate(count, sizeof(*buffers));
	for (unsigned i = 0; i < count; i++) {
		GSocket *socket = g_socket_new_from_fd(work.near_fds[i], NULL);
		if (!socket)
			work_fail("g_socket_new_from_fd");
		connections[i] = g_socket_connection_factory_create_connection(socket);
		streams[i] = g_io_stream_get_input_stream(G_IO_STREAM(connections[i]));
	}
}

static void complete(GObject *stream, GAsyncResult *result, gpointer data)
{
	GError *error = NULL;
	gssize size = g_input_stream_read_finish(G_INPUT_STREAM(stream), result, &error);
	(void)data;
	work_done(error && g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED) ? -ECANCELED : (int)size);
	g_clear_error(&error);
}

static void group_open(void)
{
	group = g_cancellable_new();
}

static void receive(unsigned i)
{
	GCancellable *token = group;
	if (!work_is("idle"))
		token = tokens[i] = g_cancellable_new();
	g_input_stream_read_async(streams[i], buffers[i], WORK_BUFFER, G_PRIORITY_DEFAULT, token, complete,
				  NULL);
}

static void submit(void)
{
	g_main_context_iteration(loop, FALSE);
}

static void group_end(void)
{
	g_cancellable_cancel(group);
}

static void leave(unsigned i)
{
	g_cancellable_cancel(tokens[i]);
}

static void run_until(unsigned done)
{
	while (work.cancelled + work.received < done)
		g_main_context_iteration(loop, TRUE);
}

static void request_end(unsigned i)
{
	g_object_unref(tokens[i]);
}

static void group_close(void)
{
	g_object_unref(group);
}

static void end_child(GCancellable *parent, gpointer child)
{
	(void)parent;
	g_cancellable_cancel(child);
}

static void tree_make(unsigned children)
{
	group = g_cancellable_new();
	tokens = work_allocate(children, sizeof(void *));
	links = work_allocate(children, sizeof(*links));
	for (unsigned i = 0; i < children; i++) {
		tokens[i] = g_cancellable_new();
		links[i] = g_cancellable_connect(group, G_CALLBACK(end_child), tokens[i], NULL);
	}
}

static unsigned tree_ended(void)
{
	unsigned ended = 0;
	for (unsigned i = 0; i < work.count; i++)
		ended += g_cancellable_is_cancelled(tokens[i]) != 0;
	return ended;
}

static void tree_free(void)
{
	for (unsigned i = work.count; i--;) {
		g_cancellable_disconnect(group, links[i]);
		g_object_unref(tokens[i]);
	}
	g_object_unref(group);
	free(tokens);
	free(links);
}

static void token(unsigned count)
{
	if (!group)
		group = g_cancellable_new();
	for (unsigned i = 0; i < count; i++) {
		GCancellable *child = g_cancellable_new();
		gulong link = g_cancellable_connect(group, G_CALLBACK(end_child), child, NULL);
		g_cancellable_disconnect(group, link);
		g_object_unref(child);
	}
}

const struct peer peer = {
	.open = open_streams,
	.group_open = group_open,
	.receive = receive,
	.submit = submit,
	.group_end = group_end,
	.leave = leave,
	.wait = run_until,
	.request_end = request_end,
	.group_close = group_close,
	.tree_make = tree_make,
	.tree_end = group_end,
	.tree_ended = tree_ended,
	.tree_free = tree_free,
	.token = token,
	.one_receive = true,
};
