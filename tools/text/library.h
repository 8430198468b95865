/* SPDX-License-Identifier: MIT */
/*
 * Loads a library when it is needed first. Linked, its constructors and those of what it needs itself would run at each
 * start of the tool.
 */
#ifndef TOOL_LIBRARY_H
#define TOOL_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Loads the library and looks up count functions by their names, whose addresses it stores one after the other at
 * ret_functions, an array or a structure of nothing but pointers to functions. False: there is no such library, or it
 * lacks one of them.
 */
bool library_load(const char *file, const char *const *names, size_t count, void *ret_functions);

#endif
