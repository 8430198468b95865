/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "parts.h"

/* All that one epoll_wait gives is told to other hosts at once, in one batch for each. */
#define EVENTS_MAX 256

/* ---- making and closing */

int bridge_host_name(const struct config *config, char name[64])
{
	struct utsname kernel;

	if (config->fleet.host[0]) {
		strcpy(name, config->fleet.host);
		return 0;
	}
	if (uname(&kernel) || !wire_host_is_valid(kernel.nodename, strlen(kernel.nodename)))
		return -EINVAL;
	strcpy(name, kernel.nodename);
	return 0;
}

/* A number that no life of a bridge has had. Two with one name are told apart by it, so it must be random. */
static int draw_incarnation(uint64_t *ret_incarnation)
{
	*ret_incarnation = 0;
	while (!*ret_incarnation)
		if (getrandom(ret_incarnation, sizeof(*ret_incarnation), 0) < 0 && errno != EINTR)
			return -errno;
	return 0;
}

/* 0; or -EINVAL, -ENOTSUP with the reason in words, which never has any of the key. */
static int read_key(const char *path, struct fleet_config *config, char *reason, size_t reason_size)
{
	char bytes[FLEET_KEY_MAX + 2];
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t size = fd < 0 || fstat(fd, &status) ? -1 : read(fd, bytes, sizeof(bytes));

	if (size < 0)
		snprintf(reason, reason_size, "fleet_key_file %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (size < 0)
		return -EINVAL;
	if (size > 0 && bytes[size - 1] == '\n')
		size--;
	if (!fleet_key_is_supported()) {
		snprintf(reason, reason_size,
			 "fleet_key_file is set, but this ctxd-fleet was built without libcrypto");
		return -ENOTSUP;
	}
	if (size < FLEET_KEY_MIN || size > FLEET_KEY_MAX) {
		snprintf(reason, reason_size, "fleet_key_file %s: expected %d to %d bytes in one line", path,
			 FLEET_KEY_MIN, FLEET_KEY_MAX);
		return -EINVAL;
	}
	if (status.st_mode & (S_IRWXG | S_IRWXO))
		log_event(LOG_LEVEL_WARNING, "key", "file=%s reason=\"other users may read or write it\"",
			  path);
	memcpy(config->key, bytes, (size_t)size);
	config->key_size = (uint32_t)size;
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}

/* 0 or a negative errno, for which there may be a reason in words. */
static int make_fleet(struct bridge *bridge, char *reason, size_t reason_size)
{
	const struct config_fleet *from = &bridge->config.fleet;
	struct fleet_output output = engine_output;
	struct fleet_config config;

	fleet_config_init(&config);
	int error = from->key_file[0] ? read_key(from->key_file, &config, reason, reason_size) : 0;
	if (error)
		return error;
	strcpy(config.fleet, from->name);
	strcpy(config.host, bridge->host);
	config.incarnation = bridge->incarnation;
	config.past_incarnation = bridge->past_incarnation;
	config.lease_ns = from->lease_ns;
	config.grace_ns = from->grace_ns;
	config.outlive_owner_host = from->owner_gone == CONFIG_OWNER_GONE_CONTINUE;
	if (from->queued_bytes_max > config.queue_bytes)
		config.queue_bytes = from->queued_bytes_max;
	output.link = bridge;
	bridge->fleet = fleet_new(&config, &output, bridge->now_ns);
	explicit_bzero(config.key, sizeof(config.key));
	return bridge->fleet ? 0 : -ENOMEM;
}

static enum bridge_exit fail(struct bridge *bridge, int error, char *reason, size_t reason_size)
{
	if (!reason[0])
		snprintf(reason, reason_size, "%s", strerror(-error));
	bridge_close(bridge);
	return error == -EINVAL || error == -ENOTSUP ? BRIDGE_CONFIGURATION : BRIDGE_TROUBLE;
}

static int open_all(struct bridge *bridge, const struct bridge_options *options, char *reason,
		    size_t reason_size)
{
	struct engine_events events = engine_events;
	int error = draw_incarnation(&bridge->incarnation);

	if (error)
		return error;
	if (bridge->state_directory[0])
		bridge->past_incarnation =
			state_load(bridge->state_directory, bridge->config.fleet.name, bridge->host);
	bridge->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (bridge->epoll_fd < 0 || pipe2(bridge->scratch, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	if (options->signal_fd >= 0)
		error = watch_add(bridge, WATCHED_SIGNALS, 0, options->signal_fd, EPOLLIN);
	if (error)
		return error;
	error = make_fleet(bridge, reason, reason_size);
	if (error)
		return error;
	events.link = bridge;
	return options->engine_open(options->data, bridge->host, &events, &bridge->engine, reason,
				    reason_size);
}

enum bridge_exit bridge_open(const struct bridge_options *options, struct bridge **ret_bridge, char *reason,
			     size_t reason_size)
{
	struct bridge *bridge = calloc(1, sizeof(*bridge));

	reason[0] = '\0';
	if (!bridge) {
		snprintf(reason, reason_size, "%s", strerror(ENOMEM));
		return BRIDGE_TROUBLE;
	}
	bridge->config = *options->config;
	bridge->exit = BRIDGE_GO_ON;
	bridge->epoll_fd = bridge->engine_fd = bridge->scratch[0] = bridge->scratch[1] = -1;
	bridge->now_ns = bridge->started_ns = clock_now_ns();
	bridge->signals_ready = options->signals_ready;
	bridge->data = options->data;
	service_init(bridge, options->socket);
	bridge_owned_init(bridge);
	bridge_mirrors_init(bridge);
	serve_init(bridge);
	asks_init(bridge);
	if (options->state_directory)
		snprintf(bridge->state_directory, sizeof(bridge->state_directory), "%s",
			 options->state_directory);
	if (bridge_host_name(&bridge->config, bridge->host)) {
		snprintf(reason, reason_size,
			 "the kernel's host name is no name of a host of a fleet: set fleet_host");
		return fail(bridge, -EINVAL, reason, reason_size);
	}
	int error = open_all(bridge, options, reason, reason_size);
	if (error)
		return fail(bridge, error, reason, reason_size);
	*ret_bridge = bridge;
	return BRIDGE_GO_ON;
}

void bridge_close(struct bridge *bridge)
{
	if (!bridge)
		return;
	service_close(bridge);
	serve_finish(bridge);
	asks_finish(bridge);
	bridge_owned_finish(bridge);
	bridge_mirrors_finish(bridge);
	fleet_free(bridge->fleet);
	if (bridge->engine)
		bridge->engine->calls->close(bridge->engine);
	for (unsigned i = 0; i < 2; i++)
		if (bridge->scratch[i] >= 0)
			close(bridge->scratch[i]);
	if (bridge->epoll_fd >= 0)
		close(bridge->epoll_fd);
	free(bridge);
}

/* Which settings differ that are read at the start only, separated by spaces. */
static void list_fixed(const struct config_fleet *now, const struct config_fleet *next, char *text,
		       size_t size)
{
	const struct {
		const char *name;
		bool differs;
	} fixed[] = {
		{"fleet_engine", strcmp(now->engine, next->engine) != 0},
		{"fleet_name", strcmp(now->name, next->name) != 0},
		{"fleet_host", strcmp(now->host, next->host) != 0},
		{"fleet_user", strcmp(now->user, next->user) != 0},
		{"fleet_password_file", strcmp(now->password_file, next->password_file) != 0},
		{"fleet_key_file", strcmp(now->key_file, next->key_file) != 0},
		{"fleet_lease", now->lease_ns != next->lease_ns},
		{"fleet_queued_bytes", now->queued_bytes_max != next->queued_bytes_max},
	};
	size_t length = 0;

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (fixed[i].differs && length < size)
			length += (size_t)snprintf(text + length, size - length, "%s%s", length ? " " : "",
						   fixed[i].name);
}

void bridge_configure(struct bridge *bridge, const struct config *config)
{
	struct config_fleet *now = &bridge->config.fleet;
	char fixed[300];

	list_fixed(now, &config->fleet, fixed, sizeof(fixed));
	if (fixed[0])
		log_event(LOG_LEVEL_WARNING, "reload", "settings=\"%s\" remedy=\"restart ctxd-fleet\"",
			  fixed);
	memcpy(now->cancel, config->fleet.cancel, sizeof(now->cancel));
	now->grace_ns = config->fleet.grace_ns;
	now->owner_gone = config->fleet.owner_gone;
	fleet_set_grace(bridge->fleet, now->grace_ns, now->owner_gone == CONFIG_OWNER_GONE_CONTINUE);
}

/* ---- turns */

int bridge_fd(const struct bridge *bridge)
{
	return bridge->epoll_fd;
}

uint64_t bridge_next_ns(const struct bridge *bridge)
{
	uint64_t times[] = {
		fleet_next_ns(bridge->fleet),
		bridge->engine->calls->next_ns(bridge->engine),
		service_wake_ns(bridge),
		asks_next_ns(bridge),
		bridge->owned.retry_ns,
		bridge->mirrors.timers.root ? bridge->mirrors.timers.root->key_ns : UINT64_MAX,
	};
	uint64_t next_ns = bridge->has_more ? 0 : UINT64_MAX;

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		if (times[i] < next_ns)
			next_ns = times[i];
	return next_ns;
}

/* Says to ctxd all that its socket takes. */
static void tell_service(struct bridge *bridge)
{
	int of_owned = 1, of_mirrors = 1;

	if (bridge->service.state != SERVICE_READY || !service_flush(bridge))
		return;
	while (of_owned == 1 || of_mirrors == 1) {
		of_owned = bridge_owned_send(bridge);
		of_mirrors = of_owned < 0 ? of_owned : bridge_mirrors_send(bridge);
		if (of_mirrors < 0)
			break;
	}
}

static void handle_event(struct bridge *bridge, const struct epoll_event *event)
{
	uint32_t slot = (uint32_t)event->data.u64;

	switch ((enum watched)(event->data.u64 >> 32)) {
	case WATCHED_SIGNALS:
		bridge->signals_ready(bridge->data);
		break;
	case WATCHED_ENGINE:
		break; /* It is dispatched in each turn. */
	case WATCHED_SERVICE:
		if (event->events & EPOLLOUT)
			service_writable(bridge);
		if (event->events & ~(uint32_t)EPOLLOUT)
			receive_ready(bridge);
		break;
	case WATCHED_OWNED:
		break; /* See handle_events(). */
	case WATCHED_PROCESS:
		bridge_owned_process_ready(bridge, slot);
		break;
	case WATCHED_READERS:
		bridge_mirrors_readers_ready(bridge, slot);
		break;
	}
}

/* The pipes of contexts of this host are read some at a time, as that takes fewer system calls. */
static void handle_events(struct bridge *bridge, const struct epoll_event *events, int count)
{
	uint32_t slots[WORDS_MANY_MAX];
	unsigned pipes = 0;

	for (int i = 0; i < count; i++) {
		if (events[i].data.u64 >> 32 != WATCHED_OWNED) {
			handle_event(bridge, &events[i]);
			continue;
		}
		slots[pipes++] = (uint32_t)events[i].data.u64;
		if (pipes == WORDS_MANY_MAX) {
			bridge_owned_pipes_ready(bridge, slots, pipes);
			pipes = 0;
		}
	}
	bridge_owned_pipes_ready(bridge, slots, pipes);
}

static int wait_for_events(struct bridge *bridge, uint64_t wait_ns, struct epoll_event *events)
{
	uint64_t next_ns = bridge_next_ns(bridge), now_ns = clock_now_ns();
	uint64_t until_ns = next_ns > now_ns ? next_ns - now_ns : 0;

	if (wait_ns < until_ns)
		until_ns = wait_ns;
	struct timespec timeout = clock_timespec(until_ns);
	return epoll_pwait2(bridge->epoll_fd, events, EVENTS_MAX, until_ns == CTX_FOREVER ? NULL : &timeout,
			    NULL);
}

enum bridge_exit bridge_turn(struct bridge *bridge, uint64_t wait_ns)
{
	struct epoll_event events[EVENTS_MAX];
	int count = wait_for_events(bridge, wait_ns, events);
	bool has_news;

	bridge->now_ns = clock_now_ns();
	handle_events(bridge, events, count);
	bridge->engine->calls->dispatch(bridge->engine, bridge->now_ns);
	if (bridge->service.is_broken)
		receive_lost(bridge);
	service_tick(bridge);
	bridge_owned_tick(bridge);
	do {
		fleet_tick(bridge->fleet, bridge->now_ns);
		has_news = bridge_mirrors_tick(bridge);
		has_news |= serve_tick(bridge);
		has_news |= asks_tick(bridge);
	} while (has_news);
	/* While there may be more ends to tell, they come before what ctxd is told. */
	bridge->has_more = count == EVENTS_MAX;
	if (!bridge->has_more)
		tell_service(bridge);
	engine_watch(bridge);
	engine_report(bridge);
	return bridge->exit;
}

struct bridge_counts bridge_counts(const struct bridge *bridge)
{
	return (struct bridge_counts){.is_served = bridge->service.state == SERVICE_READY,
				      .owned = bridge->owned.store.count,
				      .mirrors = bridge->mirrors.store.count};
}
