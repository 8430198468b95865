/* SPDX-License-Identifier: MIT */
/* Names of the numbers that a table holds. */
#ifndef TOOL_NAMES_H
#define TOOL_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* Opcodes that have a name here; newer ones are shown by their number. */
#define NAMES_OPCODES 65

/* "RECV", or "OP_99" in buffer. */
const char *opcode_text(unsigned opcode, char *buffer, size_t size);

/* "ECANCELED" for an errno of either sign, or its number in buffer. */
const char *errno_text(int error, char *buffer, size_t size);

const char *cause_kind_name(unsigned kind);
const char *context_kind_name(unsigned kind);

/* "live", "cancelled", "expired" or "done", of the state of a context's record. */
const char *state_name(uint32_t state);

#endif
