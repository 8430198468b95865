/* SPDX-License-Identifier: MIT */
/* The screen of ctxtool top, drawn by ncurses. */
#include <curses.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format.h"
#include "names.h"
#include "top.h"
#include "victim.h"

#define HEAD_ROWS 3
#define FILTER_MAX 64
#define FOLDED_MAX 1024
#define CANCEL_WAIT_NS 2000000000u

/* Identifies a context from one round to the next. */
struct place {
	uint64_t table, ctx_id;
};

struct screen {
	const struct view_options *options;
	struct survey survey;
	struct top_row *rows; /* the rows that the filter and folding leave */
	size_t count;
	size_t first;  /* index of the uppermost row on the screen */
	size_t chosen; /* index of the row under the bar */
	struct place chosen_place;
	enum top_order order;
	bool reverse, tree, paused, help;
	char filter[FILTER_MAX];
	struct place folded[FOLDED_MAX];
	size_t folded_count;
	char status[TEXT_SIZE];
	bool failed; /* no memory, or no /proc */
};

static volatile sig_atomic_t stop;

static void on_signal(int signo)
{
	stop = signo;
}

static struct place place_of(const struct top_row *row)
{
	return (struct place){row->process->inode, service_ctx_id(row->context)};
}

static bool is_same(struct place a, struct place b)
{
	return a.table == b.table && a.ctx_id == b.ctx_id;
}

/* ---- rows */

static bool is_folded(const struct screen *screen, struct place place)
{
	for (size_t i = 0; i < screen->folded_count; i++)
		if (is_same(screen->folded[i], place))
			return true;
	return false;
}

static bool matches(const struct screen *screen, const struct process *process,
		    const struct reader_context *context)
{
	char id[ID_SIZE];

	return !screen->filter[0] || strcasestr(context->record.label, screen->filter) ||
	       strcasestr(process->name, screen->filter) ||
	       strstr(format_id(process, context, id), screen->filter);
}

/* Fills in the contexts of all trees, without those below folded ones. */
static void fill_tree(struct screen *screen)
{
	for (size_t i = 0; i < screen->survey.process_count; i++) {
		struct process *process = &screen->survey.processes[i];
		uint32_t hidden_below = UINT32_MAX;

		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			const struct reader_context *context =
				&process->snapshot.contexts[process->snapshot.preorder[j]];
			struct top_row row = {.process = process, .context = context};

			if (context->depth > hidden_below)
				continue;
			hidden_below = is_folded(screen, place_of(&row)) ? context->depth : UINT32_MAX;
			if (matches(screen, process, context))
				screen->rows[screen->count++] = row;
		}
	}
}

static void fill_list(struct screen *screen)
{
	size_t all = top_collect(&screen->survey, screen->rows);

	for (size_t i = 0; i < all; i++)
		if (matches(screen, screen->rows[i].process, screen->rows[i].context))
			screen->rows[screen->count++] = screen->rows[i];
	top_sort(screen->rows, screen->count, screen->order, screen->reverse);
}

static void fill_rows(struct screen *screen)
{
	size_t total = 1;

	for (size_t i = 0; i < screen->survey.process_count; i++)
		total += screen->survey.processes[i].snapshot.context_count;
	struct top_row *rows = realloc(screen->rows, total * sizeof(*rows));
	screen->failed = !rows;
	screen->count = 0;
	if (!rows)
		return;
	screen->rows = rows;
	if (screen->tree)
		fill_tree(screen);
	else
		fill_list(screen);
	/* The bar stays on its context as long as that is shown. */
	for (size_t i = 0; i < screen->count; i++)
		if (is_same(place_of(&rows[i]), screen->chosen_place))
			screen->chosen = i;
	if (screen->chosen >= screen->count)
		screen->chosen = screen->count ? screen->count - 1 : 0;
}

static void take_survey(struct screen *screen)
{
	survey_free(&screen->survey);
	screen->failed = view_survey(screen->options, &screen->survey) != 0;
	if (!screen->failed)
		fill_rows(screen);
}

/* ---- drawing */

/* Draws a line as far as it fits into the window. */
static void draw_line(int y, const char *text)
{
	size_t bytes = 0;
	int width = 0;

	for (; text[bytes]; bytes++)
		if (((unsigned char)text[bytes] & 0xc0) != 0x80 && width++ == COLS)
			break;
	mvaddnstr(y, 0, text, (int)bytes);
	clrtoeol();
}

static void draw_head(const struct screen *screen)
{
	uint64_t contexts = 0, live = 0, operations = 0, rings = 0;
	char line[TEXT_SIZE], clock[16];
	time_t now = time(NULL);
	struct tm local;

	for (size_t i = 0; i < screen->survey.process_count; i++) {
		const struct snapshot *snapshot = &screen->survey.processes[i].snapshot;
		contexts += snapshot->context_count;
		live += snapshot->live_count;
		operations += snapshot->operation_count;
		rings += snapshot->ring_count;
	}
	localtime_r(&now, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	snprintf(line, sizeof(line),
		 "ctxtool top %s: %zu process%s, %" PRIu64 " ring%s, %" PRIu64 " context%s, %" PRIu64
		 " live, %" PRIu64 " operation%s in flight%s",
		 clock, screen->survey.process_count, screen->survey.process_count == 1 ? "" : "es", rings,
		 plural(rings), contexts, plural(contexts), live, operations, plural(operations),
		 screen->paused ? " (paused)" : "");
	draw_line(0, line);
	if (screen->status[0])
		snprintf(line, sizeof(line), "%.*s", (int)sizeof(line) - 1, screen->status);
	else
		snprintf(line, sizeof(line), "%s%s%s%s%s; h for help", screen->tree ? "trees" : "by ",
			 screen->tree ? "" : top_order_name(screen->order),
			 screen->reverse && !screen->tree ? ", reversed" : "",
			 screen->filter[0] ? ", only with " : "", screen->filter);
	draw_line(1, line);
	attron(A_REVERSE);
	snprintf(line, sizeof(line), "%-18s %-9s %8s %8s %6s  %-24s %-*s", "ID", "STATE", "AGE", "LEFT",
		 "OPS", "LABEL", COLS, "OLDEST OPERATION, OR CAUSE");
	draw_line(2, line);
	attroff(A_REVERSE);
}

static void draw_row(struct screen *screen, const struct top_row *row, int y, bool chosen)
{
	const struct reader_operation *oldest = top_oldest(row->process, row->context);
	char id[ID_SIZE], left[16], age[16], label[ESCAPED_SIZE], operation[TEXT_SIZE], line[TEXT_SIZE * 2];
	unsigned indent = screen->tree ? row->context->depth * 2 : 0;
	const char *fold = screen->tree && is_folded(screen, place_of(row)) ? "+" : "";

	operation[0] = '\0';
	if (oldest)
		format_operation(row->process, oldest, operation);
	else if (!(row->context->record.state & CTX_TABLE_LIVE))
		format_cause(row->process, row->context, false, operation);
	escape(row->context->record.label, label, sizeof(label));
	snprintf(line, sizeof(line), "%-18s %-9s %8s %8s %6" PRIu32 "  %*s%s%-24s %s",
		 format_id(row->process, row->context, id), state_name(row->context->record.state),
		 duration_text(age_ns(row->process, row->context->record.created_ns), age),
		 format_time_left(row->process, row->context, left), row->context->operation_count,
		 (int)(indent > 40 ? 40 : indent), "", fold, label, operation);
	int attributes = chosen ? A_REVERSE : row->context->record.state & CTX_TABLE_LIVE ? A_NORMAL : A_DIM;
	attron(attributes);
	draw_line(y, line);
	attroff(attributes);
}

static void draw_help(void)
{
	static const char *const lines[] = {"arrows j k  PgUp PgDn  Home End   move the bar",
					    "s  S       sort by the next column; reverse",
					    "f  /       show only what contains a text",
					    "t          trees instead of a list",
					    "space      fold or unfold what is below",
					    "c          cancel the context, after asking",
					    "p          pause",
					    "h  ?       this help",
					    "q          quit"};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		draw_line(HEAD_ROWS + 1 + (int)i, lines[i]);
}

static int rows_shown(void)
{
	return LINES > HEAD_ROWS ? LINES - HEAD_ROWS : 0;
}

static void draw_screen(struct screen *screen)
{
	size_t shown = (size_t)rows_shown();

	erase();
	draw_head(screen);
	if (screen->chosen < screen->first)
		screen->first = screen->chosen;
	if (shown && screen->chosen >= screen->first + shown)
		screen->first = screen->chosen - shown + 1;
	/* Where rows have become fewer, no empty lines are shown while rows are hidden above. */
	if (screen->first + shown > screen->count)
		screen->first = screen->count > shown ? screen->count - shown : 0;
	if (screen->help)
		draw_help();
	for (size_t i = 0; i < shown && screen->first + i < screen->count && !screen->help; i++)
		draw_row(screen, &screen->rows[screen->first + i], HEAD_ROWS + (int)i,
			 screen->first + i == screen->chosen);
	refresh();
}

/* ---- keys */

static void ask_text(struct screen *screen)
{
	char text[FILTER_MAX] = "";

	draw_line(1, "only what contains: ");
	echo();
	curs_set(1);
	timeout(-1);
	mvgetnstr(1, 20, text, FILTER_MAX - 1);
	noecho();
	curs_set(0);
	strcpy(screen->filter, text);
	fill_rows(screen);
}

static bool ask_yes(const char *question)
{
	draw_line(1, question);
	refresh();
	timeout(-1);
	int key = getch();
	return key == 'y' || key == 'Y';
}

static void cancel_chosen(struct screen *screen)
{
	struct victim victim = {0};
	struct ctxd_report report = {0};
	char question[TEXT_SIZE], words[TEXT_SIZE];

	if (screen->chosen >= screen->count)
		return;
	if (!service_client()) {
		ctxd_explain(service_error(), screen->status, sizeof(screen->status));
		return;
	}
	victim.process = screen->rows[screen->chosen].process;
	victim.context = (struct reader_context *)screen->rows[screen->chosen].context;
	victim_describe(&victim);
	snprintf(question, sizeof(question), "End %s: %u context%s with %u operation%s? [y/N] ", victim.name,
		 victim.contexts, plural(victim.contexts), victim.operations, plural(victim.operations));
	if (!ask_yes(question)) {
		strcpy(screen->status, "not cancelled");
		return;
	}
	int result = victim_cancel(&victim, 0, "cancelled in ctxtool top", CANCEL_WAIT_NS, &report);
	if (!result)
		snprintf(screen->status, sizeof(screen->status), "%.300s %.1500s", victim.name,
			 report_text(&report, words, sizeof(words)));
	else if (result == -ENOENT && !service_publishes(victim.process->inode))
		snprintf(screen->status, sizeof(screen->status),
			 "its process is not published: start it with CTXRING_PUBLISH=1");
	else
		snprintf(screen->status, sizeof(screen->status), "not cancelled: %s",
			 errno_text(result, words, sizeof(words)));
	take_survey(screen);
}

static void toggle_fold(struct screen *screen)
{
	if (!screen->tree || screen->chosen >= screen->count)
		return;
	struct place place = place_of(&screen->rows[screen->chosen]);
	for (size_t i = 0; i < screen->folded_count; i++)
		if (is_same(screen->folded[i], place)) {
			screen->folded[i] = screen->folded[--screen->folded_count];
			fill_rows(screen);
			return;
		}
	if (screen->folded_count < FOLDED_MAX)
		screen->folded[screen->folded_count++] = place;
	fill_rows(screen);
}

static void move_bar(struct screen *screen, long by)
{
	long to = (long)screen->chosen + by;

	if (to >= (long)screen->count)
		to = (long)screen->count - 1;
	screen->chosen = to < 0 ? 0 : (size_t)to;
}

/* Obeys a key. False: quit. */
static bool press_key(struct screen *screen, int key)
{
	screen->status[0] = '\0';
	switch (key) {
	case 'q':
	case 'Q':
		return false;
	case KEY_UP:
	case 'k':
		move_bar(screen, -1);
		break;
	case KEY_DOWN:
	case 'j':
		move_bar(screen, 1);
		break;
	case KEY_PPAGE:
		move_bar(screen, -rows_shown());
		break;
	case KEY_NPAGE:
		move_bar(screen, rows_shown());
		break;
	case KEY_HOME:
		move_bar(screen, -(long)screen->count);
		break;
	case KEY_END:
		move_bar(screen, (long)screen->count);
		break;
	case 's':
		screen->order = (screen->order + 1) % TOP_ORDERS;
		fill_rows(screen);
		break;
	case 'S':
		screen->reverse = !screen->reverse;
		fill_rows(screen);
		break;
	case 't':
		screen->tree = !screen->tree;
		fill_rows(screen);
		break;
	case ' ':
	case '\n':
		toggle_fold(screen);
		break;
	case 'f':
	case '/':
		ask_text(screen);
		break;
	case 'c':
		cancel_chosen(screen);
		break;
	case 'p':
		screen->paused = !screen->paused;
		break;
	case 'h':
	case '?':
		screen->help = !screen->help;
		break;
	}
	if (screen->chosen < screen->count)
		screen->chosen_place = place_of(&screen->rows[screen->chosen]);
	return true;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void run_screen(struct screen *screen)
{
	unsigned rounds = 0;

	for (;;) {
		uint64_t next_ns = now_ns() + screen->options->interval_ns;
		if (!screen->paused || !rounds)
			take_survey(screen);
		if (screen->failed || (screen->options->rounds && rounds == screen->options->rounds))
			return;
		rounds++;
		for (uint64_t now = now_ns(); now < next_ns && !stop; now = now_ns()) {
			draw_screen(screen);
			timeout((int)((next_ns - now) / 1000000 + 1));
			int key = getch();
			if (key != ERR && !press_key(screen, key))
				return;
		}
		if (stop)
			return;
	}
}

int top_screen(const struct view_options *options)
{
	static struct screen screen;
	struct sigaction action = {.sa_handler = on_signal};
	char type[ESCAPED_SIZE];

	screen.options = options;
	if (!newterm(NULL, stdout, stdin)) {
		fprintf(stderr,
			"ctxtool top: the terminal type '%s' in TERM is not known; set TERM=dumb for plain "
			"text\n",
			getenv("TERM") ? escape(getenv("TERM"), type, sizeof(type)) : "");
		return EXIT_TROUBLE;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	run_screen(&screen);
	endwin();
	survey_free(&screen.survey);
	free(screen.rows);
	if (screen.failed)
		fprintf(stderr, "ctxtool top: not enough memory, or /proc is not mounted\n");
	return screen.failed ? EXIT_TROUBLE : EXIT_OK;
}
