/* SPDX-License-Identifier: MIT */
/* Connecting and closing a client, and the dispatcher's turn. */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "find.h"
#include "memory.h"
#include "sys.h"
#include "table.h"

#define EVENTS_MAX 256
#define TURNS_MAX 64
/* After so many turns that had more events than one takes, the service is told what is pending. */
#define CROWDED_MAX 64
#define LATER_NS 50000
#define TIMEOUT_DEFAULT_NS (5 * NS_PER_SECOND)
/* Of the fleet, until the service tells it. */
#define GRACE_DEFAULT_NS (30 * NS_PER_SECOND)
#define FLAGS (CTXD_OWN_DISPATCH | CTXD_PUBLISH | CTXD_PATIENT | CLIENT_LATER)

/* Guards the list of clients, which fork needs. */
static struct lock clients_lock;
static struct list clients = {&clients, &clients};

/* ---- making and freeing */

/*
 * Closes the descriptors that are no poll_entry, in the process that made them or in a child with copies of
 * them.
 */
static void close_own_fds(struct ctxd_client *client)
{
	if (file_id_matches(client->epoll_file, client->epoll_fd))
		sys_close(client->epoll_fd);
	for (int i = 0; i < 2; i++)
		if (file_id_matches(client->scratch_file, client->scratch[i]))
			sys_close(client->scratch[i]);
	client->epoll_fd = client->scratch[0] = client->scratch[1] = -1;
}

static void client_free(struct ctxd_client *client)
{
	lock_acquire(&clients_lock);
	list_remove(&client->clients);
	/* Under the lock, or a child that is forked in between would keep the connection open. */
	link_close(client);
	client_unpoll(client, &client->wake);
	client_unpoll(client, &client->timer);
	close_own_fds(client);
	lock_release(&clients_lock);
	bonds_await_sweeps(client);
	bond_index_free(client);
	memory_release(client);
}

static int open_descriptors(struct ctxd_client *client)
{
	int result = client->epoll_fd = sys_epoll_create1(EPOLL_CLOEXEC);

	if (result >= 0)
		client->epoll_file = file_id_of(client->epoll_fd);
	if (result >= 0)
		result = client->wake.fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (result >= 0)
		result = client_poll(client, &client->wake, EPOLLIN);
	if (result >= 0)
		result = client->timer.fd = sys_timerfd();
	if (result >= 0)
		result = client_poll(client, &client->timer, EPOLLIN);
	if (result >= 0)
		result = sys_pipe2(client->scratch, O_CLOEXEC | O_NONBLOCK);
	if (result >= 0)
		client->scratch_file = file_id_of(client->scratch[0]);
	return result < 0 ? result : 0;
}

static int client_new(const struct ctxd_options *options, struct ctxd_client **ret_client)
{
	struct ctxd_client *client = memory_allocate(sizeof(*client));

	if (!client)
		return -ENOMEM;
	memset(client, 0, sizeof(*client));
	client->fork_count = thread_fork_count;
	client->wake_later.run = bonds_wake_later;
	client->options = *options;
	if (!client->options.timeout_ns)
		client->options.timeout_ns = TIMEOUT_DEFAULT_NS;
	client->own_dispatch = options->flags & CTXD_OWN_DISPATCH;
	if (options->socket)
		strcpy(client->path, options->socket);
	client->options.socket = client->path;
	client->socket = (struct poll_entry){.kind = POLL_SOCKET, .fd = -1};
	client->wake = (struct poll_entry){.kind = POLL_WAKE, .fd = -1};
	client->timer = (struct poll_entry){.kind = POLL_TIMER, .fd = -1};
	client->epoll_fd = client->scratch[0] = client->scratch[1] = -1;
	client->grace_ns = GRACE_DEFAULT_NS;
	struct list *lists[] = {&client->calls,	  &client->shares, &client->joins,   &client->owners,
				&client->pending, &client->asked,  &client->restore, &client->orders};
	for (int i = 0; i < REMOTE_LISTS; i++)
		list_init(&client->remotes[i]);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	lock_acquire(&clients_lock);
	list_append(&clients, &client->clients);
	lock_release(&clients_lock);
	int result = open_descriptors(client);
	if (result) {
		client_free(client);
		return result;
	}
	*ret_client = client;
	return 0;
}

static void *run_dispatcher(void *data)
{
	struct ctxd_client *client = data;

	thread_begin("ctx-client");
	atomic_store(&client->dispatcher_tid, thread_self()->tid);
	while (!atomic_load(&client->closing) && client->fork_count == thread_fork_count) {
		int result = client_turn(client, -1, NULL);
		if (result >= 0 || result == -EINTR)
			continue;
		if (client->fork_count != thread_fork_count)
			break;
		/* The program has closed the client's descriptors. */
		link_break(client);
		break;
	}
	atomic_store(&client->stopped, 1);
	sys_futex_wake(&client->stopped, 1);
	return NULL;
}

/* Makes the first connection and waits for the service's welcome. */
static int connect_first(struct ctxd_client *client)
{
	uint64_t end_ns = clock_after_ns(clock_now_ns(), client->options.timeout_ns);
	int result;

	while ((result = link_open(client)) == -EAGAIN && clock_now_ns() < end_ns) {
		/* The service's queue is full just now. */
		struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
		sys_poll(NULL, 0, &pause);
	}
	while (!result && client->state != CLIENT_READY) {
		uint64_t now_ns = clock_now_ns();
		if (client->state == CLIENT_AWAY)
			result = client->refused ? client->refused : -ECONNREFUSED;
		else if (now_ns >= end_ns)
			result = -ETIMEDOUT;
		else
			client_turn(client, (int)((end_ns - now_ns) / 1000000 + 1), NULL);
	}
	if (result && client->state != CLIENT_AWAY)
		link_break(client);
	/* The service is ending; or it has ended, and the kernel keeps its socket a little longer. */
	return result == -ESHUTDOWN || result == -ENOTCONN ? -ECONNREFUSED : result;
}

/* Lets nobody take the client any more, and waits until those who did have given it back. */
static void await_users(struct ctxd_client *client)
{
	for (;;) {
		lock_acquire(&clients_lock);
		atomic_store(&client->closing, true);
		uint32_t users = atomic_load(&client->users);
		lock_release(&clients_lock);
		if (!users)
			return;
		sys_futex_wait(&client->users, users, NULL);
	}
}

int ctxd_connect(const struct ctxd_options *options, struct ctxd_client **ret_client)
{
	static const struct ctxd_options defaults;
	struct ctxd_client *client = NULL;

	if (!options)
		options = &defaults;
	if (!ret_client || (options->flags & ~(unsigned)FLAGS) ||
	    (options->socket && (!options->socket[0] || strlen(options->socket) >= sizeof(client->path))))
		return debug_invalid("another argument is out of range", ret_client);
	dispose_resume();
	int result = client_new(options, &client);
	if (result)
		return client_result(result);
	find_enable(); /* on failure, orders by id in the table are answered with -ENOTSUP */
	if (options->flags & CLIENT_LATER)
		link_later(client);
	else
		result = connect_first(client);
	if (result && options->flags & CTXD_PATIENT) {
		link_later(client);
		result = 0;
	}
	if (!result && !client->own_dispatch)
		result = thread_start(run_dispatcher, client, 0);
	if (result) {
		/* Since the service has told its terms, other threads may have joined by it. */
		await_users(client);
		bonds_free(client);
		client_free(client);
		return client_result(result);
	}
	*ret_client = client;
	return 0;
}

struct ctxd_client *client_take_fleet(void)
{
	struct ctxd_client *found = NULL;

	lock_acquire(&clients_lock);
	for (struct list *link = clients.next; link != &clients && !found; link = link->next) {
		struct ctxd_client *client = container_of(link, struct ctxd_client, clients);
		/* The one of CTXRING_PUBLISH is none that the program has opened. */
		if (atomic_load(&client->closing) || client->options.flags & CLIENT_LATER)
			continue;
		lock_acquire(&client->lock);
		if (client->host[0])
			found = client;
		lock_release(&client->lock);
	}
	if (found)
		atomic_fetch_add(&found->users, 1);
	lock_release(&clients_lock);
	return found;
}

void client_give_back(struct ctxd_client *client)
{
	lock_acquire(&clients_lock);
	atomic_fetch_sub(&client->users, 1);
	sys_futex_wake(&client->users, 1);
	lock_release(&clients_lock);
}

void ctxd_close(struct ctxd_client *client)
{
	/* In a forked child any lock of the client may be held for ever: the copy stays as it is. */
	if (client_usable(client))
		return;
	await_users(client);
	if (!client->own_dispatch) {
		client_wake(client);
		while (!atomic_load(&client->stopped))
			sys_futex_wait(&client->stopped, 0, NULL);
	}
	bonds_free(client);
	orders_forget(client);
	client_free(client);
}

/* ---- dispatching */

static void timer_fired(struct ctxd_client *client)
{
	unsigned due = client_timer_take(client);

	if (due & 1u << TIMER_LINGER)
		bonds_look_again(client);
	if (due & 1u << TIMER_RETRY)
		remotes_ask(client, true);
	if (due & 1u << TIMER_CONNECT && client->state == CLIENT_AWAY && link_open(client))
		link_later(client);
}

static int handle_ready(struct ctxd_client *client, struct poll_entry *entry, uint32_t events)
{
	switch (entry->kind) {
	case POLL_SOCKET:
		if (events & EPOLLOUT)
			link_unblock(client);
		return link_receive(client);
	case POLL_WAKE:
		sys_drain(client->wake.fd);
		atomic_store(&client->woken, false);
		return 0;
	case POLL_TIMER:
		timer_fired(client);
		return 0;
	case POLL_JOIN:
		break; /* see handle_events() */
	case POLL_OWNER:
		owner_ready(client, container_of(entry, struct owner, entry));
		return 1;
	}
	return 0;
}

/* The done pipes of joins are handled some at a time, as that takes fewer system calls. */
static int handle_events(struct ctxd_client *client, const struct epoll_event *events, int count)
{
	struct bond *bonds[JOIN_PIPES_MAX];
	unsigned pipes = 0;
	int handled = 0;

	for (int i = 0; i < count; i++) {
		struct poll_entry *entry = events[i].data.ptr;
		if (entry->kind != POLL_JOIN) {
			handled += handle_ready(client, entry, events[i].events);
			continue;
		}
		bonds[pipes++] = container_of(entry, struct bond, entry);
		handled++;
		if (pipes == JOIN_PIPES_MAX) {
			join_pipes_ready(client, bonds, pipes);
			pipes = 0;
		}
	}
	if (pipes)
		join_pipes_ready(client, bonds, pipes);
	return handled;
}

int client_turn(struct ctxd_client *client, int timeout_ms, int *ret_events)
{
	struct epoll_event events[EVENTS_MAX];
	int count = sys_epoll_wait(client->epoll_fd, events, EVENTS_MAX, client->crowded ? 0 : timeout_ms);

	if (count < 0)
		return count;
	uint32_t before = atomic_exchange(&client->dispatcher_tid, thread_self()->tid);
	/* Entries are freed only after all events were handled, for an event may still point to one. */
	int handled = handle_events(client, events, count);
	remotes_review(client);
	/* While more contexts may have ended, to end them here comes before what the service is told. */
	client->crowded = count == EVENTS_MAX && client->crowded < CROWDED_MAX ? client->crowded + 1 : 0;
	if (client->crowded) {
		/* This may be the last turn of a call. Then nothing else may be ready for the program to see.
		 */
		if (client->own_dispatch)
			client_timer_after(client, TIMER_TURN, LATER_NS);
		atomic_store(&client->dispatcher_tid, before);
		if (ret_events)
			*ret_events = count;
		return handled;
	}
	/*
	 * A context that ended here may have operations, which a ring of this thread cancels when its
	 * dispatch ends. What the service is to be told waits for that, but only one turn: every turn may end
	 * some.
	 */
	bool later = client->ended_some && client->own_dispatch && !client->put_off;
	client->ended_some = false;
	client->put_off = later;
	if (later) {
		client_timer_after(client, TIMER_TURN, LATER_NS);
	} else {
		orders_flush(client);
		if (client->state == CLIENT_RESTORING)
			bonds_restore_some(client);
		bonds_flush(client);
	}
	atomic_store(&client->dispatcher_tid, before);
	if (ret_events)
		*ret_events = later ? 0 : count;
	return handled;
}

#define OWN_THREAD "a thread of the library dispatches the client, which has no CTXD_OWN_DISPATCH"

int ctxd_fd(struct ctxd_client *client)
{
	if (!client || !client->own_dispatch)
		return debug_invalid(OWN_THREAD, client);
	return client_result(client->fork_count == thread_fork_count ? client->epoll_fd : -EPERM);
}

int ctxd_dispatch(struct ctxd_client *client, uint64_t timeout_ns)
{
	if (!client || !client->own_dispatch)
		return debug_invalid(OWN_THREAD, client);
	int result = client_check(client);
	if (result)
		return client_result(result);
	uint64_t timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
	int events, handled = client_turn(client, timeout_ms > INT32_MAX ? -1 : (int)timeout_ms, &events);
	/*
	 * All is handled before this returns: who polls the descriptor edge-triggered hears only of new
	 * events.
	 */
	for (int turns = 0; handled >= 0 && events; turns++) {
		if (turns == TURNS_MAX) {
			client_timer_after(client, TIMER_TURN, LATER_NS);
			break;
		}
		result = client_turn(client, 0, &events);
		if (result < 0)
			break;
		handled += result;
	}
	return client_result(handled);
}

/* ---- fork: the child's copies are closed */

static void fork_prepare(void)
{
	lock_acquire(&clients_lock);
	for (struct list *link = clients.next; link != &clients; link = link->next)
		lock_acquire(&container_of(link, struct ctxd_client, clients)->lock);
	dispose_fork_prepare();
}

static void fork_parent(void)
{
	dispose_fork_parent();
	for (struct list *link = clients.next; link != &clients; link = link->next)
		lock_release(&container_of(link, struct ctxd_client, clients)->lock);
	lock_release(&clients_lock);
}

static void close_copy(struct poll_entry *entry)
{
	if (entry->fd >= 0 && file_id_matches(entry->file, entry->fd))
		sys_close(entry->fd);
	entry->fd = -1;
}

static void close_copies(struct ctxd_client *client)
{
	close_copy(&client->socket);
	close_copy(&client->wake);
	close_copy(&client->timer);
	for (struct list *link = client->joins.next; link != &client->joins; link = link->next)
		close_copy(&container_of(link, struct bond, link)->entry);
	for (struct list *link = client->owners.next; link != &client->owners; link = link->next)
		close_copy(&container_of(link, struct owner, link)->entry);
	close_own_fds(client);
}

static void fork_child(void)
{
	clients_lock = (struct lock){0};
	dispose_fork_child();
	while (!list_empty(&clients)) {
		struct ctxd_client *client = container_of(clients.next, struct ctxd_client, clients);
		list_remove(&client->clients);
		client->lock = (struct lock){0};
		close_copies(client);
	}
}

/*
 * ---- CTXRING_PUBLISH=1: a program that does not know the service is published when it makes its first
 * context
 */

/* Also called in a forked child, which has a table of its own. The client lives as long as the process. */
static void publish_process(void)
{
	static const struct ctxd_options options = {.flags = CTXD_PUBLISH | CTXD_PATIENT | CLIENT_LATER};
	const char *wish = secure_getenv("CTXRING_PUBLISH");
	struct ctxd_client *client;

	dispose_resume();
	if (wish && strcmp(wish, "1") == 0)
		(void)ctxd_connect(&options, &client);
}

__attribute__((constructor)) static void prepare_client(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
	atomic_store(&table_made, publish_process);
}
