/* SPDX-License-Identifier: MIT */
/* The wire format: what is packed unpacks, and nothing else does. */
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"
#include "wire.h"

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

	memset(text, 0, size);
	for (size_t i = 0; i < length; i++)
		text[i] = (char)(1 + roll() % 255);
}

static struct ctxd_id some_id(void)
{
	return (struct ctxd_id){roll() | 1, roll() | 1};
}

static struct wire_cause some_cause(void)
{
	struct wire_cause cause = {.error = -(int)(1 + roll() % 4095),
				   .kind = 1 + (uint32_t)(roll() % CTX_CAUSE_UNREACHABLE),
				   .code = (int)roll(),
				   .expired = roll() & 1,
				   .pid = (int)(roll() & 0x7fffffff),
				   .tid = (int)(roll() & 0x7fffffff),
				   .uid = (uint32_t)roll(),
				   .ctx_id = roll(),
				   .time_ns = roll()};

	fill_text(cause.text, sizeof(cause.text), false);
	if (roll() & 1)
		strcpy(cause.host, "a-1.example");
	return cause;
}

static struct ctxd_report some_report(void)
{
	struct ctxd_report report;
	uint64_t words[sizeof(report) / 8];

	for (size_t i = 0; i < sizeof(words) / 8; i++)
		words[i] = roll();
	memcpy(&report, words, sizeof(report));
	return report;
}

static struct ctxd_entry some_entry(void)
{
	struct ctxd_entry entry = {.kind = 1 << roll() % 4,
				   .id = some_id(),
				   .parent = some_id(),
				   .pid = (int)(roll() & 0x7fffffff),
				   .uid = (uid_t)roll(),
				   .gid = (gid_t)roll(),
				   .table = roll(),
				   .ctx_id = roll(),
				   .mode = roll() & 0666,
				   .depth = (unsigned)roll(),
				   .joiners = (unsigned)roll(),
				   .created_ns = roll(),
				   .deadline_ns = roll(),
				   .ended_ns = roll() & 1 ? roll() : 0};

	if (entry.kind == CTXD_SHARED && entry.ended_ns) {
		struct wire_cause cause = some_cause();
		wire_cause_to(&cause, &entry.cause);
	}
	fill_text(entry.name, sizeof(entry.name), false);
	fill_text(entry.label, sizeof(entry.label), false);
	fill_text(entry.process, sizeof(entry.process), false);
	if (roll() & 1) {
		strcpy(entry.host, "b");
		entry.origin = some_id();
	}
	return entry;
}

static const enum wire_type types[] = {
	WIRE_HELLO,    WIRE_SHARE,   WIRE_UNSHARE, WIRE_MOVE,	     WIRE_ENDED,  WIRE_JOIN,	 WIRE_REJOIN,
	WIRE_ATTACH,   WIRE_LEAVE,   WIRE_LIST,	   WIRE_WATCH,	     WIRE_CANCEL, WIRE_TABLE,	 WIRE_OBEYED,
	WIRE_WELCOME,  WIRE_RESULT,  WIRE_JOINED,  WIRE_ENTRIES,     WIRE_REPORT, WIRE_FOUND,	 WIRE_ORDER,
	WIRE_MOVED,    WIRE_EVENT,   WIRE_GOODBYE, WIRE_JOIN_GLOBAL, WIRE_ASK,	  WIRE_BRIDGE,	 WIRE_MIRROR,
	WIRE_TELL,     WIRE_TERMS,   WIRE_SHARED,  WIRE_TOLD,	     WIRE_FETCH,  WIRE_UNWANTED, WIRE_ASKED,
	WIRE_WITHDRAW, WIRE_UNSHARED};
#define TYPES (sizeof(types) / sizeof(types[0]))

static struct wire_global some_global(void)
{
	return (struct wire_global){some_id(), roll() | 1, "host-7.example"};
}

static struct wire_told some_told(void)
{
	return (struct wire_told){-(int)(roll() % 4096), (uint32_t)roll(), (uint32_t)roll(), some_report()};
}

/* A question of a client; the service adds who asks. */
static struct wire_ask some_ask(bool from_service)
{
	struct wire_ask ask = {.question = 1 + (uint32_t)(roll() % WIRE_ASK_ENGINE), .wait_ns = roll()};

	if (ask.question == WIRE_ASK_LIST)
		ask.kinds = 1 + (uint32_t)(roll() % 15);
	if (ask.question == WIRE_ASK_CANCEL || roll() & 1)
		strcpy(ask.host, "c");
	if (ask.question == WIRE_ASK_CANCEL) {
		ask.flags = roll() & 1;
		ask.error = -(int)(roll() % 4096);
		ask.id = some_id();
		fill_text(ask.text, sizeof(ask.text), false);
	}
	if (from_service) {
		ask.pid = 17;
		ask.uid = (uint32_t)roll();
	}
	return ask;
}

static struct wire_mirror some_mirror(void)
{
	static const int errors[] = {0, -ENOENT, -EDQUOT, -ECANCELED};
	struct wire_mirror mirror = {.fetch = roll() | 1,
				     .global = some_global(),
				     .flags = roll() & 1 ? WIRE_SURVIVE : WIRE_MOVABLE,
				     .uid = (uint32_t)roll(),
				     .error = errors[roll() % 4],
				     .deadline_ns = roll()};

	if (mirror.error == -ECANCELED)
		mirror.cause = some_cause();
	else if (!mirror.error && roll() & 1)
		mirror.fetch = 0;
	fill_text(mirror.label, sizeof(mirror.label), false);
	return mirror;
}

static void fill_request(struct wire_message *message)
{
	switch (message->type) {
	case WIRE_HELLO:
		message->hello = (struct wire_hello){.version_min = 1, .version_max = 3, .flags = roll() & 1};
		fill_text(message->hello.process, sizeof(message->hello.process), false);
		break;
	case WIRE_SHARE:
		message->share = (struct wire_share){.parent = some_id(),
						     .ctx_id = roll(),
						     .deadline_ns = roll(),
						     .mode = roll() & 0666,
						     .flags = (uint32_t)(roll() & 3)};
		fill_text(message->share.name, sizeof(message->share.name), false);
		fill_text(message->share.label, sizeof(message->share.label), false);
		break;
	case WIRE_JOIN:
		message->join = (struct wire_join){.uid = (uint32_t)roll()};
		if (roll() & 1)
			message->join.id = some_id();
		else
			fill_text(message->join.name, sizeof(message->join.name), true);
		break;
	case WIRE_REJOIN:
		message->rejoin = (struct wire_rejoin){some_id(), roll(), roll(), roll() & 1, ""};
		fill_text(message->rejoin.label, sizeof(message->rejoin.label), false);
		break;
	case WIRE_LIST:
		message->list = (struct wire_list){roll(), 1 + (uint32_t)(roll() % 15)};
		break;
	case WIRE_WATCH:
		message->watch.kinds = (uint32_t)(roll() % 16);
		break;
	case WIRE_CANCEL:
		message->cancel = (struct wire_cancel){.wait_ns = roll(), .error = -(int)(roll() % 4096)};
		if (roll() & 1) {
			message->cancel.id = some_id();
		} else {
			message->cancel.table = roll() | 1;
			message->cancel.ctx_id = roll() | 1;
		}
		fill_text(message->cancel.text, sizeof(message->cancel.text), false);
		if (roll() & 1) {
			strcpy(message->cancel.host, "a.b");
			message->cancel.pid = 6;
			message->cancel.uid = 7;
		}
		break;
	case WIRE_TABLE:
		message->table = (struct wire_table){roll() & 1 ? CTXD_PROCESS : CTXD_DEAD, 7};
		break;
	case WIRE_OBEYED:
		message->obeyed = (struct wire_obeyed){-(int)(roll() % 4096), roll() & 1, some_report()};
		break;
	case WIRE_JOIN_GLOBAL:
		message->join_global =
			(struct wire_join_global){some_global(), roll() & 1 ? WIRE_SURVIVE : 0};
		break;
	case WIRE_ASK:
		message->ask = some_ask(false);
		break;
	case WIRE_BRIDGE:
		strcpy(message->bridge.host, "d");
		break;
	case WIRE_MIRROR:
		message->mirror = some_mirror();
		break;
	case WIRE_TELL:
		message->told = some_told();
		break;
	default:
		break;
	}
}

static void fill_answer(struct wire_message *message)
{
	switch (message->type) {
	case WIRE_WELCOME:
		message->welcome = (struct wire_welcome){1, roll() | 1};
		break;
	case WIRE_RESULT:
		message->result = (struct wire_result){-(int)(roll() % 4096), some_id()};
		break;
	case WIRE_JOINED:
		message->joined = (struct wire_joined){.id = some_id(),
						       .deadline_ns = roll(),
						       .ctx_id = roll(),
						       .owner_pid = 3,
						       .owner_uid = (uint32_t)roll(),
						       .flags = roll() & 1 ? WIRE_REMOTE : WIRE_MOVABLE,
						       .ended = roll() & 1};
		if (message->joined.ended)
			message->joined.cause = some_cause();
		fill_text(message->joined.label, sizeof(message->joined.label), false);
		break;
	case WIRE_ENTRIES:
		message->entries.next = roll();
		message->entries.count = (uint32_t)(roll() % (WIRE_ENTRIES_MAX + 1));
		for (uint32_t i = 0; i < message->entries.count; i++)
			message->entries.entries[i] = some_entry();
		break;
	case WIRE_REPORT:
		message->report = (struct wire_report){-(int)(roll() % 4096), some_report()};
		break;
	case WIRE_FOUND:
		message->found.entry = some_entry();
		break;
	case WIRE_ORDER:
		message->order = (struct wire_order){some_id(), roll(), -(int)(roll() % 4096), 4, 5, "", ""};
		fill_text(message->order.text, sizeof(message->order.text), false);
		if (roll() & 1)
			strcpy(message->order.host, "a.b");
		break;
	case WIRE_EVENT:
		message->event.kind = 1 + (uint32_t)(roll() % CTXD_EVENT_LOST);
		if (message->event.kind == CTXD_EVENT_LOST)
			message->event.lost = roll() | 1;
		else
			message->event.entry = some_entry();
		break;
	case WIRE_GOODBYE:
		message->goodbye.error = -(int)(1 + roll() % 4095);
		break;
	case WIRE_TERMS:
		message->terms.grace_ns = roll();
		if (roll() & 1)
			strcpy(message->terms.host, "e");
		break;
	case WIRE_SHARED:
		message->shared = (struct wire_shared){some_id(), roll() | 1};
		break;
	case WIRE_TOLD:
		message->told = some_told();
		break;
	case WIRE_FETCH:
		message->fetch = (struct wire_fetch){some_global(), roll() & 1 ? WIRE_SURVIVE : 0, 1000};
		break;
	case WIRE_ASKED:
		message->ask = some_ask(true);
		break;
	default:
		break;
	}
}

static struct wire_message some_message(enum wire_type type)
{
	struct wire_message message;

	memset(&message, 0, sizeof(message));
	message.type = type;
	message.serial = roll();
	if (type == WIRE_UNSHARE || type == WIRE_UNSHARED || type == WIRE_UNWANTED)
		message.id = some_id();
	else if (type == WIRE_MOVE || type == WIRE_MOVED)
		message.move = (struct wire_move){some_id(), roll()};
	else if (type == WIRE_ENDED)
		message.ended = (struct wire_ended){some_id(), some_cause()};
	else if (type == WIRE_ATTACH || type == WIRE_LEAVE)
		message.attach = (struct wire_attach){some_id(), roll()};
	else if (wire_from_service(type))
		fill_answer(&message);
	else
		fill_request(&message);
	return message;
}

static int unpack(const uint8_t *bytes, size_t size, const struct wire_message *like,
		  struct wire_message *ret_message)
{
	return wire_unpack(bytes, size, wire_fd_count(like), wire_from_service(like->type), ret_message);
}

START_TEST(what_is_packed_unpacks_to_the_same_bytes)
{
	uint8_t bytes[WIRE_SIZE_MAX], again[WIRE_SIZE_MAX];

	state = test_seed() | 1;
	for (int round = 0; round < 500; round++) {
		struct wire_message message = some_message(types[_i]), read;
		size_t size = wire_pack(&message, bytes);
		ck_assert_uint_le(size, WIRE_SIZE_MAX);
		ck_assert_ok(unpack(bytes, size, &message, &read));
		ck_assert_uint_eq(read.type, message.type);
		ck_assert_uint_eq(read.serial, message.serial);
		ck_assert_uint_eq(wire_pack(&read, again), size);
		ck_assert_int_eq(memcmp(bytes, again, size), 0);
	}
}
END_TEST

START_TEST(cut_or_grown_or_with_other_descriptors_it_is_broken)
{
	uint8_t bytes[WIRE_SIZE_MAX + 1] = {0};

	state = test_seed() | 1;
	struct wire_message message = some_message(types[_i]), read;
	size_t size = wire_pack(&message, bytes);
	unsigned fds = wire_fd_count(&message);
	bool from = wire_from_service(message.type);
	for (size_t cut = 0; cut < size; cut++)
		ck_assert_int_eq(unpack(bytes, cut, &message, &read), -EPROTO);
	ck_assert_int_eq(unpack(bytes, size + 1, &message, &read), -EPROTO);
	ck_assert_int_eq(wire_unpack(bytes, size, fds + 1, from, &read), -EPROTO);
	if (fds)
		ck_assert_int_eq(wire_unpack(bytes, size, fds - 1, from, &read), -EPROTO);
	ck_assert_int_eq(wire_unpack(bytes, size, fds, !from, &read), -EPROTO);
	ck_assert_int_eq(wire_unpack(bytes, WIRE_SIZE_MAX + 1, fds, from, &read), -EPROTO);
}
END_TEST

START_TEST(a_flipped_bit_breaks_it_or_means_something)
{
	uint8_t bytes[WIRE_SIZE_MAX], again[WIRE_SIZE_MAX];

	state = test_seed() | 1;
	struct wire_message message = some_message(types[_i]), read;
	size_t size = wire_pack(&message, bytes);
	for (size_t bit = 0; bit < size * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		for (unsigned fds = 0; fds <= WIRE_FDS_MAX; fds++) {
			if (wire_unpack(bytes, size, fds, wire_from_service(message.type), &read))
				continue;
			ck_assert_uint_eq(wire_pack(&read, again), size);
			ck_assert_int_eq(memcmp(bytes, again, size), 0);
		}
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}
END_TEST

START_TEST(another_type_is_another_version)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	struct wire_message message = {.type = WIRE_LIST, .list = {.kinds = 1}}, read;
	size_t size = wire_pack(&message, bytes);

	bytes[4] = 40;
	ck_assert_int_eq(wire_unpack(bytes, size, 0, false, &read), -EPROTONOSUPPORT);
}
END_TEST

START_TEST(last_words_are_read_or_refused)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];

	state = test_seed() | 1;
	struct wire_cause words = some_cause(), read;
	size_t size = wire_pack_last_words(&words, bytes);
	ck_assert_ok(wire_unpack_last_words(bytes, size, &read));
	ck_assert_int_eq(memcmp(&words, &read, sizeof(words)), 0);
	for (size_t cut = 0; cut < size; cut++)
		ck_assert_int_eq(wire_unpack_last_words(bytes, cut, &read), -EPROTO);
	bytes[0]++;
	ck_assert_int_eq(wire_unpack_last_words(bytes, size, &read), -EPROTO);
	ck_assert_int_eq(wire_unpack_last_words((const uint8_t *)"x", 1, &read), -EPROTO);
}
END_TEST

/* AddressSanitizer tells if what lies behind the text is read. */
START_TEST(a_host_without_an_end_is_broken)
{
	state = 11;
	struct wire_message message = {.type = WIRE_FOUND}, read;
	struct ctxd_entry *entry = &message.found.entry;
	uint8_t bytes[WIRE_SIZE_MAX], *host;

	entry->kind = CTXD_SHARED;
	entry->id = some_id();
	entry->ended_ns = 1;
	entry->cause = (struct ctx_cause){.error = -EPIPE, .kind = CTX_CAUSE_CALL, .host = "of-the-cause"};
	strcpy(entry->host, "of-the-entry");
	entry->origin = some_id();
	size_t size = wire_pack(&message, bytes);
	ck_assert_ok(wire_unpack(bytes, size, 1, true, &read));
	for (int i = 0; i < 2; i++) {
		wire_pack(&message, bytes);
		host = memmem(bytes, size, i ? "of-the-cause" : "of-the-entry", 12);
		ck_assert_ptr_nonnull(host);
		memset(host, 'a', CTX_HOST_MAX);
		ck_assert_int_eq(wire_unpack(bytes, size, 1, true, &read), -EPROTO);
	}
}
END_TEST

START_TEST(a_programs_odd_error_crosses_as_an_errno)
{
	struct ctx_cause cause = {.error = -100000, .kind = CTX_CAUSE_CALL};
	struct wire_cause words;
	uint8_t bytes[WIRE_LAST_WORDS_MAX];

	wire_cause_from(&cause, -ECANCELED, &words);
	ck_assert_int_eq(words.error, -ECANCELED);
	ck_assert_uint_gt(wire_pack_last_words(&words, bytes), 0);
}
END_TEST

START_TEST(the_socket_is_where_the_environment_says)
{
	char path[108], longest[200];

	setenv("CTXD_SOCKET", "/a/b", 1);
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	ck_assert_ok(wire_socket_path(0, path));
	ck_assert_str_eq(path, "/a/b");
	ck_assert_int_eq(wire_socket_path(1, path), -ENOENT);
	setenv("CTXD_SOCKET", "", 1);
	ck_assert_ok(wire_socket_path(0, path));
	ck_assert_str_eq(path, "/run/user/7/ctxd.sock");
	ck_assert_ok(wire_socket_path(1, path));
	ck_assert_str_eq(path, "/run/ctxd.sock");
	ck_assert_int_eq(wire_socket_path(2, path), -ENOENT);
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	ck_assert_ok(wire_socket_path(0, path));
	ck_assert_str_eq(path, "/run/ctxd.sock");
	memset(longest, '/', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	setenv("CTXD_SOCKET", longest, 1);
	ck_assert_int_eq(wire_socket_path(0, path), -ENAMETOOLONG);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("wire");
	TCase *wire = test_case(suite, "wire");

	tcase_add_loop_test(wire, what_is_packed_unpacks_to_the_same_bytes, 0, TYPES);
	tcase_add_loop_test(wire, cut_or_grown_or_with_other_descriptors_it_is_broken, 0, TYPES);
	tcase_add_loop_test(wire, a_flipped_bit_breaks_it_or_means_something, 0, TYPES);
	tcase_add_test(wire, another_type_is_another_version);
	tcase_add_test(wire, last_words_are_read_or_refused);
	tcase_add_test(wire, a_host_without_an_end_is_broken);
	tcase_add_test(wire, a_programs_odd_error_crosses_as_an_errno);
	tcase_add_test(wire, the_socket_is_where_the_environment_says);
	return suite;
}
