/* SPDX-License-Identifier: MIT */
/* What depends on whether a person or a program reads: colours, lines, escaping, times as text. */
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
	bool is_screen; /* where the cursor can be moved */
	bool colours;
	bool lines; /* tree lines in UTF-8 */
};

/* Looks at standard output, NO_COLOR, TERM and the locale; call once, first. */
void terminal_init(void);
const struct terminal *terminal(void);

/* Size of the window; 80 by 24 where it cannot be asked. */
void terminal_size(unsigned *ret_columns, unsigned *ret_rows);

/* The sequence that begins a colour, "" without colours; COLOUR_PLAIN ends it. */
const char *colour(enum colour colour);

/*
 * Copies text so that it is harmless on a terminal and valid in JSON: control bytes, bytes that are not
 * UTF-8, and those of characters that reorder a line or are not seen become \xNN, a backslash becomes two. No
 * two texts become the same, except where they are cut to size. Returns buffer.
 */
char *escape(const char *text, char *buffer, size_t size);
/* Room that holds any escaped label or cause text. */
#define ESCAPED_SIZE 640

/* "s" unless count is 1: for counted nouns. */
const char *plural(uint64_t count);

/* "1.234s", "12ms", "3m05s"; at most 15 characters. */
char *duration_text(uint64_t time_ns, char buffer[16]);

/* Bytes of text as columns of a terminal: UTF-8 continuation bytes take none. */
size_t text_width(const char *text);

/*
 * Interruptions of what repeats. terminal_catch makes Ctrl-C, SIGTERM and SIGHUP a flag; the others sleep at
 * most time_ns, or until fd is readable, and return the signal that came, or 0.
 */
void terminal_catch(void);
int terminal_pause(uint64_t time_ns);
int terminal_wait_fd(int fd);

#endif
