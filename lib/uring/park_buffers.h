/* SPDX-License-Identifier: MIT */
/* Provided buffers and attempts. */
#ifndef CTX_PARK_BUFFERS_H
#define CTX_PARK_BUFFERS_H

#include <stdbool.h>

/* True when a receive that finds nothing and does not wait leaves the provided buffer that was selected for
 * it in its group, of whatever kind. Found by trying, once. False also when it could not be tried. */
bool park_buffers_stay(void);

#endif
