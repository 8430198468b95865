/* SPDX-License-Identifier: MIT */
#ifndef CTX_PARK_BUFFERS_H
#define CTX_PARK_BUFFERS_H

#include <stdbool.h>

/* An attempt that finds nothing leaves its provided buffer where it was. Found by trying, once. */
bool park_buffers_stay(void);

#endif
