/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "password.h"
#include "reply.h"

/* One array of an answer has no more elements. SCAN answers with 512 and a few more. */
#define ELEMENTS_MAX 4096
/* An answer that is a line, or begins with a number, has its end within so many bytes. */
#define LINE_MAX_BYTES 4096
/* The size of the buffer within redisBufferRead(), and how many of them one turn reads. */
#define READ_BYTES 16384u
#define READS_MAX 64
/* A turn that comes so much later than it was due is late. */
#define LATE_TURN_NS (SERVER_SILENCE_NS / 8)

const char *question_name(enum question question)
{
	static const char *const names[QUESTIONS] = {
		[QUESTION_AUTH] = "AUTH",	 [QUESTION_ROLE] = "ROLE",
		[QUESTION_PING] = "PING",	 [QUESTION_HELLO] = "HELLO",
		[QUESTION_MASTER] = "SENTINEL",	 [QUESTION_ADDRESS] = "SENTINEL",
		[QUESTION_ADD] = "XADD",	 [QUESTION_ADD_PROBE] = "XADD",
		[QUESTION_READ_PROBE] = "XREAD", [QUESTION_READ] = "XREAD",
		[QUESTION_TRIM] = "XTRIM",	 [QUESTION_EXPIRE] = "PEXPIRE",
		[QUESTION_LEASE_TAKE] = "SET",	 [QUESTION_LEASE_OWN] = "MGET",
		[QUESTION_LEASE_RENEW] = "SET",	 [QUESTION_LEASES] = "MGET",
		[QUESTION_LEASE_PROBE] = "MGET", [QUESTION_SCAN] = "SCAN",
		[QUESTION_SCAN_PROBE] = "SCAN",	 [QUESTION_PING_PROBE] = "PING",
		[QUESTION_ROLE_PROBE] = "ROLE",
	};

	return names[question];
}

/* ---- failing */

void server_fail(struct server *server, const char *format, ...)
{
	va_list arguments;

	if (*server->failure)
		return;
	va_start(arguments, format);
	vsnprintf(server->failure, sizeof(server->failure), format, arguments);
	va_end(arguments);
}

void server_fail_answer(struct server *server, enum question question, const redisReply *reply)
{
	char text[96];

	if (reply->type != REDIS_REPLY_ERROR) {
		server_fail(server, "the answer to %s makes no sense", question_name(question));
		return;
	}
	reply_copy(reply, text, sizeof(text));
	server_fail(server, "%s: %s", question_name(question), text);
}

bool server_has_failed(const struct server *server)
{
	return *server->failure;
}

static void fail_by_hiredis(struct server *server, const char *what)
{
	const char *problem = server->ssl ? tls_problem(server->ssl) : NULL;

	if (!problem && server->context->err == REDIS_ERR_OOM)
		problem = "it is too large, or there is no memory";
	server_fail(server, "%s: %s", what, problem ? problem : server->context->errstr);
}

/* ---- questions */

/* Makes room for one more. False: no memory. */
static bool grow_pending(struct server *server)
{
	unsigned room = server->room ? 2 * server->room : 16;
	struct server_pending *pending;

	if (server->count < server->room)
		return true;
	pending = reallocarray(NULL, room, sizeof(*pending));
	if (!pending)
		return false;
	for (unsigned i = 0; i < server->count; i++)
		pending[i] = server->pending[(server->first + i) % server->room];
	free(server->pending);
	server->pending = pending;
	server->first = 0;
	server->room = room;
	return true;
}

/* Notes that the question was queued, or that it could not be. */
static void note_asked(struct server *server, enum question question, void *data, int result)
{
	if (result != REDIS_OK) {
		free(data);
		server_fail(server, "there is no memory");
		return;
	}
	server->pending[(server->first + server->count++) % server->room] =
		(struct server_pending){.question = question, .data = data};
}

void server_ask(struct server *server, enum question question, void *data, const char *format, ...)
{
	va_list arguments;
	int result;

	if (server->state == SERVER_CLOSED || server_has_failed(server)) {
		free(data);
		return;
	}
	va_start(arguments, format);
	result = grow_pending(server) ? redisvAppendCommand(server->context, format, arguments) : REDIS_ERR;
	va_end(arguments);
	note_asked(server, question, data, result);
}

void server_ask_words(struct server *server, enum question question, void *data, unsigned count,
		      const char *const *words)
{
	int result = REDIS_ERR;

	if (server->state == SERVER_CLOSED || server_has_failed(server)) {
		free(data);
		return;
	}
	if (grow_pending(server))
		result = redisAppendCommandArgv(server->context, (int)count, (const char **)words, NULL);
	note_asked(server, question, data, result);
}

static struct server_pending pop_pending(struct server *server)
{
	struct server_pending pending = server->pending[server->first];

	server->first = (server->first + 1) % server->room;
	server->count--;
	return pending;
}

void server_authenticate(struct server *server)
{
	const struct server_options *options = server->options;
	char password[PASSWORD_MAX + 1] = "";
	int error = 0;

	if (!*options->user && !*options->password_file)
		return;
	if (*options->password_file)
		error = password_read(options->password_file, password, &server->is_password_open);
	if (error)
		server_fail(server, "the password in %s cannot be read: %s", options->password_file,
			    strerror(-error));
	else if (*options->user)
		server_ask(server, QUESTION_AUTH, NULL, "AUTH %s %s", options->user, password);
	else
		server_ask(server, QUESTION_AUTH, NULL, "AUTH %s", password);
	explicit_bzero(password, sizeof(password));
}

size_t server_queued(const struct server *server)
{
	return server->state == SERVER_CLOSED ? 0 : sdslen(server->context->obuf);
}

/* ---- opening and closing */

/*
 * hiredis makes an array of the length that the server says before the elements have come. An array that is
 * too long is refused as if there were no memory.
 */
#if HIREDIS_MAJOR < 1
typedef int element_count;
#else
typedef size_t element_count;
#endif

static void *create_array(const redisReadTask *task, element_count count)
{
	const struct redisReplyObjectFunctions *usual = task->privdata;

	return count > ELEMENTS_MAX ? NULL : usual->createArray(task, count);
}

static void limit_arrays(struct server *server)
{
	redisReader *reader = server->context->reader;

	server->functions = *reader->fn;
	server->functions.createArray = create_array;
	reader->privdata = reader->fn;
	reader->fn = &server->functions;
}

static void poll_server(struct server *server, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = server};

	if (epoll_ctl(server->options->epoll_fd, operation, server->context->fd, &event))
		server_fail(server, "epoll_ctl: %s", strerror(errno));
}

void server_open(struct server *server, const struct server_place *place, bool greets, uint64_t timeout_ns,
		 uint64_t now_ns)
{
	*server->failure = *server->role = *server->software = *server->version = '\0';
	server->answer_bytes = 0;
	server->round_trip_ns = 0;
	server->deadline_ns = now_ns + timeout_ns;
	server->is_extended = false;
	server->is_greeted = greets;
	server->waits_for_output = server->has_more = server->is_unreadable = false;
	server->host = place->name;
	server->context = place->path ? redisConnectUnixNonBlock(place->path)
				      : redisConnectNonBlock(place->numeric, place->port);
	server->state = SERVER_CONNECTING;
	if (!server->context) {
		server_fail(server, "there is no memory");
		return;
	}
	if (server->context->err) {
		fail_by_hiredis(server, "it cannot be reached");
		return;
	}
	fcntl(server->context->fd, F_SETFD, FD_CLOEXEC);
	limit_arrays(server);
	poll_server(server, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
	if (!greets)
		return;
	server_authenticate(server);
	server_ask(server, QUESTION_HELLO, NULL, "HELLO");
	server_ask(server, QUESTION_ROLE, NULL, "ROLE");
	server_ask(server, QUESTION_PING, NULL, "PING");
}

void server_close(struct server *server)
{
	if (server->state == SERVER_CLOSED)
		return;
	while (server->count)
		free(pop_pending(server).data);
	free(server->pending);
	server->pending = NULL;
	server->first = server->room = 0;
	/* Closing the descriptor takes it out of the set. */
	if (server->context)
		redisFree(server->context);
	server->context = NULL;
	server->ssl = NULL;
	server->state = SERVER_CLOSED;
}

/* ---- answers */

static void note_role(struct server *server, const redisReply *reply)
{
	if (!reply_is_array(reply, 1) || !reply_is_text(reply->element[0])) {
		server_fail_answer(server, QUESTION_ROLE, reply);
		return;
	}
	reply_copy(reply->element[0], server->role, sizeof(server->role));
	if (strcmp(server->role, "master") != 0)
		server_fail(server, "its role is \"%s\", not master", server->role);
}

/* Servers before version 6 do not know the question. */
static void note_version(struct server *server, const redisReply *reply)
{
	const redisReply *software = reply_find(reply, "server"), *version = reply_find(reply, "version");

	if (software)
		reply_copy(software, server->software, sizeof(server->software));
	if (version)
		reply_copy(version, server->version, sizeof(server->version));
}

static void take_greeting(struct server *server, enum question question, const redisReply *reply,
			  uint64_t now_ns)
{
	if (question == QUESTION_AUTH && !reply_is_status(reply, "OK"))
		server_fail_answer(server, question, reply);
	if (question == QUESTION_ROLE)
		note_role(server, reply);
	if (question == QUESTION_HELLO)
		note_version(server, reply);
	if (question != QUESTION_PING)
		return;
	/* A server that cannot save its data answers with MISCONF, but works. */
	if (reply_error_of(reply) != REPLY_REFUSED && !reply_is_status(reply, "PONG"))
		server_fail_answer(server, question, reply);
	server->round_trip_ns = now_ns - server->flushed_ns;
	server->state = SERVER_READY;
}

/* Handles the answers that are complete. */
static void take_answers(struct server *server, uint64_t now_ns)
{
	while (!server_has_failed(server)) {
		struct server_pending pending;
		redisReply *reply;
		void *object;
		if (redisGetReplyFromReader(server->context, &object) != REDIS_OK) {
			server->is_unreadable = true;
			fail_by_hiredis(server, "an answer is malformed");
			return;
		}
		reply = object;
		if (!reply)
			return;
		server->answer_bytes = server->context->reader->len - server->context->reader->pos;
		server->begun_ns = now_ns;
		if (server->count == 0) {
			server_fail(server, "it says something that nobody asked for");
			freeReplyObject(reply);
			return;
		}
		pending = pop_pending(server);
		if (pending.question <= QUESTION_HELLO)
			take_greeting(server, pending.question, reply, now_ns);
		else
			server->answer(server, pending.question, pending.data, reply);
		free(pending.data);
		freeReplyObject(reply);
	}
}

/* hiredis looks for the end of a line anew whenever more has come. */
static bool has_endless_line(const redisReader *reader)
{
	return reader->len - reader->pos > LINE_MAX_BYTES &&
	       !memchr(reader->buf + reader->pos, '\n', LINE_MAX_BYTES);
}

/* Sets the time until which something must have come. */
static void set_deadline(struct server *server, uint64_t now_ns)
{
	uint64_t end_ns = server->begun_ns + server->answer_max_ns;

	server->is_extended = false;
	server->deadline_ns = UINT64_MAX;
	if (server->count || server->answer_bytes)
		server->deadline_ns = now_ns + SERVER_SILENCE_NS;
	if (server->answer_bytes && server->deadline_ns > end_ns)
		server->deadline_ns = end_ns;
}

static void read_answers(struct server *server, uint64_t now_ns)
{
	redisContext *context = server->context;

	server->has_more = false;
	for (unsigned i = 0; i < READS_MAX; i++) {
		size_t before = context->reader->len, size;
		if (redisBufferRead(context) != REDIS_OK) {
			fail_by_hiredis(server, "the connection is lost");
			return;
		}
		size = context->reader->len - before;
		if (size == 0)
			return;
		if (server->answer_bytes == 0)
			server->begun_ns = now_ns;
		server->answer_bytes += size;
		take_answers(server, now_ns);
		set_deadline(server, now_ns);
		if (server->answer_bytes > server->answer_max || has_endless_line(context->reader)) {
			server->is_unreadable = true;
			server_fail(server, "an answer is too large");
		}
		if (server_has_failed(server))
			return;
		/* What is left in the kernel is told again; what TLS has read ahead is not. */
		if (size < READ_BYTES && !server->ssl)
			return;
	}
	server->has_more = true;
}

/* ---- output */

static bool can_write(const struct server *server)
{
	return server->state > SERVER_CONNECTING && !server_has_failed(server) &&
	       (!server->ssl || tls_is_ready(server->ssl));
}

static void write_questions(struct server *server, uint64_t now_ns)
{
	size_t before;
	bool is_full;

	if (!can_write(server))
		return;
	while ((before = server_queued(server)) > 0) {
		int is_done;
		if (redisBufferWrite(server->context, &is_done) != REDIS_OK) {
			fail_by_hiredis(server, "the connection is lost");
			return;
		}
		if (server_queued(server) == before)
			break;
		server->flushed_ns = now_ns;
	}
	if (server->count && server->deadline_ns == UINT64_MAX)
		server->deadline_ns = now_ns + SERVER_SILENCE_NS;
	is_full = server_queued(server) > 0;
	if (is_full != server->waits_for_output)
		poll_server(server, EPOLL_CTL_MOD, is_full ? EPOLLIN | EPOLLOUT : EPOLLIN);
	server->waits_for_output = is_full;
}

/* ---- events and times */

static void finish_connecting(struct server *server, uint64_t now_ns)
{
	socklen_t size = sizeof(int);
	const char *problem = NULL;
	int error = 0;

	if (getsockopt(server->context->fd, SOL_SOCKET, SO_ERROR, &error, &size))
		error = errno;
	if (error) {
		server_fail(server, "it cannot be reached: %s", strerror(error));
		return;
	}
	server->state = server->is_greeted ? SERVER_GREETING : SERVER_READY;
	server->deadline_ns = now_ns + SERVER_SILENCE_NS;
	poll_server(server, EPOLL_CTL_MOD, EPOLLIN);
	if (!server->options->tls)
		return;
	server->ssl = tls_begin(server->options->tls, server->context, server->host, &problem);
	if (problem)
		server_fail(server, "TLS cannot begin: %s", problem);
	else if (!server->ssl)
		fail_by_hiredis(server, "TLS cannot begin");
}

void server_event(struct server *server, uint32_t events, uint64_t now_ns)
{
	if (server->state == SERVER_CLOSED || server_has_failed(server))
		return;
	if (server->state == SERVER_CONNECTING)
		finish_connecting(server, now_ns);
	else if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		read_answers(server, now_ns);
}

/* Nothing came until the deadline. */
static void end_silence(struct server *server, uint64_t now_ns)
{
	if (now_ns - server->deadline_ns > LATE_TURN_NS && !server->is_extended) {
		server->is_extended = true;
		server->deadline_ns = now_ns + SERVER_LATE_NS;
		return;
	}
	server_fail(server,
		    server->state == SERVER_CONNECTING ? "it cannot be reached in time" : "no answer");
}

void server_tick(struct server *server, uint64_t now_ns)
{
	if (server->state == SERVER_CLOSED || server_has_failed(server))
		return;
	if (server->has_more)
		read_answers(server, now_ns);
	if (!server_has_failed(server) && now_ns >= server->deadline_ns)
		end_silence(server, now_ns);
	write_questions(server, now_ns);
}

uint64_t server_next_ns(const struct server *server)
{
	if (server->state == SERVER_CLOSED)
		return UINT64_MAX;
	if (server_has_failed(server) || server->has_more ||
	    (can_write(server) && server_queued(server) > 0 && !server->waits_for_output))
		return 0;
	return server->deadline_ns;
}
