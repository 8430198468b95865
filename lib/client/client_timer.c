/* SPDX-License-Identifier: MIT */
/*
 * The times at which a client's dispatcher is to do something. All of them share one timer descriptor. It
 * fires at the earliest of them, or earlier: a time that is taken back or put off does not set it anew, which
 * would be a system call for each.
 */
#include "client.h"
#include "clock.h"
#include "sys.h"

/* Sets the descriptor to the earliest time, unless it fires before that anyway. The client lock is held. */
static void arm_timer(struct ctxd_client *client)
{
	uint64_t first_ns = 0;

	for (int i = 0; i < TIMER_USES; i++)
		if (client->due_ns[i] && (!first_ns || client->due_ns[i] < first_ns))
			first_ns = client->due_ns[i];
	if (!first_ns || (client->armed_ns && client->armed_ns <= first_ns))
		return;
	struct itimerspec when = {.it_value = clock_timespec(first_ns)};
	client->armed_ns = first_ns;
	timerfd_settime(client->timer.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void client_timer_set(struct ctxd_client *client, enum timer_use use, uint64_t due_ns)
{
	if (client->due_ns[use] == due_ns)
		return;
	client->due_ns[use] = due_ns;
	arm_timer(client);
}

void client_timer_after(struct ctxd_client *client, enum timer_use use, uint64_t delay_ns)
{
	lock_acquire(&client->lock);
	client_timer_set(client, use, clock_after_ns(clock_now_ns(), delay_ns));
	lock_release(&client->lock);
}

unsigned client_timer_take(struct ctxd_client *client)
{
	unsigned due = 0;

	sys_drain(client->timer.fd);
	lock_acquire(&client->lock);
	uint64_t now_ns = clock_now_ns();
	client->armed_ns = 0;
	for (int i = 0; i < TIMER_USES; i++)
		if (client->due_ns[i] && client->due_ns[i] <= now_ns) {
			client->due_ns[i] = 0;
			due |= 1u << i;
		}
	arm_timer(client);
	lock_release(&client->lock);
	return due;
}
