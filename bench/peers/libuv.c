/* SPDX-License-Identifier: MIT */
/*
 * libuv: a uv_pipe_t for each socket. libuv cannot cancel a read; what it has instead are the forms:
 *
 *   stop   uv_read_stop(): the stream is not read any more. There is no callback; the read has ended when the
 *          call returns. The socket stays in the epoll set, and the next loop that it wakes takes it out.
 *   close  uv_close(): the handle goes, and its callback is what is counted. It closes the descriptor, which
 * is a duplicate here so that the connection itself stays. So two descriptors are needed for each.
 *
 * There are no tokens: stay and leave stop the read of the request.
 */
#include <uv.h>

#include "work.h"

static uv_loop_t loop;
static uv_pipe_t *pipes;
static char (*buffers)[WORK_BUFFER];
static bool closing;

static void check(int result, const char *what)
{
	errno = -result;
	if (result < 0)
		work_fail(what);
}

static void pipe_open(unsigned i)
{
	int fd = closing ? dup(work.near_fds[i]) : work.near_fds[i];
	if (fd < 0)
		work_fail("dup");
	check(uv_pipe_init(&loop, &pipes[i], 0), "uv_pipe_init");
	check(uv_pipe_open(&pipes[i], fd), "uv_pipe_open");
}

static void open_pipes(unsigned count)
{
	closing = work_form("close");
	if (closing && 2 * count > work_descriptors() - 128)
		work_skip("RLIMIT_NOFILE is too low for two descriptors each");
	check(uv_loop_init(&loop), "uv_loop_init");
	pipes = work_allocate(count, sizeof(*pipes));
	buffers = work_allocate(count, sizeof(*buffers));
	for (unsigned i = 0; !closing && i < count; i++)
		pipe_open(i);
}

static void group_open(void)
{
	for (unsigned i = 0; closing && i < work.count; i++)
		pipe_open(i);
}

static void buffer_of(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
	(void)size;
	*buffer = uv_buf_init(buffers[(uv_pipe_t *)handle - pipes], WORK_BUFFER);
}

static void complete(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
	(void)buffer;
	if (!size)
		return; /* EAGAIN */
	uv_read_stop(stream);
	work_done((int)size);
}

static void receive(unsigned i)
{
	check(uv_read_start((uv_stream_t *)&pipes[i], buffer_of, complete), "uv_read_start");
}

static void submit(void)
{
	uv_run(&loop, UV_RUN_NOWAIT);
}

static void closed(uv_handle_t *handle)
{
	(void)handle;
	work_done(-ECANCELED);
}

static void leave(unsigned i)
{
	uv_read_stop((uv_stream_t *)&pipes[i]);
	if (!uv_is_active((uv_handle_t *)&pipes[i]))
		work_done(-ECANCELED);
}

static void group_end(void)
{
	for (unsigned i = 0; i < work.count; i++)
		if (closing)
			uv_close((uv_handle_t *)&pipes[i], closed);
		else
			leave(i);
}

static void run_until(unsigned done)
{
	while (work.cancelled + work.received < done)
		uv_run(&loop, UV_RUN_ONCE);
}

const struct peer peer = {
	.open = open_pipes,
	.group_open = group_open,
	.receive = receive,
	.submit = submit,
	.group_end = group_end,
	.leave = leave,
	.wait = run_until,
	.one_receive = true,
};
