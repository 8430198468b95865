/* SPDX-License-Identifier: MIT */
/*
 * The answers to questions about the fleet: records in a sealed memfd, which TELL and TOLD carry. The memfd
 * begins with a header and has one record behind the other.
 *
 *   to HOSTS   a HOST for each host
 *   to LIST    ENTRIES of all hosts in any order, and a HOST for each host that was asked. Each ENTRY says of
 *              which list it is, and each HOST which list is that of the host. So a list that had to begin
 *              anew has another number, and entries of the one before are ignored.
 *   to CANCEL  a REPORT for each host that was asked, the owner's first
 *   to ENGINE  a FINDING for each finding
 *
 * Numbers are little-endian. Times are CLOCK_MONOTONIC of this host, which the memfd never leaves. Everything
 * is checked when it is read, as messages are. This code does no input or output.
 */
#ifndef CTX_FLEET_LIST_H
#define CTX_FLEET_LIST_H

#include "wire.h"

/* The most bytes of all records and the header, and of one record. */
#define WIRE_RECORDS_MAX (64u << 20)
#define WIRE_RECORD_MAX 1024
#define WIRE_RECORDS_HEADER 24

/* What a memfd with records is sealed against; the reader asks for all of these. */
#define WIRE_RECORDS_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

enum wire_record_kind {
	WIRE_RECORD_HOST = 1,
	WIRE_RECORD_ENTRY,
	WIRE_RECORD_REPORT,
	WIRE_RECORD_FINDING,
};

struct wire_record {
	enum wire_record_kind kind;
	uint32_t list; /* of HOST: the number of its list, 0: it has none. Of ENTRY: the list that it is of */
	union {
		struct ctxd_host host;
		struct ctxd_entry entry;
		struct ctxd_host_report report;
		struct ctxd_finding finding;
	};
};

/* Writes the header of records that take size bytes in all, the header included. */
void wire_records_header(uint64_t count, uint64_t size, uint8_t bytes[WIRE_RECORDS_HEADER]);

/* Writes a record and returns its size; 0: its content is not valid, and bytes are undefined. */
size_t wire_record_pack(const struct wire_record *record, uint8_t bytes[WIRE_RECORD_MAX]);

/* Where a reader is. */
struct wire_records {
	const uint8_t *bytes;
	size_t size, at;
	uint64_t count; /* of records that are still to come */
};

/* Begins to read size bytes at bytes. 0; -EPROTO: the header is wrong; or -EPROTONOSUPPORT: of another
 * version. */
int wire_records_begin(const uint8_t *bytes, size_t size, struct wire_records *ret_records);

/* Reads the next record. 1; 0: there are no more; or -EPROTO: it is broken. O(its size). */
int wire_records_next(struct wire_records *records, struct wire_record *ret_record);

#endif
