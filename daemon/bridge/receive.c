/* SPDX-License-Identifier: MIT */
/* What ctxd says, and what is done when the connection comes and goes. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"

/* One turn receives at most so many messages, so that other events are handled, too. */
#define RECEIVE_MAX 256

/* ---- the connection */

static void send_bridge(struct bridge *bridge)
{
	struct wire_message message = {.type = WIRE_BRIDGE, .serial = (uint64_t)REQUEST_BRIDGE << 56};

	strcpy(message.bridge.host, bridge->host);
	/* The kernel may have no memory. */
	if (service_send(bridge, &message, -1))
		bridge->service.is_broken = true;
}

static void take_welcome(struct bridge *bridge, const struct wire_message *message)
{
	struct service *service = &bridge->service;

	if (service->state != SERVICE_GREETING || message->welcome.version != WIRE_VERSION) {
		service->is_broken = true;
		return;
	}
	service->epoch = message->welcome.epoch;
	service->state = SERVICE_ASKING;
	send_bridge(bridge);
}

static const char *refusal_of(int error)
{
	switch (error) {
	case -EPERM:
		return "this user may not be the bridge: run as the user of ctxd, or set fleet_bridge_user";
	case -EBUSY:
		return "another bridge is connected to ctxd";
	case -EINVAL:
		return "ctxd has another name for this host: fleet_host differs, or ctxd was not restarted";
	case -ENOTSUP:
		return "ctxd belongs to no fleet: it has not read fleet_engine";
	default:
		return "ctxd refuses the bridge";
	}
}

static void take_refusal(struct bridge *bridge, int error)
{
	struct service *service = &bridge->service;
	/* What only a person can mend is worth an end, as long as nothing has been joined. */
	bool is_over = !service->was_ready && (error == -EPERM || error == -EINVAL || error == -ENOTSUP);

	if (is_over)
		bridge->reports.kinds[REPORT_SERVICE].logged_ns = 0; /* This line is always written. */
	report_event(&bridge->reports, REPORT_SERVICE, bridge->now_ns, LOG_LEVEL_ERROR, "service",
		     "state=refused error=%s host=%s reason=\"%s\"", strerrorname_np(-error), bridge->host,
		     refusal_of(error));
	if (is_over)
		bridge->exit = BRIDGE_CONFIGURATION;
	service->is_broken = true;
}

static void take_ready(struct bridge *bridge)
{
	struct service *service = &bridge->service;

	service->state = SERVICE_READY;
	service->was_ready = true;
	service->delay_ns = 0;
	log_event(LOG_LEVEL_INFO, "service", "state=ready host=%s", bridge->host);
	bridge_owned_service_ready(bridge);
	bridge_mirrors_service_ready(bridge);
}

static void take_goodbye(struct bridge *bridge, int error)
{
	/* ctxd says goodbye when it ends; that is no trouble. */
	report_event(&bridge->reports, REPORT_SERVICE, bridge->now_ns,
		     error == -ESHUTDOWN ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "service",
		     "state=closed error=%s", strerrorname_np(-error));
	bridge->service.is_broken = true;
}

void receive_lost(struct bridge *bridge)
{
	bool was_ready = bridge->service.state == SERVICE_READY;

	service_close(bridge);
	if (!was_ready)
		return;
	log_event(LOG_LEVEL_INFO, "service", "state=away");
	bridge_owned_service_lost(bridge);
	bridge_mirrors_service_lost(bridge);
	serve_service_lost(bridge);
	asks_service_lost(bridge);
}

/* ---- messages */

static bool is_of_this_life(const struct bridge *bridge, struct ctxd_id id)
{
	return id.epoch == bridge->service.epoch;
}

static void take_order(struct bridge *bridge, const struct wire_message *message)
{
	const struct wire_order *order = &message->order;
	struct wire_message answer = {.type = WIRE_OBEYED, .serial = message->serial};
	/* There are no operations below contexts of this host here, and none below mirrors. */
	bool is_mirror =
		is_of_this_life(bridge, order->id) && !bridge_owned_is_known(bridge, order->id.number);

	answer.obeyed.result = is_mirror ? bridge_mirrors_order(bridge, order->id.number, order) : -ENOENT;
	service_answer(bridge, &answer, -1);
	if (answer.obeyed.result)
		return;
	answer.obeyed.reaped = 1;
	answer.obeyed.report = (struct ctxd_report){.asked = 1, .ended = 1};
	service_answer(bridge, &answer, -1);
}

static void take_result(struct bridge *bridge, const struct wire_message *message)
{
	switch (service_request(message->serial)) {
	case REQUEST_BRIDGE:
		if (message->result.error)
			take_refusal(bridge, message->result.error);
		else if (bridge->service.state == SERVICE_ASKING)
			take_ready(bridge);
		break;
	case REQUEST_HELLO:
		take_refusal(bridge, message->result.error);
		break;
	case REQUEST_JOIN:
	case REQUEST_REJOIN:
		bridge_owned_answer(bridge, message, NULL, false);
		break;
	case REQUEST_MIRROR:
		bridge_mirrors_answer(bridge, message);
		break;
	case REQUEST_CANCEL:
	case REQUEST_LIST:
		serve_answer(bridge, message);
		break;
	default:
		break;
	}
}

/* Handles a message, and closes its descriptors unless they are taken over. */
static void take_message(struct bridge *bridge, const struct wire_message *message, const int *fds,
			 unsigned fd_count, bool is_cut)
{
	switch (message->type) {
	case WIRE_WELCOME:
		take_welcome(bridge, message);
		return;
	case WIRE_GOODBYE:
		take_goodbye(bridge, message->goodbye.error);
		return;
	case WIRE_RESULT:
		take_result(bridge, message);
		return;
	case WIRE_JOINED:
		if (service_request(message->serial) == REQUEST_JOIN) {
			bridge_owned_answer(bridge, message, fds, is_cut);
			return;
		}
		break;
	case WIRE_MOVED:
		if (is_of_this_life(bridge, message->move.id))
			bridge_owned_moved(bridge, &message->move);
		return;
	case WIRE_UNSHARED:
		if (is_of_this_life(bridge, message->id))
			bridge_owned_released(bridge, message->id);
		return;
	case WIRE_ORDER:
		take_order(bridge, message);
		return;
	case WIRE_FETCH:
		bridge_mirrors_fetch(bridge, message);
		return;
	case WIRE_UNWANTED:
		if (wire_id_is_none(message->id))
			bridge_mirrors_fetch_unwanted(bridge, message->serial);
		else if (is_of_this_life(bridge, message->id))
			bridge_mirrors_unwanted(bridge, message->id);
		return;
	case WIRE_REPORT:
	case WIRE_ENTRIES:
		serve_answer(bridge, message);
		return;
	case WIRE_ASKED:
		asks_take(bridge, message);
		return;
	default:
		break;
	}
	for (unsigned i = 0; i < fd_count; i++)
		close(fds[i]);
}

void receive_ready(struct bridge *bridge)
{
	struct wire_message message;
	int fds[WIRE_FDS_MAX];
	unsigned fd_count = 0;
	bool is_cut = false;

	for (unsigned i = 0; i < RECEIVE_MAX && bridge->service.fd >= 0 && !bridge->service.is_broken; i++) {
		if (service_is_full(&bridge->service) ||
		    !service_receive(bridge, &message, fds, &fd_count, &is_cut))
			return;
		take_message(bridge, &message, fds, fd_count, is_cut);
	}
}
