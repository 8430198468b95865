/* SPDX-License-Identifier: MIT */
/* The program's allocator, malloc(3) unless ctx_set_allocator says otherwise. */
#ifndef CTX_MEMORY_H
#define CTX_MEMORY_H

#include <stddef.h>

/* Returns memory that is not cleared, or NULL: there is none. */
void *memory_allocate(size_t size);

/* NULL is allowed. */
void memory_release(void *memory);

#endif
