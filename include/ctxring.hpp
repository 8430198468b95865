/* SPDX-License-Identifier: MIT */
/*
 * C++17 classes that own the objects of ctxring.h. There is nothing to link but libctxring. For
 * everything that has no class here, call the C functions with get().
 *
 *	ctx::context request{ctx::background(), std::chrono::milliseconds(250), "request"};
 *	serve(request);			// takes a ctx::view: may watch and derive, not cancel
 *	// leaving the scope ends and releases it
 *
 * A call that fails throws std::system_error with the errno of the C call, in the generic category.
 * Members that are noexcept do not throw. Nothing here adds a lock or an allocation, except
 * ctx::callback, which holds a std::function, ctx::merge, and what returns a string or a vector.
 *
 * Functions that make or end a context are always inlined, so that the call site which the context
 * and its cause record lies in the program and not in this file.
 */
#ifndef CTXRING_HPP
#define CTXRING_HPP

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ctxring.h"

namespace ctx
{

/* Throws if result is a negative errno; otherwise returns it. what is the text of the exception. */
inline int check(int result, const char *what)
{
	if (result < 0)
		throw std::system_error(-result, std::generic_category(), what);
	return result;
}

/* Converts a duration to what the C functions take. A negative duration becomes 0. */
inline std::uint64_t nanoseconds(std::chrono::nanoseconds duration) noexcept
{
	return duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) : 0;
}

/* As a duration: no bound. */
inline constexpr std::chrono::nanoseconds forever = std::chrono::nanoseconds::max();

/* As ctx::nanoseconds, but ctx::forever becomes CTX_FOREVER. */
inline std::uint64_t timeout(std::chrono::nanoseconds duration) noexcept
{
	return duration == forever ? CTX_FOREVER : nanoseconds(duration);
}

namespace detail
{
/* The text that a function writes as snprintf(3) does. */
template <typename Format> std::string text(const char *what, Format format)
{
	char buffer[512];
	auto size = static_cast<std::size_t>(check(format(buffer, sizeof(buffer)), what));
	if (size < sizeof(buffer))
		return std::string(buffer, size);
	std::string text(size + 1, '\0');
	/* The second time it may be shorter, or longer and cut, as the time that is left changes. */
	auto now = static_cast<std::size_t>(check(format(text.data(), text.size()), what));
	text.resize(now < size ? now : size);
	return text;
}

/* The deleter of an owner: calls a function of C. */
template <auto function> struct caller {
	template <typename Object> void operator()(Object *object) const noexcept
	{
		function(object);
	}
};
} /* namespace detail */

/* The name of a kind of cause in one word, see ctx_cause_kind_name. */
inline const char *name(ctx_cause_kind kind) noexcept
{
	return ctx_cause_kind_name(kind);
}

/* A cause as one line for people, see ctx_format_cause. */
inline std::string text(const ctx_cause &cause)
{
	return detail::text("ctx_format_cause", [&](char *buffer, std::size_t size) {
		return ctx_format_cause(&cause, buffer, size);
	});
}

/*
 * A pointer to a context that somebody else keeps alive: the type of a function's parameter. It holds no
 * reference, so copying it is free. Its holder can watch the context, derive from it and submit under it,
 * but not cancel it.
 */
class view
{
      public:
	view(const ctx_context *ctx) noexcept : ctx_(ctx)
	{
	}

	const ctx_context *get() const noexcept
	{
		return ctx_;
	}

	/* Lets owners return a view from their own operator->. */
	const view *operator->() const noexcept
	{
		return this;
	}

	/* True while the context is live. One atomic load. */
	explicit operator bool() const noexcept
	{
		return ctx_err(ctx_) == 0;
	}

	/* The error of a context that is done; no error while it is live. */
	std::error_code error() const noexcept
	{
		return {-ctx_err(ctx_), std::generic_category()};
	}

	/* Throws the error of the context if it is done. */
	void check() const
	{
		ctx::check(ctx_err(ctx_), "context");
	}

	/* Why the context ended, see ctx_get_cause. */
	ctx_cause cause() const
	{
		ctx_cause cause;
		ctx::check(ctx_get_cause(ctx_, &cause), "ctx_get_cause");
		return cause;
	}

	/* True if the end of the context began in scope, see ctx_ended_by. */
	bool ended_by(view scope) const noexcept
	{
		return ctx_ended_by(ctx_, scope.ctx_);
	}

	/* The deadline in force, on CLOCK_MONOTONIC. CTX_FOREVER: there is none. */
	std::uint64_t deadline_ns() const noexcept
	{
		return ctx_deadline_ns(ctx_);
	}

	/* The time that is left until then. ctx::forever: there is no deadline. */
	std::chrono::nanoseconds time_left() const noexcept
	{
		std::uint64_t left_ns = ctx_time_left_ns(ctx_);
		if (left_ns >= static_cast<std::uint64_t>(forever.count()))
			return forever;
		return std::chrono::nanoseconds(static_cast<std::int64_t>(left_ns));
	}

	/* The identity of the request over all machines, see ctx_get_identity. */
	ctx_identity identity() const
	{
		ctx_identity identity;
		ctx::check(ctx_get_identity(ctx_, &identity), "ctx_get_identity");
		return identity;
	}

	/* The id under which ctxtool(1) knows the context, see ctx_id. */
	std::uint64_t id() const noexcept
	{
		return ctx_id(ctx_);
	}

	/* The nearest value of key. nullptr: there is none, or it is a null pointer. */
	void *value(const ctx_key &key) const noexcept
	{
		void *value = nullptr;
		return ctx_value(ctx_, &key, &value) == 0 ? value : nullptr;
	}

	/* The descriptor of ctx_done_fd. It belongs to the context: do not close it. */
	int done_fd() const
	{
		return ctx::check(ctx_done_fd(ctx_), "ctx_done_fd");
	}

	/* Blocks until the context is done. False: it is not, after at_most. */
	bool wait(std::chrono::nanoseconds at_most = forever) const
	{
		int result = ctx_wait(ctx_, timeout(at_most));
		if (result == -ETIMEDOUT)
			return false;
		ctx::check(result, "ctx_wait");
		return true;
	}

	/* Ancestry, labels, values and time left as one line of text, see ctx_format. */
	std::string text() const
	{
		return detail::text("ctx_format", [this](char *buffer, std::size_t size) {
			return ctx_format(ctx_, buffer, size);
		});
	}

      private:
	const ctx_context *ctx_;
};

inline view background() noexcept
{
	return ctx_background();
}

inline view todo() noexcept
{
	return ctx_todo();
}

/*
 * Owns a reference to a context, without the right to cancel it. Use it to keep a context longer than the
 * scope that made it, and for contexts that cannot be cancelled. Each copy owns a reference of its own.
 */
class reference
{
      public:
	reference() noexcept = default;

	explicit reference(view ctx) noexcept : ctx_(ctx_ref(ctx.get()))
	{
	}

	reference(const reference &other) noexcept : ctx_(ctx_ref(other.ctx_))
	{
	}

	reference(reference &&other) noexcept : ctx_(std::exchange(other.ctx_, nullptr))
	{
	}

	reference &operator=(reference other) noexcept
	{
		std::swap(ctx_, other.ctx_);
		return *this;
	}

	~reference()
	{
		ctx_unref(ctx_);
	}

	operator view() const noexcept
	{
		return ctx_;
	}

	view operator->() const noexcept
	{
		return ctx_;
	}

	const ctx_context *get() const noexcept
	{
		return ctx_;
	}

      private:
	friend reference with_value(view, const ctx_key &, void *, const char *);
	friend reference without_cancel(view, const char *);

	const ctx_context *ctx_ = nullptr;
};

/* Makes a context that carries value under key. On success the context owns the value. */
[[gnu::always_inline]] inline reference with_value(view parent, const ctx_key &key, void *value,
						   const char *label = nullptr)
{
	reference made;
	check(ctx_with_value(parent.get(), &key, value, label, &made.ctx_), "ctx_with_value");
	return made;
}

/* Makes a context that sees its parent's values, but neither its parent's end nor its deadline. */
[[gnu::always_inline]] inline reference without_cancel(view parent, const char *label = nullptr)
{
	reference made;
	check(ctx_without_cancel(parent.get(), label, &made.ctx_), "ctx_without_cancel");
	return made;
}

/* Owns a context that can be cancelled. The destructor ends and releases it. It can be moved, not copied. */
class context
{
      public:
	[[gnu::always_inline]] explicit context(view parent, const char *label = nullptr)
	{
		check(ctx_with_cancel(parent.get(), label, &ctx_), "ctx_with_cancel");
	}

	[[gnu::always_inline]] context(view parent, std::chrono::nanoseconds timeout,
				       const char *label = nullptr)
	{
		check(ctx_with_timeout(parent.get(), ctx::timeout(timeout), label, &ctx_),
		      "ctx_with_timeout");
	}

	/* deadline is a point on steady_clock, which is CLOCK_MONOTONIC. */
	[[gnu::always_inline]] context(view parent, std::chrono::steady_clock::time_point deadline,
				       const char *label = nullptr)
	{
		check(ctx_with_deadline(parent.get(), nanoseconds(deadline.time_since_epoch()), label, &ctx_),
		      "ctx_with_deadline");
	}

	/* error and text are the cause that the context gets when its own deadline fires. error is a negative
	 * errno, 0 means -ETIME. */
	[[gnu::always_inline]] context(view parent, std::chrono::nanoseconds timeout, int error,
				       const std::string &text, const char *label = nullptr)
	{
		check(ctx_with_timeout_cause(parent.get(), ctx::timeout(timeout), label, &ctx_, error, "%s",
					     text.c_str()),
		      "ctx_with_timeout_cause");
	}

	[[gnu::always_inline]] context(view parent, std::chrono::steady_clock::time_point deadline, int error,
				       const std::string &text, const char *label = nullptr)
	{
		check(ctx_with_deadline_cause(parent.get(), nanoseconds(deadline.time_since_epoch()), label,
					      &ctx_, error, "%s", text.c_str()),
		      "ctx_with_deadline_cause");
	}

	/* Takes over the reference that a C function gave. */
	explicit context(ctx_context *owned) noexcept : ctx_(owned)
	{
	}

	context(context &&other) noexcept : ctx_(std::exchange(other.ctx_, nullptr))
	{
	}

	[[gnu::always_inline]] context &operator=(context &&other) noexcept
	{
		context old(std::exchange(ctx_, std::exchange(other.ctx_, nullptr)));
		return *this;
	}

	context(const context &) = delete;
	context &operator=(const context &) = delete;

	[[gnu::always_inline]] ~context()
	{
		ctx_finish(ctx_);
	}

	/* Ends the context. True: this call ended it. False: it was done before. */
	[[gnu::always_inline]] bool cancel()
	{
		return won(ctx_cancel(ctx_));
	}

	/* Ends the context with a cause. error is a negative errno, 0 means -ECANCELED. */
	[[gnu::always_inline]] bool cancel(int error, const std::string &text)
	{
		return won(ctx_cancel_cause(ctx_, error, "%s", text.c_str()));
	}

	void set_deadline(std::chrono::steady_clock::time_point deadline)
	{
		check(ctx_set_deadline(ctx_, nanoseconds(deadline.time_since_epoch())), "ctx_set_deadline");
	}

	/* The cause that the context gets when its own deadline fires. error is a negative errno, 0 means
	 * -ETIME. */
	void set_deadline_cause(int error, const std::string &text)
	{
		check(ctx_set_deadline_cause(ctx_, error, "%s", text.c_str()), "ctx_set_deadline_cause");
	}

	/* How long operations may take to end after the context has ended, see ctx_set_grace. */
	void set_grace(std::chrono::nanoseconds grace)
	{
		check(ctx_set_grace(ctx_, nanoseconds(grace)), "ctx_set_grace");
	}

	operator view() const noexcept
	{
		return ctx_;
	}

	view operator->() const noexcept
	{
		return ctx_;
	}

	ctx_context *get() noexcept
	{
		return ctx_;
	}

	/* Gives the reference to the caller, without ending the context. */
	ctx_context *release() noexcept
	{
		return std::exchange(ctx_, nullptr);
	}

      private:
	static bool won(int result)
	{
		if (result == -EALREADY)
			return false;
		check(result, "ctx_cancel");
		return true;
	}

	ctx_context *ctx_ = nullptr;
};

/* Makes a context whose deadline set_deadline() may also move later. */
[[gnu::always_inline]] inline context with_movable_deadline(view parent,
							    std::chrono::steady_clock::time_point deadline,
							    const char *label = nullptr)
{
	ctx_context *made = nullptr;
	int result = ctx_with_movable_deadline(parent.get(), nanoseconds(deadline.time_since_epoch()), label,
					       &made);
	check(result, "ctx_with_movable_deadline");
	return context(made);
}

/* Makes a context that ends with the first of parents to end. Its values are those of the first one. */
[[gnu::always_inline]] inline context merge(std::initializer_list<view> parents, const char *label = nullptr)
{
	std::vector<const ctx_context *> all;
	for (view parent : parents)
		all.push_back(parent.get());
	ctx_context *made = nullptr;
	check(ctx_merge(all.data(), static_cast<unsigned>(all.size()), label, &made), "ctx_merge");
	return context(made);
}

/*
 * with_hangup, with_fd, with_process, with_signals and with_pressure make contexts that an event of the
 * kernel ends, see ctx_with_hangup. Without a ring a thread of the library watches for the event. The text of
 * an exception is that of ctx_source_explain.
 */
namespace detail
{
inline context source(int result, ctx_context *made, ctx_cause_kind kind)
{
	if (result < 0) {
		char reason[512] = "source";
		ctx_source_explain(kind, result, reason, sizeof(reason));
		check(result, reason);
	}
	return context(made);
}
} /* namespace detail */

/* A peer that sends no more counts as gone, unless flags are CTX_HANGUP_WHOLE. */
[[gnu::always_inline]] inline context with_hangup(view parent, int fd, unsigned flags = 0,
						  ctx_ring *ring = nullptr, const char *label = nullptr)
{
	ctx_context *made = nullptr;
	int result = ctx_with_hangup(parent.get(), ring, fd, flags, label, &made);
	return detail::source(result, made, CTX_CAUSE_HANGUP);
}

[[gnu::always_inline]] inline context with_fd(view parent, int fd, short events, ctx_ring *ring = nullptr,
					      const char *label = nullptr)
{
	ctx_context *made = nullptr;
	int result = ctx_with_fd(parent.get(), ring, fd, events, label, &made);
	return detail::source(result, made, CTX_CAUSE_FD);
}

[[gnu::always_inline]] inline context with_process(view parent, int pidfd, ctx_ring *ring = nullptr,
						   const char *label = nullptr)
{
	ctx_context *made = nullptr;
	int result = ctx_with_process(parent.get(), ring, pidfd, label, &made);
	return detail::source(result, made, CTX_CAUSE_PROCESS);
}

[[gnu::always_inline]] inline context with_signals(view parent, const sigset_t &signals,
						   ctx_ring *ring = nullptr, const char *label = nullptr)
{
	ctx_context *made = nullptr;
	int result = ctx_with_signals(parent.get(), ring, &signals, label, &made);
	return detail::source(result, made, CTX_CAUSE_SIGNAL);
}

[[gnu::always_inline]] inline context with_pressure(view parent, const ctx_pressure &pressure,
						    ctx_ring *ring = nullptr, const char *label = nullptr)
{
	ctx_context *made = nullptr;
	int result = ctx_with_pressure(parent.get(), ring, &pressure, label, &made);
	return detail::source(result, made, CTX_CAUSE_PRESSURE);
}

/*
 * Calls a function once when a context is done. The destructor takes the registration back, and waits for
 * the function if it is running on another thread.
 */
class callback
{
      public:
	callback(view ctx, std::function<void(view)> function) : function_(std::move(function))
	{
		check(ctx_callback_add(ctx.get(), &callback_, run, this, &id_), "ctx_callback_add");
	}

	callback(const callback &) = delete;
	callback &operator=(const callback &) = delete;

	~callback()
	{
		ctx_callback_stop_wait(id_);
	}

	/* Takes the registration back. True: the function will never run, because of this call. */
	bool stop() noexcept
	{
		return ctx_callback_stop(id_);
	}

      private:
	static void run(ctx_callback *, const ctx_context *ctx, void *data)
	{
		static_cast<callback *>(data)->function_(ctx);
	}

	ctx_callback callback_ = {};
	uint64_t id_ = 0;
	std::function<void(view)> function_;
};

/*
 * Owns a ring. The destructor cancels every operation on it and waits, without a bound, until the kernel
 * holds none, since the memory of the operations is usually freed next. close() has a bound.
 *
 * A ring cannot be closed inside one of its callbacks, nor by another thread than its owner while the owner's
 * thread lives. The kernel would keep pointers into freed memory then, so the destructor calls
 * std::terminate.
 */
class ring
{
      public:
	explicit ring(unsigned entries, const ctx_ring_options *options = nullptr)
	{
		int result = ctx_ring_open(entries, options, &ring_);
		if (result < 0) {
			char reason[512] = "ctx_ring_open";
			ctx_ring_explain(result, reason, sizeof(reason));
			check(result, reason);
		}
	}

	ring(ring &&other) noexcept : ring_(std::exchange(other.ring_, nullptr))
	{
	}

	ring &operator=(ring &&other) noexcept
	{
		ring old(std::move(other));
		std::swap(ring_, old.ring_);
		return *this;
	}

	ring(const ring &) = delete;
	ring &operator=(const ring &) = delete;

	~ring()
	{
		if (ctx_ring_close(ring_, CTX_FOREVER, nullptr, 0, nullptr) < 0)
			std::terminate();
	}

	/* Closes the ring. False: the kernel still holds operations after at_most, and the ring is still
	 * open. */
	bool close(std::chrono::nanoseconds at_most)
	{
		int result = ctx_ring_close(ring_, timeout(at_most), nullptr, 0, nullptr);
		if (result == -ETIMEDOUT)
			return false;
		check(result, "ctx_ring_close");
		ring_ = nullptr;
		return true;
	}

	/* Begins an operation and returns its SQE, for any io_uring_prep_* function: see ctx_ring_get_sqe. */
	io_uring_sqe *sqe(view ctx, ctx_op &op)
	{
		io_uring_sqe *sqe = ctx_ring_get_sqe(ring_, ctx.get(), &op);
		if (!sqe)
			check(-EINVAL, "ctx_ring_get_sqe");
		return sqe;
	}

	/* Gives what is staged to the kernel. Returns how many operations went. */
	unsigned submit()
	{
		return static_cast<unsigned>(check(ctx_ring_submit(ring_), "ctx_ring_submit"));
	}

	/* Submits, waits and delivers. Returns how many completions were delivered: 0 when the time was over
	 * or a signal came. */
	unsigned dispatch(std::chrono::nanoseconds at_most = forever)
	{
		int result = ctx_ring_dispatch(ring_, timeout(at_most));
		return result == -EINTR ? 0 : static_cast<unsigned>(check(result, "ctx_ring_dispatch"));
	}

	/* Dispatches until the context is done. */
	void run(view until)
	{
		check(ctx_ring_run(ring_, until.get()), "ctx_ring_run");
	}

	/* Dispatches until nothing is staged or in flight. */
	void run()
	{
		check(ctx_ring_run(ring_, nullptr), "ctx_ring_run");
	}

	/* Waits until the kernel holds no operation under ctx, so that all their buffers may be freed. False:
	 * it still holds some, after at_most. */
	bool drain(view ctx, std::chrono::nanoseconds at_most = forever)
	{
		int result = ctx_ring_drain(ring_, ctx.get(), timeout(at_most), nullptr, 0, nullptr);
		if (result == -ETIMEDOUT)
			return false;
		check(result, "ctx_ring_drain");
		return true;
	}

	ctx_ring *get() noexcept
	{
		return ring_;
	}

      private:
	ctx_ring *ring_ = nullptr;
};

/*
 * Owns a task group, on threads or on a ring. The destructor ends the context of the group and waits for its
 * tasks, see ctx_taskgroup_free.
 *
 * A task is an object of the caller's that can be called, such as a lambda in a variable. It returns 0, or a
 * negative errno as its failure. It is not copied: it has to live until its call has returned, and with
 * CTX_TASKGROUP_FIRST until wait() has. An exception that leaves it ends the program.
 */
class taskgroup
{
      public:
	/* At most limit tasks run at a time. 0: as many as there are processors. */
	[[gnu::always_inline]] explicit taskgroup(view parent, unsigned limit = 0,
						  const char *label = nullptr)
	{
		check(ctx_taskgroup_new(parent.get(), limit, label, &group_), "ctx_taskgroup_new");
	}

	[[gnu::always_inline]] taskgroup(view parent, const ctx_taskgroup_options &options,
					 const char *label = nullptr)
	{
		check(ctx_taskgroup_new_with_options(parent.get(), &options, label, &group_),
		      "ctx_taskgroup_new_with_options");
	}

	taskgroup(taskgroup &&other) noexcept : group_(std::exchange(other.group_, nullptr))
	{
	}

	[[gnu::always_inline]] taskgroup &operator=(taskgroup &&other) noexcept
	{
		taskgroup old(std::move(other));
		std::swap(group_, old.group_);
		return *this;
	}

	taskgroup(const taskgroup &) = delete;
	taskgroup &operator=(const taskgroup &) = delete;

	[[gnu::always_inline]] ~taskgroup()
	{
		ctx_taskgroup_free(group_);
	}

	/* The context of the group, which its tasks get. */
	view context() const noexcept
	{
		return ctx_taskgroup_context(group_);
	}

	/* Calls task(view) on a thread, see ctx_taskgroup_start. */
	template <typename Task> void start(Task &task, const char *name = nullptr)
	{
		check(ctx_taskgroup_start(group_, run<Task>, address(task), name), "ctx_taskgroup_start");
	}

	/* The same, but false: so many tasks run that this one would have to wait. */
	template <typename Task> bool try_start(Task &task, const char *name = nullptr)
	{
		int result = ctx_taskgroup_try_start(group_, run<Task>, address(task), name);
		if (result == -EAGAIN)
			return false;
		check(result, "ctx_taskgroup_try_start");
		return true;
	}

	/* Calls task(ctx_taskgroup *member) when its turn has come, see ctx_taskgroup_start_on_ring. */
	template <typename Task> void start_on_ring(Task &task, const char *name = nullptr)
	{
		check(ctx_taskgroup_start_on_ring(group_, run_member<Task>, address(task), name),
		      "ctx_taskgroup_start_on_ring");
	}

	/* Begins an operation as a task of a group on a ring: see ctx_taskgroup_get_sqe. */
	io_uring_sqe *sqe(ctx_op &op)
	{
		io_uring_sqe *sqe = ctx_taskgroup_get_sqe(group_, &op);
		if (!sqe)
			check(-EINVAL, "ctx_taskgroup_get_sqe");
		return sqe;
	}

	/* Reports a failure of a task. error is a negative errno. */
	[[gnu::always_inline]] void fail(int error, const std::string &text)
	{
		check(ctx_taskgroup_fail(group_, error, "%s", text.c_str()), "ctx_taskgroup_fail");
	}

	/* Waits until no task runs. Returns the first failure, see ctx_taskgroup_wait; no error: there was
	 * none. */
	std::error_code wait() noexcept
	{
		return {-ctx_taskgroup_wait(group_), std::generic_category()};
	}

	/* The address of the task that was the first to succeed. nullptr: none has so far. Only with
	 * CTX_TASKGROUP_FIRST. */
	const void *first() const
	{
		void *task = nullptr;
		int result = ctx_taskgroup_first(group_, &task);
		if (result == -ENOENT)
			return nullptr;
		check(result, "ctx_taskgroup_first");
		return task;
	}

	/* The failures so far, in order. The later ones of many may be missing. */
	std::vector<ctx_failure> failures() const
	{
		std::vector<ctx_failure> failures(64);
		int count =
			check(ctx_taskgroup_failures(group_, failures.data(), 64), "ctx_taskgroup_failures");
		if (count < 64)
			failures.resize(static_cast<std::size_t>(count));
		while (!failures.empty() && !failures.back().error) /* without memory they are only counted */
			failures.pop_back();
		return failures;
	}

	ctx_taskgroup *get() noexcept
	{
		return group_;
	}

      private:
	template <typename Task> static void *address(Task &task) noexcept
	{
		return const_cast<void *>(static_cast<const void *>(std::addressof(task)));
	}

	template <typename Task> static int run(const ctx_context *ctx, void *data) noexcept
	{
		return (*static_cast<Task *>(data))(view(ctx));
	}

	template <typename Task> static int run_member(ctx_taskgroup *member, void *data) noexcept
	{
		return (*static_cast<Task *>(data))(member);
	}

	ctx_taskgroup *group_ = nullptr;
};

/*
 * Owns a program that runs under a context. The destructor kills the program and all that it has started, if
 * they are still there, and waits until they are gone.
 */
class process
{
      public:
	process(view ctx, const ctx_spawn_options &options)
	{
		ctx_process *made = nullptr;
		int result = ctx_spawn(ctx.get(), &options, &made);
		if (result < 0) {
			char reason[512] = "ctx_spawn";
			ctx_spawn_explain(result, &options, reason, sizeof(reason));
			check(result, reason);
		}
		process_.reset(made);
	}

	/* The number of the program, to be shown to people. */
	pid_t pid() const noexcept
	{
		return ctx_process_pid(process_.get());
	}

	/* A descriptor that becomes readable when the program and its tree are gone. It belongs to this. */
	int fd() const
	{
		return check(ctx_process_fd(process_.get()), "ctx_process_fd");
	}

	/* Sends a signal to the program. False: it has ended. */
	bool signal(int signo)
	{
		int result = ctx_process_signal(process_.get(), signo);
		if (result == -ESRCH)
			return false;
		check(result, "ctx_process_signal");
		return true;
	}

	/* Waits until the program and its tree are gone. Throws if ctx, which bounds the wait only, is done
	 * before. */
	ctx_exit wait(view ctx = background())
	{
		ctx_exit exit;
		check(ctx_process_wait(ctx.get(), process_.get(), &exit), "ctx_process_wait");
		return exit;
	}

	ctx_process *get() noexcept
	{
		return process_.get();
	}

      private:
	std::unique_ptr<ctx_process, detail::caller<ctx_process_free>> process_;
};

/*
 * Owns a connection to ctxd. The destructor leaves the service, see ctxd_close: in the event function of the
 * client, and in callbacks on its thread, that does nothing.
 */
class client
{
      public:
	explicit client(const ctxd_options *options = nullptr)
	{
		ctxd_client *made = nullptr;
		int result = ctxd_connect(options, &made);
		if (result < 0) {
			char reason[512] = "ctxd_connect";
			ctxd_explain(result, reason, sizeof(reason));
			check(result, reason);
		}
		client_.reset(made);
	}

	/* Lets other processes join ctx, and other hosts with CTXD_FLEET in mode. Returns its id. */
	ctxd_id share(context &ctx, const char *name = nullptr, mode_t mode = 0)
	{
		ctxd_id id;
		check(ctxd_share(client_.get(), ctx.get(), name, mode, &id), "ctxd_share");
		return id;
	}

	/* From here on nobody can join ctx any more. */
	void unshare(view ctx)
	{
		check(ctxd_unshare(client_.get(), ctx.get()), "ctxd_unshare");
	}

	/* The id of a context that this client has shared or joined. */
	ctxd_id id(view ctx) const
	{
		ctxd_id id;
		check(ctxd_id_of(client_.get(), ctx.get(), &id), "ctxd_id_of");
		return id;
	}

	/* The id of a context that was shared with CTXD_FLEET or joined from another host, for other hosts.
	 */
	std::string global_id(view ctx) const
	{
		char id[CTXD_GLOBAL_ID_TEXT];
		check(ctxd_global_id_of(client_.get(), ctx.get(), id), "ctxd_global_id_of");
		return id;
	}

	/* Make a context that ends when the shared one does. */
	[[gnu::always_inline]] context join(ctxd_id id)
	{
		ctx_context *made = nullptr;
		check(ctxd_join(client_.get(), id, &made), "ctxd_join");
		return context(made);
	}

	/* uid of (uid_t)-1 is this user. */
	[[gnu::always_inline]] context join(uid_t uid, const char *name)
	{
		ctx_context *made = nullptr;
		check(ctxd_join_name(client_.get(), uid, name, &made), "ctxd_join_name");
		return context(made);
	}

	/* id is a global id, flags are CTXD_JOIN_WAIT and CTXD_JOIN_SURVIVE. */
	[[gnu::always_inline]] context join_remote(const std::string &id, unsigned flags = 0,
						   const char *label = nullptr)
	{
		ctx_context *made = nullptr;
		check(ctxd_join_remote(client_.get(), id.c_str(), label, flags, &made), "ctxd_join_remote");
		return context(made);
	}

	/* Ends a context in all processes, see ctxd_cancel. If it had ended before, nobody has ended it now,
	 * as the report says. */
	ctxd_report cancel(const ctxd_target &target, int error = 0, const std::string &text = {},
			   std::chrono::nanoseconds wait = {}, unsigned flags = 0)
	{
		ctxd_report report = {};
		int result = ctxd_cancel(client_.get(), &target, flags, error, text.c_str(), timeout(wait),
					 &report);
		if (result != -EALREADY)
			check(result, "ctxd_cancel");
		return report;
	}

	/* With CTXD_OWN_DISPATCH: a descriptor that is readable when dispatch() has something to do. */
	int fd() const
	{
		return check(ctxd_fd(client_.get()), "ctxd_fd");
	}

	/* With CTXD_OWN_DISPATCH: waits, and handles what has come in. Returns how much that was: 0 when the
	 * time was over or a signal came. */
	unsigned dispatch(std::chrono::nanoseconds at_most = forever)
	{
		int result = ctxd_dispatch(client_.get(), timeout(at_most));
		return result == -EINTR ? 0 : static_cast<unsigned>(check(result, "ctxd_dispatch"));
	}

	ctxd_client *get() noexcept
	{
		return client_.get();
	}

      private:
	std::unique_ptr<ctxd_client, detail::caller<ctxd_close>> client_;
};

} /* namespace ctx */

#endif
