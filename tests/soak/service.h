/* SPDX-License-Identifier: MIT */
/* Processes that the storm starts as something else than itself: the service, and an owner that is killed. */
#ifndef SOAK_SERVICE_H
#define SOAK_SERVICE_H

#include <sys/types.h>

/* Shares a context under this name, says so with one byte on standard output, and waits to be killed. */
int service_be_owner(const char *socket, const char *name);

/* Becomes argv[0], which is ended when the thread that started this process ends. */
int service_become(char **argv);

/* Starts this program again with these arguments; output (-1: as it is) becomes its standard output and
 * error. */
pid_t service_spawn(char *const argv[], int output);

#endif
