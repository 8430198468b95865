/* SPDX-License-Identifier: MIT */
/* Names of users. */
#ifndef TOOL_USERS_H
#define TOOL_USERS_H

#include <sys/types.h>

/* Returns the name of the user, not escaped, or its number as text. It stays valid and is looked up once. */
const char *user_name(uid_t uid);

#endif
