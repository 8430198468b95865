/* SPDX-License-Identifier: MIT */
/* What the program was told. */
#ifndef SOAK_PROGRAM_H
#define SOAK_PROGRAM_H

#include <stdbool.h>

/* Ctrl-C, or its time is over. */
bool program_is_to_end(void);

/* The service that is started and killed; NULL: none. */
const char *program_service(void);

/* This program's own file, for processes that are started as something else than a fork. */
const char *program_self(void);

#endif
