/* SPDX-License-Identifier: MIT */
/* Exit codes of every command but run. ctxtool(1) and --help list them too. */
#ifndef TOOL_EXIT_CODE_H
#define TOOL_EXIT_CODE_H

enum exit_code {
	EXIT_OK = 0,
	EXIT_NOTHING = 1, /* nothing found, or a host is silent; doctor: io_uring is not usable, or the fleet
			     fails */
	EXIT_USAGE = 2,	  /* the command line is wrong, or a question was not answered with yes */
	EXIT_PARTLY = 3,  /* something could not be read, or did not end */
	EXIT_TROUBLE = 4, /* no memory, no service, or the output cannot be written */
};

#endif
