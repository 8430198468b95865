/* SPDX-License-Identifier: MIT */
/* A table as it is now, in memory of our own that nobody can fill up afterwards. */
#ifndef CTXD_TABLE_COPY_H
#define CTXD_TABLE_COPY_H

#include <stdint.h>

/*
 * Copies what the memfd holds, but no holes, into another one of the same size with a table's seals. Whoever
 * maps the original may write to it meanwhile: that changes what is copied, not how much. May take long:
 * others hold the file's lock as long as they like. Safe in a signal handler.
 *
 * The copy; -EFBIG: it holds more than bytes_max; or -errno.
 */
int table_copy(int fd, uint64_t bytes_max);

#endif
