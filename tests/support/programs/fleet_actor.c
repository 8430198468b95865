/* SPDX-License-Identifier: MIT */
/*
 * A program on a host of the fleet that a script tells what to do. Each line of its input is a command, and
 *has one line of output as its answer: "ok" or "error ERRNO", and what the command says.
 *
 *	share NAME [MS]                      shares a context with the fleet: ok GLOBAL_ID
 *	keep NAME                            shares one on this host only: ok EPOCH-NUMBER
 *	join NAME GLOBAL_ID [wait] [survive]
 *	move NAME MS                         moves the deadline
 *	cancel NAME [TEXT]
 *	release NAME
 *	state NAME                           ok live, or ok done
 *	left NAME                            ok, and the milliseconds that are left or "forever"
 *	many NAME COUNT                      shares NAME-0, NAME-1, ... below one context NAME, and has one
 *more line of output for each: its global id
 *
 * NAME stands for a context and may be used once. When a context ends, this program writes into its error
 *output: event=done name=NAME cause=KIND host="HOST" error=ERRNO text="TEXT" at_us=TIME; TIME is that of the
 *wall clock.
 */
#include <ctxring.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS_NS 1000000ull

struct actor {
	struct actor *next;
	struct ctx_callback callback;
	uint64_t callback_id;
	struct ctx_context *ctx;
	char name[64];
};

static struct ctxd_client *client;
static struct actor *actors;

/* The point on CLOCK_MONOTONIC that is so many milliseconds ahead. */
static uint64_t in_ms(const char *ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 * MS_NS + (uint64_t)now.tv_nsec + strtoull(ms, NULL, 10) * MS_NS;
}

static void told(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct actor *actor = data;
	struct ctx_cause cause = {.kind = CTX_CAUSE_NONE};
	struct timespec now;

	(void)callback;
	clock_gettime(CLOCK_REALTIME, &now);
	ctx_get_cause(ctx, &cause);
	fprintf(stderr, "event=done name=%s cause=%s host=\"%s\" error=%d text=\"%s\" at_us=%" PRIu64 "\n",
		actor->name, ctx_cause_kind_name(cause.kind), cause.host, cause.error, cause.text,
		(uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

static struct ctx_context *find(const char *name)
{
	for (struct actor *actor = actors; actor; actor = actor->next)
		if (strcmp(actor->name, name) == 0)
			return actor->ctx;
	return NULL;
}

/* Keeps the context under that name, and tells when it ends. */
static int add(const char *name, struct ctx_context *ctx)
{
	struct actor *actor = calloc(1, sizeof(*actor));

	snprintf(actor->name, sizeof(actor->name), "%s", name);
	actor->ctx = ctx;
	actor->next = actors;
	actors = actor;
	return ctx_callback_add(ctx, &actor->callback, told, actor, &actor->callback_id);
}

static void release(const char *name)
{
	for (struct actor *actor = actors; actor; actor = actor->next)
		if (strcmp(actor->name, name) == 0 && actor->ctx) {
			ctx_callback_stop_wait(actor->callback_id);
			ctx_unref(actor->ctx);
			actor->ctx = NULL;
			actor->name[0] = '\0';
		}
}

static int share(const char *name, const char *ms, mode_t mode, char *text, size_t size)
{
	struct ctx_context *ctx;
	struct ctxd_id id;
	int error = ms ? ctx_with_movable_deadline(ctx_background(), in_ms(ms), name, &ctx)
		       : ctx_with_cancel(ctx_background(), name, &ctx);

	if (!error)
		error = add(name, ctx);
	if (!error)
		error = ctxd_share(client, ctx, NULL, mode, &id);
	if (error)
		return error;
	if (mode & CTXD_FLEET)
		return ctxd_global_id_of(client, ctx, text);
	return ctxd_format_id(id, text, size) < 0 ? -EINVAL : 0;
}

static int share_many(const char *name, const char *count)
{
	struct ctx_context *above, *ctx;
	char text[CTXD_GLOBAL_ID_TEXT], label[80];
	struct ctxd_id id;
	int error = ctx_with_cancel(ctx_background(), name, &above);

	if (!error)
		error = add(name, above);
	for (unsigned long i = 0, number = strtoul(count, NULL, 10); !error && i < number; i++) {
		snprintf(label, sizeof(label), "%s-%lu", name, i);
		error = ctx_with_cancel(above, label, &ctx);
		if (!error)
			error = ctxd_share(client, ctx, NULL, 0600 | CTXD_FLEET, &id);
		if (!error)
			error = ctxd_global_id_of(client, ctx, text);
		if (!error)
			printf("%s\n", text);
	}
	return error;
}

static int join(const char *name, const char *id, const char *how, const char *more)
{
	unsigned flags = 0;
	struct ctx_context *ctx;

	for (int i = 0; i < 2; i++, how = more) {
		if (how && strcmp(how, "wait") == 0)
			flags |= CTXD_JOIN_WAIT;
		if (how && strcmp(how, "survive") == 0)
			flags |= CTXD_JOIN_SURVIVE;
	}
	int error = ctxd_join_remote(client, id, NULL, flags, &ctx);
	return error ? error : add(name, ctx);
}

static int obey(char **words, char *text, size_t size)
{
	struct ctx_context *ctx = words[1] ? find(words[1]) : NULL;

	if (!words[0] || !words[1])
		return -EINVAL;
	if (strcmp(words[0], "share") == 0)
		return share(words[1], words[2], 0600 | CTXD_FLEET, text, size);
	if (strcmp(words[0], "keep") == 0)
		return share(words[1], words[2], 0600, text, size);
	if (strcmp(words[0], "many") == 0 && words[2])
		return share_many(words[1], words[2]);
	if (strcmp(words[0], "join") == 0 && words[2])
		return join(words[1], words[2], words[3], words[3] ? words[4] : NULL);
	if (!ctx)
		return -ENOENT;
	if (strcmp(words[0], "move") == 0 && words[2])
		return ctx_set_deadline(ctx, in_ms(words[2]));
	if (strcmp(words[0], "cancel") == 0)
		return ctx_cancel_cause(ctx, -ECANCELED, "%s", words[2] ? words[2] : "");
	if (strcmp(words[0], "unshare") == 0)
		return ctxd_unshare(client, ctx);
	if (strcmp(words[0], "release") == 0) {
		release(words[1]);
		return 0;
	}
	if (strcmp(words[0], "state") == 0) {
		snprintf(text, size, ctx_err(ctx) ? "done" : "live");
		return 0;
	}
	if (strcmp(words[0], "left") == 0) {
		uint64_t left_ns = ctx_time_left_ns(ctx);
		if (left_ns == CTX_FOREVER)
			snprintf(text, size, "forever");
		else
			snprintf(text, size, "%llu", left_ns / MS_NS);
		return 0;
	}
	return -EINVAL;
}

int main(void)
{
	const struct ctxd_options options = {.timeout_ns = 20000 * MS_NS};
	char *line = NULL;
	size_t room = 0;
	int error = ctxd_connect(&options, &client);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (error) {
		printf("error %d\n", error);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ok\n");
	while (getline(&line, &room, stdin) > 0) {
		char *words[8] = {NULL}, *rest = line, text[256] = "";
		for (unsigned i = 0; i < 7 && (words[i] = strsep(&rest, " \n")) && *words[i]; i++)
			;
		for (unsigned i = 0; i < 8; i++)
			if (words[i] && !*words[i])
				words[i] = NULL;
		error = obey(words, text, sizeof(text));
		if (error < 0)
			printf("error %s\n", strerrorname_np(-error));
		else
			printf("ok %s\n", text);
	}
	return 0;
}
