/* SPDX-License-Identifier: MIT */
/*
 * The routes that need one operation at a time: /, /slow and /file.
 */
#include "httpd.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#define SLOW_MS_MAX UINT64_C(3600000)
#define PATH_LENGTH_MAX 1023
#define FILE_CHUNK 65536

static void release_state(struct request *request)
{
	free(request->state);
}

/* ------------------------------------------------------------------------- */
/* Query parameters                                                          */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int percent_decode(const char *text, const char *end, char *value, size_t size)
{
	size_t used = 0;

	while (text < end) {
		int c = (unsigned char)*text++;

		if (c == '%') {
			if (end - text < 2 || hex_digit(text[0]) < 0 || hex_digit(text[1]) < 0)
				return -EINVAL;
			c = hex_digit(text[0]) << 4 | hex_digit(text[1]);
			text += 2;
		}
		if (!c || used == size - 1)
			return -EINVAL;
		value[used++] = (char)c;
	}
	value[used] = '\0';
	return 0;
}

int query_text(const char *url, const char *name, char *value, size_t size)
{
	size_t length = strlen(name);
	const char *pair = strchr(url, '?');

	while (pair) {
		const char *end;

		pair++;
		end = strchrnul(pair, '&');
		if (!strncmp(pair, name, length) && pair[length] == '=')
			return percent_decode(pair + length + 1, end, value, size);
		pair = *end ? end : NULL;
	}
	return -ENOENT;
}

int query_number(const char *url, const char *name, uint64_t max, uint64_t *ret_number)
{
	char text[24];
	int error;

	error = query_text(url, name, text, sizeof(text));
	if (error)
		return error;
	return parse_number(text, max, ret_number) ? 0 : -EINVAL;
}

/* ------------------------------------------------------------------------- */
/* /slow?ms=N                                                                */

struct slow {
	struct ctx_op op;
	struct __kernel_timespec time;
};

static void slow_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = (struct request *)(uintptr_t)op->data;

	(void)ring;
	if (!request_goes_on(request, completion))
		return;
	/* A timeout operation completes with -ETIME when its time has come. */
	if (completion->res == -ETIME)
		request_reply(request, 200, "That took a while.\n");
	else
		request_reply(request, 500, "The clock does not work.\n");
}

static void route_slow(struct request *request)
{
	struct io_uring_sqe *sqe;
	struct slow *slow;
	uint64_t ms;

	if (query_number(request->url, "ms", SLOW_MS_MAX, &ms)) {
		request_reply(request, 400, "/slow needs ms=N.\n");
		return;
	}
	slow = calloc(1, sizeof(*slow));
	if (!slow) {
		request_reply(request, 503, "No memory.\n");
		return;
	}
	request->state = slow;
	request->release = release_state;
	ctx_op_init(&slow->op, slow_done, (uintptr_t)request);
	slow->time.tv_sec = (long long)(ms / 1000);
	slow->time.tv_nsec = (long long)(ms % 1000 * NSEC_PER_MSEC);
	sqe = request_sqe(request, &slow->op);
	io_uring_prep_timeout(sqe, &slow->time, 0, 0);
	log_event(request->tagged, "waiting", "operations=%u", request->pending);
}

/* ------------------------------------------------------------------------- */
/* /file?path=                                                               */

struct file {
	struct ctx_op op;
	struct open_how how;
	int fd;
	uint64_t offset;
	uint64_t left;
	char path[PATH_LENGTH_MAX + 1];
	char chunk[FILE_CHUNK];
};

static void file_release(struct request *request)
{
	struct file *file = request->state;

	if (file->fd >= 0)
		server_close_fd(request->conn->server, file->fd);
	free(file);
}

static void file_read_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion);

/* Reads the next part, after the one before has been sent. */
static void file_next(struct request *request)
{
	struct file *file = request->state;
	struct io_uring_sqe *sqe;
	unsigned length = file->left < FILE_CHUNK ? (unsigned)file->left : FILE_CHUNK;

	if (!file->left || request->head) {
		request_finish(request);
		return;
	}
	ctx_op_init(&file->op, file_read_done, (uintptr_t)request);
	sqe = request_sqe(request, &file->op);
	io_uring_prep_read(sqe, file->fd, file->chunk, length, file->offset);
}

static void file_read_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = (struct request *)(uintptr_t)op->data;
	struct file *file = request->state;

	(void)ring;
	if (!request_goes_on(request, completion))
		return;
	/* The length has been sent already, so if the file is shorter now all that can be done is to close.
	 */
	if (completion->res <= 0) {
		request_abort(request, completion->res ? strerror(-completion->res) : "file shrank");
		return;
	}
	file->offset += (uint64_t)completion->res;
	file->left -= (uint64_t)completion->res;
	request_send(request, file->chunk, (size_t)completion->res, file_next);
}

static int open_error_status(int error)
{
	switch (error) {
	case -ENOENT:
	case -ENOTDIR:
		return 404;
	case -EACCES:
	case -EPERM:
	case -EXDEV: /* the path leads out of the root */
	case -ELOOP:
	case -ENXIO:
		return 403;
	case -ENAMETOOLONG:
		return 414;
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
		return 503;
	default:
		return 500;
	}
}

static void file_opened(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = (struct request *)(uintptr_t)op->data;
	struct file *file = request->state;
	struct stat status;

	(void)ring;
	/* The descriptor goes into the state first, from where it is closed also when the request has just
	 * ended. */
	if (completion->res >= 0)
		file->fd = completion->res;
	if (!request_goes_on(request, completion))
		return;
	if (completion->res < 0) {
		request_reply(request, open_error_status(completion->res), "This file cannot be opened.\n");
		return;
	}
	if (fstat(file->fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		request_reply(request, 403, "This is not a regular file.\n");
		return;
	}
	file->left = (uint64_t)status.st_size;
	request_reply_head(request, 200, "application/octet-stream", file->left, file_next);
}

static void route_file(struct request *request)
{
	struct io_uring_sqe *sqe;
	struct file *file;

	if (request->conn->server->root_fd < 0) {
		request_reply(request, 404, "This server has no root.\n");
		return;
	}
	file = calloc(1, sizeof(*file));
	if (!file) {
		request_reply(request, 503, "No memory.\n");
		return;
	}
	file->fd = -1;
	request->state = file;
	request->release = file_release;
	if (query_text(request->url, "path", file->path, sizeof(file->path)) || !file->path[0]) {
		request_reply(request, 400, "/file needs path=.\n");
		return;
	}
	/* The path may not lead out of the root by dots, links or /proc, and a FIFO is not waited for. */
	file->how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	file->how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
	ctx_op_init(&file->op, file_opened, (uintptr_t)request);
	sqe = request_sqe(request, &file->op);
	io_uring_prep_openat2(sqe, request->conn->server->root_fd, file->path, &file->how);
	ctx_op_set_flags(&file->op, CTX_OP_CLOSE_FD);
}

/* ------------------------------------------------------------------------- */

static void route_index(struct request *request)
{
	request_reply(request, 200,
		      "/slow?ms=N       answers after N ms\n"
		      "/file?path=P     a file below the root\n"
		      "/fan?n=N&ms=M    asks the upstream N times at once; it answers after M ms\n"
		      "X-Deadline-Ms: N is the time a request may take\n");
}

void route_request(struct request *request)
{
	static const struct {
		const char *path;
		void (*route)(struct request *request);
	} routes[] = {
		{"/", route_index},
		{"/slow", route_slow},
		{"/file", route_file},
		{"/fan", route_fan},
	};
	size_t length = strcspn(request->url, "?#");

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (strlen(routes[i].path) == length && !memcmp(request->url, routes[i].path, length)) {
			routes[i].route(request);
			return;
		}
	}
	request_reply(request, 404, "There is nothing here.\n");
}
