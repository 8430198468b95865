/* SPDX-License-Identifier: MIT */
/*
 * The loop of the screen. Signals are blocked except while it waits for a key, so that none can come between
 * the question whether one came and the wait.
 */
#include <curses.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "monotonic.h"
#include "screen.h"

static volatile sig_atomic_t stop, resized;

static void on_stop(int signo)
{
	stop = signo;
}

static void on_resize(int signo)
{
	resized = signo;
}

/* Catches the signals and blocks them. Returns the mask for waits. */
static sigset_t catch_signals(void)
{
	static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction to_stop = {.sa_handler = on_stop}, to_resize = {.sa_handler = on_resize};
	sigset_t blocked, in_waits;

	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
		sigaction(stops[i], &to_stop, NULL);
		sigaddset(&blocked, stops[i]);
	}
	sigaction(SIGWINCH, &to_resize, NULL);
	sigaddset(&blocked, SIGWINCH);
	sigprocmask(SIG_BLOCK, &blocked, &in_waits);
	return in_waits;
}

/* Waits for a key or a signal, until then; or without end. */
static void wait_input(const sigset_t *in_waits, uint64_t until_ns, bool forever)
{
	uint64_t now = monotonic_ns(), left_ns = until_ns > now ? until_ns - now : 0;
	struct timespec left = {(time_t)(left_ns / 1000000000u), (long)(left_ns % 1000000000u)};
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	/* A terminal that is gone is always readable, and has no more keys. */
	if (ppoll(&input, 1, forever ? NULL : &left, in_waits) > 0 && input.revents & (POLLHUP | POLLERR))
		stop = SIGHUP;
}

static void resize(void)
{
	unsigned columns, lines;

	resized = 0;
	terminal_size(&columns, &lines);
	resizeterm((int)lines, (int)columns);
	clearok(stdscr, TRUE);
}

static int look(struct top_screen *screen)
{
	int result = top_look(&screen->model, monotonic_ns());

	screen->must_look = false;
	return result ? result : top_refresh_details(screen);
}

/* Obeys all keys that there are. As top_press(). */
static int press_keys(struct top_screen *screen)
{
	int result = 0, key;

	while (!result && !stop && (key = getch()) != ERR) {
		result = top_press(screen, key);
		/* What a key does depends on what the one before has put where. */
		if (!result)
			top_arrange(&screen->model, top_rows_shown(screen));
	}
	return result;
}

/* Shows until the user quits. 0 or -errno. */
static int run_screen(struct top_screen *screen, const sigset_t *in_waits)
{
	const struct view_options *options = screen->model.options;
	uint64_t next_ns = monotonic_ns();
	unsigned rounds = 0;
	int result = 0;

	while (!result && !stop) {
		bool is_time = monotonic_ns() >= next_ns && !screen->paused;

		if (is_time && options->rounds && rounds == options->rounds)
			break;
		if (is_time) {
			next_ns = monotonic_ns() + options->interval_ns;
			rounds++;
		}
		if (is_time || screen->must_look)
			result = look(screen);
		if (result)
			break;
		top_draw(screen);
		wait_input(in_waits, next_ns, screen->paused);
		if (resized)
			resize();
		result = press_keys(screen);
	}
	return result == 1 ? 0 : result;
}

static int refuse_terminal(const char *what)
{
	char type[ESCAPED_SIZE];
	const char *name = getenv("TERM");

	if (name && *name)
		fprintf(stderr, "ctxtool top: the terminal type '%s' in TERM %s",
			escape(name, type, sizeof(type)), what);
	else
		fprintf(stderr, "ctxtool top: TERM is not set, so the screen cannot be drawn");
	fputs(". For plain text use 'ctxtool ls --watch', or 'ctxtool top -n 1 | cat'.\n", stderr);
	return EXIT_USAGE;
}

/* The expression is right, as it was read before: it is too long for the prompt, or there is no memory. */
static int refuse_filter(const struct selection_error *error)
{
	fprintf(stderr, "ctxtool top: %s\n", error->message[0] ? error->message : "not enough memory");
	return error->message[0] ? EXIT_USAGE : EXIT_TROUBLE;
}

static int begin_curses(void)
{
	/* The size is that of the terminal, whatever LINES and COLUMNS say. */
	use_tioctl(TRUE);
	if (!newterm(NULL, stdout, stdin))
		return refuse_terminal("is not known");
	cbreak();
	noecho();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	set_escdelay(25);
	mousemask(BUTTON1_PRESSED | BUTTON1_CLICKED | BUTTON4_PRESSED | BUTTON5_PRESSED, NULL);
	mouseinterval(0);
	return EXIT_OK;
}

int top_screen(const struct view_options *options)
{
	static struct top_screen screen;
	enum top_theme theme = TOP_GUESS;

	if (!terminal()->is_screen)
		return refuse_terminal("cannot move the cursor");
	top_model_begin(&screen.model, options);
	if (options->selection_text && top_set_filter(&screen.model, options->selection_text, &screen.error))
		return refuse_filter(&screen.error);
	screen.unicode = terminal()->lines;
	screen.marks = top_marks(screen.unicode);
	sigset_t in_waits = catch_signals();
	int code = begin_curses();
	if (code != EXIT_OK)
		return code;
	if (options->theme)
		top_theme_parse(options->theme, &theme);
	top_theme_begin(theme);
	int result = run_screen(&screen, &in_waits);
	endwin();
	top_close_pane(&screen);
	top_pane_free(&screen.pane);
	top_model_free(&screen.model);
	if (result)
		fprintf(stderr, "ctxtool top: not enough memory, or /proc is not mounted\n");
	return result ? EXIT_TROUBLE : EXIT_OK;
}
