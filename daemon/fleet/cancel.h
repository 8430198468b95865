/* SPDX-License-Identifier: MIT */
/* A cancel across hosts: what is asked for, and what one host has done. */
#ifndef CTXD_FLEET_CANCEL_H
#define CTXD_FLEET_CANCEL_H

#include "id.h"

/* The longest name of a user that asks for a cancel. */
#define FLEET_USER_MAX 31
/* For struct fleet_cancel: only count what would be cancelled. */
#define FLEET_CANCEL_DRY_RUN (1u << 0)

/* A wish to end a context and everything below it, on all hosts that joined it. */
struct fleet_cancel {
	struct ctxd_id id; /* of the context on the host that owns it */
	uint32_t flags;	   /* FLEET_CANCEL_DRY_RUN */
	int32_t error;	   /* negative errno; 0: -ECANCELED */
	uint64_t wait_ns;  /* how long to wait at most until the operations under it are reaped */
	/* Who asks, as numbers and names of the host where that is. */
	int32_t pid;
	uint32_t uid;
	char user[FLEET_USER_MAX + 1];
	char host[FLEET_HOST_MAX + 1]; /* where it was asked; fleet_cancel() fills it in */
	char text[CTX_CAUSE_TEXT_MAX];
};

/* What one host did for a cancel. */
struct fleet_host_report {
	char host[FLEET_HOST_MAX + 1];
	bool is_silent; /* It did not answer in time: the rest is 0. */
	int32_t error;	/* 0 or negative errno. -EALREADY: the context had ended there before. */
	struct ctxd_report report;
};

#endif
