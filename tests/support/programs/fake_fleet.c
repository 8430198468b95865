/* SPDX-License-Identifier: MIT */
/*
 * fake_fleet SOCKET SCENE [HOSTS ENTRIES]: plays the service of a host in a fleet, for tests of ctxtool. It
 * answers what a client asks about the fleet by a fixed scene:
 *
 *   quiet     host a, which is this one, and b, which has joined of it
 *   broken    also c, which is silent, d, which is gone, and e, which refuses
 *   engine    findings about the engine, of which one is an error
 *   alone     no bridge is connected
 *   none      there is no fleet
 *   many      HOSTS hosts with ENTRIES contexts each, every second one joined by the next host
 *
 * It prints "ready" when it listens.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "record_file.h"

#define SECOND 1000000000u

static const char *scene;
static unsigned many_hosts, many_entries;
static uint64_t now_ns;

static bool scene_is(const char *name)
{
	return strcmp(scene, name) == 0;
}

static void send_message(int socket, const struct wire_message *message, int fd)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {.iov_base = bytes, .iov_len = wire_pack(message, bytes)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		header.msg_control = control.room;
		header.msg_controllen = sizeof(control.room);
		struct cmsghdr *attached = CMSG_FIRSTHDR(&header);
		attached->cmsg_level = SOL_SOCKET;
		attached->cmsg_type = SCM_RIGHTS;
		attached->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(attached), &fd, sizeof(int));
	}
	(void)!sendmsg(socket, &header, MSG_NOSIGNAL);
}

/* ---- records */

static void add(struct record_file *file, const struct wire_record *record)
{
	if (record_file_add(file, record))
		exit(3);
}

static void add_host(struct record_file *file, uint32_t list, const char *name, enum ctxd_host_state state,
		     int error)
{
	struct wire_record record = {.kind = WIRE_RECORD_HOST,
				     .list = list,
				     .host = {.state = state,
					      .error = error,
					      .incarnation = 0xabc,
					      .heard_ns = now_ns - SECOND,
					      .lease_seen_ns = now_ns - SECOND / 2,
					      .round_trip_ns = 1500000,
					      .joins_in = 3,
					      .joins_out = 2,
					      .resyncs = 7,
					      .gaps = 5,
					      .dropped = 4096}};

	strcpy(record.host.name, name);
	if (state == CTXD_HOST_ABSENT)
		record.host.lease_absent_ns = now_ns - 12 * (uint64_t)SECOND;
	add(file, &record);
}

static struct wire_record context(uint32_t list, uint64_t epoch, uint64_t number, const char *label)
{
	struct wire_record record = {.kind = WIRE_RECORD_ENTRY,
				     .list = list,
				     .entry = {.kind = CTXD_SHARED,
					       .id = {epoch, number},
					       .pid = 1234,
					       .uid = 1000,
					       .mode = 0600,
					       .created_ns = now_ns - 2 * (uint64_t)SECOND,
					       .deadline_ns = CTX_FOREVER,
					       .process = "server"}};

	strcpy(record.entry.label, label);
	return record;
}

static void add_copy(struct record_file *file, uint32_t list, struct ctxd_id id, const char *host,
		     struct ctxd_id origin, const char *label)
{
	struct wire_record record = context(list, id.epoch, id.number, label);

	strcpy(record.entry.host, host);
	record.entry.origin = origin;
	strcpy(record.entry.process, "ctxd-fleet");
	record.entry.joiners = 1;
	add(file, &record);
}

static void add_join(struct record_file *file, uint32_t list, struct ctxd_id id, int pid, const char *process)
{
	struct wire_record record = {
		.kind = WIRE_RECORD_ENTRY,
		.list = list,
		.entry = {
			.kind = CTXD_JOINED, .id = id, .pid = pid, .uid = 1000, .deadline_ns = CTX_FOREVER}};

	strcpy(record.entry.process, process);
	add(file, &record);
}

/* A request on a, whose part on b has a part of its own; one whose host is gone. */
static void write_scene(struct record_file *file, const char *only)
{
	struct wire_record request = context(1, 4, 0x12, "GET /x"), part = context(3, 7, 4, "part");
	struct wire_record over = context(3, 7, 9, "over"), stale = context(2, 7, 5, "stale");

	if (!only[0] || strcmp(only, "b") == 0) {
		/* List 2 of b has begun anew as list 3. */
		add(file, &stale);
		add_copy(file, 3, (struct ctxd_id){7, 3}, "a", (struct ctxd_id){4, 0x12}, "GET /x");
		add_join(file, 3, (struct ctxd_id){7, 3}, 4321, "worker");
		part.entry.parent = (struct ctxd_id){7, 3};
		strcpy(part.entry.process, "worker\033");
		add(file, &part);
		over.entry.ended_ns = now_ns - SECOND;
		over.entry.cause.error = -ECANCELED;
		over.entry.cause.kind = CTX_CAUSE_HOST;
		strcpy(over.entry.host, "gone");
		over.entry.origin = (struct ctxd_id){1, 1};
		add(file, &over);
		add_host(file, 3, "b", CTXD_HOST_ALIVE, 0);
	}
	if (only[0])
		return;
	if (scene_is("broken")) {
		add_host(file, 0, "e", CTXD_HOST_REFUSED, -EACCES);
		add_host(file, 0, "d", CTXD_HOST_ABSENT, -EHOSTUNREACH);
		add_host(file, 0, "c", CTXD_HOST_SILENT, -EHOSTUNREACH);
	}
	request.entry.deadline_ns = now_ns + 3600 * (uint64_t)SECOND;
	strcpy(request.entry.name, "req");
	request.entry.joiners = 1;
	add(file, &request);
	add_join(file, 1, (struct ctxd_id){4, 0x12}, 99, "ctxd-fleet");
	add_host(file, 1, "a", CTXD_HOST_SELF, 0);
}

static void write_many(struct record_file *file)
{
	char name[32], other[32];

	/* The entries of all hosts are mixed, as they come in. */
	for (unsigned i = 0; i < many_entries; i++) {
		for (unsigned host = 0; host < many_hosts; host++) {
			snprintf(other, sizeof(other), "host-%u", (host + 1) % many_hosts);
			if (i % 2) {
				add_copy(file, host + 1, (struct ctxd_id){9, i + 1}, other,
					 (struct ctxd_id){9, i}, "request of many");
				continue;
			}
			struct wire_record record = context(host + 1, 9, i + 1, "request of many");
			add(file, &record);
		}
	}
	for (unsigned host = 0; host < many_hosts; host++) {
		snprintf(name, sizeof(name), "host-%u", host);
		add_host(file, host + 1, name, host ? CTXD_HOST_ALIVE : CTXD_HOST_SELF, 0);
	}
}

static void add_report(struct record_file *file, const char *host, int error)
{
	struct wire_record record = {.kind = WIRE_RECORD_REPORT, .report = {.error = error}};

	strcpy(record.report.host, host);
	if (!error)
		record.report.report = (struct ctxd_report){.asked = 2,
							    .ended = 2,
							    .operations = 100,
							    .cancelled = 99,
							    .finished = 1,
							    .sqes = 100,
							    .enters = 1,
							    .reap_ns = 200000};
	add(file, &record);
}

static void add_finding(struct record_file *file, enum ctxd_finding_severity severity, const char *key,
			const char *value, const char *remedy)
{
	struct wire_record record = {.kind = WIRE_RECORD_FINDING, .finding = {.severity = severity}};

	strcpy(record.finding.key, key);
	strcpy(record.finding.value, value);
	strcpy(record.finding.remedy, remedy);
	add(file, &record);
}

static void write_findings(struct record_file *file)
{
	add_finding(file, CTXD_FINDING_OK, "address", "redis://10.0.0.1:6379", "");
	add_finding(file, CTXD_FINDING_OK, "version", "redis 7.0.15", "");
	add_finding(file, CTXD_FINDING_WARNING, "grace", "30s, less than a failover of 32s",
		    "man 5 ctxd.conf\nset fleet_grace = 1m there");
	if (scene_is("engine"))
		add_finding(file, CTXD_FINDING_ERROR, "rights", "XADD is denied",
			    "redis-cli ACL SETUSER a +xadd\nthen ACL SAVE");
}

/* ---- questions */

/* A cancel of epoch 4 is obeyed on two hosts, of which one is silent in the scene broken; others are errors.
 */
static void answer_cancel(struct record_file *file, const struct wire_ask *ask, struct wire_told *told)
{
	if (ask->id.epoch != 4)
		told->error = -(int)ask->id.epoch;
	if (told->error)
		return;
	told->hosts_asked = 2;
	told->report = (struct ctxd_report){.asked = 4,
					    .ended = scene_is("broken") ? 2 : 4,
					    .operations = scene_is("broken") ? 100 : 200,
					    .cancelled = 199,
					    .finished = 1,
					    .sqes = 200,
					    .enters = 2,
					    .reap_ns = 300000};
	add_report(file, ask->host, 0);
	add_report(file, "b", scene_is("broken") ? -EHOSTUNREACH : 0);
	told->hosts_silent = scene_is("broken");
}

static void answer_question(int socket, const struct wire_message *asked)
{
	struct wire_message answer = {.type = WIRE_TOLD, .serial = asked->serial};
	struct wire_message refusal = {.type = WIRE_RESULT, .serial = asked->serial};
	struct record_file file;

	refusal.result.error = scene_is("alone") ? -EHOSTUNREACH : scene_is("none") ? -ENOTSUP : 0;
	if (refusal.result.error) {
		send_message(socket, &refusal, -1);
		return;
	}
	if (record_file_open(&file, UINT64_MAX))
		exit(3);
	switch ((enum wire_question)asked->ask.question) {
	case WIRE_ASK_HOSTS:
		add_host(&file, 0, "b", CTXD_HOST_ALIVE, 0);
		if (scene_is("broken")) {
			add_host(&file, 0, "d", CTXD_HOST_ABSENT, 0);
			add_host(&file, 0, "c", CTXD_HOST_SILENT, 0);
		}
		add_host(&file, 0, "a", CTXD_HOST_SELF, 0);
		break;
	case WIRE_ASK_LIST:
		if (scene_is("many"))
			write_many(&file);
		else
			write_scene(&file, asked->ask.host);
		break;
	case WIRE_ASK_CANCEL:
		answer_cancel(&file, &asked->ask, &answer.told);
		break;
	case WIRE_ASK_ENGINE:
		write_findings(&file);
		break;
	}
	int fd = record_file_seal(&file);
	send_message(socket, &answer, answer.told.error ? -1 : fd);
	close(fd);
}

static void serve(int socket)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	struct wire_message message;
	ssize_t size;

	while ((size = recv(socket, bytes, sizeof(bytes), 0)) > 0) {
		struct wire_message answer = {0};
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now);
		now_ns = (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
		if (wire_unpack(bytes, (size_t)size, 0, false, &message))
			exit(2);
		answer.serial = message.serial;
		switch (message.type) {
		case WIRE_HELLO:
			answer.type = WIRE_WELCOME;
			answer.welcome = (struct wire_welcome){.version = WIRE_VERSION, .epoch = 4};
			send_message(socket, &answer, -1);
			answer = (struct wire_message){.type = WIRE_TERMS, .terms = {.grace_ns = SECOND}};
			if (!scene_is("none"))
				strcpy(answer.terms.host, "a");
			send_message(socket, &answer, -1);
			break;
		case WIRE_LIST:
			answer.type = WIRE_ENTRIES;
			send_message(socket, &answer, -1);
			break;
		case WIRE_ASK:
			answer_question(socket, &message);
			break;
		default:
			break;
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (argc < 3 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[1]);
	scene = argv[2];
	many_hosts = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	many_entries = argc > 4 ? (unsigned)atoi(argv[4]) : 0;
	unlink(argv[1]);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16))
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (socket < 0)
			return 1;
		serve(socket);
		close(socket);
	}
}
