/* SPDX-License-Identifier: MIT */
/*
 * Something to look at and to end: "program" with "conn", below which "GET a" and "GET b" have 30 receives
 * each, and two contexts labelled "twin". With "labels" 26 labels more, and three times "other"; with
 * "shared" it shares "program", and prints its id; with "kept" there is "audit" below "kept", which keeps it
 * from the end of "conn". With "labels=FILE" each line of the file is a label. Serves its ring until it is
 * killed; with "exits" it waits for SIGTERM, and returns from main.
 */
#include <ctxring.h>
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define RECEIVES 30

static struct ctx_context *child(const struct ctx_context *parent, const char *label)
{
	struct ctx_context *ctx = NULL;

	ctx_with_cancel(parent, label, &ctx);
	return ctx;
}

static void make_labels(const struct ctx_context *parent)
{
	for (char letter = 'a'; letter <= 'z'; letter++)
		child(parent, (char[]){'l', letter, '\0'});
	for (int i = 0; i < 3; i++)
		child(parent, "other");
}

static void read_labels(const struct ctx_context *parent, const char *path)
{
	char line[64];
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		child(parent, line);
	}
}

static void share(struct ctx_context *program)
{
	struct ctxd_options options = {.flags = CTXD_PUBLISH};
	struct ctxd_client *client;
	char text[CTXD_ID_TEXT];
	struct ctxd_id id;

	if (ctxd_connect(&options, &client) || ctxd_share(client, program, NULL, 0600, &id))
		return;
	ctxd_format_id(id, text, sizeof(text));
	printf("shared as %s\n", text);
}

static void keep(const struct ctx_context *conn)
{
	const struct ctx_context *kept;

	if (!ctx_without_cancel(conn, "kept", &kept))
		child(kept, "audit");
}

int main(int argc, char **argv)
{
	static struct ctx_op ops[2 * RECEIVES];
	static char sink[16];
	struct ctx_context *program = child(ctx_background(), "program"), *conn = child(program, "conn");
	struct ctx_context *requests[] = {child(conn, "GET a"), child(conn, "GET b")};
	struct ctx_ring *ring;
	int pair[2], signo;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	if (argc > 1 && strcmp(argv[1], "exits") == 0)
		pthread_sigmask(SIG_BLOCK, &set, NULL);
	child(program, "twin");
	child(program, "twin");
	if (argc > 1 && strcmp(argv[1], "labels") == 0)
		make_labels(program);
	if (argc > 1 && strncmp(argv[1], "labels=", 7) == 0)
		read_labels(program, argv[1] + 7);
	if (argc > 1 && strcmp(argv[1], "shared") == 0)
		share(program);
	if (argc > 1 && strcmp(argv[1], "kept") == 0)
		keep(conn);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || ctx_ring_open(64, NULL, &ring))
		return 1;
	for (int i = 0; i < 2 * RECEIVES; i++) {
		ctx_op_init(&ops[i], NULL, 0);
		io_uring_prep_recv(ctx_ring_get_sqe(ring, requests[i / RECEIVES], &ops[i]), pair[0], sink,
				   sizeof(sink), 0);
	}
	ctx_ring_submit(ring);
	puts("ready");
	fflush(stdout);
	if (argc > 1 && strcmp(argv[1], "exits") == 0)
		return sigwait(&set, &signo);
	for (;;)
		if (ctx_ring_dispatch(ring, CTX_FOREVER) == -EBADF)
			return 1;
}
