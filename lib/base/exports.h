/* SPDX-License-Identifier: MIT */
/*
 * The build includes this ahead of every source of the library. The library is compiled with hidden
 * visibility: only what the public header declares is visible.
 */
#ifndef CTX_EXPORTS_H
#define CTX_EXPORTS_H

#pragma GCC visibility push(default)
#include "ctxring.h"
#pragma GCC visibility pop

#endif
