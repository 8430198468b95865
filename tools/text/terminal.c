/* SPDX-License-Identifier: MIT */
#include "terminal.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static struct terminal state;
static volatile sig_atomic_t caught;
/* The signal mask during waits. The caught signals are not in it, and are blocked at other times. */
static sigset_t mask_in_waits;

void terminal_init(void)
{
	const char *no_color = getenv("NO_COLOR");
	const char *type = getenv("TERM");

	setlocale(LC_CTYPE, "");
	state.is_tty = isatty(STDOUT_FILENO) == 1;
	state.is_screen = state.is_tty && type && strcmp(type, "dumb") != 0;
	state.colours = state.is_screen && !(no_color && *no_color);
	state.lines = state.is_tty && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

const struct terminal *terminal(void)
{
	return &state;
}

void terminal_size(unsigned *ret_columns, unsigned *ret_rows)
{
	struct winsize size;

	*ret_columns = 80;
	*ret_rows = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row) {
		*ret_columns = size.ws_col;
		*ret_rows = size.ws_row;
	}
}

const char *colour(enum colour colour)
{
	static const char *const sequences[] = {
		[COLOUR_PLAIN] = "\033[0m", [COLOUR_BOLD] = "\033[1m",	 [COLOUR_DIM] = "\033[2m",
		[COLOUR_RED] = "\033[31m",  [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m",
		[COLOUR_CYAN] = "\033[36m",
	};

	return state.colours ? sequences[colour] : "";
}

/*
 * Whether the character controls a terminal, reorders a line or is not visible: it could make one text look
 * like another.
 */
static bool is_hidden(uint32_t code)
{
	static const struct {
		uint32_t first, last;
	} hidden[] = {
		{0, 0x1f},	    /* C0 */
		{0x7f, 0x9f},	    /* DEL and C1 */
		{0xad, 0xad},	    /* soft hyphen */
		{0x34f, 0x34f},	    /* grapheme joiner */
		{0x61c, 0x61c},	    /* Arabic letter mark */
		{0x115f, 0x1160},   /* Hangul fillers */
		{0x17b4, 0x17b5},   /* Khmer inherent vowels */
		{0x180b, 0x180f},   /* Mongolian selectors */
		{0x200b, 0x200f},   /* zero width, marks of direction */
		{0x2028, 0x202e},   /* separators of lines, overrides of direction */
		{0x2060, 0x206f},   /* word joiner, isolates, invisible operators */
		{0x3164, 0x3164},   /* Hangul filler */
		{0xfe00, 0xfe0f},   /* variation selectors */
		{0xfeff, 0xfeff},   /* byte order mark */
		{0xffa0, 0xffa0},   /* Hangul filler */
		{0xfff0, 0xfffb},   /* annotations */
		{0x1bca0, 0x1bca3}, /* shorthand controls */
		{0x1d173, 0x1d17a}, /* musical controls */
		{0xe0000, 0xe0fff}, /* tags, variation selectors */
	};

	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
		if (code >= hidden[i].first && code <= hidden[i].last)
			return true;
	return false;
}

/* Returns the bytes of the UTF-8 character at text; 0: it is not valid, or may not be shown. */
static size_t character_length(const unsigned char *text)
{
	if (text[0] >= ' ' && text[0] <= '~')
		return 1;
	size_t length = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	uint32_t code = length == 1 ? text[0] : (uint32_t)(text[0] & (0x7f >> length));
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};

	if (text[0] >= 0x80 && (text[0] < 0xc2 || text[0] > 0xf4))
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return is_hidden(code) ? 0 : length;
}

char *escape(const char *text, char *buffer, size_t size)
{
	const unsigned char *in = (const unsigned char *)text;
	size_t at = 0;

	while (*in) {
		size_t length = character_length(in);

		if (at + (*in == '\\' ? 2 : length ? length : 4) >= size)
			break;
		if (*in == '\\') {
			/* A text that contains \xNN itself does not look like an escaped byte. */
			buffer[at++] = '\\';
			buffer[at++] = (char)*in++;
		} else if (length) {
			memcpy(buffer + at, in, length);
			at += length;
			in += length;
		} else {
			snprintf(buffer + at, 5, "\\x%02x", *in++);
			at += 4;
		}
	}
	buffer[at] = '\0';
	return buffer;
}

const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

char *duration_text(uint64_t time_ns, char buffer[16])
{
	uint64_t seconds = time_ns / 1000000000u;

	if (time_ns < 1000)
		snprintf(buffer, 16, "%uns", (unsigned)time_ns);
	else if (time_ns < 1000000)
		snprintf(buffer, 16, "%uus", (unsigned)(time_ns / 1000));
	else if (seconds == 0)
		snprintf(buffer, 16, "%ums", (unsigned)(time_ns / 1000000));
	else if (seconds < 60)
		snprintf(buffer, 16, "%u.%03us", (unsigned)seconds, (unsigned)(time_ns / 1000000 % 1000));
	else if (seconds < 3600)
		snprintf(buffer, 16, "%um%02us", (unsigned)(seconds / 60), (unsigned)(seconds % 60));
	else if (seconds < 86400)
		snprintf(buffer, 16, "%uh%02um", (unsigned)(seconds / 3600), (unsigned)(seconds / 60 % 60));
	else
		snprintf(buffer, 16, "%ud%02uh", (unsigned)(seconds / 86400),
			 (unsigned)(seconds / 3600 % 24));
	return buffer;
}

size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void on_signal(int signo)
{
	caught = signo;
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define SIGNAL_COUNT (sizeof(signals) / sizeof(signals[0]))

void terminal_catch(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < SIGNAL_COUNT; i++) {
		struct sigaction before;

		/*
		 * A script starts background jobs with SIGINT ignored, and nohup(1) with SIGHUP: they stay
		 * ignored, except on a terminal.
		 */
		if (!state.is_tty && sigaction(signals[i], NULL, &before) == 0 &&
		    before.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &action, NULL);
		sigaddset(&blocked, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, &mask_in_waits);
}

void terminal_uncatch(void)
{
	for (size_t i = 0; i < SIGNAL_COUNT; i++) {
		struct sigaction now;

		/* What is ignored stays so. */
		if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == on_signal)
			signal(signals[i], SIG_DFL);
	}
}

int terminal_pause(uint64_t time_ns)
{
	struct timespec time = {.tv_sec = (time_t)(time_ns / 1000000000u),
				.tv_nsec = (long)(time_ns % 1000000000u)};

	caught = 0;
	ppoll(NULL, 0, &time, &mask_in_waits);
	return caught;
}

int terminal_wait_fd(int fd)
{
	struct pollfd input = {.fd = fd, .events = POLLIN};

	caught = 0;
	ppoll(&input, 1, NULL, &mask_in_waits);
	return caught;
}

int terminal_wait_fd_for(int fd, uint64_t time_ns)
{
	struct pollfd input = {.fd = fd, .events = POLLIN};
	struct timespec time = {.tv_sec = (time_t)(time_ns / 1000000000u),
				.tv_nsec = (long)(time_ns % 1000000000u)};

	caught = 0;
	ppoll(&input, 1, &time, &mask_in_waits);
	return caught;
}
