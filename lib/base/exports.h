/* SPDX-License-Identifier: MIT */
/*
 * Included by the build ahead of every source of the library, which is compiled
 * with hidden visibility: what the public header declares is visible, nothing else.
 */
#ifndef CTX_EXPORTS_H
#define CTX_EXPORTS_H

#pragma GCC visibility push(default)
#include "ctxring.h"
#pragma GCC visibility pop

#endif
