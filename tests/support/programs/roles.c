/* SPDX-License-Identifier: MIT */
/*
 * roles ROLE NUMBER: what tests of commands start, see play(). A program of its own, for in a sanitizer's
 * tree most of the time of those tests would be that of starting it. Ends by itself.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(char what)
{
	if (write(STDOUT_FILENO, &what, 1) != 1)
		_exit(99);
}

static void stay(void)
{
	for (;;)
		pause();
}

/* In sessions of their own, without a parent. */
static void make_daemons(int count, bool stubborn)
{
	if (stubborn)
		signal(SIGTERM, SIG_IGN);
	for (int i = 0; i < count; i++)
		if (!fork()) {
			setsid();
			if (fork())
				_exit(0);
			say('r');
			stay();
		}
	for (int i = 0; i < count; i++)
		wait(NULL);
}

/* Each forks two until depth is reached, and then goes on in a single line of processes that hand over. */
static void storm(int depth)
{
	pid_t program = getpid();

	signal(SIGTERM, SIG_IGN);
	for (int i = 0; i < depth; i++)
		if (fork() < 0)
			_exit(98);
	say('r');
	if (getpid() == program)
		stay(); /* else its end would be that of the rest, which may not have spoken yet */
	for (int i = 0; i < 300; i++) {
		pid_t next = fork();
		if (next > 0)
			_exit(0);
		if (next < 0)
			stay();
	}
	stay();
}

static void count_fds(void)
{
	char count = 0;

	for (int fd = 0; fd < 200; fd++)
		count = (char)(count + (fcntl(fd, F_GETFD) >= 0));
	say(count);
}

static void tell_signals(void)
{
	sigset_t mask;
	struct sigaction action;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int signo = 1; signo < 32; signo++)
		if (sigismember(&mask, signo))
			say((char)signo);
	say('m');
	for (int signo = 1; signo < 32; signo++) {
		sigaction(signo, NULL, &action);
		if (action.sa_handler == SIG_IGN)
			say((char)signo);
	}
	say('.');
}

/* A line of processes; the last one tells that it is there. */
static void make_line(int length)
{
	while (length-- > 0)
		if (fork())
			stay();
	say('r');
	stay();
}

/* Whose first thread has ended, and the other one goes on. */
static void *go_on(void *data)
{
	char line[256] = "";

	while (!strstr(line, ") Z ")) {
		FILE *file = fopen("/proc/self/stat", "re");
		if (!file || !fgets(line, sizeof(line), file))
			_exit(96);
		fclose(file);
	}
	say('r');
	stay();
	return data;
}

static void end_first_thread(bool in_child)
{
	pthread_t thread;

	if (in_child && fork())
		return;
	pthread_create(&thread, NULL, go_on, NULL);
	syscall(SYS_exit, 0); /* and nothing of what pthread_exit(3) does besides */
}

/* At SIGTERM it starts children that say, in time, that nobody disturbed them. */
static void clean_up(int signo)
{
	struct timespec moment = {.tv_nsec = 3000000};

	(void)signo;
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		int status;
		if (!pid) {
			signal(SIGTERM, SIG_DFL);
			nanosleep(&moment, NULL);
			_exit(7);
		}
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
			_exit(1);
	}
	_exit(6);
}

static void burn(void)
{
	struct rusage usage;

	do
		getrusage(RUSAGE_SELF, &usage);
	while (usage.ru_utime.tv_sec == 0 && usage.ru_utime.tv_usec + usage.ru_stime.tv_usec < 60000);
}

static void play(const char *role, int number)
{
	if (!strcmp(role, "exit"))
		_exit(number);
	if (!strcmp(role, "die"))
		raise(number);
	if (!strcmp(role, "daemons") || !strcmp(role, "stubborn daemons"))
		make_daemons(number, role[0] == 's');
	if (!strcmp(role, "leaver")) {
		make_daemons(number, false);
		_exit(5);
	}
	if (!strcmp(role, "stubborn"))
		signal(SIGTERM, SIG_IGN);
	if (!strcmp(role, "cleaner"))
		signal(SIGTERM, clean_up);
	if (!strcmp(role, "line"))
		make_line(number);
	if (!strcmp(role, "thread"))
		end_first_thread(number);
	if (!strcmp(role, "storm"))
		storm(number);
	if (!strcmp(role, "fds"))
		count_fds();
	if (!strcmp(role, "signals"))
		tell_signals();
	if (!strcmp(role, "burner"))
		burn();
	if (!strcmp(role, "copy")) {
		char byte;
		while (read(STDIN_FILENO, &byte, 1) == 1)
			say(byte);
		_exit(0);
	}
	if (!strcmp(role, "fds") || !strcmp(role, "signals") || !strcmp(role, "burner"))
		_exit(0);
	say('r');
	if (!strcmp(role, "stopped"))
		raise(SIGSTOP);
	stay();
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	alarm(50);
	play(argv[1], atoi(argv[2]));
	return 97;
}
