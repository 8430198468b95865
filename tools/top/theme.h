/* SPDX-License-Identifier: MIT */
/* What things look like on the screen of ctxtool top. */
#ifndef TOP_THEME_H
#define TOP_THEME_H

#include <stdbool.h>

enum top_theme {
	TOP_GUESS, /* by NO_COLOR and COLORFGBG */
	TOP_DARK,
	TOP_LIGHT,
	TOP_MONO, /* no colours: bold, dim, underlined and reversed text */
};

enum top_style {
	TOP_PLAIN,
	TOP_STYLE_LIVE,
	TOP_STYLE_EXPIRED,
	TOP_STYLE_CANCELLED,
	TOP_STYLE_DUE, /* a deadline that has passed or passes in less than a second */
	TOP_STYLE_CANCELLING,
	TOP_STYLE_STUCK,
	TOP_STYLE_HEADER,
	TOP_STYLE_SORTED, /* the title of the column by which the rows are sorted */
	TOP_STYLE_TAB,
	TOP_STYLE_BAR, /* the chosen row, and the chosen tab */
	TOP_STYLE_BARS,
	TOP_STYLE_TITLE,
	TOP_STYLE_DIM,
	TOP_STYLE_ERROR,
	TOP_STYLES,
};

/* Reads "dark", "light" or "mono". 0 or -EINVAL. */
int top_theme_parse(const char *text, enum top_theme *ret_theme);

/* Returns the theme that the values of NO_COLOR and COLORFGBG, each of which may be NULL, speak for. */
enum top_theme top_theme_guess(const char *no_color, const char *colorfgbg);

/* ---- style.c */

/* Makes the theme the one of the screen, once curses has begun. */
void top_theme_begin(enum top_theme theme);

/* Returns the attributes for curses. */
unsigned long top_style(enum top_style style);

#endif
