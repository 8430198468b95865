/* SPDX-License-Identifier: MIT */
/*
 * What the other files need of a client: sending to it, what its queued messages are charged, and closing
 * descriptors that it gave. session.c, which calls all of them, has the rest.
 */
#include <errno.h>

#include "parts.h"

int peer_offer(struct peer *peer, const struct wire_message *message, const int *fds, unsigned fd_count)
{
	const struct peer_output *output = &peer->output;

	peer->broker->work += WORK_MESSAGE;
	if (peer->gone)
		return -ESHUTDOWN;
	return (output->offer ? output->offer : output->send)(output->link, message, fds, fd_count);
}

int peer_send(struct peer *peer, const struct wire_message *message, const int *fds, unsigned fd_count)
{
	peer->broker->work += WORK_MESSAGE;
	return peer->gone ? -ESHUTDOWN : peer->output.send(peer->output.link, message, fds, fd_count);
}

void peer_result(struct peer *peer, uint64_t serial, int error, struct ctxd_id id)
{
	struct wire_message message = {
		.type = WIRE_RESULT, .serial = serial, .result = {.error = error, .id = id}};

	peer_send(peer, &message, NULL, 0);
}

void peer_writable(struct peer *peer)
{
	peer->full = false;
	job_queue(peer->broker, &peer->job);
}

bool peer_charge_queued(struct peer *peer, uint64_t bytes, unsigned fds)
{
	struct accounts *accounts = &peer->broker->accounts;

	if (!account_charge(accounts, peer->account, QUOTA_BYTES, bytes))
		return false;
	if (account_charge(accounts, peer->account, QUOTA_FDS, fds))
		return true;
	account_return(peer->account, QUOTA_BYTES, bytes);
	return false;
}

void peer_return_queued(struct peer *peer, uint64_t bytes, unsigned fds)
{
	account_return(peer->account, QUOTA_BYTES, bytes);
	account_return(peer->account, QUOTA_FDS, fds);
}

void peer_close_given(struct peer *peer, const int *fds, unsigned fd_count)
{
	for (unsigned i = 0; i < fd_count; i++)
		given_close(peer->broker, peer->identity.uid, fds[i], false);
}
