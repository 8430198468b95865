/* SPDX-License-Identifier: MIT */
/* Asks a process to keep the journals of what is past: the recorder's side of struct ctx_control. */
#ifndef TOOL_CONTROL_H
#define TOOL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errand.h"

struct control {
	struct ctx_control *shared; /* mapped from the process; NULL: it is not open */
	uint64_t until_ns;	    /* what we stored last */
};

/*
 * Opens the control memfd of a process through its open directory of /proc. 0, or -errno with the reason in
 * words: -ENOTSUP when the process has none, -EACCES when we may not write it.
 */
int control_open(struct control *ret_control, struct patience *patience, int directory, char *reason,
		 size_t size);

/* Whether the process keeps the journals already. */
bool control_is_on(const struct control *control);

/* Has the process keep the journals until that time, or longer if another recorder wants that. */
void control_extend(struct control *control, uint64_t until_ns);

/* Ends what control_extend() began, unless another recorder has stored a time of its own, and closes it. */
void control_close(struct control *control);

#endif
