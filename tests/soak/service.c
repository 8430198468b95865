/* SPDX-License-Identifier: MIT */
#include "soak/service.h"

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ctxring.h"
#include "soak/program.h"
#include "soak/verdict.h"

int service_become(char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(argv[0], argv);
	return 127;
}

pid_t service_spawn(char *const argv[], int output)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	if (output >= 0) {
		posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
		posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
	}
	int error = posix_spawn(&pid, program_self(), &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	must(!error, "no process: %d", error);
	return pid;
}

int service_be_owner(const char *socket, const char *name)
{
	struct ctxd_options options = {.socket = socket};
	struct ctxd_client *client = NULL;
	struct ctx_context *ctx = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ctxd_connect(&options, &client) || ctx_with_cancel(ctx_background(), name, &ctx) ||
	    ctxd_share(client, ctx, name, 0, NULL) || write(STDOUT_FILENO, "x", 1) != 1)
		return 3; /* the service may be killed at any moment */
	for (;;)
		pause();
}
