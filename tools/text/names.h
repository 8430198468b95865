/* SPDX-License-Identifier: MIT */
/* Names of the numbers that a table holds: opcodes, errors, kinds and states. */
#ifndef TOOL_NAMES_H
#define TOOL_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* Opcodes below this have a name; later ones are shown as numbers. */
#define NAMES_OPCODES 65

/* Returns a name as "RECV", or "OP_99", written to buffer, for one without a name. */
const char *opcode_text(unsigned opcode, char *buffer, size_t size);

/* Returns a name as "ECANCELED" for an errno of either sign, or "error 999", written to buffer. */
const char *errno_text(int error, char *buffer, size_t size);

/* Names of the kinds in a context's record; "unknown" for others. */
const char *context_kind_name(unsigned kind);

/* Returns "live", "cancelled", "expired" or "done" for the state in a context's record. */
const char *state_name(uint32_t state);

#endif
