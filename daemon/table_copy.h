/* SPDX-License-Identifier: MIT */
/* Copies a context table into memory of the service, which nobody can fill later. */
#ifndef CTXD_TABLE_COPY_H
#define CTXD_TABLE_COPY_H

#include <stdint.h>

/*
 * Copies the content of the memfd, without its holes, into another memfd of the same size with the seals of a
 * table. Who maps the original may write to it meanwhile; that changes what is copied, but not how much. This
 * can take long, since others can hold the lock of the file. It is safe in a signal handler.
 *
 * The copy; -EFBIG: the memfd holds more than bytes_max; or another -errno.
 */
int table_copy(int fd, uint64_t bytes_max);

#endif
