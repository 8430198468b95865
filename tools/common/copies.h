/* SPDX-License-Identifier: MIT */
/* Contexts that other users share with us: the service knows them, and their tables may not be read. */
#ifndef TOOL_COPIES_H
#define TOOL_COPIES_H

#include "discover.h"

/* Both look for contexts whose process is not in the survey. */
bool copies_exist(const struct survey *survey);
void copies_print(const struct survey *survey);

#endif
