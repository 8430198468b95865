/* SPDX-License-Identifier: MIT */
/* The attributes that curses has for the styles of a theme. */
#include <curses.h>
#include <stdlib.h>

#include "theme.h"

/* The colour of the terminal itself. */
#define DEFAULT (-1)

struct look {
	short dark, light; /* colours of the text in these two themes */
	attr_t attributes, mono;
};

static const struct look looks[TOP_STYLES] = {
	[TOP_PLAIN] = {DEFAULT, DEFAULT, A_NORMAL, A_NORMAL},
	[TOP_STYLE_LIVE] = {COLOR_GREEN, COLOR_GREEN, A_NORMAL, A_NORMAL},
	[TOP_STYLE_EXPIRED] = {COLOR_YELLOW, COLOR_MAGENTA, A_NORMAL, A_DIM},
	[TOP_STYLE_CANCELLED] = {COLOR_RED, COLOR_RED, A_NORMAL, A_DIM},
	[TOP_STYLE_DUE] = {COLOR_YELLOW, COLOR_MAGENTA, A_BOLD, A_BOLD},
	[TOP_STYLE_CANCELLING] = {COLOR_YELLOW, COLOR_MAGENTA, A_NORMAL, A_UNDERLINE},
	[TOP_STYLE_STUCK] = {COLOR_RED, COLOR_RED, A_BOLD, A_BOLD | A_UNDERLINE},
	[TOP_STYLE_HEADER] = {DEFAULT, DEFAULT, A_REVERSE, A_REVERSE},
	[TOP_STYLE_SORTED] = {COLOR_CYAN, COLOR_BLUE, A_REVERSE | A_BOLD, A_REVERSE | A_BOLD},
	[TOP_STYLE_TAB] = {DEFAULT, DEFAULT, A_NORMAL, A_NORMAL},
	[TOP_STYLE_BAR] = {DEFAULT, DEFAULT, A_REVERSE, A_REVERSE},
	[TOP_STYLE_BARS] = {COLOR_CYAN, COLOR_BLUE, A_NORMAL, A_NORMAL},
	[TOP_STYLE_TITLE] = {COLOR_CYAN, COLOR_BLUE, A_BOLD, A_BOLD},
	[TOP_STYLE_DIM] = {DEFAULT, DEFAULT, A_DIM, A_DIM},
	[TOP_STYLE_ERROR] = {COLOR_RED, COLOR_RED, A_BOLD, A_BOLD},
};

static attr_t attributes[TOP_STYLES];

void top_theme_begin(enum top_theme theme)
{
	if (theme == TOP_GUESS)
		theme = top_theme_guess(getenv("NO_COLOR"), getenv("COLORFGBG"));
	if (theme != TOP_MONO && (!has_colors() || start_color() == ERR || use_default_colors() == ERR))
		theme = TOP_MONO;
	for (short i = 0; i < TOP_STYLES; i++) {
		short text = theme == TOP_LIGHT ? looks[i].light : looks[i].dark;

		attributes[i] = theme == TOP_MONO ? looks[i].mono : looks[i].attributes;
		/* Pair 0 is that of the terminal. */
		if (theme != TOP_MONO && text != DEFAULT && init_pair((short)(i + 1), text, DEFAULT) == OK)
			attributes[i] |= COLOR_PAIR(i + 1);
	}
}

unsigned long top_style(enum top_style style)
{
	return attributes[style];
}
