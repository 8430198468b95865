/* SPDX-License-Identifier: MIT */
/* ctxtool stats --listen: serves the metrics by HTTP. */
#ifndef TOOL_STATS_LISTEN_H
#define TOOL_STATS_LISTEN_H

#include "view.h"

/* Serves at options->listen, "[ADDRESS:]PORT", until SIGINT, SIGTERM or SIGHUP. Returns the exit code. */
int stats_listen(const struct view_options *options);

#endif
