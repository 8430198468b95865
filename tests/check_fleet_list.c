/* SPDX-License-Identifier: MIT */
/* Records about the fleet: what is written into a memfd is read from it, and nothing else is. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record_file.h"
#include "support/harness.h"

static uint64_t state;

static uint64_t roll(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void fill_text(char *text, size_t size, bool some)
{
	size_t length = some ? 1 + roll() % (size - 1) : roll() % size;

	for (size_t i = 0; i < length; i++)
		text[i] = (char)(1 + roll() % 255);
}

static struct ctxd_id some_id(void)
{
	return (struct ctxd_id){roll() | 1, roll() | 1};
}

static void fill_entry(struct ctxd_entry *entry)
{
	static const enum ctxd_entry_kind kinds[] = {CTXD_SHARED, CTXD_JOINED, CTXD_PROCESS, CTXD_DEAD};

	entry->kind = kinds[roll() % 4];
	entry->pid = (pid_t)(roll() & 0x7fffffff);
	entry->uid = (uid_t)roll();
	entry->gid = (gid_t)roll();
	entry->id = some_id();
	if (roll() & 1)
		entry->parent = some_id();
	entry->table = roll();
	entry->ctx_id = roll();
	entry->mode = (mode_t)roll() & (0666 | CTXD_FLEET);
	entry->depth = (unsigned)roll();
	entry->joiners = (unsigned)roll();
	entry->created_ns = roll();
	entry->deadline_ns = roll();
	if (entry->kind == CTXD_SHARED && roll() & 1) {
		entry->ended_ns = roll() | 1;
		entry->cause.error = -(int)(1 + roll() % 4095);
		entry->cause.kind = CTX_CAUSE_CALL + roll() % CTX_CAUSE_UNREACHABLE;
		entry->cause.inherited = true;
		entry->cause.pid = (pid_t)(roll() & 0x7fffffff);
		entry->cause.time_ns = roll();
		fill_text(entry->cause.text, sizeof(entry->cause.text), false);
		if (roll() & 1)
			strcpy(entry->cause.host, "c");
	}
	fill_text(entry->name, sizeof(entry->name), false);
	fill_text(entry->label, sizeof(entry->label), false);
	fill_text(entry->process, sizeof(entry->process), false);
	if (roll() & 1) {
		strcpy(entry->host, "owner-1.example");
		entry->origin = some_id();
	}
}

static void fill_host(struct ctxd_host *host)
{
	strcpy(host->name, "b.example");
	host->state = CTXD_HOST_SELF + roll() % CTXD_HOST_REFUSED;
	host->error = -(int)(roll() % 4096);
	host->incarnation = roll();
	host->heard_ns = roll();
	host->lease_seen_ns = roll();
	host->lease_absent_ns = roll();
	host->round_trip_ns = roll();
	host->joins_in = (unsigned)roll();
	host->joins_out = (unsigned)roll();
	host->received = roll();
	host->sent = roll();
	host->resyncs = roll();
	host->gaps = roll();
	host->dropped = roll();
	host->malformed = roll();
}

static struct wire_record some_record(void)
{
	struct wire_record record;

	memset(&record, 0, sizeof(record));
	record.kind = WIRE_RECORD_HOST + roll() % WIRE_RECORD_FINDING;
	switch (record.kind) {
	case WIRE_RECORD_HOST:
		record.list = (uint32_t)roll();
		fill_host(&record.host);
		break;
	case WIRE_RECORD_ENTRY:
		record.list = (uint32_t)roll() | 1;
		fill_entry(&record.entry);
		break;
	case WIRE_RECORD_REPORT:
		strcpy(record.report.host, "a");
		record.report.error = -(int)(roll() % 4096);
		record.report.report.operations = (unsigned)roll();
		record.report.report.reap_ns = roll();
		break;
	case WIRE_RECORD_FINDING:
		record.finding.severity = CTXD_FINDING_OK + roll() % CTXD_FINDING_ERROR;
		fill_text(record.finding.key, sizeof(record.finding.key), true);
		fill_text(record.finding.value, sizeof(record.finding.value), false);
		fill_text(record.finding.remedy, sizeof(record.finding.remedy), false);
		break;
	}
	return record;
}

/* A file of count records, mapped so that the test may spoil its copy of the bytes. */
static uint8_t *make_file(unsigned count, struct wire_record *ret_records, size_t *ret_size)
{
	struct record_file file;
	struct stat status;

	ck_assert_ok(record_file_open(&file, UINT64_MAX));
	for (unsigned i = 0; i < count; i++) {
		ret_records[i] = some_record();
		ck_assert_ok(record_file_add(&file, &ret_records[i]));
	}
	int fd = record_file_seal(&file);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & WIRE_RECORDS_SEALS, WIRE_RECORDS_SEALS);
	ck_assert_ok(fstat(fd, &status));
	*ret_size = (size_t)status.st_size;
	uint8_t *bytes = mmap(NULL, *ret_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ck_assert_ptr_ne(bytes, MAP_FAILED);
	close(fd);
	return bytes;
}

START_TEST(what_is_written_is_read)
{
	enum {
		COUNT = 3000
	};
	struct wire_record *written = calloc(COUNT, sizeof(*written)), read;
	struct wire_records records;
	size_t size;

	state = 88172645463325252u;
	uint8_t *bytes = make_file(COUNT, written, &size);
	ck_assert_ok(wire_records_begin(bytes, size, &records));
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_int_eq(wire_records_next(&records, &read), 1);
		ck_assert_mem_eq(&read, &written[i], sizeof(read));
	}
	ck_assert_int_eq(wire_records_next(&records, &read), 0);
	munmap(bytes, size);
	free(written);
}
END_TEST

/* How many records can be read: all, or up to the first that is broken. */
static int read_all(const uint8_t *bytes, size_t size)
{
	struct wire_records records;
	struct wire_record record;
	int result = wire_records_begin(bytes, size, &records), count = 0;

	if (result)
		return result;
	while ((result = wire_records_next(&records, &record)) > 0)
		count++;
	return result ? result : count;
}

START_TEST(a_file_that_is_cut_or_longer_is_refused)
{
	enum {
		COUNT = 20
	};
	struct wire_record written[COUNT];
	size_t size;

	state = 4711;
	uint8_t *bytes = make_file(COUNT, written, &size);
	ck_assert_int_eq(read_all(bytes, size), COUNT);
	for (size_t cut = 0; cut < size; cut++) {
		/* Behind the cut nothing may be read: AddressSanitizer would tell. */
		uint8_t *part = malloc(cut ? cut : 1);
		memcpy(part, bytes, cut);
		ck_assert_int_eq(read_all(part, cut), -EPROTO);
		if (cut >= WIRE_RECORDS_HEADER) {
			/* Also where the header says so, the records do not fit. */
			wire_records_header(COUNT, cut, part);
			ck_assert_int_eq(read_all(part, cut), -EPROTO);
		}
		free(part);
	}
	wire_records_header(COUNT - 1, size, bytes);
	ck_assert_int_eq(read_all(bytes, size), -EPROTO);
	wire_records_header(UINT64_MAX, size, bytes);
	ck_assert_int_eq(read_all(bytes, size), -EPROTO);
	munmap(bytes, size);
}
END_TEST

/* A bit that is another one breaks the file, or is content: then the record packs to the same bytes again. */
START_TEST(a_flipped_bit_is_refused_or_is_content)
{
	enum {
		COUNT = 40
	};
	struct wire_record written[COUNT], record;
	struct wire_records records;
	uint8_t packed[WIRE_RECORD_MAX];
	size_t size;
	unsigned refused = 0, content = 0;

	state = 99;
	uint8_t *bytes = make_file(COUNT, written, &size);
	for (size_t bit = 0; bit < size * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		int result = wire_records_begin(bytes, size, &records);
		while (!result) {
			size_t at = records.at;
			result = wire_records_next(&records, &record);
			if (result <= 0)
				break;
			result = 0;
			if (wire_record_pack(&record, packed) != records.at - at ||
			    memcmp(packed, bytes + at, records.at - at))
				ck_abort_msg("bit %zu: read as what it is not", bit);
		}
		ck_assert(result == 0 || result == -EPROTO || result == -EPROTONOSUPPORT);
		refused += result != 0;
		content += result == 0;
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_uint_gt(refused, 0);
	ck_assert_uint_gt(content, 0);
	munmap(bytes, size);
}
END_TEST

START_TEST(what_is_not_valid_is_not_written)
{
	struct wire_record record = {.kind = WIRE_RECORD_HOST};
	uint8_t bytes[WIRE_RECORD_MAX];

	state = 5;
	fill_host(&record.host);
	ck_assert_uint_gt(wire_record_pack(&record, bytes), 0);
	strcpy(record.host.name, "No Host");
	ck_assert_uint_eq(wire_record_pack(&record, bytes), 0);
	memset(record.host.name, 'a', sizeof(record.host.name));
	ck_assert_uint_eq(wire_record_pack(&record, bytes), 0);
	fill_host(&record.host);
	record.host.error = 1;
	ck_assert_uint_eq(wire_record_pack(&record, bytes), 0);
	record = (struct wire_record){.kind = WIRE_RECORD_ENTRY, .entry = {.kind = CTXD_PROCESS}};
	ck_assert_uint_eq(wire_record_pack(&record, bytes), 0);
	record.list = 1;
	ck_assert_uint_gt(wire_record_pack(&record, bytes), 0);
	record.entry.kind = CTXD_SHARED;
	ck_assert_uint_eq(wire_record_pack(&record, bytes), 0);
	record.kind = 99;
	ck_assert_uint_eq(wire_record_pack(&record, bytes), 0);
}
END_TEST

START_TEST(a_full_file_takes_no_entries_and_still_what_is_said_of_hosts)
{
	struct record_file file;
	struct wire_record entry = {.kind = WIRE_RECORD_ENTRY, .list = 1, .entry = {.kind = CTXD_PROCESS}};
	struct wire_record host = {.kind = WIRE_RECORD_HOST, .host = {.name = "a", .state = CTXD_HOST_SELF}};
	unsigned entries = 0;
	int result;

	ck_assert_ok(record_file_open(&file, 100000));
	while (!(result = record_file_add(&file, &entry)))
		entries++;
	ck_assert_int_eq(result, -EFBIG);
	ck_assert_uint_gt(entries, 500);
	for (unsigned i = 0; i < 50; i++)
		ck_assert_ok(record_file_add(&file, &host));
	int fd = record_file_seal(&file);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_le(lseek(fd, 0, SEEK_END), 100000);
	close(fd);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fleet list");
	TCase *records = test_case(suite, "records");

	tcase_add_test(records, what_is_written_is_read);
	tcase_add_test(records, a_file_that_is_cut_or_longer_is_refused);
	tcase_add_test(records, a_flipped_bit_is_refused_or_is_content);
	tcase_add_test(records, what_is_not_valid_is_not_written);
	tcase_add_test(records, a_full_file_takes_no_entries_and_still_what_is_said_of_hosts);
	return suite;
}
