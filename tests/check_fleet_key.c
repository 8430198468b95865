/* SPDX-License-Identifier: MIT */
/*
 * A fleet with a key, and batches that are not of this fleet: what has no code or a wrong one has no effect,
 * and neither has what was sent earlier and is played back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_wire.h"
#include "hmac.h"
#include "support/fleet_world.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define MILLISECOND 1000000ull
#define SECOND NS_PER_SECOND

/* ---- the code itself */

static void hex_of(const uint8_t *bytes, size_t size, char *text)
{
	for (size_t i = 0; i < size; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

/* RFC 4231, test cases 1 to 4, 6 and 7. */
START_TEST(the_code_is_that_of_rfc_4231)
{
	static const struct {
		uint8_t key_byte; /* The key is this byte repeated; 0: 01 02 03 ... */
		unsigned key_size;
		const char *key, *data;
		unsigned data_size;
		const char *code;
	} cases[] = {
		{0x0b, 20, NULL, "Hi There", 8,
		 "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{0, 4, "Jefe", "what do ya want for nothing?", 28,
		 "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{0xaa, 20, NULL, "\xdd", 50,
		 "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		{0, 25, NULL, "\xcd", 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
		{0xaa, 131, NULL, "Test Using Larger Than Block-Size Key - Hash Key First", 54,
		 "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
		{0xaa, 131, NULL,
		 "This is a test using a larger than block-size key and a larger than block-size data. The "
		 "key needs to be hashed before being used by the HMAC algorithm.",
		 152, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t key[131], data[256], code[HMAC_SIZE];
		char text[2 * HMAC_SIZE + 1];
		for (unsigned j = 0; j < cases[i].key_size; j++)
			key[j] = cases[i].key	     ? (uint8_t)cases[i].key[j]
				 : cases[i].key_byte ? cases[i].key_byte
						     : (uint8_t)(j + 1);
		for (unsigned j = 0; j < cases[i].data_size; j++)
			data[j] = (uint8_t)cases[i].data[cases[i].data[1] ? j : 0];
		struct hmac *hmac = hmac_new(key, cases[i].key_size);
		ck_assert_ptr_nonnull(hmac);
		/* Whole, in pieces, and once more with the same key. */
		for (unsigned cut = 0; cut < cases[i].data_size; cut += 5) {
			struct hmac_piece pieces[] = {{data, cut}, {data + cut, cases[i].data_size - cut}};
			ck_assert(hmac_compute(hmac, pieces, 2, code));
			hex_of(code, HMAC_SIZE, text);
			ck_assert_str_eq(text, cases[i].code);
		}
		hmac_free(hmac);
	}
}
END_TEST

START_TEST(codes_are_compared_whole)
{
	uint8_t a[HMAC_SIZE], b[HMAC_SIZE];

	memset(a, 7, sizeof(a));
	for (unsigned i = 0; i < HMAC_SIZE; i++) {
		memcpy(b, a, sizeof(b));
		ck_assert(hmac_equal(a, b));
		b[i] ^= 1;
		ck_assert(!hmac_equal(a, b));
	}
}
END_TEST

/* ---- fleets */

static void bridge_restart(struct world *world, unsigned host)
{
	world_bridge_kill(world, host);
	world_bridge_start(world, host);
}

/* Host 1 has joined context 0 of host 0. */
static struct world *keyed_world(unsigned hosts)
{
	struct world *world = world_new_with_key(1, hosts, 32);

	world_context(world, 0, 0);
	world_join(world, 1, 0, 0);
	world_run(world, SECOND);
	return world;
}

START_TEST(a_fleet_with_a_key_works)
{
	struct world *world = keyed_world(3);

	ck_assert(world->mirrors[0]->is_live_told);
	ck_assert_uint_eq(world_counts(world, 0).forged + world_counts(world, 1).forged, 0);
	struct world_cancel *cancel = world_cancel(world, 2, 0, "root", 0, 0);
	world_run(world, 20 * MILLISECOND);
	ck_assert(cancel->is_done && cancel->outcome.error == 0 && cancel->outcome.report.ended == 2);
	world_free(world);
}
END_TEST

/* Host 2 has another key, or none, or is the only one that has one. */
START_TEST(without_the_key_nothing_is_heard)
{
	struct world *world = world_new_with_key(1, 3, _i == 2 ? 0 : 32);
	unsigned context = world_context(world, 0, 0);

	world_bridge_kill(world, 2);
	world->hosts[2].config.key_size = _i == 1 ? 0 : 32;
	world->hosts[2].config.key[31] ^= 1;
	world_bridge_start(world, 2);
	struct world_mirror *good = world_join(world, 1, context, 0), *bad = world_join(world, 2, context, 0);
	struct world_cancel *cancel = world_cancel(world, 2, context, "root", 0, 0);
	world_run(world, 10 * SECOND);
	ck_assert(good->is_live_told && !good->is_ended);
	ck_assert(!bad->is_live_told && !bad->is_ended);
	ck_assert(cancel->is_done && cancel->outcome.error == -EHOSTUNREACH);
	ck_assert_uint_gt(world_counts(world, 0).forged, 0);
	ck_assert_uint_eq(world_counts(world, 0).hosts, 1);
	ck_assert_uint_eq(world_counts(world, 1).forged, 0);
	world_free(world);
}
END_TEST

/* Each bit of a batch is turned over: none of them has an effect. */
START_TEST(a_changed_batch_has_no_effect)
{
	struct world *world = keyed_world(2);

	world->is_taping = true;
	world_move(world, 0, world->now_ns + 60 * SECOND);
	fleet_tick(world->hosts[0].fleet, world->now_ns);
	world->is_taping = false;
	ck_assert_uint_eq(world->tape_count, 1);
	struct world_batch *batch = &world->tape[0];
	uint64_t before = world_counts(world, 1).received;
	for (size_t bit = 0; bit < batch->size * 8; bit++) {
		batch->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		world_replay(world, 0);
		batch->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	ck_assert_uint_eq(world_counts(world, 1).received, before);
	ck_assert_uint_eq(world->mirrors[0]->deadline_ns, CTX_FOREVER);
	/* Nor has it in the inbox of another host. */
	struct fleet *other = world->hosts[0].fleet;
	before = fleet_counts(other).received;
	fleet_receive(other, batch->bytes, batch->size, world->now_ns);
	ck_assert_uint_eq(fleet_counts(other).received, before);
	world_run(world, SECOND);
	ck_assert_uint_ne(world->mirrors[0]->deadline_ns, CTX_FOREVER);
	world_free(world);
}
END_TEST

/*
 * Everything that was ever sent is played back, again and again: to the same bridges, to later ones, and when
 * they do not know each other any more. Joins stay as they are, and no cancel is told to a service again.
 */
START_TEST(old_batches_have_no_effect)
{
	struct world *world = world_new_with_key(1, 3, 64);

	world->is_taping = true;
	for (unsigned i = 0; i < 4; i++)
		world_context(world, 0, 0);
	/* Several lives of each bridge; a cancel that is refused, and may be allowed later. */
	for (unsigned life = 0; life < 4; life++) {
		world_cancel(world, 2, life, "somebody", 0, 0);
		struct world_mirror *left = world_join(world, 1, life, 0);
		world_run(world, SECOND);
		world_leave(left);
		world_run(world, SECOND);
		bridge_restart(world, life % 3);
	}
	world_join(world, 1, 0, 0);
	world_join(world, 1, 1, 0);
	world_run(world, 10 * SECOND);
	world->is_taping = false;
	uint32_t interests = world_counts(world, 0).interests;
	ck_assert_uint_eq(interests, 2);
	for (unsigned round = 0; round < 3; round++) {
		/* In the first round the bridges are those of the tape, then each has a new life, and then
		 * they have forgotten those that have not joined anything. */
		if (round == 1)
			for (unsigned i = 0; i < 3; i++)
				bridge_restart(world, i);
		world_run(world, round == 2 ? 15 * WORLD_LEASE_NS : 3 * WORLD_BEAT_NS);
		for (unsigned i = 0; i < world->tape_count; i++) {
			unsigned to = world->tape[i].to;
			uint64_t gaps = world_counts(world, to).gaps;
			world_replay(world, i);
			ck_assert_uint_eq(world_counts(world, to).gaps, gaps);
			ck_assert_uint_eq(world_counts(world, 0).interests, interests);
			ck_assert_uint_eq(world_counts(world, 0).cancels, 0);
			if (i % 7 == 0)
				world_run(world, 10 * MILLISECOND);
		}
		world_run(world, 3 * WORLD_BEAT_NS);
		world_check(world);
		ck_assert_uint_eq(world_counts(world, 0).interests, interests);
	}
	ck_assert_uint_gt(world_counts(world, 0).old, world->tape_count / 10);
	printf("%u batches were played back three times\n", world->tape_count);
	for (unsigned i = 0; i < 4; i++)
		ck_assert(!world->contexts[i].is_ended);
	world_end(world, 0);
	world_run(world, SECOND);
	ck_assert(world->mirrors[4]->is_ended && !world->mirrors[5]->is_ended);
	world_free(world);
}
END_TEST

START_TEST(another_fleet_is_not_heard)
{
	struct world *world = world_new(1, 3);
	unsigned context = world_context(world, 0, 0);

	world_bridge_kill(world, 2);
	strcpy(world->hosts[2].config.fleet, "test");
	world_bridge_start(world, 2);
	struct world_mirror *mirror = world_join(world, 2, context, 0);
	world_run(world, SECOND);
	ck_assert(!mirror->is_live_told);
	ck_assert_uint_gt(world_counts(world, 0).foreign, 0);
	ck_assert_uint_eq(world_counts(world, 0).hosts, 0);
	world_free(world);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fleet_key");
	TCase *fleets = test_case(suite, "fleets");

	tcase_add_test(fleets, another_fleet_is_not_heard);
	if (!fleet_key_is_supported()) {
		printf("without libcrypto a fleet has no key\n");
		return suite;
	}
	TCase *codes = test_case(suite, "codes");
	tcase_add_test(codes, the_code_is_that_of_rfc_4231);
	tcase_add_test(codes, codes_are_compared_whole);
	tcase_add_test(fleets, a_fleet_with_a_key_works);
	tcase_add_loop_test(fleets, without_the_key_nothing_is_heard, 0, 3);
	tcase_add_test(fleets, a_changed_batch_has_no_effect);
	tcase_add_test(fleets, old_batches_have_no_effect);
	return suite;
}
