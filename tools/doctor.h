/* SPDX-License-Identifier: MIT */
/* The part of ctxtool doctor that examines the fleet, if this host belongs to one. */
#ifndef TOOL_DOCTOR_H
#define TOOL_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ctxring.h"

/* What ctxd-fleet has found out about the engine of the fleet. */
struct fleet_diagnosis {
	bool configured; /* the service belongs to a fleet */
	bool works;	 /* false: ctxd-fleet cannot be asked, or has found an error */
	int error;	 /* why it cannot be asked; negative errno, or 0 */
	struct ctxd_finding *findings;
	size_t count;
};

/* Examines the fleet, which takes a second. Without a service or a fleet nothing is configured. */
void fleet_diagnose(struct fleet_diagnosis *ret_diagnosis);

/* Prints one problem with its remedy, of which the first line is a command to type and the others say more.
 */
void print_problem(bool blocks, const char *problem, const char *remedy);

/* The command at the beginning of a remedy. */
json_t *json_first_line(const char *remedy);

void fleet_diagnosis_print(const struct fleet_diagnosis *diagnosis);
/* null where no fleet is configured. */
json_t *fleet_diagnosis_json(const struct fleet_diagnosis *diagnosis);
void fleet_diagnosis_free(struct fleet_diagnosis *diagnosis);

#endif
