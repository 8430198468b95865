/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/epoll.h>

#include "parts.h"

static struct epoll_event event_of(enum watched watched, uint32_t slot, uint32_t events)
{
	return (struct epoll_event){.events = events, .data.u64 = (uint64_t)watched << 32 | slot};
}

int watch_add(const struct bridge *bridge, enum watched watched, uint32_t slot, int fd, uint32_t events)
{
	struct epoll_event event = event_of(watched, slot, events);

	return epoll_ctl(bridge->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

void watch_change(const struct bridge *bridge, enum watched watched, uint32_t slot, int fd, uint32_t events)
{
	struct epoll_event event = event_of(watched, slot, events);

	epoll_ctl(bridge->epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

void watch_remove(const struct bridge *bridge, int fd)
{
	epoll_ctl(bridge->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}
