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
 * ctx::callback, which holds a std::function.
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
#include <string>
#include <system_error>
#include <utility>

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
		char buffer[512];
		int length = ctx::check(ctx_format(ctx_, buffer, sizeof(buffer)), "ctx_format");
		auto size = static_cast<std::size_t>(length);
		if (size < sizeof(buffer))
			return std::string(buffer, size);
		std::string text(size + 1, '\0');
		ctx_format(ctx_, text.data(), text.size());
		text.resize(size);
		return text;
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

} /* namespace ctx */

#endif
