/* SPDX-License-Identifier: MIT */
/* The password of the server's user, which is the first line of a file. */
#ifndef CTXD_ENGINE_PASSWORD_H
#define CTXD_ENGINE_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#define PASSWORD_MAX 512

/*
 * 0 or a negative errno; -EFBIG: the line is longer than PASSWORD_MAX. The caller wipes the password. Sets
 * *ret_is_open if other users than the file's owner and group may read it.
 */
int password_read(const char *path, char password[PASSWORD_MAX + 1], bool *ret_is_open);

#endif
