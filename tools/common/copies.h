/* SPDX-License-Identifier: MIT */
/* Contexts that other users share with us: the service knows them, and their tables may not be read. */
#ifndef TOOL_COPIES_H
#define TOOL_COPIES_H

#include "discover.h"
#include "selection.h"

/*
 * Both look for contexts whose process is not in the survey, and that are selected. A selection that asks for
 * something that the service does not know selects none.
 */
bool copies_exist(const struct survey *survey, const struct selection *selection);
void copies_print(const struct survey *survey, const struct selection *selection);

#endif
