/* SPDX-License-Identifier: MIT */
/*
 * lib/source: events that end contexts. It may use base, table, core, uring and ring.
 *
 * A source is a context with two watches: one on a descriptor, held by the context's ring or by the poller,
 * whose event ends the context; and one on the context, which stops the first watch when the context ends
 * otherwise or is released.
 *
 * Who frees a source. With a ring, all of it happens on the owner's thread, which other threads tell by
 * letter; the memory is freed when the kernel has finished the poll. With the poller, the caller to whom
 * poller_stop returns true frees it, or else the poller's thread does after the event. In both cases the
 * watch on the context is taken away first, so that nothing is told to memory that is gone.
 *
 * Locks: the locks of the kinds (signals, pressure) and the poller's are taken inside that of a context, and
 * only a mailbox's inside them. So who finds contexts under the lock of a kind pins them, releases the lock,
 * and then ends them.
 */
#ifndef CTX_SOURCE_H
#define CTX_SOURCE_H

#include "cancel.h"
#include "debug.h"
#include "file_id.h"
#include "poller.h"
#include "ring.h"

struct source;
struct source_choice;

struct source_ops {
	enum ctx_cause_kind kind;
	bool stays; /* an event does not always end the source */
	/* Called for these events, without a lock: in a dispatch of the owner, or on the poller's thread. */
	void (*ready)(struct source *source, uint32_t events);
	/* The source has its context, and is about to be watched. NULL: nothing to do. */
	void (*started)(struct source *source);
	/*
	 * The source ends, also one that was never started. The lock of the context may be held. NULL:
	 * nothing to do.
	 */
	void (*stopped)(struct source *source);
	/* Writes the text of the cause. */
	void (*describe)(const struct source *source, int code, char *text, size_t size);
};

struct source {
	struct watch watch;
	struct deferred later;
	/* To the ring: this source was chosen, or its context has ended or was released. */
	struct letter letter;
	const struct source_ops *ops;
	struct ctx_ring *ring; /* NULL: the poller watches */
	union {
		struct poller_entry entry;
		struct ring_poll poll;
	};
	int fd;
	bool owns_fd; /* fd is the library's, and closed with the source */
	struct file_id file;
	/* For kinds in which one event is for several sources; under the lock of the kind: */
	struct list link;
	bool chosen;
	int chosen_code;
	/* Set from the choice until the context is about to be ended. */
	const struct source_choice *chosen_by;
	bool stopping; /* on a ring: the poll has been told to stop */
};

/*
 * Makes a source of size bytes, which begins with struct source; the rest is zero. The caller fills in fd,
 * owns_fd and what else its kind has. Then source_begin makes the context and the watches. It takes the
 * source over, also when it fails.
 */
struct source *source_new(size_t size, const struct source_ops *ops, struct ctx_ring *ring);

struct source_request {
	const struct ctx_context *parent;
	const char *label;
	const void *site;
	uint32_t events;
	struct watched watched; /* its kind is set by source_begin */
};
int source_begin(struct source *source, struct source_request *request, struct ctx_context **ret_ctx);

/* Frees a source that was not given to source_begin; stopped is called. */
void source_discard(struct source *source);

/* Checks the arguments that all constructors have. 0, -EINVAL, -EPERM. */
int source_check(const struct ctx_context *parent, struct ctx_ring *ring, struct ctx_context **ret_ctx);

/* Ends the context of a source. Called from ready. */
void source_end(struct source *source, int code);

/* Goes on watching: the event was not the one that ends the context. Called from ready. */
void source_again(struct source *source);

/*
 * Ends the contexts of all sources in the list, guarded by lock, for which chooses returns true. All are
 * chosen for this one event, and each only once in its life. Those on other rings than here are ended in a
 * dispatch of their ring. The caller holds no lock.
 */
struct source_choice {
	struct lock *lock;
	struct list *list;
	struct ctx_ring *here; /* NULL: the event came to the poller */
	bool (*chooses)(const struct source *source, void *data);
	void *data;
	int code;
	const char *text; /* as describe writes it */
};
void source_end_chosen(const struct source_choice *choice);

/* The result of a call of the program, explained for CTXRING_DEBUG by the words of ctx_source_explain(). */
void source_tell(const void *site, const char *function, enum ctx_cause_kind kind, int error) DEBUG_COLD;
#define source_result(kind, result)                                                                    \
	({                                                                                             \
		int result_ = (result);                                                                \
		if (__builtin_expect(result_ < 0, 0) && debug_is_wanted() && !debug_is_usual(result_)) \
			source_tell(DEBUG_HERE, (kind), result_);                                      \
		result_;                                                                               \
	})

#endif
