/* SPDX-License-Identifier: MIT */
/*
 * Clients of a service that is killed and started at any moment. What must hold whether it lives or not: the
 * end of a shared context reaches every context that was joined to it, and a joined one ends for no other
 * reason.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak/fork.h"
#include "soak/program.h"
#include "soak/scope.h"
#include "soak/service.h"

#define CLIENTS 3
#define SHARES 5
#define JOINS 12
/* The last client is dispatched by the actor itself. */
#define OWN_DISPATCH (CLIENTS - 1)

struct share {
	struct scope *scope; /* NULL: none here */
	unsigned client;
	bool withdrawn; /* its client was closed: nobody joins it any more */
	struct ctxd_id id;
	char name[24];
};

struct join {
	struct ctx_context *ctx; /* NULL: none here */
	unsigned share, client;
	bool deaf; /* its client was closed: the owner's end does not reach it any more */
};

struct office {
	char directory[64], socket[96], config[96], log[96];
	pid_t service; /* 0: not running */
	unsigned names;
	struct ctxd_client *clients[CLIENTS];
	struct share shares[SHARES];
	struct join joins[JOINS];
};

static struct office *office_of(struct actor *actor)
{
	return actor->state;
}

/* ---- the service */

static void start_service(struct office *office)
{
	char *argv[] = {
		"soak",		"--become", (char *)program_service(), "--socket", office->socket, "--config",
		office->config, NULL};
	int log = open(office->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	must(log >= 0, "no log");
	office->service = service_spawn(argv, log);
	close(log);
	count(&verdict_counts.services);
}

static void kill_or_start(struct actor *actor)
{
	struct office *office = office_of(actor);

	if (!office->service) {
		start_service(office);
		return;
	}
	if (chance_one_in(&actor->chance, 3)) {
		kill(office->service, SIGKILL);
		fork_await(office->service, "ctxd, though killed");
		office->service = 0;
	}
}

/* ---- clients */

static void open_client(struct office *office, unsigned number)
{
	struct ctxd_options options = {.socket = office->socket,
				       .timeout_ns = NS_PER_SECOND / 5,
				       .flags = CTXD_PATIENT |
						(number == OWN_DISPATCH ? CTXD_OWN_DISPATCH : 0)};
	int error = ctxd_connect(&options, &office->clients[number]);

	must(error == 0, "ctxd_connect: %d", error);
}

static void close_client(struct office *office, unsigned number)
{
	for (unsigned i = 0; i < JOINS; i++)
		office->joins[i].deaf |= office->joins[i].client == number;
	for (unsigned i = 0; i < SHARES; i++)
		office->shares[i].withdrawn |= office->shares[i].client == number;
	ctxd_close(office->clients[number]);
	office->clients[number] = NULL;
}

static unsigned any_client(struct actor *actor)
{
	return chance_below(&actor->chance, CLIENTS);
}

/* What the service may say at any moment, because of what was done to it. */
static bool is_excused(int error)
{
	return error == -ENOTCONN || error == -ETIMEDOUT || error == -ESTALE || error == -ENOENT;
}

static void serve_own(struct office *office, uint64_t timeout_ns)
{
	int handled = ctxd_dispatch(office->clients[OWN_DISPATCH], timeout_ns);

	must(handled >= 0 || handled == -EINTR, "ctxd_dispatch: %d", handled);
}

/* ---- joined contexts */

static void check_join(struct office *office, const struct join *join)
{
	const struct share *share = &office->shares[join->share];
	int error = join->ctx ? ctx_err(join->ctx) : 0;
	struct ctx_cause cause;

	if (!error || share->scope->asked || ctx_err(share->scope->ctx))
		return;
	/* Each process has the deadline for itself. */
	if (error == -ETIME && ctx_deadline_ns(share->scope->ctx) <= clock_now_ns())
		return;
	ctx_get_cause(join->ctx, &cause);
	must(false,
	     "joined by client %u to %s, which looks live, and ended: %d, cause %d of kind %d by %d, \"%s\"",
	     join->client, share->name, error, cause.error, cause.kind, cause.pid, cause.text);
}

static void await_join(struct office *office, const struct join *join)
{
	uint64_t end_ns = clock_now_ns() + SOAK_SOON_NS;

	while (!ctx_err(join->ctx)) {
		must(clock_now_ns() < end_ns, "the end of a shared context does not reach a joined one");
		if (join->client == OWN_DISPATCH)
			serve_own(office, 1000000);
		else
			ctx_wait(join->ctx, 5000000);
	}
}

/* That of a share is over: what was joined to it ends, if it can, and is let go of. */
static void await_joins(struct office *office, unsigned share)
{
	for (unsigned i = 0; i < JOINS; i++) {
		struct join *join = &office->joins[i];
		if (!join->ctx || join->share != share)
			continue;
		if (!join->deaf)
			await_join(office, join);
		ctx_finish(join->ctx);
		*join = (struct join){0};
	}
}

static void end_share(struct actor *actor, unsigned number)
{
	struct share *share = &office_of(actor)->shares[number];

	if (!share->scope)
		return;
	scope_end(&actor->chance, share->scope);
	await_joins(office_of(actor), number);
	scope_drop(share->scope);
	*share = (struct share){0};
}

/* ---- actions */

static void share_one(struct actor *actor)
{
	struct office *office = office_of(actor);
	unsigned number = chance_below(&actor->chance, SHARES);
	struct share *share = &office->shares[number];
	struct scope *parent = scope_common(&actor->chance);

	end_share(actor, number);
	share->scope =
		chance_one_in(&actor->chance, 4) ? scope_with_timeout(parent, 20000000) : scope_child(parent);
	scope_drop(parent);
	snprintf(share->name, sizeof(share->name), "share-%u", office->names++);
	share->client = any_client(actor);
	int error = ctxd_share(office->clients[share->client], share->scope->own, share->name, 0, &share->id);
	must(error == 0 || error == -EALREADY || is_excused(error), "ctxd_share: %d", error);
	if (error)
		end_share(actor, number);
}

static void join_one(struct actor *actor)
{
	struct office *office = office_of(actor);
	struct join *join = &office->joins[chance_below(&actor->chance, JOINS)];
	unsigned number = chance_below(&actor->chance, SHARES), client = any_client(actor);
	struct share *share = &office->shares[number];
	struct ctx_context *ctx = NULL;

	if (!share->scope || share->withdrawn || join->ctx)
		return;
	int error = chance_one_in(&actor->chance, 2)
			    ? ctxd_join(office->clients[client], share->id, &ctx)
			    : ctxd_join_name(office->clients[client], (uid_t)-1, share->name, &ctx);
	must(error == 0 || is_excused(error), "ctxd_join: %d", error);
	if (!error)
		*join = (struct join){.ctx = ctx, .share = number, .client = client};
}

static void leave_one(struct actor *actor)
{
	struct join *join = &office_of(actor)->joins[chance_below(&actor->chance, JOINS)];

	if (!join->ctx)
		return;
	check_join(office_of(actor), join);
	ctx_unref(join->ctx);
	*join = (struct join){0};
}

static void end_one(struct actor *actor)
{
	end_share(actor, chance_below(&actor->chance, SHARES));
}

static void cancel_one(struct actor *actor)
{
	struct office *office = office_of(actor);
	unsigned number = chance_below(&actor->chance, SHARES);
	struct share *share = &office->shares[number];
	struct ctxd_target target = {.id = share->id};
	struct ctxd_report report;

	if (!share->scope)
		return;
	share->scope->asked = true;
	int error =
		ctxd_cancel(office->clients[any_client(actor)], &target, 0, -EIO, "by chance", 0, &report);
	must(error == 0 || error == -EALREADY || is_excused(error), "ctxd_cancel: %d", error);
	end_share(actor, number);
}

static void look(struct actor *actor)
{
	struct office *office = office_of(actor);

	for (unsigned i = 0; i < JOINS; i++)
		check_join(office, &office->joins[i]);
	serve_own(office, chance_short_ns(&actor->chance));
}

static int count_entry(const struct ctxd_entry *entry, void *data)
{
	(void)entry;
	++*(unsigned *)data;
	return 0;
}

static void list(struct actor *actor)
{
	unsigned entries = 0;
	int error = ctxd_list(office_of(actor)->clients[any_client(actor)],
			      CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS, count_entry, &entries);

	must(error == 0 || is_excused(error), "ctxd_list: %d", error);
}

static void reconnect(struct actor *actor)
{
	unsigned client = any_client(actor);

	close_client(office_of(actor), client);
	open_client(office_of(actor), client);
}

/* Joins what another process shares, and kills that. */
static void kill_owner(struct actor *actor)
{
	struct office *office = office_of(actor);
	struct ctx_context *ctx = NULL;
	char name[24], said;
	int output[2];

	must(!pipe2(output, O_CLOEXEC), "no pipe");
	snprintf(name, sizeof(name), "owner-%u", office->names++);
	pid_t pid = service_spawn((char *[]){"soak", "--owner", office->socket, name, NULL}, output[1]);
	close(output[1]);
	bool shared = read(output[0], &said, 1) == 1;
	close(output[0]);
	int error = shared ? ctxd_join_name(office->clients[0], (uid_t)-1, name, &ctx) : -ENOENT;
	must(error == 0 || is_excused(error), "ctxd_join_name: %d", error);
	kill(pid, SIGKILL);
	fork_await(pid, "an owner, though killed");
	if (error)
		return;
	must(ctx_wait(ctx, SOAK_SOON_NS) == 0, "the death of an owner does not reach a joined context");
	ctx_unref(ctx);
}

/* ---- a round */

static void begin(struct actor *actor)
{
	struct office *office = calloc(1, sizeof(*office));

	must(office, "no memory");
	actor->state = office;
	snprintf(office->directory, sizeof(office->directory), "/tmp/ctxring-soak.XXXXXX");
	must(mkdtemp(office->directory), "no directory");
	snprintf(office->socket, sizeof(office->socket), "%s/ctxd.sock", office->directory);
	snprintf(office->config, sizeof(office->config), "%s/ctxd.conf", office->directory);
	snprintf(office->log, sizeof(office->log), "%s/log", office->directory);
	close(open(office->config, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	if (!program_service())
		return;
	start_service(office);
	for (unsigned tries = 0; tries < 10000 && access(office->socket, F_OK); tries++)
		usleep(1000);
	for (unsigned i = 0; i < CLIENTS; i++)
		open_client(office, i);
}

static void remove_files(struct office *office)
{
	static const char *const names[] = {"ctxd.sock", "ctxd.sock.lock", "ctxd.conf", "log"};
	char path[128];

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", office->directory, names[i]);
		unlink(path);
	}
	rmdir(office->directory);
}

static void end(struct actor *actor)
{
	struct office *office = office_of(actor);
	int status = 0;

	for (unsigned i = 0; i < SHARES; i++)
		end_share(actor, i);
	for (unsigned i = 0; i < CLIENTS; i++)
		if (office->clients[i])
			close_client(office, i);
	if (office->service) {
		kill(office->service, SIGTERM);
		status = fork_await(office->service, "ctxd, though asked to end");
	}
	/* Success says that all quotas were returned. Before it has a handler the signal kills it. */
	must(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM),
	     "ctxd ended with status %x, see %s", (unsigned)status, office->log);
	remove_files(office);
	free(office);
	actor->state = NULL;
}

static struct action actions[] = {
	{"service-kill", 3, kill_or_start},
	{"service-share", 8, share_one},
	{"service-join", 16, join_one},
	{"service-leave", 3, leave_one},
	{"service-end", 4, end_one},
	{"service-cancel", 3, cancel_one},
	{"service-look", 8, look},
	{"service-list", 2, list},
	{"service-reconnect", 1, reconnect},
	{"service-owner", 1, kill_owner},
	{0},
};

const struct role role_service = {"service", actions, begin, end};
