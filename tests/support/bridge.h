/* SPDX-License-Identifier: MIT */
/* A bridge, and clients of a fleet, that speak the protocol of ctxd by hand. */
#ifndef TEST_BRIDGE_H
#define TEST_BRIDGE_H

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/raw.h"

#define FLEET_CONFIGURATION "fleet_engine = redis://nowhere\nfleet_host = here\nfleet_grace = 7s\n"

/* A greeted client, and the last message that it got, with its descriptors. */
struct raw_client {
	int fd;
	uint64_t serial;
	struct wire_message got;
	int fds[WIRE_FDS_MAX];
};

static inline struct raw_client fleet_client(const struct service *service)
{
	return (struct raw_client){.fd = raw_greeted(service), .serial = 100};
}

/* The same as another user. What it gives must be made as that user, too. */
static inline struct raw_client fleet_client_of(const struct service *service, uid_t uid)
{
	if (getuid() != 0)
		test_skip("needs root, to be several users");
	ck_assert_ok(seteuid(uid));
	struct raw_client client = fleet_client(service);
	ck_assert_ok(seteuid(0));
	return client;
}

static inline void fleet_say_with(struct raw_client *client, struct wire_message message, int fd)
{
	if (message.type != WIRE_OBEYED && message.type != WIRE_TELL && message.type != WIRE_WITHDRAW)
		message.serial = ++client->serial;
	raw_send_message(client->fd, &message, &fd, fd >= 0);
}

static inline void fleet_say(struct raw_client *client, struct wire_message message)
{
	fleet_say_with(client, message, -1);
}

/* Fails unless that is what comes next. */
static inline const struct wire_message *fleet_expect(struct raw_client *client, enum wire_type type)
{
	ck_assert(raw_receive_fds(client->fd, &client->got, client->fds));
	ck_assert_int_eq(client->got.type, type);
	return &client->got;
}

static inline void fleet_expect_error(struct raw_client *client, int error)
{
	fleet_expect(client, WIRE_RESULT);
	ck_assert_int_eq(client->got.result.error, error);
	ck_assert_uint_eq(client->got.serial, client->serial);
}

static inline void fleet_close_fds(struct raw_client *client)
{
	for (unsigned i = 0; i < wire_fd_count(&client->got); i++)
		close(client->fds[i]);
}

/* All that was said before has been heard, and nothing was answered. */
static inline void fleet_expect_nothing(struct raw_client *client)
{
	fleet_say(client, (struct wire_message){.type = WIRE_LIST, .list = {.kinds = CTXD_DEAD}});
	fleet_expect(client, WIRE_ENTRIES);
}

/* Says so until the service has seen that the last one is gone. */
static inline void fleet_be_bridge(struct raw_client *client)
{
	do {
		fleet_say(client, (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}});
		fleet_expect(client, WIRE_RESULT);
	} while (client->got.result.error == -EBUSY);
	ck_assert_int_eq(client->got.result.error, 0);
}

static inline struct raw_client fleet_bridge(const struct service *service)
{
	struct raw_client bridge = fleet_client(service);

	fleet_be_bridge(&bridge);
	return bridge;
}

static inline struct wire_message fleet_share_message(uint32_t mode)
{
	return (struct wire_message){.type = WIRE_SHARE,
				     .share = {.ctx_id = 5,
					       .deadline_ns = CTX_FOREVER,
					       .mode = mode,
					       .flags = WIRE_FLEET | WIRE_MOVABLE,
					       .label = "shared"}};
}

/* Shares a context for the fleet, and returns its write end. */
static inline int fleet_share(struct raw_client *client, uint32_t mode, struct wire_global *ret_global)
{
	int ends[2];

	ck_assert_ok(pipe2(ends, O_CLOEXEC));
	fleet_say_with(client, fleet_share_message(mode), ends[0]);
	close(ends[0]);
	fleet_expect(client, WIRE_SHARED);
	*ret_global = (struct wire_global){
		.id = client->got.shared.id, .secret = client->got.shared.secret, .host = "here"};
	return ends[1];
}

static inline struct wire_global fleet_far(uint64_t number)
{
	return (struct wire_global){.id = {77, number}, .secret = number + 1000, .host = "far"};
}

static inline void fleet_join(struct raw_client *client, struct wire_global global, uint32_t flags)
{
	fleet_say(client, (struct wire_message){.type = WIRE_JOIN_GLOBAL,
						.join_global = {.global = global, .flags = flags}});
}

/* What answers the FETCH that bridge has got. */
static inline struct wire_message fleet_mirror_of(const struct wire_message *fetch)
{
	return (struct wire_message){.type = WIRE_MIRROR,
				     .mirror = {.fetch = fetch->serial,
						.global = fetch->fetch.global,
						.flags = fetch->fetch.flags | WIRE_MOVABLE,
						.uid = fetch->fetch.uid,
						.deadline_ns = CTX_FOREVER,
						.label = "mirror"}};
}

/* Says that it is live, and returns the write end. *ret_id is the id of the mirror. */
static inline int fleet_answer_live(struct raw_client *bridge, const struct wire_message *fetch,
				    struct ctxd_id *ret_id)
{
	struct wire_message mirror = fleet_mirror_of(fetch);
	int ends[2];

	ck_assert_ok(pipe2(ends, O_CLOEXEC));
	fleet_say_with(bridge, mirror, ends[0]);
	close(ends[0]);
	fleet_expect(bridge, WIRE_RESULT);
	ck_assert_int_eq(bridge->got.result.error, 0);
	*ret_id = bridge->got.result.id;
	return ends[1];
}

static inline const struct wire_joined *fleet_expect_joined(struct raw_client *client)
{
	fleet_expect(client, WIRE_JOINED);
	ck_assert_uint_eq(client->got.serial, client->serial);
	return &client->got.joined;
}

#endif
