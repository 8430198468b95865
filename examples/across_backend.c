/* SPDX-License-Identifier: MIT */
/*
 * The last of three processes. A server asks it for work and names the context of the request. This process
 * joins that context and works below it. When the context ends, in whichever process and for whatever reason,
 * the operations here are cancelled in one batch.
 *
 *	across_backend PORTFILE
 *
 * A question is "ID COUNT\n"; see examples/across_server.c. ctxd must run.
 */
#include "across.h"

struct job {
	struct work work; /* first member: job_free() casts it to the job */
	struct ctx_context *ctx;
	int server;
	unsigned operations;
	char id[CTXD_ID_TEXT];
};

static struct ctx_ring *ring;
static struct service service;
static struct ctx_op accepting;
static int listener;

static void job_free(struct work *work)
{
	struct job *job = (struct job *)work;

	log_end(job->ctx, job->id, job->operations);
	close(job->server);
	ctx_finish(job->ctx);
	free(job);
}

static bool job_begin(struct job *job)
{
	char line[64] = "";
	struct ctxd_id id;
	uint64_t count;
	ssize_t size = recv(job->server, line, sizeof(line) - 1, 0);
	char *blank = size > 0 ? strchr(line, ' ') : NULL;

	if (!blank)
		return false;
	*blank = '\0';
	blank[1 + strcspn(blank + 1, "\n")] = '\0';
	if (ctxd_parse_id(line, &id) || !parse_number(blank + 1, WORK_MAX, &count) || !count ||
	    ctxd_join(service.client, id, &job->ctx))
		return false;
	strcpy(job->id, line);
	job->operations = (unsigned)count;
	if (!work_begin(&job->work, ring, job->ctx, (unsigned)count, job_free)) {
		ctx_finish(job->ctx);
		return false;
	}
	fprintf(stderr, "event=joined request=%s operations=%u\n", job->id, job->operations);
	return true;
}

static void accepted(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct job *job = completion->res >= 0 ? calloc(1, sizeof(*job)) : NULL;

	(void)unused;
	if (job) {
		job->server = completion->res;
		if (!job_begin(job)) {
			close(job->server);
			free(job);
		}
	}
	io_uring_prep_accept(ctx_ring_get_sqe(ring, ctx_background(), op), listener, NULL, NULL,
			     SOCK_CLOEXEC);
}

int main(int argc, char **argv)
{
	uint16_t port = 0;

	if (argc != 2) {
		fprintf(stderr, "Usage: across_backend PORTFILE\n");
		return 2;
	}
	ring = open_ring(1024, NULL);
	listener = listen_on_loopback(&port);
	if (!ring || listener < 0 || !service_begin(&service, ring, CTXD_PUBLISH) ||
	    write_port_file(argv[1], port))
		return 1;
	ctx_op_init(&accepting, accepted, 0);
	io_uring_prep_accept(ctx_ring_get_sqe(ring, ctx_background(), &accepting), listener, NULL, NULL,
			     SOCK_CLOEXEC);
	for (;;)
		if (ctx_ring_dispatch(ring, CTX_FOREVER) < 0 && errno != EINTR)
			return 1;
}
