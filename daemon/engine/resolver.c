/* SPDX-License-Identifier: MIT */
#include "resolver.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct resolver_question {
	/* The thread and who asked. Whoever counts it down to 0 frees the question. */
	_Atomic unsigned refs;
	/* The thread writes to it after the answer. Reading it therefore orders the answer before. */
	int fd;
	char host[ADDRESS_HOST_MAX + 1];
	struct resolved resolved;
	int error; /* Of getaddrinfo(3). */
};

bool resolver_is_numeric(const char *host)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list;

	if (getaddrinfo(host, NULL, &hints, &list))
		return false;
	freeaddrinfo(list);
	return true;
}

static void question_unref(struct resolver_question *question)
{
	if (atomic_fetch_sub(&question->refs, 1) > 1)
		return;
	close(question->fd);
	free(question);
}

static void look_up(struct resolver_question *question)
{
	struct addrinfo hints = {.ai_flags = AI_ADDRCONFIG, .ai_socktype = SOCK_STREAM};
	struct resolved *resolved = &question->resolved;
	struct addrinfo *list;

	question->error = getaddrinfo(question->host, NULL, &hints, &list);
	if (question->error)
		return;
	for (struct addrinfo *at = list; at && resolved->count < RESOLVED_MAX; at = at->ai_next) {
		char *text = resolved->texts[resolved->count];
		if (!getnameinfo(at->ai_addr, at->ai_addrlen, text, RESOLVED_TEXT, NULL, 0, NI_NUMERICHOST))
			resolved->count++;
	}
	freeaddrinfo(list);
}

static void *question_thread(void *argument)
{
	struct resolver_question *question = argument;
	uint64_t one = 1;

	look_up(question);
	while (write(question->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	question_unref(question);
	return NULL;
}

/* Signals are for the threads of the program. */
static int start_thread(struct resolver_question *question)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	error = pthread_attr_init(&attributes);
	if (error)
		return error;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, &attributes, question_thread, question);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

int resolver_ask(const char *host, struct resolver_question **ret_question)
{
	struct resolver_question *question = calloc(1, sizeof(*question));
	int error;

	if (!question)
		return -ENOMEM;
	strcpy(question->host, host);
	atomic_init(&question->refs, 2);
	question->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = question->fd < 0 ? errno : start_thread(question);
	if (error) {
		if (question->fd >= 0)
			close(question->fd);
		free(question);
		return -error;
	}
	*ret_question = question;
	return 0;
}

int resolver_fd(const struct resolver_question *question)
{
	return question->fd;
}

bool resolver_read(const struct resolver_question *question, struct resolved *ret_resolved,
		   const char **ret_reason)
{
	uint64_t count;

	if (read(question->fd, &count, sizeof(count)) < 0)
		return false;
	*ret_resolved = question->resolved;
	*ret_reason = question->error ? gai_strerror(question->error) : "it has no address";
	return true;
}

void resolver_free(struct resolver_question *question)
{
	if (question)
		question_unref(question);
}
