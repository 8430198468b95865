/* SPDX-License-Identifier: MIT */
#include "soak/actor.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "soak/program.h"
#include "soak/verdict.h"

__thread struct actor *actor_self;

static struct actor actors[] = {
	{.role = &role_ring}, {.role = &role_ring},	{.role = &role_ring},	  {.role = &role_tree},
	{.role = &role_tree}, {.role = &role_blocking}, {.role = &role_blocking}, {.role = &role_service},
};
#define ACTORS (sizeof(actors) / sizeof(actors[0]))

static _Atomic bool round_over;
static _Atomic uint64_t earlier_steps;
/* Held for reading in each action; for writing while all are halted. */
static pthread_rwlock_t gate;

bool actors_round_over(void)
{
	return round_over || program_is_to_end();
}

void actor_note(const char *doing)
{
	if (!actor_self)
		return;
	actor_self->doing = doing;
	count(&actor_self->beginnings);
}

/* ---- steps */

static const struct action *pick(struct actor *actor)
{
	const struct action *action;
	unsigned sum = 0;

	for (action = actor->role->actions; action->name; action++)
		sum += action->weight;
	if (!sum)
		return NULL;
	unsigned at = chance_below(&actor->chance, sum);
	for (action = actor->role->actions; at >= action->weight; action++)
		at -= action->weight;
	return action;
}

static void step(struct actor *actor)
{
	chance_start(&actor->chance, verdict_run.seed, verdict_run.round, actor->number, actor->step);
	const struct action *action = pick(actor);
	if (!action) {
		struct timespec pause = {.tv_nsec = 1000000};
		actor_note("nothing: all its actions are off");
		nanosleep(&pause, NULL);
		return;
	}
	actor_note("waiting for a fork");
	if (verdict_run.sanitized)
		pthread_rwlock_rdlock(&gate);
	actor_note(action->name);
	action->run(actor);
	if (verdict_run.sanitized)
		pthread_rwlock_unlock(&gate);
}

static void *act(void *data)
{
	struct actor *actor = data;

	actor_self = actor;
	actor->step = 0;
	chance_start(&actor->chance, verdict_run.seed, verdict_run.round, actor->number, 0);
	actor_note("begin");
	actor->role->begin(actor);
	for (actor->step = 1; !actors_round_over(); actor->step++)
		step(actor);
	actor_note("end");
	actor->role->end(actor);
	actor->doing = NULL;
	return NULL;
}

void actors_run(uint64_t round, uint64_t duration_ns)
{
	uint64_t end_ns = clock_now_ns() + duration_ns;

	verdict_run.round = round;
	round_over = false;
	if (!round) {
		pthread_rwlockattr_t attributes;
		pthread_rwlockattr_init(&attributes);
		/* Or a fork would wait for ever for a moment without actions. */
		pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
		pthread_rwlock_init(&gate, &attributes);
	}
	for (unsigned i = 0; i < ACTORS; i++) {
		actors[i].number = i;
		must(!pthread_create(&actors[i].thread, NULL, act, &actors[i]), "no thread");
	}
	while (clock_now_ns() < end_ns && !program_is_to_end()) {
		struct timespec pause = {.tv_nsec = 20000000};
		nanosleep(&pause, NULL);
	}
	round_over = true;
	for (unsigned i = 0; i < ACTORS; i++) {
		must(!pthread_join(actors[i].thread, NULL), "no end of a thread");
		__atomic_fetch_add((uint64_t *)&earlier_steps, actors[i].step, __ATOMIC_RELAXED);
		actors[i].step = 0;
	}
}

uint64_t actors_steps(void)
{
	return earlier_steps;
}

void actors_print(void)
{
	for (unsigned i = 0; i < ACTORS; i++)
		if (actors[i].doing)
			fprintf(stderr, "  %s %u: step %llu: %s\n", actors[i].role->name, i,
				(unsigned long long)actors[i].step, actors[i].doing);
}

bool actors_hang(unsigned seconds)
{
	static uint64_t seen[ACTORS];
	static unsigned unchanged[ACTORS];
	bool hang = false;

	for (unsigned i = 0; i < ACTORS; i++) {
		bool moves = !actors[i].doing || actors[i].beginnings != seen[i];
		seen[i] = actors[i].beginnings;
		unchanged[i] = moves ? 0 : unchanged[i] + 1;
		hang |= unchanged[i] > seconds;
	}
	return hang;
}

/* ---- weights */

static struct action *next_action(struct action *action, unsigned *role)
{
	static const struct role *const roles[] = {&role_ring, &role_tree, &role_blocking, &role_service};

	if (action && (++action)->name)
		return action;
	unsigned next = action ? ++*role : 0;
	*role = next;
	return next < sizeof(roles) / sizeof(roles[0]) ? roles[next]->actions : NULL;
}

void weights_print(void)
{
	unsigned role = 0;

	for (struct action *action = next_action(NULL, &role); action; action = next_action(action, &role))
		printf(" %s=%u", action->name, action->weight);
	printf("\n");
}

static bool set_one(const char *name, unsigned weight, bool all)
{
	unsigned role = 0;
	bool found = false;

	for (struct action *action = next_action(NULL, &role); action; action = next_action(action, &role)) {
		if (!all && strcmp(action->name, name))
			continue;
		action->weight = weight;
		found = true;
	}
	return found;
}

bool weights_set(const char *text)
{
	char *copy = strdup(text), *rest = NULL;
	bool known = copy != NULL;

	for (char *word = strtok_r(copy, ", ", &rest); word && known; word = strtok_r(NULL, ", ", &rest)) {
		char *number = strchr(word, '=');
		if (number)
			*number++ = '\0';
		if (!number && !strcmp(word, "only"))
			set_one("", 0, true);
		else
			known = set_one(word, number ? (unsigned)strtoul(number, NULL, 10) : 1, false);
	}
	free(copy);
	return known;
}

/* ---- moments without actions, for forks */

/* proc(5): the state follows the name, which ends with the last parenthesis. */
bool actors_thread_sleeps(int tid)
{
	char path[64], line[512] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	FILE *file = fopen(path, "re");
	if (!file)
		return true;
	bool read = fgets(line, sizeof(line), file) != NULL;
	fclose(file);
	const char *name_end = read ? strrchr(line, ')') : NULL;
	return name_end && name_end[1] && name_end[2] == 'S';
}

static bool others_sleep(void)
{
	DIR *tasks = opendir("/proc/self/task");
	pid_t own = gettid();
	bool all = true;

	for (struct dirent *entry; tasks && all && (entry = readdir(tasks));)
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != own)
			all = actors_thread_sleeps(atoi(entry->d_name));
	if (tasks)
		closedir(tasks);
	return all;
}

void actors_halt(void)
{
	if (!verdict_run.sanitized)
		return;
	actor_note("halting the others");
	pthread_rwlock_unlock(&gate);
	pthread_rwlock_wrlock(&gate);
	/* Threads of the library, too; if they never do, the fork is tried all the same. */
	for (unsigned tries = 0; tries < 200 && !others_sleep(); tries++) {
		struct timespec pause = {.tv_nsec = 1000000};
		nanosleep(&pause, NULL);
	}
}

static pthread_mutex_t mappings = PTHREAD_MUTEX_INITIALIZER;

void actors_lock_mappings(void)
{
	if (verdict_run.sanitized)
		pthread_mutex_lock(&mappings);
}

void actors_unlock_mappings(void)
{
	if (verdict_run.sanitized)
		pthread_mutex_unlock(&mappings);
}

void actors_resume(void)
{
	if (!verdict_run.sanitized)
		return;
	pthread_rwlock_unlock(&gate);
	pthread_rwlock_rdlock(&gate);
}
