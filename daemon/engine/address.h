/* SPDX-License-Identifier: MIT */
/* The setting fleet_engine: where the engine is. engine_redis.h has its forms. Parsing has no effects. */
#ifndef CTXD_ENGINE_ADDRESS_H
#define CTXD_ENGINE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESSES_MAX 16
#define ADDRESS_HOST_MAX 255
/* Of a socket, as struct sockaddr_un has room for it. */
#define ADDRESS_PATH_MAX 107

struct address {
	char host[ADDRESS_HOST_MAX + 1]; /* A name or a numeric address, without brackets. */
	uint16_t port;
};

struct address_list {
	bool is_sentinel, is_tls;
	char master[64];		 /* What Sentinel calls the master. */
	char path[ADDRESS_PATH_MAX + 1]; /* Of a socket; then count is 0. */
	unsigned count;
	struct address addresses[ADDRESSES_MAX];
};

/* 0; or -EINVAL with the reason in words, and *ret_list has no meaning. */
int address_parse(const char *text, struct address_list *ret_list, char *reason, size_t reason_size);

/* Reads a port: decimal digits, 1 to 65535. False: it is none. */
bool address_parse_port(const char *text, size_t length, uint16_t *ret_port);

#endif
