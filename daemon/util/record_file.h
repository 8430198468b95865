/* SPDX-License-Identifier: MIT */
/* Writes records about the fleet, as lib/wire/fleet_list.h describes them, into a memfd that is sealed at the
 * end. */
#ifndef CTXD_RECORD_FILE_H
#define CTXD_RECORD_FILE_H

#include "fleet_list.h"

#define RECORD_FILE_BUFFER 32768

struct record_file {
	int fd;
	int error; /* of the first failure: everything after it has no effect */
	uint64_t count, size, size_max;
	size_t buffered;
	uint8_t *buffer;
};

/* Opens a file of at most size_max bytes, or of WIRE_RECORDS_MAX if that is less. 0; -ENOMEM, -EMFILE,
 * -ENFILE. */
int record_file_open(struct record_file *file, uint64_t size_max);

/*
 * Adds a record. 0; -EINVAL: its content is not valid, and it is left out; -EFBIG: it does not fit, and is
 * left out (of the room, entries take at most seven eighths); or an error of writing, which
 * record_file_seal() returns again.
 */
int record_file_add(struct record_file *file, const struct wire_record *record);

/* Ends the file, and returns its sealed descriptor, which is the caller's; or -errno. Frees the rest. */
int record_file_seal(struct record_file *file);

/* Frees a file that is not sealed. */
void record_file_close(struct record_file *file);

#endif
