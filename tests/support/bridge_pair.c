/* SPDX-License-Identifier: MIT */
#include "support/bridge_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "passed.h"

#define PATIENCE_NS (30 * NS_PER_SECOND)

static uint64_t last_epoch = 100;

/* ---- the bridges */

static int open_fake(void *data, const char *host, const struct engine_events *events,
		     struct engine **ret_engine, char *reason, size_t reason_size)
{
	struct pair_host *self = data;

	(void)reason;
	(void)reason_size;
	*ret_engine = engine_fake_open(self->pair->fake, host, events);
	return 0;
}

void pair_bridge_start(struct pair_host *host)
{
	char reason[200];
	struct bridge_options options = {
		.socket = host->socket,
		.config = &host->config,
		.state_directory = host->state,
		.engine_open = open_fake,
		.data = host,
		.signal_fd = -1,
	};

	ck_assert_int_eq(bridge_open(&options, &host->bridge, reason, sizeof(reason)), BRIDGE_GO_ON);
	host->exit = BRIDGE_GO_ON;
}

void pair_bridge_stop(struct pair_host *host)
{
	bridge_close(host->bridge);
	host->bridge = NULL;
	if (host->ctxd >= 0)
		close(host->ctxd);
	host->ctxd = -1;
}

void pair_turn(struct pair *pair)
{
	struct pair_host *hosts[] = {&pair->a, &pair->b};

	for (unsigned i = 0; i < 2; i++)
		if (hosts[i]->bridge && hosts[i]->exit == BRIDGE_GO_ON)
			hosts[i]->exit = bridge_turn(hosts[i]->bridge, PAIR_MS / 2);
}

void pair_run(struct pair *pair, uint64_t duration_ns)
{
	for (uint64_t end_ns = clock_now_ns() + duration_ns; clock_now_ns() < end_ns;)
		pair_turn(pair);
}

void pair_await(struct pair *pair, bool (*condition)(void *data), void *data)
{
	for (uint64_t end_ns = clock_now_ns() + PATIENCE_NS; !condition(data); pair_turn(pair))
		ck_assert_uint_lt(clock_now_ns(), end_ns);
}

/* ---- ctxd */

void pair_ctxd_start(struct pair_host *host)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, host->socket);
	unlink(host->socket);
	host->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_ok(bind(host->listener, (struct sockaddr *)&address, sizeof(address)));
	ck_assert_ok(listen(host->listener, 5));
	host->epoch = ++last_epoch;
}

void pair_ctxd_stop(struct pair_host *host)
{
	close(host->listener);
	if (host->ctxd >= 0)
		close(host->ctxd);
	host->listener = host->ctxd = -1;
}

static bool has_connection(void *data)
{
	struct pair_host *host = data;

	host->ctxd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return host->ctxd >= 0;
}

void pair_ctxd_greet(struct pair_host *host, int error)
{
	struct wire_message terms = {.type = WIRE_TERMS, .terms = {.grace_ns = PAIR_GRACE_NS}};
	struct wire_message welcome = {.type = WIRE_WELCOME,
				       .welcome = {.version = WIRE_VERSION, .epoch = host->epoch}};

	pair_await(host->pair, has_connection, host);
	welcome.serial = pair_hear(host, WIRE_HELLO, NULL).serial;
	pair_say(host, &welcome, NULL, 0);
	strcpy(terms.terms.host, host->name);
	pair_say(host, &terms, NULL, 0);
	struct wire_message bridge = pair_hear(host, WIRE_BRIDGE, NULL);
	ck_assert_str_eq(bridge.bridge.host, host->name);
	pair_result(host, bridge.serial, error, 0);
}

void pair_say(struct pair_host *host, const struct wire_message *message, const int *fds, unsigned count)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	struct iovec part = {.iov_base = bytes, .iov_len = wire_pack(message, bytes)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	union passed_room room;

	if (count)
		passed_attach(&header, &room, fds, count);
	ck_assert_int_gt((int)sendmsg(host->ctxd, &header, MSG_NOSIGNAL), 0);
}

void pair_result(struct pair_host *host, uint64_t serial, int error, uint64_t number)
{
	struct wire_message message = {.type = WIRE_RESULT, .serial = serial, .result = {.error = error}};

	if (number)
		message.result.id = (struct ctxd_id){host->epoch, number};
	pair_say(host, &message, NULL, 0);
}

struct heard {
	struct pair_host *host;
	struct wire_message message;
	int fd;
};

static bool has_message(void *data)
{
	struct heard *heard = data;
	uint8_t bytes[WIRE_SIZE_MAX];
	union passed_room control;
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = control.bytes,
				.msg_controllen = sizeof(control.bytes)};
	int fds[PASSED_MAX];
	ssize_t size = recvmsg(heard->host->ctxd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (size < 0 && errno == EAGAIN)
		return false;
	ck_assert_int_gt((int)size, 0);
	unsigned count = passed_take(&header, fds);
	ck_assert_uint_le(count, 1);
	heard->fd = count ? fds[0] : -1;
	ck_assert_ok(wire_unpack(bytes, (size_t)size, count, false, &heard->message));
	return true;
}

struct wire_message pair_hear(struct pair_host *host, enum wire_type type, int *ret_fd)
{
	struct heard heard = {.host = host};

	do {
		pair_await(host->pair, has_message, &heard);
		/* On a busy machine an answer takes longer than a beat. The question that follows then brings
		 * a deadline that is more exact, and the mirror moves. */
	} while (heard.message.type == WIRE_MOVE && type == WIRE_MIRROR);
	ck_assert_int_eq(heard.message.type, type);
	if (ret_fd)
		*ret_fd = heard.fd;
	else if (heard.fd >= 0)
		close(heard.fd);
	return heard.message;
}

bool pair_is_quiet(struct pair_host *host)
{
	struct pollfd socket = {.fd = host->ctxd, .events = POLLIN};

	return poll(&socket, 1, 0) == 0;
}

/* ---- the pair */

static void host_init(struct pair *pair, struct pair_host *host, const char *name)
{
	host->pair = pair;
	host->name = name;
	host->listener = host->ctxd = -1;
	host->config = config_default;
	strcpy(host->config.fleet.engine, "redis://nowhere");
	strcpy(host->config.fleet.host, name);
	host->config.fleet.lease_ns = PAIR_LEASE_NS;
	host->config.fleet.grace_ns = PAIR_GRACE_NS;
	snprintf(host->socket, sizeof(host->socket), "%s/%s.sock", pair->directory, name);
	pair_ctxd_start(host);
	pair_bridge_start(host);
}

static bool have_leases(void *data)
{
	struct pair *pair = data;

	return engine_fake_has_lease(pair->fake, "a") && engine_fake_has_lease(pair->fake, "b");
}

struct pair *pair_new(void)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	log_set_level(LOG_LEVEL_ERROR);
	pair->fake = engine_fake_new(1, PAIR_LEASE_NS);
	strcpy(pair->directory, "/tmp/ctxring-bridge-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(pair->directory));
	host_init(pair, &pair->a, "a");
	host_init(pair, &pair->b, "b");
	pair_ctxd_greet(&pair->a, 0);
	pair_ctxd_greet(&pair->b, 0);
	pair_await(pair, have_leases, pair);
	return pair;
}

void pair_free(struct pair *pair)
{
	struct pair_host *hosts[] = {&pair->a, &pair->b};
	char path[200];

	for (unsigned i = 0; i < 2; i++) {
		pair_bridge_stop(hosts[i]);
		pair_ctxd_stop(hosts[i]);
		unlink(hosts[i]->socket);
	}
	engine_fake_free(pair->fake);
	snprintf(path, sizeof(path), "%s/incarnation", pair->directory);
	unlink(path);
	ck_assert_ok(rmdir(pair->directory));
	free(pair);
}

/* ---- contexts */

void pair_fetch(struct pair *pair, struct pair_context *context, uint64_t number, uint32_t flags)
{
	struct wire_message message = {.type = WIRE_FETCH, .serial = 1000 + number};

	*context = (struct pair_context){.pipe = -1, .mirror = -1, .fetch = message.serial};
	context->global = (struct wire_global){
		.id = {77, number}, .secret = 0xabcdef0123456789ull + number, .host = "a"};
	message.fetch = (struct wire_fetch){.global = context->global, .flags = flags, .uid = 1234};
	pair_say(&pair->b, &message, NULL, 0);
}

static struct wire_message hear_join(struct pair *pair, struct pair_context *context)
{
	struct wire_message join = pair_hear(&pair->a, WIRE_JOIN_GLOBAL, NULL);
	const struct wire_global *global = &join.join_global.global;

	ck_assert_str_eq(global->host, "a");
	ck_assert(wire_id_equal(global->id, context->global.id));
	ck_assert_uint_eq(global->secret, context->global.secret);
	ck_assert_uint_eq(join.join_global.flags, 0);
	return join;
}

void pair_answer_live(struct pair *pair, struct pair_context *context, uint64_t deadline_ns, int owner_pid,
		      int pidfd)
{
	struct wire_message join = hear_join(pair, context);
	struct wire_message joined = {.type = WIRE_JOINED, .serial = join.serial};
	int ends[2];

	ck_assert_ok(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
	context->pipe = ends[1];
	context->local = context->global.id.number + 5000;
	joined.joined = (struct wire_joined){.id = {pair->a.epoch, context->local},
					     .deadline_ns = deadline_ns,
					     .ctx_id = 3,
					     .owner_pid = owner_pid ? owner_pid : getpid(),
					     .owner_uid = getuid(),
					     .flags = WIRE_MOVABLE};
	strcpy(joined.joined.label, "a label");
	int fds[2] = {ends[0], owner_pid ? pidfd : (int)syscall(SYS_pidfd_open, getpid(), 0)};
	pair_say(&pair->a, &joined, fds, 2);
	close(fds[0]);
	close(fds[1]);
}

void pair_take_mirror(struct pair *pair, struct pair_context *context)
{
	context->mirrored = pair_hear(&pair->b, WIRE_MIRROR, &context->mirror);
	const struct wire_mirror *mirror = &context->mirrored.mirror;

	ck_assert_uint_eq(mirror->fetch, context->fetch);
	ck_assert_int_eq(mirror->error, 0);
	ck_assert_str_eq(mirror->global.host, "a");
	ck_assert(wire_id_equal(mirror->global.id, context->global.id));
	ck_assert_uint_eq(mirror->global.secret, context->global.secret);
	ck_assert_uint_eq(mirror->uid, 1234);
	ck_assert_str_eq(mirror->label, "a label");
	ck_assert_uint_ne(mirror->flags & WIRE_MOVABLE, 0);
	context->number = context->global.id.number + 9000;
	pair_result(&pair->b, context->mirrored.serial, 0, context->number);
}

void pair_join(struct pair *pair, struct pair_context *context, uint64_t number, uint64_t deadline_ns,
	       uint32_t flags)
{
	pair_fetch(pair, context, number, flags);
	pair_answer_live(pair, context, deadline_ns, 0, -1);
	pair_take_mirror(pair, context);
}

void pair_end(struct pair_context *context, const char *text)
{
	struct wire_cause cause = {
		.error = -ECANCELED, .kind = CTX_CAUSE_CALL, .pid = 42, .time_ns = clock_now_ns()};
	uint8_t bytes[WIRE_LAST_WORDS_MAX];

	strcpy(cause.text, text);
	size_t size = wire_pack_last_words(&cause, bytes);
	ck_assert_int_eq((int)write(context->pipe, bytes, size), (int)size);
	close(context->pipe);
	context->pipe = -1;
}

static bool has_input(void *data)
{
	struct pollfd pipe = {.fd = *(int *)data, .events = POLLIN};

	return poll(&pipe, 1, 0) == 1;
}

struct wire_cause pair_words(struct pair *pair, struct pair_context *context)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	struct wire_cause cause;

	pair_await(pair, has_input, &context->mirror);
	ssize_t size = read(context->mirror, bytes, sizeof(bytes));
	ck_assert_int_gt((int)size, 0);
	ck_assert_ok(wire_unpack_last_words(bytes, (size_t)size, &cause));
	/* The bridge closes the pipe when it has told ctxd. */
	ssize_t rest = read(context->mirror, bytes, 1);
	ck_assert(rest == 0 || (rest < 0 && errno == EAGAIN));
	return cause;
}

void pair_wordless(struct pair *pair, struct pair_context *context)
{
	char byte;

	pair_await(pair, has_input, &context->mirror);
	ck_assert_int_eq((int)read(context->mirror, &byte, 1), 0);
}

void pair_close(struct pair_context *context)
{
	if (context->pipe >= 0)
		close(context->pipe);
	if (context->mirror >= 0)
		close(context->mirror);
	context->pipe = context->mirror = -1;
}
