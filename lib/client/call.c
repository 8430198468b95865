/* SPDX-License-Identifier: MIT */
/* Makes calls: sends a request and waits for its answer. */
#include "client.h"
#include "clock.h"
#include "sys.h"

/* Sends the request as soon as the socket takes it. The call is in the list exactly if this returns 0. */
static int call_send(struct ctxd_client *client, struct call *call, struct wire_message *request, int fd,
		     uint64_t end_ns)
{
	for (;;) {
		lock_acquire(&client->lock);
		int result = client->state == CLIENT_READY ? 0 : -ENOTCONN;
		if (!result) {
			request->serial = call->serial = ++client->serial;
			result = link_send(client, request, fd);
		}
		if (!result)
			list_append(&client->calls, &call->link);
		/*
		 * poll(2) tells when a full socket has room. Nothing tells when a kernel that was short of
		 * memory has: that is tried again after the pause.
		 */
		struct pollfd writable = {.fd = client->socket.fd, .events = client->starved ? 0 : POLLOUT};
		lock_release(&client->lock);
		uint64_t now_ns = clock_now_ns();
		if (result != -EAGAIN)
			return result;
		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		/* A broken connection ends this wait as well. */
		struct timespec pause =
			clock_timespec(end_ns - now_ns < 10000000 ? end_ns - now_ns : 10000000);
		sys_poll(&writable, 1, &pause);
	}
}

static void call_await(struct ctxd_client *client, struct call *call, uint64_t end_ns)
{
	struct timespec end = clock_timespec(end_ns);

	while (!atomic_load(&call->done)) {
		uint64_t now_ns = clock_now_ns();
		if (now_ns >= end_ns)
			return;
		uint64_t left_ms = (end_ns - now_ns) / 1000000 + 1;
		if (client->own_dispatch)
			client_turn(client, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms, NULL);
		else
			sys_futex_wait(&call->done, 0, &end);
	}
}

int call_run(struct ctxd_client *client, struct call *call, struct wire_message *request, int fd,
	     uint64_t timeout_ns)
{
	uint64_t end_ns = clock_after_ns(clock_now_ns(), timeout_ns);

	if (end_ns > INT64_MAX)
		end_ns = INT64_MAX;
	list_init(&call->link);
	int result = call_send(client, call, request, fd, end_ns);
	if (result)
		return result;
	call_await(client, call, end_ns);
	lock_acquire(&client->lock);
	bool taking = call->taking;
	if (!taking && !atomic_load(&call->done)) {
		call->error = -ETIMEDOUT;
		list_remove(&call->link);
	}
	lock_release(&client->lock);
	/* The answer came in time, and the dispatcher is handling it. */
	while (taking && !atomic_load(&call->done))
		sys_futex_wait(&call->done, 0, NULL);
	if (call->error)
		return call->error;
	return call->answer->type == WIRE_RESULT ? call->answer->result.error : 0;
}

int call_make(struct ctxd_client *client, struct wire_message *request, int fd, uint64_t timeout_ns,
	      struct wire_message *ret_answer, int ret_fds[WIRE_FDS_MAX])
{
	struct call call = {.answer = ret_answer};
	int result = call_run(client, &call, request, fd, timeout_ns);

	if (result)
		return result;
	for (unsigned i = 0; i < call.fd_count; i++) {
		if (ret_fds)
			ret_fds[i] = call.fds[i];
		else
			sys_close(call.fds[i]);
	}
	return 0;
}
