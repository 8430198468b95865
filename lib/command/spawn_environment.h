/* SPDX-License-Identifier: MIT */
/* What a program is started with: its environment, and the files that argv[0] may stand for. */
#ifndef CTX_SPAWN_ENVIRONMENT_H
#define CTX_SPAWN_ENVIRONMENT_H

struct ctx_context;

/*
 * environment (NULL: this process's) with CTXRING_CONTEXT set to what ctx is. One block of memory, to be
 * given to memory_release; its strings but that one are the caller's. 0 or -ENOMEM.
 */
int spawn_environment(const struct ctx_context *ctx, char *const *environment, char ***ret_environment);

/* Where program is to be looked for, in order, ending with NULL: itself if it has a slash. As above. */
int spawn_paths(const char *program, char ***ret_paths);

/* argv for a shell that runs the file that argv[0] turns out to be, which is to be put at [1]. As above. */
int spawn_script(char *const *argv, char ***ret_script);

#endif
