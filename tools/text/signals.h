/* SPDX-License-Identifier: MIT */
/* Signals as names, and names as signals. */
#ifndef TOOL_SIGNALS_H
#define TOOL_SIGNALS_H

#define SIGNAL_NAME_SIZE 16

/* Returns a name as "TERM", "RTMIN+2" or "RTMAX-1", or the number, written to buffer. */
const char *signal_name(int signo, char buffer[SIGNAL_NAME_SIZE]);

/*
 * Reads a signal in any form that timeout(1) takes: a name in upper or lower case, with or without SIG,
 * RTMIN+N, RTMAX-N, a number, or the exit status of a command that the signal ended. Returns its number, 0
 * for EXIT and for 0, or -1: there is no such signal.
 */
int signal_parse(const char *text);

#endif
