/* SPDX-License-Identifier: MIT */
/*
 * Boost.Asio without support for threads, which is its fastest build for a program with one: async_read_some() of
 * a posix::stream_descriptor. mk/bench.mk compiles this file three times: for epoll, for io_uring (since Boost 1.78),
 * and for bench/park.c (BENCH_PARK), which has its own main() and compares with epoll.
 *
 * Each receive has a cancellation_signal, which Boost has since 1.77. Before that, and for bench/park.c, the
 * descriptor cancels all that it has. Asio has neither a tree of signals nor a group, so the group is a loop over
 * all signals.
 */
#define BOOST_ASIO_DISABLE_THREADS 1
#ifdef BOOST_ASIO_HAS_IO_URING
#include <liburing.h>
/*
 * Boost 1.81 does not set the user_data of its cancel requests, and since 2.2 liburing does not clear it. So their
 * completions would be taken for those of the operations that had their SQEs before.
 */
static inline void prepare_cancel(struct io_uring_sqe *sqe, void *user_data, int flags)
{
	io_uring_prep_cancel(sqe, user_data, flags);
	io_uring_sqe_set_data(sqe, nullptr);
}
#define io_uring_prep_cancel prepare_cancel
#endif
#include <boost/asio.hpp>
#include <boost/version.hpp>
#include <memory>
#include <vector>

#if BOOST_VERSION >= 107700 && !defined(BENCH_PARK)
#define HAVE_SIGNALS 1
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#endif

#ifdef BENCH_PARK
#include "asio.h"
#define receive_done(error, size) asio->completed++
#else
#include "work.h"
static void receive_done(const boost::system::error_code &error, size_t size)
{
	work_done(error == boost::asio::error::operation_aborted ? -ECANCELED : static_cast<int>(size));
}
#endif

using boost::asio::posix::stream_descriptor;

struct asio {
	boost::asio::io_context context{1};
	std::vector<std::unique_ptr<stream_descriptor>> descriptors;
	std::vector<char> buffers;
	unsigned completed = 0;
#ifdef HAVE_SIGNALS
	std::vector<std::unique_ptr<boost::asio::cancellation_signal>> signals;
#endif
};

static struct asio *open_descriptors(const int *fds, unsigned count, unsigned operations)
{
	auto *asio = new struct asio;
	asio->buffers.resize(64ul * operations);
	for (unsigned i = 0; i < count; i++)
		asio->descriptors.push_back(std::make_unique<stream_descriptor>(asio->context, fds[i]));
#ifdef HAVE_SIGNALS
	asio->signals.resize(operations);
#endif
	return asio;
}

static void begin(struct asio *asio, unsigned i)
{
	auto buffer = boost::asio::buffer(&asio->buffers[64ul * i], 64);
	auto handler = [asio](const boost::system::error_code &error, size_t size) {
		(void)asio;
		(void)error;
		(void)size;
		receive_done(error, size);
	};
	auto &descriptor = *asio->descriptors[i % asio->descriptors.size()];
#ifdef HAVE_SIGNALS
	if (!asio->signals[i])
		asio->signals[i] = std::make_unique<boost::asio::cancellation_signal>();
	descriptor.async_read_some(buffer, boost::asio::bind_cancellation_slot(asio->signals[i]->slot(), handler));
#else
	descriptor.async_read_some(buffer, handler);
#endif
}

static void run_ready(struct asio *asio)
{
	asio->context.restart();
	asio->context.poll();
}

#ifdef BENCH_PARK
struct asio *asio_open(const int *fds, unsigned count, unsigned operations)
{
	return open_descriptors(fds, count, operations);
}

void asio_start(struct asio *asio, const unsigned *order, unsigned count)
{
	for (unsigned n = 0; n < count; n++)
		begin(asio, order[n]);
	run_ready(asio);
}

void asio_cancel(struct asio *asio, unsigned count)
{
	asio->completed = 0;
	for (auto &descriptor : asio->descriptors)
		descriptor->cancel();
	while (asio->completed < count)
		run_ready(asio);
}

void asio_close(struct asio *asio)
{
	for (auto &descriptor : asio->descriptors)
		descriptor->release();
	delete asio;
}
#else
static struct asio *asio;

static void open_all(unsigned count)
{
	asio = open_descriptors(work.near_fds, work.sockets, count);
}

static void receive(unsigned i)
{
	begin(asio, i);
}

static void submit()
{
	run_ready(asio);
}

static void leave(unsigned i)
{
#ifdef HAVE_SIGNALS
	asio->signals[i]->emit(boost::asio::cancellation_type::terminal);
#else
	asio->descriptors[i % asio->descriptors.size()]->cancel();
#endif
}

static void group_end()
{
	for (unsigned i = 0; i < work.count; i++)
		leave(i);
}

static void run_until(unsigned done)
{
	while (work.cancelled + work.received < done) {
		asio->context.restart();
		asio->context.run_one();
		asio->context.poll();
	}
}

#ifdef HAVE_SIGNALS
static void request_end(unsigned i)
{
	asio->signals[i].reset();
}

/* A signal with a handler in its slot, as an operation puts one there. */
static void token(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		boost::asio::cancellation_signal signal;
		signal.slot().assign([](boost::asio::cancellation_type) {});
	}
}
#endif

static struct peer describe()
{
	struct peer asio_peer = {};
	asio_peer.open = open_all;
	asio_peer.receive = receive;
	asio_peer.submit = submit;
	asio_peer.group_end = group_end;
	asio_peer.leave = leave;
	asio_peer.wait = run_until;
#ifdef HAVE_SIGNALS
	asio_peer.request_end = request_end;
	asio_peer.token = token;
#endif
#ifdef BOOST_ASIO_HAS_IO_URING
	asio_peer.one_receive = true; /* the kernel gets the next receive of a socket when the one before has ended */
#endif
	return asio_peer;
}

const struct peer peer = describe();
#endif
