/* SPDX-License-Identifier: MIT */
/*
 * Contexts that end under pressure, by a trigger of the kernel's pressure stall information (PSI). Sources
 * with the same terms share one trigger. Each of them polls it, but the kernel gives an event to only one of
 * the polls. That source ends the contexts of the lowest priority, on whatever ring they are watched.
 */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "memory.h"
#include "source.h"

#define NS_PER_US 1000ull
#define WINDOW_MIN_NS (500 * 1000000ull)
#define WINDOW_MAX_NS (10 * NS_PER_SECOND)
#define WINDOW_DEFAULT_NS (2 * NS_PER_SECOND)

/* What a trigger watches. */
struct terms {
	struct file_id file;
	bool full;
	uint64_t stall_ns, window_ns;
};

struct trigger {
	struct list link; /* in the list triggers */
	struct terms terms;
	enum ctx_resource resource;
	int fd;
	unsigned refs;
	_Atomic bool failed; /* the kernel reports an error: the file is gone */
	struct list sources;
};

struct pressure_source {
	struct source source;
	struct trigger *trigger;
	int priority;
};

/* Guards the list, and refs and sources of each trigger. */
static struct lock triggers_lock;
static struct list triggers = {&triggers, &triggers};

static struct pressure_source *pressure_of(const struct source *source)
{
	return container_of(source, struct pressure_source, source);
}

static const char *resource_name(enum ctx_resource resource)
{
	switch (resource) {
	case CTX_RESOURCE_MEMORY:
		return "memory";
	case CTX_RESOURCE_CPU:
		return "cpu";
	case CTX_RESOURCE_IO:
		return "io";
	default:
		return NULL;
	}
}

/* ---- triggers */

static bool terms_equal(const struct terms *a, const struct terms *b)
{
	return a->file.device == b->file.device && a->file.inode == b->file.inode && a->full == b->full &&
	       a->stall_ns == b->stall_ns && a->window_ns == b->window_ns;
}

static struct trigger *trigger_find(const struct terms *terms)
{
	for (struct list *link = triggers.next; link != &triggers; link = link->next) {
		struct trigger *trigger = container_of(link, struct trigger, link);
		if (!trigger->failed && terms_equal(&trigger->terms, terms))
			return trigger;
	}
	return NULL;
}

/* Makes a trigger, and takes over fd on success. The lock is held. */
static int trigger_new(int fd, const struct terms *terms, enum ctx_resource resource,
		       struct trigger **ret_trigger)
{
	char text[64];
	int length = snprintf(text, sizeof(text), "%s %llu %llu", terms->full ? "full" : "some",
			      (unsigned long long)(terms->stall_ns / NS_PER_US),
			      (unsigned long long)(terms->window_ns / NS_PER_US));
	int written = sys_write(fd, text, (size_t)length + 1);

	if (written < 0)
		return written == -EPERM ? -EACCES : written;
	struct trigger *trigger = memory_allocate(sizeof(*trigger));
	if (!trigger)
		return -ENOMEM;
	*trigger = (struct trigger){.terms = *terms, .resource = resource, .fd = fd};
	list_init(&trigger->sources);
	list_append(&triggers, &trigger->link);
	*ret_trigger = trigger;
	return 0;
}

static int open_pressure_file(const struct ctx_pressure *pressure)
{
	char path[32];

	if (!pressure->file)
		snprintf(path, sizeof(path), "/proc/pressure/%s", resource_name(pressure->resource));
	/* Kernels before 6.5 return EPERM to who lacks CAP_SYS_RESOURCE. */
	int fd =
		sys_openat(AT_FDCWD, pressure->file ? pressure->file : path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return fd == -EPERM ? -EACCES : fd;
}

/* Finds or makes the trigger for these terms, and takes a reference to it. */
static int trigger_ref(const struct ctx_pressure *pressure, struct terms terms, struct trigger **ret_trigger)
{
	int fd = open_pressure_file(pressure), error = 0;

	if (fd < 0)
		return fd;
	terms.file = file_id_of(fd);
	lock_acquire(&triggers_lock);
	struct trigger *trigger = trigger_find(&terms);
	bool found = trigger != NULL;
	if (!found)
		error = trigger_new(fd, &terms, pressure->resource, &trigger);
	if (!error)
		trigger->refs++;
	lock_release(&triggers_lock);
	if (found || error)
		sys_close(fd);
	if (!error)
		*ret_trigger = trigger;
	return error;
}

static void trigger_unref(struct trigger *trigger)
{
	lock_acquire(&triggers_lock);
	bool last = --trigger->refs == 0;
	if (last)
		list_remove(&trigger->link);
	lock_release(&triggers_lock);
	if (!last)
		return;
	/* The program may have closed the number, see struct file_id. */
	if (file_id_matches(trigger->terms.file, trigger->fd))
		sys_close(trigger->fd);
	memory_release(trigger);
}

/* ---- events */

struct wanted {
	const struct trigger *trigger;
	bool all;
	int priority;
};

static bool is_wanted(const struct source *source, void *data)
{
	const struct wanted *wanted = data;

	return wanted->all || pressure_of(source)->priority == wanted->priority;
}

static void pressure_describe(const struct source *source, int code, char *text, size_t size)
{
	const struct trigger *trigger = pressure_of(source)->trigger;

	(void)code;
	if (atomic_load_explicit(&trigger->failed, memory_order_relaxed))
		snprintf(text, size, "%s pressure cannot be watched any more: its file is gone",
			 resource_name(trigger->resource));
	else
		snprintf(text, size, "%s pressure: %s %g ms in %g s", resource_name(trigger->resource),
			 trigger->terms.full ? "full" : "some", (double)trigger->terms.stall_ns / 1e6,
			 (double)trigger->terms.window_ns / 1e9);
}

/*
 * Finds the lowest priority among the live contexts: the event ends those that have it. False: all have
 * ended. The lock is held.
 */
static bool find_lowest(const struct trigger *trigger, struct wanted *wanted)
{
	bool any = false;

	for (struct list *link = trigger->sources.next; link != &trigger->sources; link = link->next) {
		const struct source *source = container_of(link, struct source, link);
		int priority = pressure_of(source)->priority;
		if (source->chosen || context_error(source->watch.ctx))
			continue;
		if (!any || priority < wanted->priority)
			wanted->priority = priority;
		any = true;
	}
	return any;
}

/*
 * The trigger has fired. A trigger that has failed reports that at once and for ever: then all of its
 * contexts are ended, so that no thread polls it without a pause.
 */
static void pressure_ready(struct source *source, uint32_t events)
{
	struct trigger *trigger = pressure_of(source)->trigger;
	struct wanted wanted = {.trigger = trigger, .all = events & POLLERR};
	char text[CTX_CAUSE_TEXT_MAX];
	struct source_choice choice = {
		.lock = &triggers_lock,
		.list = &trigger->sources,
		.here = source->ring,
		.chooses = is_wanted,
		.data = &wanted,
		.code = (int)trigger->resource,
		.text = text,
	};

	lock_acquire(&triggers_lock);
	if (wanted.all)
		atomic_store_explicit(&trigger->failed, true, memory_order_relaxed);
	bool any = find_lowest(trigger, &wanted);
	trigger->refs++; /* its last source may end meanwhile */
	pressure_describe(source, choice.code, text, sizeof(text));
	lock_release(&triggers_lock);
	if (any)
		source_end_chosen(&choice);
	trigger_unref(trigger);
	if (!wanted.all)
		source_again(source);
}

static void pressure_started(struct source *source)
{
	lock_acquire(&triggers_lock);
	list_append(&pressure_of(source)->trigger->sources, &source->link);
	lock_release(&triggers_lock);
}

static void pressure_stopped(struct source *source)
{
	struct trigger *trigger = pressure_of(source)->trigger;

	lock_acquire(&triggers_lock);
	list_remove(&source->link);
	lock_release(&triggers_lock);
	trigger_unref(trigger);
}

static const struct source_ops pressure_ops = {
	.kind = CTX_CAUSE_PRESSURE,
	.stays = true,
	.ready = pressure_ready,
	.started = pressure_started,
	.stopped = pressure_stopped,
	.describe = pressure_describe,
};

/* ---- making one */

static int check_pressure(const struct ctx_pressure *pressure, struct terms *ret_terms)
{
	if (!pressure || !resource_name(pressure->resource))
		return -EINVAL;
	uint64_t window_ns = pressure->window_ns ? pressure->window_ns : WINDOW_DEFAULT_NS;
	uint64_t stall_ns = pressure->stall_ns ? pressure->stall_ns : window_ns / 10;
	if (window_ns < WINDOW_MIN_NS || window_ns > WINDOW_MAX_NS || stall_ns > window_ns ||
	    stall_ns < NS_PER_US)
		return -EINVAL;
	/* The kernel takes "full" of cpu for the whole machine, but never fires: it has no such state. */
	if (pressure->resource == CTX_RESOURCE_CPU && pressure->full && !pressure->file)
		return -EINVAL;
	*ret_terms = (struct terms){.full = pressure->full, .stall_ns = stall_ns, .window_ns = window_ns};
	return 0;
}

int ctx_with_pressure(const struct ctx_context *parent, struct ctx_ring *ring,
		      const struct ctx_pressure *pressure, const char *label, struct ctx_context **ret_ctx)
{
	struct source_request request = {
		.parent = parent,
		.label = label,
		.site = __builtin_return_address(0),
		.events = POLLPRI,
	};
	struct trigger *trigger = NULL;
	struct terms terms;
	int error = source_check(parent, ring, ret_ctx);

	if (!error)
		error = check_pressure(pressure, &terms);
	if (!error)
		error = trigger_ref(pressure, terms, &trigger);
	if (error)
		return source_result(CTX_CAUSE_PRESSURE, error);
	struct source *source = source_new(sizeof(struct pressure_source), &pressure_ops, ring);
	if (!source) {
		trigger_unref(trigger);
		return source_result(CTX_CAUSE_PRESSURE, -ENOMEM);
	}
	pressure_of(source)->trigger = trigger;
	pressure_of(source)->priority = pressure->priority;
	source->fd = trigger->fd;
	request.watched.id = trigger->fd;
	request.watched.flags = (uint32_t)trigger->resource | (terms.full ? CTX_TABLE_SOURCE_FULL : 0);
	request.watched.detail = (terms.stall_ns / NS_PER_US) << 32 | terms.window_ns / NS_PER_US;
	return source_result(CTX_CAUSE_PRESSURE, source_begin(source, &request, ret_ctx));
}

/* ---- fork: the triggers of the parent's contexts stay the parent's */

static void fork_prepare(void)
{
	lock_acquire(&triggers_lock);
}

static void fork_parent(void)
{
	lock_release(&triggers_lock);
}

/*
 * The child shares the file with the parent, and so the trigger's events. So no trigger is used again: the
 * child's sources make triggers of their own.
 */
static void fork_child(void)
{
	triggers_lock = (struct lock){0};
	for (struct list *link = triggers.next; link != &triggers; link = link->next) {
		struct trigger *trigger = container_of(link, struct trigger, link);
		atomic_store_explicit(&trigger->failed, true, memory_order_relaxed);
	}
}

__attribute__((constructor)) static void prepare_pressure(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
