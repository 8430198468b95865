/* SPDX-License-Identifier: MIT */
/* Copies a context table into memory of the service, which nobody can fill later. */
#ifndef CTXD_TABLE_COPY_H
#define CTXD_TABLE_COPY_H

#include <stdint.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
/* The seals of a context table: only mappings that are there already can write it, and its size is fixed. */
#define TABLE_SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/*
 * Copies the content of the memfd, without its holes, into another memfd of the same size with the seals of a
 * table. Who maps the original may write to it meanwhile; that changes what is copied, but not how much. This
 * can take long, since others can hold the lock of the file. It is safe in a signal handler.
 *
 * The copy; -EFBIG: the memfd holds more than bytes_max; or another -errno.
 */
int table_copy(int fd, uint64_t bytes_max);

#endif
