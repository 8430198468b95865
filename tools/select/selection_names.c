/* SPDX-License-Identifier: MIT */
/* The names of values, and of keys. */
#include <stdio.h>

#include "ctxring.h"
#include "names.h"
#include "selection_parts.h"

#define KINDS 9
#define CAUSES (CTX_CAUSE_UNREACHABLE + 1)
#define ERRORS 134
#define OPCODES 256

static const char *const state_names[] = {
	[STATE_LIVE] = "live",	     [STATE_CANCELLED] = "cancelled",
	[STATE_EXPIRED] = "expired", [STATE_DONE] = "done",
	[STATE_DUE] = "due",	     [STATE_DRAINING] = "draining",
	[STATE_STUCK] = "stuck",
};
#define STATES (sizeof(state_names) / sizeof(state_names[0]))

static const char *const key_names[SELECTION_KEYS] = {
	[SELECTION_PID] = "pid",   [SELECTION_COMM] = "comm",	[SELECTION_USER] = "user",
	[SELECTION_ID] = "id",	   [SELECTION_LABEL] = "label", [SELECTION_STATE] = "state",
	[SELECTION_KIND] = "kind", [SELECTION_CAUSE] = "cause", [SELECTION_ERROR] = "error",
	[SELECTION_AGE] = "age",   [SELECTION_LEFT] = "left",	[SELECTION_OP] = "op",
	[SELECTION_OPS] = "ops",   [SELECTION_FD] = "fd",
};

const char *selection_key_name(enum selection_key key)
{
	return key_names[key];
}

const char *selection_name(enum selection_key key, unsigned number, char *buffer, size_t size)
{
	switch (key) {
	case SELECTION_STATE:
		return number < STATES ? state_names[number] : NULL;
	case SELECTION_KIND:
		return number >= KINDS ? NULL : number ? context_kind_name(number) : "";
	case SELECTION_CAUSE:
		return number < CAUSES ? ctx_cause_kind_name(number) : NULL;
	case SELECTION_ERROR:
		return number >= ERRORS ? NULL : number ? errno_text((int)number, buffer, size) : "";
	case SELECTION_OP:
		return number < OPCODES ? opcode_text(number, buffer, size) : NULL;
	default:
		return NULL;
	}
}
