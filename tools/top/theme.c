/* SPDX-License-Identifier: MIT */
#include "theme.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int top_theme_parse(const char *text, enum top_theme *ret_theme)
{
	static const char *const names[] = {[TOP_DARK] = "dark", [TOP_LIGHT] = "light", [TOP_MONO] = "mono"};

	for (int i = TOP_DARK; i <= TOP_MONO; i++)
		if (strcmp(text, names[i]) == 0) {
			*ret_theme = (enum top_theme)i;
			return 0;
		}
	return -EINVAL;
}

enum top_theme top_theme_guess(const char *no_color, const char *colorfgbg)
{
	const char *background = colorfgbg ? strrchr(colorfgbg, ';') : NULL;
	char *end;
	long number;

	if (no_color && *no_color)
		return TOP_MONO;
	if (!background)
		return TOP_DARK;
	number = strtol(background + 1, &end, 10);
	/* Of the 16 colours 7 is light grey, 8 dark grey, and those above are light. */
	return end > background + 1 && !*end && (number == 7 || (number > 8 && number <= 15)) ? TOP_LIGHT
											      : TOP_DARK;
}
