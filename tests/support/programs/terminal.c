/* SPDX-License-Identifier: MIT */
/*
 * terminal STEP... -- COMMAND...: a person at a terminal. Runs the command with a pseudo terminal of its own
 * as its controlling one, and goes through the steps: "=TEXT" waits until the command has written TEXT since
 * the last such step, "+TEXT" types it, "~TEXT" too, and again each second until the next text is there:
 * where a shell and a job of several processes change places at the terminal, a line may go to neither.
 * Prints all that was written; exits with the command's status, or with 99, having told the step, when that
 * does not come within some seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 30

static char seen[1 << 16];
static const char *repeated; /* what is typed again */
static size_t length, from;  /* from: where the last text that was waited for ended */

static void give_up(const char *step)
{
	fprintf(stderr, "\nterminal: not seen: %s\n", step);
	exit(99);
}

static void type(int terminal, const char *text)
{
	if (write(terminal, text, strlen(text)) < 0)
		give_up(text);
}

/* More of the output; false at its end. */
static int more(int terminal, const char *step)
{
	struct pollfd pollfd = {.fd = terminal, .events = POLLIN};

	for (int i = 0; poll(&pollfd, 1, 1000) == 0; i++) {
		if (i == PATIENCE_S)
			give_up(step);
		if (repeated)
			type(terminal, repeated);
	}
	if (length == sizeof(seen) - 1)
		give_up(step);
	ssize_t got = read(terminal, seen + length, sizeof(seen) - 1 - length);
	if (got <= 0)
		return 0;
	if (write(STDOUT_FILENO, seen + length, (size_t)got) < 0)
		exit(98);
	length += (size_t)got;
	seen[length] = '\0';
	return 1;
}

static void await_text(int terminal, const char *text)
{
	const char *at;

	while (!(at = strstr(seen + from, text)))
		if (!more(terminal, text))
			give_up(text);
	from = (size_t)(at - seen) + strlen(text);
	repeated = NULL;
}

static pid_t run(int terminal, char **command)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	setsid();
	int other = open(ptsname(terminal), O_RDWR);
	ioctl(other, TIOCSCTTY, 0);
	for (int fd = 0; fd < 3; fd++)
		dup2(other, fd);
	close(other);
	execvp(command[0], command);
	_exit(127);
}

int main(int argc, char **argv)
{
	int status, first = 1;
	int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	while (first < argc && strcmp(argv[first], "--") != 0)
		first++;
	if (first + 1 >= argc || terminal < 0 || grantpt(terminal) || unlockpt(terminal))
		return 97;
	pid_t pid = run(terminal, argv + first + 1);
	for (int i = 1; i < first; i++) {
		if (argv[i][0] == '=') {
			await_text(terminal, argv[i] + 1);
			continue;
		}
		type(terminal, argv[i] + 1);
		if (argv[i][0] == '~')
			repeated = argv[i] + 1;
	}
	while (more(terminal, "the end"))
		;
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
