/* SPDX-License-Identifier: MIT */
/* What one host may cost the others of a fleet: limits for each host, and many hosts. */
#include <stdio.h>
#include <string.h>

#include "fleet_wire.h"
#include "support/fleet_world.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define SECOND NS_PER_SECOND

/* Joins a context of host 0 by an id with another secret. */
static void join_wrong(struct world *world, unsigned context, unsigned wrong, struct world_mirror *mirror)
{
	struct fleet_id id = world->contexts[context].id;

	*mirror = (struct world_mirror){.world = world, .host = 1, .context = context};
	id.key.secret += wrong;
	ck_assert_ok(fleet_join(world->hosts[1].fleet, &id, 0, mirror, world->now_ns, &mirror->mirror));
}

START_TEST(one_host_can_join_its_part_only)
{
	struct world *world = world_new(1, 3);

	world_bridge_kill(world, 0);
	world->hosts[0].config.owned_per_host_max = 10;
	world_bridge_start(world, 0);
	for (unsigned i = 0; i < 30; i++) {
		world_context(world, 0, 0);
		world_join(world, 1 + i / 25, i, 0);
	}
	world_run(world, 3 * WORLD_BEAT_NS);
	ck_assert_uint_eq(world_counts(world, 0).interests, 15);
	ck_assert_uint_ge(world_counts(world, 0).refused, 15);
	for (unsigned i = 25; i < 30; i++)
		ck_assert(world->mirrors[i]->is_live_told);
	/* Where it leaves some, others get in. */
	for (unsigned i = 0; i < 25; i++)
		if (world->mirrors[i]->is_live_told)
			world_leave(world->mirrors[i]);
	world_run(world, 3 * WORLD_BEAT_NS);
	ck_assert_uint_eq(world_counts(world, 0).interests, 15);
	world_free(world);
}
END_TEST

/* A host guesses secrets while the service does not answer: it costs little, and the right one still works.
 */
START_TEST(wrong_secrets_are_few_at_a_time)
{
	struct world *world = world_new(1, 3);
	static struct world_mirror wrong[20];
	unsigned context = world_context(world, 0, 0);

	world_run(world, 3 * SECOND);
	world->contexts[context].is_released = true; /* The service says of all: unknown. */
	world->hosts[0].is_service_down = true;
	for (unsigned i = 0; i < 20; i++)
		join_wrong(world, context, i + 1, &wrong[i]);
	world_run(world, SECOND);
	ck_assert_uint_eq(world_counts(world, 0).owned, 8);
	ck_assert_uint_ge(world_counts(world, 0).refused, 12);
	world->hosts[0].is_service_down = false;
	world_run(world, 3 * WORLD_BEAT_NS);
	for (unsigned i = 0; i < 20; i++)
		ck_assert(wrong[i].is_ended && wrong[i].end == FLEET_END_UNKNOWN);
	world->contexts[context].is_released = false;
	struct world_mirror *right = world_join(world, 2, context, 0);
	world_run(world, SECOND);
	ck_assert(right->is_live_told);
	/* Of a context that is known, another secret is not asked for. */
	unsigned asked = world->hosts[0].asked_total;
	world->contexts[context].is_released = true;
	join_wrong(world, context, 1, &wrong[0]);
	world_run(world, SECOND);
	ck_assert(wrong[0].is_ended && wrong[0].end == FLEET_END_UNKNOWN);
	ck_assert_uint_eq(world->hosts[0].asked_total, asked);
	ck_assert(!right->is_ended);
	world_free(world);
}
END_TEST

/* Sends the batch of another host as if it were from that one. */
static void receive_from(struct world *world, const struct world_batch *batch, const char *from)
{
	uint8_t bytes[FLEET_BATCH_MAX];
	struct fleet_batch header;
	size_t at, size;

	ck_assert_ok(fleet_wire_unpack_header(batch->bytes, batch->size, &header, &at));
	strcpy(header.from, from);
	header.to_incarnation = 0;
	size = fleet_wire_pack_header(&header, bytes);
	memcpy(bytes + size, batch->bytes + at, header.end - at);
	fleet_receive(world->hosts[batch->to].fleet, bytes, size + header.end - at, world->now_ns);
}

/* A member of the fleet makes up hosts, whether or not these have joined something. */
START_TEST(made_up_hosts_keep_no_other_out)
{
	struct world *world = world_new(1, 4);
	struct fleet *fleet = world->hosts[0].fleet;
	char name[FLEET_HOST_MAX + 1];
	unsigned number = 0;

	world_bridge_kill(world, 0);
	world->hosts[0].config.hosts_max = 16;
	world_bridge_start(world, 0);
	fleet = world->hosts[0].fleet;
	unsigned own = world_context(world, 0, 0);
	struct world_mirror *in = world_join(world, 1, own, 0);
	world->is_taping = true;
	world_run(world, SECOND);
	world->is_taping = false;
	ck_assert(in->is_live_told);
	while (number < world->tape_count && world->tape[number].to != 0)
		number++;
	ck_assert_uint_lt(number, world->tape_count);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%s-%u", _i ? "joins" : "idle", i);
		if (_i) /* It knows what host 1 has joined. */
			receive_from(world, &world->tape[number], name);
		else
			ck_assert_ok(fleet_probe(fleet, name, world->now_ns));
	}
	ck_assert_uint_le(world_counts(world, 0).hosts, 17);
	/* What is here still reaches a new host, and what has to do with this one goes on. */
	struct world_mirror *out = world_join(world, 0, world_context(world, 2, 0), 0);
	world_run(world, SECOND);
	ck_assert(out->is_live_told);
	ck_assert(!in->is_ended);
	world_end(world, own);
	world_run(world, SECOND);
	ck_assert(in->is_ended && in->end == FLEET_END_CAUSE);
	world_free(world);
}
END_TEST

/* One host is joined by 239: what it sends at rest grows no more than for 200. */
START_TEST(many_hosts_get_fewer_beats)
{
	struct world *world = world_new(1, 240);
	unsigned context = world_context(world, 0, 0);

	for (unsigned i = 1; i < 240; i++)
		world_join(world, i, context, 0);
	world_run(world, 3 * WORLD_BEAT_NS);
	uint64_t before = world->hosts[0].sends;
	world_run(world, 4 * WORLD_BEAT_NS);
	printf("239 hosts at rest: %u batches to them in four beats\n",
	       (unsigned)(world->hosts[0].sends - before));
	ck_assert_uint_le(world->hosts[0].sends - before, 3 * 239);
	ck_assert_uint_ge(world->hosts[0].sends - before, 239);
	/* Nobody takes that for death, and an end is seen at once. */
	world_run(world, 4 * WORLD_LEASE_NS);
	ck_assert_uint_eq(world->host_ends, 0);
	world_end(world, context);
	world_run(world, SECOND / 10);
	for (unsigned i = 0; i < 239; i++)
		ck_assert(world->mirrors[i]->is_ended && world->mirrors[i]->end == FLEET_END_CAUSE);
	world_free(world);
}
END_TEST

/* All of them are asked by one cancel, which names each. */
START_TEST(a_cancel_reaches_many_hosts)
{
	struct world *world = world_new(1, 240);
	unsigned context = world_context(world, 0, 0);

	for (unsigned i = 1; i < 240; i++)
		world_join(world, i, context, 0);
	world_run(world, SECOND);
	world_cut(world, 200, true);
	struct world_cancel *cancel = world_cancel(world, 1, context, "root", 0, 0);
	world_run(world, 2 * WORLD_BEAT_NS);
	ck_assert(cancel->is_done && cancel->outcome.error == 0);
	ck_assert_uint_eq(cancel->outcome.hosts_asked, 240);
	ck_assert_uint_eq(cancel->outcome.host_count, 240);
	ck_assert_uint_eq(cancel->outcome.hosts_silent, 1);
	ck_assert_uint_eq(cancel->outcome.report.ended, 239);
	world_free(world);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fleet_limits");
	TCase *one = test_case(suite, "one"), *many = test_case(suite, "many");

	tcase_add_test(one, one_host_can_join_its_part_only);
	tcase_add_test(one, wrong_secrets_are_few_at_a_time);
	tcase_add_loop_test(one, made_up_hosts_keep_no_other_out, 0, 2);
	tcase_add_test(many, many_hosts_get_fewer_beats);
	tcase_add_test(many, a_cancel_reaches_many_hosts);
	return suite;
}
