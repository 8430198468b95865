/* SPDX-License-Identifier: MIT */
/* ctxd.conf(5): lines of "name = value". The parser is pure; what it does not know is an error, with its
 * line. */
#ifndef CTXD_CONFIG_H
#define CTXD_CONFIG_H

#include <stddef.h>
#include <stdint.h>

/* Who may end a context that is not shared: whoever has its uid (and root), or root alone. */
enum config_cancel {
	CONFIG_CANCEL_OWNER,
	CONFIG_CANCEL_ROOT,
};

struct config {
	/* for each uid */
	uint32_t connections_max;
	uint32_t contexts_max; /* shared */
	uint32_t joins_max;
	uint32_t watches_max;
	uint32_t fds_max;	   /* held for it: sockets, pidfds, pipes, tables */
	uint64_t queued_bytes_max; /* not read yet, of all its connections */
	uint32_t cancels_max;	   /* requests that are not over */
	uint32_t depth_max;	   /* joins above a shared context */

	enum config_cancel cancel;
	uint64_t slow_ns;  /* a connection that reads nothing for so long, with something queued, is closed */
	uint64_t reply_ns; /* a process that was told to end a context is counted as silent after it */
	uint64_t drain_ns; /* asked to end, it waits so long for cancels under way */
	uint64_t retain_ns;	/* how long the table of a dead process is kept */
	uint32_t retain_tables; /* for each uid */
	uint64_t retain_bytes;	/* for each uid, memory of the tables kept */
	uint32_t log_level;	/* enum log_level */
};

extern const struct config config_default;

/*
 * Reads text, of size bytes and not necessarily ended by a NUL, over the defaults. 0; or -EINVAL with the
 * reason, its line named, in reason; *ret_config is then untouched.
 */
int config_parse(const char *text, size_t size, struct config *ret_config, char *reason, size_t reason_size);

/* The same of a file; also the errors of reading it. What is no regular file is -EINVAL; one that is larger
 * than 64 KiB is -EFBIG. */
int config_load(const char *path, struct config *ret_config, char *reason, size_t reason_size);

#endif
