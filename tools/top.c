/* SPDX-License-Identifier: MIT */
/* ctxtool top: its options and its help. tools/top/ has the rest. */
#include "commands.h"
#include "plain.h"
#include "screen.h"

static const char help[] =
	"Usage: ctxtool top [OPTION...] [SELECTION]\n"
	"Show the contexts with most operations in flight, and of those with equally many the one that\n"
	"waits longest first. Refresh that every second. On a terminal the keys are:\n"
	"  arrows, j k, PgUp PgDn, Home End  move      Enter  details in a pane; Esc closes it\n"
	"  1 2 3 4, Tab  contexts; sums by process, by label, by user\n"
	"  /       filter by a SELECTION               s S  sort by the next column, reverse\n"
	"  t       trees instead of a list             space  fold or unfold what is below\n"
	"  c       cancel the context, after asking    p    pause\n"
	"  ?       help: columns and colours           q    quit\n"
	"\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -b, --by=WHAT          begin with sums: by process, label or user\n"
	"  -T, --theme=THEME      colours for a dark or a light background, or mono: none\n"
	"  -a, --all              show the contexts of ctxd and ctxd-fleet too\n"
	"  -j, --json             print JSON: on each line one document with everything\n"
	"  -w, --watch=SECONDS    refresh at this interval\n"
	"  -n, --count=N          stop after N times\n"
	"  -h, --help             print this text\n"
	"\n" SELECTION_HELP "\n"
	"In a pipe it prints plain text, with an empty line between rounds, on lines as wide as COLUMNS\n"
	"says or as they need.\n"
	"Exit codes: 0 ended as asked, 2 wrong usage, or a terminal that cannot show it, 3 something\n"
	"could not be read, 4 no memory, or the output failed.\n";

const struct view view_top = {.name = "top",
			      .help = help,
			      .letters = "pjwnaTbh",
			      .full_screen = true,
			      .check = top_check,
			      .screen = top_screen,
			      .print = top_print};
