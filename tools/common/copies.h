/* SPDX-License-Identifier: MIT */
/* Contexts that others share with us while their tables are closed to us: known from the service alone. */
#ifndef TOOL_COPIES_H
#define TOOL_COPIES_H

#include "discover.h"

bool copies_exist(const struct survey *survey);

/* One line each. */
void copies_print(const struct survey *survey);

#endif
