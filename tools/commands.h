/* SPDX-License-Identifier: MIT */
/* Sub-commands that are no views of tables. Each returns its exit code. */
#ifndef TOOL_COMMANDS_H
#define TOOL_COMMANDS_H

int watch_run(int argc, char **argv);
int last_run(int argc, char **argv);

#endif
