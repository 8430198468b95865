/* SPDX-License-Identifier: MIT */
#ifndef TOOL_DOCTOR_H
#define TOOL_DOCTOR_H

/* ctxtool doctor: whether io_uring can be used here, and what stands in the way. The exit code. */
int doctor_run(int argc, char **argv);

#endif
