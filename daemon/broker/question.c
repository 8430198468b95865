/* SPDX-License-Identifier: MIT */
/*
 * Questions to the fleet: what a client asks, the bridge is asked with who it is, and what the bridge tells,
 * the client is told. A question whose client is gone stays, with its charge, until the bridge has answered
 * or its time is over, so that nobody gives the bridge more work than it may have.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "log.h"
#include "parts.h"

/* How long a question may wait for operations or hosts, and how long it is on its way beside that. */
#define WAIT_MAX_NS 3600000000000ull
#define WAY_NS 1000000000ull
/* The most bytes of an answer. */
#define ANSWER_MAX (256 * 1024 * 1024)
/* An answer can be passed on, and nobody can change it. */
#define ANSWER_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

struct question {
	struct pending pending;
	struct broker *broker;
	struct account *account;
	bool is_left; /* The client is gone, and pending is not used. */
	bool is_charged_fd;
	struct note note;
	struct list of_bridge; /* In bridge->asked. Linked to itself once there is an answer. */
	struct bridge *bridge;
	struct map_node by_serial;
	struct heap_node due;
	uint64_t serial; /* That of ASKED. */
	struct wire_ask ask;
	char process[16]; /* The name of that of the client. */
	bool recorded;
	uint64_t number; /* In the audit records. */
	/* The answer: an error of the service, or what the bridge told. */
	int error;
	struct wire_told told;
	int fd;
	uid_t fd_uid; /* Who gave fd. */
};

/* ---- records */

/* Who asked to end what. */
static void describe_question(const struct question *question, char *words, size_t size)
{
	const struct wire_ask *ask = &question->ask;
	char process[80];

	snprintf(words, size, "uid=%u pid=%d process=%s target=%s/%" PRIx64 "-%" PRIx64, ask->uid, ask->pid,
		 log_quote(question->process, process, sizeof(process)), ask->host, ask->id.epoch,
		 ask->id.number);
}

/* Cancels are recorded before the bridge is told. */
static void record_question(struct question *question, const struct peer *peer)
{
	char words[320], text[CTX_CAUSE_TEXT_MAX * 4];

	if (question->ask.question != WIRE_ASK_CANCEL || question->ask.flags & WIRE_DRY_RUN)
		return;
	question->number = ++question->broker->last_cancel;
	question->recorded = log_admits(LOG_LEVEL_AUDIT, peer->identity.uid, LOG_CANCEL_OF_OTHERS);
	if (!question->recorded)
		return;
	describe_question(question, words, sizeof(words));
	log_event(LOG_LEVEL_AUDIT, "request", "%s error=%d cause=%s request=%" PRIu64, words,
		  question->ask.error, log_quote(question->ask.text, text, sizeof(text)), question->number);
}

static void record_answer(const struct question *question)
{
	const struct wire_told *told = &question->told;
	char words[320];

	if (!question->recorded)
		return;
	describe_question(question, words, sizeof(words));
	if (question->error || told->error)
		log_event(LOG_LEVEL_AUDIT, "request-refused", "%s reason=%s request=%" PRIu64, words,
			  strerrorname_np(question->error ? -question->error : -told->error),
			  question->number);
	else
		log_event(LOG_LEVEL_AUDIT, "cancel",
			  "%s hosts=%u silent_hosts=%u asked=%u ended=%u silent=%u operations=%u "
			  "request=%" PRIu64,
			  words, told->hosts_asked, told->hosts_silent, told->report.asked,
			  told->report.ended, told->report.silent, told->report.operations, question->number);
}

/* ---- the end of a question */

static void question_free(struct question *question)
{
	struct broker *broker = question->broker;

	if (!question->is_left)
		pending_remove(&question->pending);
	if (question->fd >= 0)
		given_close(broker, question->fd_uid, question->fd, true);
	if (question->is_charged_fd)
		account_return(question->account, QUOTA_FDS, 1);
	account_return(question->account, QUOTA_CANCELS, 1);
	account_unref(&broker->accounts, question->account);
	free(question);
}

/* The service waits for an answer of the bridge no longer. */
static void question_unask(struct question *question)
{
	struct broker *broker = question->broker;

	note_remove(broker, &question->note);
	list_remove(&question->of_bridge);
	map_remove(&broker->questions, &question->by_serial);
	heap_remove(&broker->questions_due, &question->due);
}

/* There is an answer, or an error in its place. */
static void question_answer(struct question *question, int error)
{
	question_unask(question);
	question->error = error;
	record_answer(question);
	if (question->is_left)
		question_free(question);
	else
		pending_ready(&question->pending);
}

static int send_answer(struct pending *pending)
{
	struct question *question = container_of(pending, struct question, pending);
	struct wire_message message = {.type = WIRE_TOLD, .serial = pending->serial, .told = question->told};

	if (question->error) {
		message.type = WIRE_RESULT;
		message.result = (struct wire_result){.error = question->error};
	}
	if (peer_offer(pending->peer, &message, &question->fd, wire_fd_count(&message)) == -EAGAIN)
		return -EAGAIN;
	question_free(question);
	return 0;
}

static void forget_question(struct pending *pending)
{
	struct question *question = container_of(pending, struct question, pending);
	struct broker *broker = question->broker;
	bool is_asked = !list_empty(&question->of_bridge) && list_empty(&question->note.link);

	if (is_asked) {
		pending_remove(pending);
		question->is_left = true;
		heap_remove(&broker->questions_due, &question->due);
		heap_insert(&broker->questions_due, &question->due, broker->now_ns + broker->config.reply_ns);
		return;
	}
	if (!list_empty(&question->of_bridge))
		question_unask(question);
	question_free(question);
}

bool questions_bridge_gone(struct broker *broker, struct bridge *bridge)
{
	for (; !list_empty(&bridge->asked) && piece_lasts(broker); broker->work += WORK_ITEM)
		question_answer(container_of(bridge->asked.next, struct question, of_bridge), -EHOSTUNREACH);
	return list_empty(&bridge->asked);
}

void questions_expire(struct broker *broker, uint64_t now_ns)
{
	struct heap_node **root = &broker->questions_due.root;

	for (; *root && (*root)->key_ns <= now_ns && piece_lasts(broker); broker->work += WORK_ITEM)
		question_answer(container_of(*root, struct question, due), -ETIMEDOUT);
}

uint64_t questions_next_ns(const struct broker *broker)
{
	return broker->questions_due.root ? broker->questions_due.root->key_ns : UINT64_MAX;
}

/* ---- ASK */

static int send_asked(struct note *note, struct peer *bridge)
{
	struct question *question = container_of(note, struct question, note);
	struct wire_message message = {.type = WIRE_ASKED, .serial = question->serial, .ask = question->ask};

	/* A bridge that is gone was asked, and its questions are answered in pieces. */
	return question->bridge == bridge->bridge ? peer_offer(bridge, &message, NULL, 0) : 0;
}

static int question_new(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct broker *broker = peer->broker;
	struct question *question;

	if (!account_charge(&broker->accounts, peer->account, QUOTA_CANCELS, 1))
		return -EDQUOT;
	question = calloc(1, sizeof(*question));
	if (!question) {
		account_return(peer->account, QUOTA_CANCELS, 1);
		return -ENOMEM;
	}
	question->broker = broker;
	question->account = account_ref(&broker->accounts, peer->identity.uid);
	question->fd = -1;
	question->ask = message->ask;
	question->ask.pid = peer->identity.pid;
	question->ask.uid = peer->identity.uid;
	memcpy(question->process, peer->name, sizeof(question->process));
	if (question->ask.wait_ns > WAIT_MAX_NS)
		question->ask.wait_ns = WAIT_MAX_NS;
	question->serial = ++broker->last_fetch;
	question->bridge = broker->bridge->bridge;
	pending_init(&question->pending, peer, message->serial);
	question->pending.send = send_answer;
	question->pending.forget = forget_question;
	note_init(&question->note, peer->identity.uid, send_asked);
	list_append(&question->bridge->asked, &question->of_bridge);
	map_add(&broker->questions, &question->by_serial, question->serial);
	heap_insert(&broker->questions_due, &question->due,
		    now_ns + question->ask.wait_ns + broker->config.reply_ns + WAY_NS);
	record_question(question, peer);
	note_add(broker, &question->note);
	return 0;
}

int handle_ask(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct broker *broker = peer->broker;
	int error = 0;

	if (!has_fleet(broker) || is_bridge(peer))
		error = -ENOTSUP;
	else if (message->ask.question == WIRE_ASK_LIST && !may_list_fleet(peer))
		error = -EPERM;
	else if (!broker->bridge)
		error = -EHOSTUNREACH;
	else
		error = question_new(peer, message, now_ns);
	if (error)
		peer_result(peer, message->serial, error, (struct ctxd_id){0});
	return 0;
}

/* ---- TELL */

/* Whether fd can be passed on: a memfd of bounded size that nobody can change. */
static bool is_answer(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs system;
	struct stat status;

	return seals >= 0 && (seals & ANSWER_SEALS) == ANSWER_SEALS && !fstatfs(fd, &system) &&
	       system.f_type == TMPFS_MAGIC && !fstat(fd, &status) && S_ISREG(status.st_mode) &&
	       status.st_size <= ANSWER_MAX;
}

int handle_tell(struct peer *peer, const struct wire_message *message, int fd)
{
	struct broker *broker = peer->broker;
	struct map_node *node = map_find(&broker->questions, message->serial);
	struct question *question = node ? container_of(node, struct question, by_serial) : NULL;
	bool is_good = fd < 0 || is_answer(fd);

	if (!is_bridge(peer) || !is_good) {
		given_close(broker, peer->identity.uid, fd, is_good);
		return -EPROTO;
	}
	if (!question || question->bridge != peer->bridge) {
		given_close(broker, peer->identity.uid, fd, true);
		return 0; /* Its time is over. */
	}
	question->told = message->told;
	question->fd = fd;
	question->fd_uid = peer->identity.uid;
	question->is_charged_fd =
		fd >= 0 && account_charge(&broker->accounts, question->account, QUOTA_FDS, 1);
	question_answer(question, fd >= 0 && !question->is_charged_fd ? -EDQUOT : 0);
	return 0;
}
