/* SPDX-License-Identifier: MIT */
/*
 * Text for a person at a terminal or for a program: colours, lines, escaping, times, and interruptions.
 *
 * This folder, text/, turns names, numbers and the command line into text and back; it uses nothing else of
 * ctxtool.
 */
#ifndef TOOL_TERMINAL_H
#define TOOL_TERMINAL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum colour {
	COLOUR_PLAIN,
	COLOUR_BOLD,
	COLOUR_DIM,
	COLOUR_RED,
	COLOUR_GREEN,
	COLOUR_YELLOW,
	COLOUR_CYAN,
};

struct terminal {
	bool is_tty;
	bool is_screen; /* the cursor can be moved */
	bool colours;
	bool lines; /* lines of trees can be drawn, in UTF-8 */
};

/* Looks at standard output, NO_COLOR, TERM and the locale. To be called once, before everything else here. */
void terminal_init(void);
const struct terminal *terminal(void);

/* Returns the size of the window, or 80 by 24 where it is not known. */
void terminal_size(unsigned *ret_columns, unsigned *ret_rows);

/* Returns the sequence that begins a colour, or that of COLOUR_PLAIN, which ends it; "" without colours. */
const char *colour(enum colour colour);

/*
 * Copies text to buffer so that it is harmless on a terminal and valid in JSON. Control bytes, bytes that are
 * not UTF-8, and the bytes of characters that reorder a line or are not visible become \xNN; a backslash
 * becomes two. No two texts become the same, except where they are cut to size. Returns buffer.
 */
char *escape(const char *text, char *buffer, size_t size);
/* Any escaped label or text of a cause fits. */
#define ESCAPED_SIZE 640

/* Returns "s", or "" when count is 1, for the end of a noun. */
const char *plural(uint64_t count);

/* Writes a time as "1.234s", "12ms" or "3m05s". Returns buffer. */
char *duration_text(uint64_t time_ns, char buffer[16]);

/* Returns how many characters of UTF-8 the text has. */
size_t text_width(const char *text);

/*
 * Catches Ctrl-C, SIGTERM and SIGHUP from now on, so that a command that repeats ends in the two waits below
 * and nowhere else.
 */
void terminal_catch(void);

/* In a forked child, before it executes another program: these signals end it from now on. */
void terminal_uncatch(void);

/* Waits for time_ns, or until fd is readable. Both return the signal that ended the wait, or 0. */
int terminal_pause(uint64_t time_ns);
int terminal_wait_fd(int fd);
/* Waits for both: until fd is readable, but no longer than time_ns. */
int terminal_wait_fd_for(int fd, uint64_t time_ns);

#endif
