/* SPDX-License-Identifier: MIT */
/*
 * C++17 owners for the objects of ctxring.h. Header only; everything else of the
 * library is used as in C, with get().
 *
 *	ctx::context request{ctx::background(), std::chrono::milliseconds(250), "request"};
 *	serve(request);			// takes a ctx::view: may watch and derive, not cancel
 *	// leaving the scope ends and releases it
 *
 * A failing call throws std::system_error with the errno of the C call in the generic
 * category. Asking never throws. Nothing here adds a lock or an allocation, except
 * ctx::callback, which holds a std::function. What makes or ends a context is always
 * inlined: the place that the context and its cause name is then in the program's function.
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

/* Throws for a negative errno, else returns the result. */
inline int check(int result, const char *what)
{
	if (result < 0)
		throw std::system_error(-result, std::generic_category(), what);
	return result;
}

/* A duration as the C interface wants it: never negative. */
inline std::uint64_t nanoseconds(std::chrono::nanoseconds duration) noexcept
{
	return duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) : 0;
}

inline constexpr std::chrono::nanoseconds forever = std::chrono::nanoseconds::max();

/* As nanoseconds, where ctx::forever is CTX_FOREVER. */
inline std::uint64_t timeout(std::chrono::nanoseconds duration) noexcept
{
	return duration == forever ? CTX_FOREVER : nanoseconds(duration);
}

/*
 * A context that somebody else keeps alive: what functions take. Copying is free. It
 * can watch, derive and submit, not cancel.
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

	/* So that owners can answer their own operator-> with a view. */
	const view *operator->() const noexcept
	{
		return this;
	}

	/* Still live? One atomic load. */
	explicit operator bool() const noexcept
	{
		return ctx_err(ctx_) == 0;
	}

	/* The errno of its end, no error while it is live. */
	std::error_code error() const noexcept
	{
		return {-ctx_err(ctx_), std::generic_category()};
	}

	/* Throws that error once the context is done. */
	void check() const
	{
		ctx::check(ctx_err(ctx_), "context");
	}

	ctx_cause cause() const
	{
		ctx_cause cause;
		ctx::check(ctx_get_cause(ctx_, &cause), "ctx_get_cause");
		return cause;
	}

	/* Did its end begin in scope? */
	bool ended_by(view scope) const noexcept
	{
		return ctx_ended_by(ctx_, scope.ctx_);
	}

	/* CTX_FOREVER without a deadline. */
	std::uint64_t deadline_ns() const noexcept
	{
		return ctx_deadline_ns(ctx_);
	}

	std::uint64_t id() const noexcept
	{
		return ctx_id(ctx_);
	}

	/* The nearest value of key; nullptr also when there is none. */
	void *value(const ctx_key &key) const noexcept
	{
		void *value = nullptr;
		return ctx_value(ctx_, &key, &value) == 0 ? value : nullptr;
	}

	/* Belongs to the context: do not close it. */
	int done_fd() const
	{
		return ctx::check(ctx_done_fd(ctx_), "ctx_done_fd");
	}

	/* False: not done within the time. */
	bool wait(std::chrono::nanoseconds at_most = forever) const
	{
		int result = ctx_wait(ctx_, timeout(at_most));
		if (result == -ETIMEDOUT)
			return false;
		ctx::check(result, "ctx_wait");
		return true;
	}

	/* Ancestry, labels, values and time left. */
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
 * A counted reference without the right to cancel: for keeping a context beyond its
 * maker's scope, and for contexts that cannot be cancelled. Copies count.
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

/* From success on the context owns value. */
[[gnu::always_inline]] inline reference with_value(view parent, const ctx_key &key, void *value,
						   const char *label = nullptr)
{
	reference made;
	check(ctx_with_value(parent.get(), &key, value, label, &made.ctx_), "ctx_with_value");
	return made;
}

/* Sees the parent's values, neither its end nor its deadline. */
[[gnu::always_inline]] inline reference without_cancel(view parent, const char *label = nullptr)
{
	reference made;
	check(ctx_without_cancel(parent.get(), label, &made.ctx_), "ctx_without_cancel");
	return made;
}

/* Owns a context that can be cancelled: ends and releases it when it goes. Moves, does not copy. */
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

	/* steady_clock is CLOCK_MONOTONIC. */
	[[gnu::always_inline]] context(view parent, std::chrono::steady_clock::time_point deadline,
				       const char *label = nullptr)
	{
		check(ctx_with_deadline(parent.get(), nanoseconds(deadline.time_since_epoch()), label, &ctx_),
		      "ctx_with_deadline");
	}

	/* With the cause that it gets when its own deadline fires; error is a negative errno, 0 for -ETIME. */
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

	/* Takes over a reference from the C interface. */
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

	/* True: this call ended it, false: it was done before. */
	[[gnu::always_inline]] bool cancel()
	{
		return won(ctx_cancel(ctx_));
	}

	/* error is a negative errno, 0 for -ECANCELED. */
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

	/* Gives up ownership without ending it. */
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
 * Contexts that events of the kernel end, see ctx_with_hangup. A peer that sends no more is gone, unless the
 * flags say CTX_HANGUP_WHOLE. Without a ring the library's own thread watches. Errors say in words what is
 * wrong.
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
 * Calls a function once when a context is done; going out of scope takes the
 * registration back and waits for a call that is running.
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

	/* True: it will never run. */
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
 * Owns a ring. The destructor cancels what is on it and waits for the kernel to let go,
 * without a bound, since the memory of the operations goes next; close() has a bound.
 * Where the ring cannot be closed, on another thread than its owner's or inside one of its
 * callbacks, the kernel would keep pointers into that memory: there it calls std::terminate.
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

	/* False: the kernel still holds operations; the ring is still open. */
	bool close(std::chrono::nanoseconds at_most)
	{
		int result = ctx_ring_close(ring_, timeout(at_most), nullptr, 0, nullptr);
		if (result == -ETIMEDOUT)
			return false;
		check(result, "ctx_ring_close");
		ring_ = nullptr;
		return true;
	}

	/* The SQE for any io_uring_prep_* function; see ctx_ring_get_sqe. */
	io_uring_sqe *sqe(view ctx, ctx_op &op)
	{
		io_uring_sqe *sqe = ctx_ring_get_sqe(ring_, ctx.get(), &op);
		if (!sqe)
			check(-EINVAL, "ctx_ring_get_sqe");
		return sqe;
	}

	unsigned submit()
	{
		return static_cast<unsigned>(check(ctx_ring_submit(ring_), "ctx_ring_submit"));
	}

	/* Completions delivered; 0 when the time was up or a signal came. */
	unsigned dispatch(std::chrono::nanoseconds at_most = forever)
	{
		int result = ctx_ring_dispatch(ring_, timeout(at_most));
		return result == -EINTR ? 0 : static_cast<unsigned>(check(result, "ctx_ring_dispatch"));
	}

	/* Until ctx is done. */
	void run(view until)
	{
		check(ctx_ring_run(ring_, until.get()), "ctx_ring_run");
	}

	/* Until nothing is in flight. */
	void run()
	{
		check(ctx_ring_run(ring_, nullptr), "ctx_ring_run");
	}

	/* False: not within the time. Afterwards every buffer of operations under ctx is free. */
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
