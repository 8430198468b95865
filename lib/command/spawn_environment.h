/* SPDX-License-Identifier: MIT */
/* What a program is started with: its environment, and the files that argv[0] may stand for. */
#ifndef CTX_SPAWN_ENVIRONMENT_H
#define CTX_SPAWN_ENVIRONMENT_H

struct ctx_context;

/*
 * Copies environment (NULL: this process's) with CTXRING_CONTEXT set to the text form of ctx. The result is
 * one block of memory, to be given to memory_release; its strings are the caller's, except the variable. 0 or
 * -ENOMEM.
 */
int spawn_environment(const struct ctx_context *ctx, char *const *environment, char ***ret_environment);

/*
 * The files to try for program, in order, ending with NULL. It is the only one if it has a slash. The memory
 * is as above.
 */
int spawn_paths(const char *program, char ***ret_paths);

/*
 * argv for a shell, to run the file that argv[0] turns out to be, which is to be put at [1]. The memory is as
 * above.
 */
int spawn_script(char *const *argv, char ***ret_script);

#endif
