/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names that sigabbrev_np(3) does not have. */
static const struct {
	const char *name;
	int signo;
} others[] = {
	{"EXIT", 0}, {"IOT", SIGABRT}, {"CLD", SIGCHLD}, {"IO", SIGIO}, {"POLL", SIGIO},
};

static bool is_realtime(int signo)
{
	return signo >= SIGRTMIN && signo <= SIGRTMAX;
}

const char *signal_name(int signo, char buffer[SIGNAL_NAME_SIZE])
{
	const char *name = sigabbrev_np(signo);
	int from_min = signo - SIGRTMIN, from_max = signo - SIGRTMAX;

	if (name)
		return name;
	if (!is_realtime(signo))
		snprintf(buffer, SIGNAL_NAME_SIZE, "%d", signo);
	else if (from_min == 0 || from_max == 0)
		snprintf(buffer, SIGNAL_NAME_SIZE, "%s", from_min ? "RTMAX" : "RTMIN");
	else if (from_min <= -from_max)
		snprintf(buffer, SIGNAL_NAME_SIZE, "RTMIN+%d", from_min);
	else
		snprintf(buffer, SIGNAL_NAME_SIZE, "RTMAX%d", from_max);
	return buffer;
}

/* Reads a number that is all of the text. */
static bool parse_number(const char *text, int *ret_number)
{
	char *end;

	errno = 0;
	long number = strtol(text, &end, 10);
	*ret_number = (int)number;
	return end != text && !*end && !errno && number >= INT_MIN && number <= INT_MAX;
}

/* Reads the offset behind RTMIN or RTMAX, 0 for an empty text, and adds it to base. -1: no such signal. */
static int parse_realtime(int base, const char *text)
{
	int offset = 0;

	if (*text && !parse_number(text, &offset))
		return -1;
	if (offset < SIGRTMIN - SIGRTMAX || offset > SIGRTMAX - SIGRTMIN)
		return -1;
	return is_realtime(base + offset) ? base + offset : -1;
}

static int parse_name(const char *name)
{
	if (strncasecmp(name, "RTMIN", 5) == 0)
		return parse_realtime(SIGRTMIN, name + 5);
	if (strncasecmp(name, "RTMAX", 5) == 0)
		return parse_realtime(SIGRTMAX, name + 5);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcasecmp(others[i].name, name) == 0)
			return others[i].signo;
	for (int signo = 1; signo < SIGRTMIN; signo++) {
		const char *known = sigabbrev_np(signo);
		if (known && strcasecmp(known, name) == 0)
			return signo;
	}
	return -1;
}

int signal_parse(const char *text)
{
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	int number;

	if (*name < '0' || *name > '9')
		return parse_name(name);
	if (!parse_number(name, &number))
		return -1;
	/*
	 * The exit status of a command that a signal ended is 128 plus its number in a shell, 256 plus it in
	 * ksh.
	 */
	if (name == text)
		number &= number >= 0xff ? 0xff : 0x7f;
	return number <= SIGRTMAX ? number : -1;
}
