/* SPDX-License-Identifier: MIT */
#include "users.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct user {
	struct user *next;
	uid_t uid;
	char name[];
};

/* Those that were asked for, the latest one first. There are few. */
static struct user *known_users;

/* Returns the number as text, for a user without a name, or without memory. */
static const char *number_text(uid_t uid)
{
	static char text[16];

	snprintf(text, sizeof(text), "%u", (unsigned)uid);
	return text;
}

const char *user_name(uid_t uid)
{
	for (struct user *user = known_users; user; user = user->next)
		if (user->uid == uid)
			return user->name;
	const struct passwd *entry = getpwuid(uid);
	const char *name = entry && entry->pw_name[0] ? entry->pw_name : number_text(uid);
	struct user *user = malloc(sizeof(*user) + strlen(name) + 1);

	if (!user)
		return number_text(uid);
	user->uid = uid;
	strcpy(user->name, name);
	user->next = known_users;
	known_users = user;
	return user->name;
}
