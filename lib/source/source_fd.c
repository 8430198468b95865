/* SPDX-License-Identifier: MIT */
/* Contexts that end with the peer of a socket, or with an event on a descriptor of the program. */
#include <stdio.h>
#include <string.h>

#include "source.h"

static void fd_ready(struct source *source, uint32_t events)
{
	source_end(source, (int)events);
}

/* The text does not name the socket's error: asking for it (SO_ERROR) would take it away from the program. */
static void describe_hangup(const struct source *source, int code, char *text, size_t size)
{
	const char *what = code & POLLERR   ? "the connection was reset or timed out"
			   : code & POLLHUP ? "the peer closed the connection"
					    : "the peer ended its sending, or closed the connection";
	(void)source;
	snprintf(text, size, "%s", what);
}

static void describe_fd(const struct source *source, int code, char *text, size_t size)
{
	static const struct {
		int bit;
		const char *name;
	} names[] = {
		{POLLIN, "readable"},	     {POLLPRI, "exceptional"}, {POLLOUT, "writable"},
		{POLLRDHUP, "read hung up"}, {POLLHUP, "hung up"},     {POLLERR, "failed"},
	};
	int length = snprintf(text, size, "descriptor %d is ", source->fd);
	const char *separator = "";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!(code & names[i].bit) || length >= (int)size)
			continue;
		length += snprintf(text + length, size - (size_t)length, "%s%s", separator, names[i].name);
		separator = ", ";
	}
	if (!*separator)
		snprintf(text, size, "descriptor %d is ready", source->fd);
}

static const struct source_ops hangup_ops = {
	.kind = CTX_CAUSE_HANGUP, .ready = fd_ready, .describe = describe_hangup};
static const struct source_ops fd_ops = {.kind = CTX_CAUSE_FD, .ready = fd_ready, .describe = describe_fd};

/* A ring reports files that cannot be polled as ready. epoll refuses them, so epoll is asked here. */
static int check_file(const struct ctx_ring *ring, int fd)
{
	struct stat status;

	if (fd < 0)
		return -EBADF;
	if (!ring)
		return 0;
	if (fstat(fd, &status))
		return -EBADF;
	if ((S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode)))
		return poller_probe(fd);
	return 0;
}

static int fd_begin(struct source_request *request, const struct source_ops *ops, struct ctx_ring *ring,
		    int fd, struct ctx_context **ret_ctx)
{
	struct source *source = source_new(sizeof(*source), ops, ring);

	if (!source)
		return -ENOMEM;
	source->fd = fd;
	request->watched.id = fd;
	request->watched.detail = request->events;
	return source_begin(source, request, ret_ctx);
}

static int check_socket(int fd)
{
	int type;
	socklen_t size = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) ? -errno : 0;
}

int ctx_with_hangup(const struct ctx_context *parent, struct ctx_ring *ring, int fd, unsigned flags,
		    const char *label, struct ctx_context **ret_ctx)
{
	struct source_request request = {
		.parent = parent,
		.label = label,
		.site = __builtin_return_address(0),
		.events = POLLHUP | POLLERR | (flags & CTX_HANGUP_WHOLE ? 0 : POLLRDHUP),
	};
	int error = source_check(parent, ring, ret_ctx);

	if (!error && (flags & ~CTX_HANGUP_WHOLE))
		error = -EINVAL;
	if (!error)
		error = check_socket(fd);
	return source_result(CTX_CAUSE_HANGUP,
			     error ? error : fd_begin(&request, &hangup_ops, ring, fd, ret_ctx));
}

int ctx_with_fd(const struct ctx_context *parent, struct ctx_ring *ring, int fd, short events,
		const char *label, struct ctx_context **ret_ctx)
{
	struct source_request request = {
		.parent = parent,
		.label = label,
		.site = __builtin_return_address(0),
		.events = (uint16_t)events | POLLERR | POLLHUP,
	};
	int error = source_check(parent, ring, ret_ctx);

	if (!error && (events & ~(POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND |
				  POLLWRNORM | POLLWRBAND | POLLERR | POLLHUP | POLLNVAL | POLLMSG)))
		error = -EINVAL;
	request.events &= ~(uint32_t)POLLNVAL;
	if (!error)
		error = check_file(ring, fd);
	return source_result(CTX_CAUSE_FD, error ? error : fd_begin(&request, &fd_ops, ring, fd, ret_ctx));
}
