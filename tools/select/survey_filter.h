/* SPDX-License-Identifier: MIT */
/* Leaves of a survey what a selection says, so that those that print it need not know of selections. */
#ifndef TOOL_SURVEY_FILTER_H
#define TOOL_SURVEY_FILTER_H

#include "discover.h"
#include "selection.h"

/*
 * Takes out of preorder the contexts that are not selected, and from the snapshot their operations; and from
 * the survey processes of which nothing is left. The array of contexts stays whole, so that a parent and
 * where an end began are found. With_ancestors keeps in preorder, marked as beside, what the selected ones
 * stand below; the links to children and siblings then lead from one that is kept to the next. A selection of
 * NULL leaves everything.
 */
void survey_filter(struct survey *survey, const struct selection *selection, bool with_ancestors);

/*
 * The same without ancestors and with counters: of these it leaves those of stems that a selected context has,
 * and those that selection_matches_stem() selects. A process that has either stays.
 */
void survey_filter_counted(struct survey *survey, const struct selection *selection);

/* Whether a program of this name is one of the service, ctxd or ctxd-fleet. */
bool is_service_name(const char *comm);

/* Takes out the processes of the service. */
void survey_hide_service(struct survey *survey);

#endif
