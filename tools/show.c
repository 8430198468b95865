/* SPDX-License-Identifier: MIT */
/* ctxtool show: prints everything that is known of one context or of one process. */
#include <stdio.h>

#include "commands.h"
#include "describe.h"
#include "target.h"

static const char help[] = "Usage: ctxtool show [OPTION...] ID|PID|LABEL\n"
			   "Show all that is known of one context, or of a process with its rings.\n"
			   "\n"
			   "ID is PID:SLOT.GENERATION as ls and tree print it; with --pid or --core also\n"
			   "SLOT.GENERATION. LABEL is the label of a context, if one alone has it.\n"
			   "\n"
			   "  -p, --pid=PID          look only at this process; repeatable\n"
			   "  -c, --core=FILE        read the core file of a dead process instead\n"
			   "  -j, --json             print JSON\n"
			   "  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
			   "  -n, --count=N          stop repeating after N times\n"
			   "  -h, --help             print this text\n"
			   "\n"
			   "Exit codes: 0 shown, 1 no such context, 2 wrong usage, or a label that several\n"
			   "have, 3 something could not be read, 4 no memory, or the output failed.\n";

static int print_target(const struct view_options *options, struct survey *survey)
{
	struct target target;
	int code = target_find(options->id, survey, &target);

	if (code != EXIT_OK)
		return code;
	if (target.context)
		describe_context(stdout, true, target.process, target.context);
	else
		describe_process(stdout, target.process);
	return EXIT_OK;
}

const struct view view_show = {
	.name = "show", .help = help, .letters = "pcjwnh", .takes_id = true, .print = print_target};
