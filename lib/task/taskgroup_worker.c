/* SPDX-License-Identifier: MIT */
/*
 * Task groups on threads of the pool. Tasks wait in a queue of bounded length. A thread that serves the group
 * takes the next task from it when its own has ended, so that between two short tasks no thread is woken and
 * the caller of ctx_taskgroup_start is not waited for. A call that starts a task waits only while the queue
 * is full, and until half of it is empty again, so that a wake-up serves many tasks.
 *
 * A task in the queue does not wait behind one that blocks while fewer than limit tasks run: whoever adds a
 * task sees to it that a thread is there for it, one that looks for a task or another one of the pool. Waking
 * a thread costs some microseconds, as long as many short tasks take. So if all threads are busy, the call
 * first looks for a moment whether one of them takes the task, and a thread without a task looks for one for
 * a moment before it goes back to the pool. Both spin for no longer than a wake-up takes, and only where
 * there is a second processor.
 *
 * While woken threads are on their way, as many as there are processors beside the caller's, further threads
 * are set aside in the pool and not woken. A woken thread takes a task, and wakes them before it runs it, if
 * there are still tasks for them. Without this a burst of short tasks wakes limit threads, which find nothing
 * and take the processor from the caller: 1,000 empty tasks with a limit of 16 took 300 to 560 wake-ups and 2
 * to 5 us each on two processors, and take 17 and 0.3 us with it.
 */
#include "memory.h"
#include "taskgroup.h"

/* starter.word */
enum {
	LOOKING,  /* the starter looks at word before it sleeps */
	SLEEPING, /* the starter sleeps: who answers wakes it */
	QUEUED,	  /* its task is in the queue */
	REFUSED,  /* the context of the group has ended */
};

/*
 * A call that waits for room in the queue. It lies on the stack of the calling thread, and may be gone as
 * soon as word says how the wait has ended.
 */
struct starter {
	struct list link; /* group->starters */
	const struct task *task;
	uint32_t number;       /* of the task in the queue; valid when word is QUEUED */
	_Atomic uint32_t word; /* the answer is released by starter_answer(), acquired by await_room() */
};

/* Looks at a word before a thread sleeps or another one is woken: for about 1 us, as a wake-up takes two. */
#define SPINS 60u

/* After a look that was for nothing, as many starts do without one: tasks that take long gain nothing. */
#define STARTS_WITHOUT_SPIN 8u

/* How many threads a thread wakes before it runs its task: calls that waited for room, and other threads. */
#define WAKES_MAX 8u
#define THREAD_WAKES_MAX 2u

/* Futexes to wake once the group's lock is released. Who slept there may be gone by then; what lies there
 * then gets a spurious wake, which futex users have to expect. */
struct wakes {
	unsigned count;
	_Atomic uint32_t *words[WAKES_MAX + THREAD_WAKES_MAX];
};

unsigned taskgroup_spins;

/* How many threads a group wakes at the same time: one for each processor but that of the caller; constant
 * after the library has been loaded. */
static unsigned waking_max = 1;

__attribute__((constructor)) static void count_processors(void)
{
	unsigned processors = sys_processor_count();

	if (processors < 2)
		return;
	taskgroup_spins = SPINS;
	waking_max = processors - 1;
}

/* ---- the queue, with the group's lock held */

static uint32_t queue_length(const struct task_queue *queue)
{
	return atomic_load_explicit(&queue->added, memory_order_relaxed) -
	       atomic_load_explicit(&queue->taken, memory_order_relaxed);
}

/* Returns the task's number. */
static uint32_t queue_add(struct task_queue *queue, const struct task *task)
{
	uint32_t number = atomic_load_explicit(&queue->added, memory_order_relaxed);

	queue->tasks[number % TASK_QUEUE_MAX] = *task;
	atomic_store_explicit(&queue->added, number + 1, memory_order_relaxed);
	return number;
}

/* Whether the task with that number has left the queue. */
static bool queue_has_taken(const struct task_queue *queue, uint32_t number)
{
	return (int32_t)(atomic_load_explicit(&queue->taken, memory_order_relaxed) - number) > 0;
}

/* Takes the first task. False: the queue is empty. */
static bool queue_take(struct task_queue *queue, struct task *ret_task)
{
	uint32_t number = atomic_load_explicit(&queue->taken, memory_order_relaxed);
	uint32_t added = atomic_load_explicit(&queue->added, memory_order_relaxed);

	ret_task->function = NULL;
	while (number != added && !ret_task->function)
		*ret_task = queue->tasks[number++ % TASK_QUEUE_MAX];
	atomic_store_explicit(&queue->taken, number, memory_order_relaxed);
	return ret_task->function;
}

/* Withdraws the task with that number, which has not been taken. If others came after it, its place stays,
 * with no function. */
static void queue_withdraw(struct task_queue *queue, uint32_t number)
{
	if (number + 1 == atomic_load_explicit(&queue->added, memory_order_relaxed))
		atomic_store_explicit(&queue->added, number, memory_order_relaxed);
	else
		queue->tasks[number % TASK_QUEUE_MAX].function = NULL;
}

/* ---- calls that wait for room */

/* Tells a starter how its wait has ended. The lock is held. Returns the futex to wake, or NULL. */
static _Atomic uint32_t *starter_answer(struct starter *starter, uint32_t how)
{
	list_remove(&starter->link);
	uint32_t before = atomic_exchange_explicit(&starter->word, how, memory_order_release);
	return before == SLEEPING ? &starter->word : NULL;
}

static struct starter *first_starter(struct ctx_taskgroup *group)
{
	return list_empty(&group->starters) ? NULL : container_of(group->starters.next, struct starter, link);
}

void taskgroup_refuse_starters(struct ctx_taskgroup *group)
{
	struct starter *starter;

	lock_acquire(&group->lock);
	while ((starter = first_starter(group))) {
		_Atomic uint32_t *wake = starter_answer(starter, REFUSED);
		if (wake)
			sys_futex_wake(wake, 1);
	}
	lock_release(&group->lock);
}

static void note_wake(struct wakes *wakes, _Atomic uint32_t *word)
{
	if (word)
		wakes->words[wakes->count++] = word;
}

/*
 * Puts the tasks of the first starters into the queue, once half of it is empty. Those that do not sleep yet
 * need no wake, and there may be more of them than the queue has room for. The lock is held.
 */
static void queue_starters(struct ctx_taskgroup *group, struct wakes *wakes)
{
	struct starter *starter;

	if (list_empty(&group->starters) || queue_length(&group->queue) > TASK_QUEUE_MAX / 2)
		return;
	while (wakes->count < WAKES_MAX && queue_length(&group->queue) < TASK_QUEUE_MAX &&
	       (starter = first_starter(group))) {
		starter->number = queue_add(&group->queue, starter->task);
		note_wake(wakes, starter_answer(starter, QUEUED));
	}
}

/* Waits until the task is in the queue, where it has the number *ret_number then. The lock is held, and
 * released meanwhile. The caller keeps the group. 0, or the error of the context that has ended. */
static int await_room(struct ctx_taskgroup *group, const struct task *task, uint32_t *ret_number)
{
	struct starter starter = {.task = task, .word = LOOKING};
	uint32_t word = LOOKING;

	list_append(&group->starters, &starter.link);
	lock_release(&group->lock);
	for (unsigned i = 0; i < taskgroup_spins && word == LOOKING; i++) {
		spin_pause();
		word = atomic_load_explicit(&starter.word, memory_order_acquire);
	}
	if (word == LOOKING &&
	    atomic_compare_exchange_strong_explicit(&starter.word, &word, SLEEPING, memory_order_acquire,
						    memory_order_acquire))
		word = SLEEPING;
	while (word == SLEEPING) {
		sys_futex_wait(&starter.word, SLEEPING, NULL);
		word = atomic_load_explicit(&starter.word, memory_order_acquire);
	}
	lock_acquire(&group->lock);
	*ret_number = starter.number;
	return word == QUEUED ? 0 : -context_error(group->ctx);
}

/* ---- threads */

/*
 * The thread has no task. Looks for a moment whether one comes, if it is the only thread that does, and if
 * nobody waits for the end of the tasks. The lock is held, and released meanwhile.
 */
static void seek_task(struct ctx_taskgroup *group)
{
	const struct task_queue *queue = &group->queue;
	uint32_t added = atomic_load_explicit(&queue->added, memory_order_relaxed);

	if (!taskgroup_spins || group->seeking ||
	    atomic_load_explicit(&group->awaiting, memory_order_relaxed))
		return;
	group->seeking++;
	lock_release(&group->lock);
	for (unsigned i = 0; i < 2 * taskgroup_spins; i++) {
		spin_pause();
		if (atomic_load_explicit(&queue->added, memory_order_relaxed) != added ||
		    atomic_load_explicit(&group->awaiting, memory_order_relaxed))
			break;
	}
	lock_acquire(&group->lock);
	group->seeking--;
}

/* The thread leaves the group, which may be gone afterwards. The lock is held, and released in here. */
static void leave_group(struct ctx_taskgroup *group, struct pool_thread *thread)
{
	/* First of all, so that whoever hears that the last task has ended finds the thread idle. */
	pool_release(thread);
	taskgroup_enter(NULL);
	_Atomic uint32_t *wake = taskgroup_release_place(group);
	bool last = taskgroup_is_over(group);
	lock_release(&group->lock);
	if (wake)
		sys_futex_wake(wake, INT32_MAX);
	if (last)
		taskgroup_free(group);
}

/* The pool has given the group a thread. The lock is held. */
static void count_thread(struct ctx_taskgroup *group)
{
	group->running++;
	group->seeking++;
	group->waking++;
}

/*
 * The thread has taken a task. It wakes the threads that were set aside for those behind it, if they are
 * still needed: its own task may block. The lock is held.
 */
static void wake_promised(struct ctx_taskgroup *group, struct wakes *wakes)
{
	_Atomic uint32_t *wake;

	for (unsigned i = 0; i < THREAD_WAKES_MAX && group->promised && group->waking < waking_max &&
			     queue_length(&group->queue) > group->seeking;
	     i++) {
		pool_give_promised(&group->job, &wake);
		note_wake(wakes, wake);
		group->promised--;
		count_thread(group);
	}
	if (group->promised && !group->waking) {
		pool_return(group->promised);
		group->promised = 0;
	}
}

/*
 * Takes the next task. False: there is none, and the thread has left the group. The lock is held, and
 * released in here.
 */
static bool next_task(struct ctx_taskgroup *group, struct pool_thread *thread, struct task *ret_task)
{
	struct wakes wakes = {.count = 0};

	if (!queue_take(&group->queue, ret_task)) {
		wake_promised(group, &wakes);
		seek_task(group);
		if (!queue_take(&group->queue, ret_task)) {
			leave_group(group, thread);
			return false;
		}
	}
	queue_starters(group, &wakes);
	wake_promised(group, &wakes);
	lock_release(&group->lock);
	while (wakes.count)
		sys_futex_wake(wakes.words[--wakes.count], 1);
	return true;
}

/* Runs the tasks of a group, on a thread that add_thread() has counted. */
static void run_tasks(struct pool_job *job, struct pool_thread *thread)
{
	struct ctx_taskgroup *group = container_of(job, struct ctx_taskgroup, job);
	uint32_t forks = thread_fork_count;
	struct task task;

	taskgroup_enter(group);
	lock_acquire(&group->lock);
	group->waking--;
	group->seeking--;
	while (next_task(group, thread, &task)) {
		int error = task.function(group->ctx, task.data);
		/* Where the task forked, this may be the child, which may have freed the group. */
		if (forks != thread_fork_count)
			return;
		/* This may end the context, which runs its callbacks in here, and these may fork, too. */
		if (error < 0)
			taskgroup_note(group, error, task.name, task.site);
		if (forks != thread_fork_count)
			return;
		lock_acquire(&group->lock);
	}
}

/* ---- starting */

/* Whether there may be one more thread, and there are more tasks in the queue than threads for them. The lock
 * is held. */
static bool needs_thread(const struct ctx_taskgroup *group)
{
	return group->running + group->promised < group->limit &&
	       queue_length(&group->queue) > group->seeking + group->promised;
}

/*
 * Has one more thread serve the group. While others are on their way it is set aside only, and they wake it.
 * The lock is held, so that nobody counts on a thread that cannot be had. 0 or -EAGAIN.
 */
static int add_thread(struct ctx_taskgroup *group, _Atomic uint32_t **ret_wake)
{
	if (group->waking >= waking_max && pool_promise()) {
		group->promised++;
		return 0;
	}
	int error = pool_give(&group->job, ret_wake);
	if (!error)
		count_thread(group);
	return error;
}

/* Looks for a moment whether a thread takes the task with that number. The lock is held, and released
 * meanwhile. The caller keeps the group. */
static void watch_task(struct ctx_taskgroup *group, uint32_t number)
{
	const struct task_queue *queue = &group->queue;

	if (group->starts_without_spin) {
		group->starts_without_spin--;
		return;
	}
	lock_release(&group->lock);
	for (unsigned i = 0; i < taskgroup_spins && !queue_has_taken(queue, number); i++)
		spin_pause();
	lock_acquire(&group->lock);
	if (!queue_has_taken(queue, number))
		group->starts_without_spin = STARTS_WITHOUT_SPIN;
}

/*
 * Sees to it that there is a thread for the task with that number in the queue. The lock is held, and may be
 * released meanwhile. The caller keeps the group. *ret_wake is for pool_wake(), after the lock has been
 * released. 0; -EAGAIN: there is none, and the task has been withdrawn.
 */
static int provide_thread(struct ctx_taskgroup *group, uint32_t number, _Atomic uint32_t **ret_wake)
{
	/* A thread that was just woken does not come so soon that it is worth to look for it. */
	if (needs_thread(group) && group->running > group->waking)
		watch_task(group, number);
	if (!needs_thread(group) || queue_has_taken(&group->queue, number))
		return 0;
	int error = add_thread(group, ret_wake);
	if (error)
		queue_withdraw(&group->queue, number);
	return error;
}

/* What the call that starts a task has to do, or its error. The lock is held. */
static int check_start(struct ctx_taskgroup *group, bool waits)
{
	int error = context_error(group->ctx);

	if (error)
		return -error;
	if (!waits && group->running - group->seeking + queue_length(&group->queue) >= group->limit)
		return -EAGAIN;
	if (!group->queue.tasks) {
		/* Before there is a thread: threads of the pool read run without the lock. */
		group->job.run = run_tasks;
		group->queue.tasks = memory_allocate(TASK_QUEUE_MAX * sizeof(*group->queue.tasks));
	}
	return group->queue.tasks ? 0 : -ENOMEM;
}

int taskgroup_start_task(struct ctx_taskgroup *group, const struct task *task, bool waits)
{
	_Atomic uint32_t *wake = NULL;

	lock_acquire(&group->lock);
	int error = check_start(group, waits);
	if (error) {
		lock_release(&group->lock);
		return error;
	}
	group->waiting++; /* keeps the group */
	uint32_t number;
	if (list_empty(&group->starters) && queue_length(&group->queue) < TASK_QUEUE_MAX)
		number = queue_add(&group->queue, task);
	else
		error = await_room(group, task, &number);
	if (!error)
		error = provide_thread(group, number, &wake);
	group->waiting--;
	bool over = taskgroup_is_over(group);
	lock_release(&group->lock);
	pool_wake(wake);
	if (over)
		taskgroup_free(group);
	return error;
}
