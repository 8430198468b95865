/* SPDX-License-Identifier: MIT */
/*
 * The configuration: lines of "name = value", see ctxd.conf(5). The parser has no effects but its result. A
 * line that it does not understand is an error with the number of the line.
 */
#ifndef CTXD_CONFIG_H
#define CTXD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Who may cancel a context by its id in a context table: the same user and root, or root only. See rights.c.
 */
enum config_cancel {
	CONFIG_CANCEL_OWNER,
	CONFIG_CANCEL_ROOT,
};

/* What becomes of contexts of other hosts when their owner's host is gone. */
enum config_owner_gone {
	CONFIG_OWNER_GONE_END,
	CONFIG_OWNER_GONE_CONTINUE,
};

#define CONFIG_TEXT_MAX 256

/* The fleet: which hosts belong together, and by what engine they reach each other. See ctxd.conf(5). */
struct config_fleet {
	char engine[CONFIG_TEXT_MAX]; /* an address; "": there is no fleet */
	char name[64];		      /* of the fleet, as the name of a host */
	char host[64];		      /* the name of this host; "": that of the kernel */
	char user[64];		      /* of the engine; "": none */
	char password_file[CONFIG_TEXT_MAX], key_file[CONFIG_TEXT_MAX]; /* "": none */
	char bridge_user[64]; /* may be the bridge, beside root and the user of ctxd; "": nobody */
	uint32_t bridge_uid;  /* of bridge_user, see config_complete_fleet(); UINT32_MAX: nobody */
	uint64_t lease_ns;
	uint64_t grace_ns; /* 0: none; UINT64_MAX: for ever */
	enum config_owner_gone owner_gone;
	char cancel[CONFIG_TEXT_MAX]; /* names of users, separated by spaces, or "nobody" */
	bool list_all;		      /* Other hosts may list all that is here. */
	uint32_t remote_contexts_max; /* of each user: contexts that other hosts have joined */
	uint32_t remote_joins_max;    /* of each user: contexts of other hosts */
	uint64_t queued_bytes_max;    /* for each other host */
};

struct config {
	/* Quotas of each user. */
	uint32_t connections_max;
	uint32_t contexts_max; /* Shared contexts that have not ended. */
	uint32_t joins_max;
	uint32_t watches_max;
	/* Descriptors that are held for the user: sockets, pidfds, pipes, tables. */
	uint32_t fds_max;
	uint64_t queued_bytes_max; /* Messages that were not received yet, on all its connections. */
	uint32_t cancels_max;	   /* Requests to cancel that are not over. */
	uint32_t depth_max;	   /* The number of joins above a shared context. */

	enum config_cancel cancel;
	/* A connection with a queue of which nothing was received for so long is closed. */
	uint64_t slow_ns;
	/*
	 * A process that was ordered to end a context and has not answered after this time counts as silent.
	 */
	uint64_t reply_ns;
	uint64_t drain_ns;	/* How long a service that is told to end waits for cancels under way. */
	uint64_t retain_ns;	/* How long the table of a dead process is kept. */
	uint32_t retain_tables; /* How many such tables are kept of each user. */
	uint64_t retain_bytes;	/* How much memory these tables may have, of each user. */
	uint32_t log_level;	/* A value of enum log_level. */
	struct config_fleet fleet;
};

extern const struct config config_default;

/*
 * Reads size bytes of text, which need not end with a NUL. Settings that are not there have their defaults.
 * 0; or -EINVAL with the line and the reason in words, and *ret_config is unchanged.
 */
int config_parse(const char *text, size_t size, struct config *ret_config, char *reason, size_t reason_size);

/*
 * Does the same with a file. Its errors are also those of reading. -EINVAL: it is not a regular file; -EFBIG:
 * it is larger than 64 KiB.
 */
int config_load(const char *path, struct config *ret_config, char *reason, size_t reason_size);

/*
 * The path of the configuration if no option gives one: buffer, or NULL: there is none. A program with
 * privileges that its caller lacks does not use the caller's environment.
 */
const char *config_default_path(char *buffer, size_t size);

/*
 * Fills in what the file leaves to this host: its name, and the number of bridge_user. Does nothing if there
 * is no fleet. 0; or -EINVAL with the reason in words. If the name cannot be had, there is no fleet; if the
 * user is not known, nobody is that user.
 */
int config_complete_fleet(struct config_fleet *fleet, char *reason, size_t reason_size);

#endif
