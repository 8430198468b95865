/* SPDX-License-Identifier: MIT */
/* The calls that ask about the fleet. The answers are records in a memfd, see lib/wire/fleet_list.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client.h"
#include "clock.h"
#include "fleet_list.h"
#include "memory.h"
#include "sys.h"

#define KINDS (CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS | CTXD_DEAD)
/* An answer that names more hosts is taken for broken. */
#define HOSTS_MAX 65536u
/* The bridge takes a second to examine the engine. */
#define ENGINE_NS 1000000000u

/* ---- the records of an answer */

struct answer {
	void *bytes;
	size_t size;
};

/* Whether nobody can change or cut the file. Only a memfd has seals, so this asks no file system that may not
 * answer. */
static bool is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & WIRE_RECORDS_SEALS) == WIRE_RECORDS_SEALS;
}

/* Maps the memfd of an answer. Takes over fd. 0; -EPROTO: it is none, or its header is wrong; or -ENOMEM. */
static int map_answer(int fd, struct answer *ret_answer)
{
	struct wire_records records;
	struct stat status;

	*ret_answer = (struct answer){0};
	if (!is_sealed(fd)) {
		dispose(&fd, 1);
		return -EPROTO;
	}
	int result = fstat(fd, &status) || status.st_size < WIRE_RECORDS_HEADER ||
				     status.st_size > WIRE_RECORDS_MAX
			     ? -EPROTO
			     : 0;
	if (!result)
		result = sys_mmap((size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, &ret_answer->bytes);
	sys_close(fd);
	if (result)
		return result;
	ret_answer->size = (size_t)status.st_size;
	result = wire_records_begin(ret_answer->bytes, ret_answer->size, &records);
	if (result)
		munmap(ret_answer->bytes, ret_answer->size);
	return result;
}

static void unmap_answer(struct answer *answer)
{
	munmap(answer->bytes, answer->size);
}

static struct wire_records records_of(const struct answer *answer)
{
	struct wire_records records;

	wire_records_begin(answer->bytes, answer->size, &records);
	return records;
}

/*
 * Asks, and waits for wait_ns longer than other calls do. *ret_told is the answer, and *ret_answer has its
 * records. If this is an error, there are no records.
 */
static int ask_fleet(struct ctxd_client *client, const struct wire_ask *ask, uint64_t wait_ns,
		     struct wire_told *ret_told, struct answer *ret_answer)
{
	struct wire_message request = {.type = WIRE_ASK, .ask = *ask}, answer;
	int fds[WIRE_FDS_MAX];

	*ret_told = (struct wire_told){0};
	int result = call_make(client, &request, -1, clock_after_ns(client->options.timeout_ns, wait_ns),
			       &answer, fds);
	if (result)
		return result;
	if (answer.type != WIRE_TOLD) {
		dispose(fds, wire_fd_count(&answer));
		return -EPROTO;
	}
	*ret_told = answer.told;
	return answer.told.error ? answer.told.error : map_answer(fds[0], ret_answer);
}

/* ---- hosts */

/* A host, and the number of its list of entries. */
struct listed_host {
	struct ctxd_host host;
	uint32_t list;
};

struct hosts {
	struct listed_host *hosts; /* this host first, the others by name */
	struct listed_host **by_list;
	size_t count;
};

static int compare_hosts(const void *left, const void *right)
{
	const struct listed_host *a = left, *b = right;
	bool a_is_self = a->host.state == CTXD_HOST_SELF, b_is_self = b->host.state == CTXD_HOST_SELF;

	return a_is_self != b_is_self ? (a_is_self ? -1 : 1) : strcmp(a->host.name, b->host.name);
}

static int compare_lists(const void *left, const void *right)
{
	const struct listed_host *const *a = left, *const *b = right;

	return (*a)->list < (*b)->list ? -1 : (*a)->list > (*b)->list;
}

/* Counts the hosts of an answer, and checks all of it, so that what follows cannot fail half-way. 0 or
 * -EPROTO. */
static int count_hosts(const struct answer *answer, size_t *ret_count)
{
	struct wire_records records = records_of(answer);
	struct wire_record record;
	int result;

	*ret_count = 0;
	while ((result = wire_records_next(&records, &record)) > 0) {
		if (record.kind == WIRE_RECORD_HOST)
			(*ret_count)++;
		else if (record.kind != WIRE_RECORD_ENTRY)
			return -EPROTO;
	}
	return result || *ret_count > HOSTS_MAX ? -EPROTO : 0;
}

/* Reads the hosts of an answer, sorted. O(records + hosts * log hosts). 0; -EPROTO; -ENOMEM. */
static int read_hosts(const struct answer *answer, struct hosts *ret_hosts)
{
	struct wire_records records = records_of(answer);
	struct wire_record record;
	size_t room;
	int result = count_hosts(answer, &room);

	*ret_hosts = (struct hosts){0};
	if (result || !room)
		return result;
	struct hosts hosts = {.hosts = memory_allocate(room * sizeof(*hosts.hosts)),
			      .by_list = memory_allocate(room * sizeof(*hosts.by_list))};
	if (!hosts.hosts || !hosts.by_list) {
		memory_release(hosts.hosts);
		memory_release(hosts.by_list);
		return -ENOMEM;
	}
	while (hosts.count < room && wire_records_next(&records, &record) > 0)
		if (record.kind == WIRE_RECORD_HOST)
			hosts.hosts[hosts.count++] =
				(struct listed_host){.host = record.host, .list = record.list};
	qsort(hosts.hosts, hosts.count, sizeof(*hosts.hosts), compare_hosts);
	for (size_t i = 0; i < hosts.count; i++)
		hosts.by_list[i] = &hosts.hosts[i];
	qsort(hosts.by_list, hosts.count, sizeof(struct listed_host *), compare_lists);
	*ret_hosts = hosts;
	return 0;
}

static void free_hosts(struct hosts *hosts)
{
	memory_release(hosts->hosts);
	memory_release(hosts->by_list);
}

/* The host whose list has that number; NULL: none, because the list began anew. */
static const struct ctxd_host *host_of_list(const struct hosts *hosts, uint32_t list)
{
	struct listed_host wanted = {.list = list}, *key = &wanted;
	struct listed_host **found = hosts->count ? bsearch(&key, hosts->by_list, hosts->count,
							    sizeof(struct listed_host *), compare_lists)
						  : NULL;

	return found ? &(*found)->host : NULL;
}

int ctxd_fleet_hosts(struct ctxd_client *client, uint64_t wait_ns,
		     int (*visit)(const struct ctxd_host *host, void *data), void *data)
{
	struct wire_ask ask = {.question = WIRE_ASK_HOSTS, .wait_ns = wait_ns};
	struct wire_told told;
	struct answer answer;
	struct hosts hosts;
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!visit)
		return debug_invalid(NULL, visit);
	result = ask_fleet(client, &ask, wait_ns, &told, &answer);
	if (result)
		return client_result(result);
	result = read_hosts(&answer, &hosts);
	unmap_answer(&answer);
	if (result)
		return client_result(result);
	int state = thread_hold();
	for (size_t i = 0; !result && i < hosts.count; i++)
		result = visit(&hosts.hosts[i].host, data);
	thread_release(state);
	free_hosts(&hosts);
	return result;
}

/* ---- entries */

static int visit_entries(const struct answer *answer, const struct hosts *hosts,
			 int (*visit)(const struct ctxd_host *host, const struct ctxd_entry *entry,
				      void *data),
			 void *data)
{
	struct wire_records records = records_of(answer);
	struct wire_record record;
	int result = 0;

	for (size_t i = 0; !result && i < hosts->count; i++)
		result = visit(&hosts->hosts[i].host, NULL, data);
	while (!result && wire_records_next(&records, &record) > 0) {
		const struct ctxd_host *host =
			record.kind == WIRE_RECORD_ENTRY ? host_of_list(hosts, record.list) : NULL;
		if (host)
			result = visit(host, &record.entry, data);
	}
	return result;
}

int ctxd_fleet_list(struct ctxd_client *client, const char *host, unsigned kinds, uint64_t wait_ns,
		    int (*visit)(const struct ctxd_host *host, const struct ctxd_entry *entry, void *data),
		    void *data)
{
	struct wire_ask ask = {.question = WIRE_ASK_LIST, .kinds = kinds, .wait_ns = wait_ns};
	struct wire_told told;
	struct answer answer;
	struct hosts hosts;
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!visit || !kinds || kinds & ~(unsigned)KINDS)
		return debug_invalid("another argument is out of range", visit);
	if (host && !wire_host_is_valid(host, strlen(host)))
		return debug_error(-EINVAL, "another argument is out of range");
	if (host)
		strcpy(ask.host, host);
	result = ask_fleet(client, &ask, wait_ns, &told, &answer);
	if (result)
		return client_result(result);
	result = read_hosts(&answer, &hosts);
	if (!result) {
		int state = thread_hold();
		result = visit_entries(&answer, &hosts, visit, data);
		thread_release(state);
		free_hosts(&hosts);
	}
	unmap_answer(&answer);
	return result;
}

/* ---- cancel and engine: the records are visited as they come */

/*
 * Visits the records, which are to be of one kind; both visits may be NULL. The whole answer is checked
 * first.
 */
static int visit_records(const struct answer *answer, enum wire_record_kind kind,
			 int (*visit_report)(const struct ctxd_host_report *report, void *data),
			 int (*visit_finding)(const struct ctxd_finding *finding, void *data), void *data)
{
	struct wire_records records = records_of(answer);
	struct wire_record record;
	int result;

	while ((result = wire_records_next(&records, &record)) > 0)
		if (record.kind != kind)
			return -EPROTO;
	records = records_of(answer);
	while (!result && wire_records_next(&records, &record) > 0) {
		if (kind == WIRE_RECORD_REPORT && visit_report)
			result = visit_report(&record.report, data);
		else if (kind == WIRE_RECORD_FINDING && visit_finding)
			result = visit_finding(&record.finding, data);
	}
	return result;
}

int ctxd_fleet_cancel(struct ctxd_client *client, const char *host, struct ctxd_id id, unsigned flags,
		      int error, const char *text, uint64_t wait_ns, struct ctxd_report *ret_report,
		      int (*visit)(const struct ctxd_host_report *report, void *data), void *data)
{
	struct wire_ask ask = {.question = WIRE_ASK_CANCEL,
			       .flags = flags & CTXD_DRY_RUN ? WIRE_DRY_RUN : 0,
			       .error = error,
			       .id = id,
			       .wait_ns = wait_ns};
	struct wire_told told;
	struct answer answer;
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!host || !wire_host_is_valid(host, strlen(host)) || !id.epoch || !id.number)
		return debug_invalid("another argument is out of range", host);
	if (error > 0 || error < -WIRE_ERRNO_MAX || flags & ~CTXD_DRY_RUN)
		return debug_error(-EINVAL, "another argument is out of range");
	strcpy(ask.host, host);
	if (text)
		strncpy(ask.text, text, sizeof(ask.text) - 1);
	result = ask_fleet(client, &ask, wait_ns, &told, &answer);
	if (ret_report)
		*ret_report = told.report;
	/* The bridge tells so of the owner's host; of the bridge, the service does without TOLD. */
	if (told.error == -EHOSTUNREACH)
		result = -ETIMEDOUT;
	if (result)
		return client_result(result);
	int state = thread_hold();
	result = visit_records(&answer, WIRE_RECORD_REPORT, visit, NULL, data);
	thread_release(state);
	unmap_answer(&answer);
	return result;
}

int ctxd_fleet_engine(struct ctxd_client *client,
		      int (*visit)(const struct ctxd_finding *finding, void *data), void *data)
{
	struct wire_ask ask = {.question = WIRE_ASK_ENGINE, .wait_ns = ENGINE_NS};
	struct wire_told told;
	struct answer answer;
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!visit)
		return debug_invalid(NULL, visit);
	result = ask_fleet(client, &ask, ENGINE_NS, &told, &answer);
	if (result)
		return client_result(result);
	int state = thread_hold();
	result = visit_records(&answer, WIRE_RECORD_FINDING, NULL, visit, data);
	thread_release(state);
	unmap_answer(&answer);
	return result;
}
