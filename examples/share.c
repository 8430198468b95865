/* SPDX-License-Identifier: MIT */
/*
 * The smallest use of ctxd: one process shares a context under a name and another one joins it. When the
 * first one ends the context, the second one sees the end and its cause. Start ctxd first:
 *
 *	ctxd & build/examples/share
 */
#include <ctxring.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ctxd_client *connect_or_exit(void)
{
	struct ctxd_client *client;
	char reason[300];
	int error = ctxd_connect(NULL, &client);

	if (!error)
		return client;
	ctxd_explain(error, reason, sizeof(reason));
	fprintf(stderr, "share: %s\n", reason);
	exit(1);
}

/* The other process. It knows nothing but the name. */
static int join(const char *name)
{
	struct ctxd_client *client = connect_or_exit();
	struct ctx_context *work;
	struct ctx_cause cause;
	int error = ctxd_join_name(client, (uid_t)-1, name, &work);

	if (error) {
		fprintf(stderr, "share: cannot join: %s\n", strerror(-error));
		return 1;
	}
	printf("joined\n");
	fflush(stdout);
	/* Operations and contexts below it end at the same moment as it, and its callbacks run. */
	ctx_wait(work, CTX_FOREVER);
	ctx_get_cause(work, &cause);
	printf("ended by process %d: %s (%s)\n", (int)cause.pid, cause.text, strerror(-cause.error));
	ctx_finish(work);
	ctxd_close(client);
	return 0;
}

int main(int argc, char **argv)
{
	struct ctxd_client *client;
	struct ctx_context *request;
	char name[32], line[32];
	int said[2], status;

	if (argc == 2)
		return join(argv[1]);
	client = connect_or_exit();
	snprintf(name, sizeof(name), "share-%d", (int)getpid());
	if (ctx_with_cancel(ctx_background(), "request", &request) ||
	    ctxd_share(client, request, name, 0600, NULL) || pipe(said))
		return 1;
	pid_t child = fork();
	if (child == 0) {
		dup2(said[1], STDOUT_FILENO);
		execl("/proc/self/exe", argv[0], name, (char *)NULL);
		_exit(1);
	}
	close(said[1]);
	FILE *from = fdopen(said[0], "r");
	if (from && fgets(line, sizeof(line), from)) {
		printf("process %d %s", (int)child, line);
		ctx_cancel_cause(request, -ECONNRESET, "the client left");
		while (fgets(line, sizeof(line), from))
			fputs(line, stdout);
	}
	if (from)
		fclose(from);
	ctx_unref(request);
	ctxd_close(client);
	return waitpid(child, &status, 0) != child || status;
}
