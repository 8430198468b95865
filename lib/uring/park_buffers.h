/* SPDX-License-Identifier: MIT */
#ifndef CTX_PARK_BUFFERS_H
#define CTX_PARK_BUFFERS_H

#include <stdbool.h>

/* A receive that finds nothing, and does not wait, leaves its provided buffer where it was, whatever the kind
 * of its group. Found by trying, once; false also when it could not be tried. */
bool park_buffers_stay(void);

#endif
