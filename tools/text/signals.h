/* SPDX-License-Identifier: MIT */
/* Names of signals. */
#ifndef TOOL_SIGNALS_H
#define TOOL_SIGNALS_H

#define SIGNAL_NAME_SIZE 16

/* "TERM", "RTMIN+2", "RTMAX-1", or the number. */
const char *signal_name(int signo, char buffer[SIGNAL_NAME_SIZE]);

/*
 * In any form that timeout(1) takes: a name in upper or lower case with or without SIG, RTMIN+N, RTMAX-N, a
 * number, or the exit status of a command that it ended. Its number, 0 for EXIT and 0; -1: there is no such
 * one.
 */
int signal_parse(const char *text);

#endif
