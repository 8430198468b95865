/* SPDX-License-Identifier: MIT */
/*
 * The idle receives of bench/park.c in Boost.Asio, on epoll and without support for threads. It is built where
 * Boost.Asio is installed.
 */
#define BOOST_ASIO_DISABLE_THREADS 1
#define BOOST_ASIO_DISABLE_IO_URING 1
#include "asio.h"

#include <boost/asio.hpp>
#include <memory>
#include <vector>

using boost::asio::posix::stream_descriptor;

struct asio {
	boost::asio::io_context context{1};
	std::vector<std::unique_ptr<stream_descriptor>> descriptors;
	std::vector<char> buffers;
	unsigned completed = 0;
};

struct asio *asio_open(const int *fds, unsigned count, unsigned operations)
{
	auto *asio = new struct asio;
	asio->buffers.resize(64ul * operations);
	for (unsigned i = 0; i < count; i++)
		asio->descriptors.push_back(std::make_unique<stream_descriptor>(asio->context, fds[i]));
	return asio;
}

void asio_start(struct asio *asio, const unsigned *order, unsigned count)
{
	for (unsigned n = 0; n < count; n++) {
		unsigned i = order[n];
		auto buffer = boost::asio::buffer(&asio->buffers[64ul * i], 64);
		asio->descriptors[i % asio->descriptors.size()]->async_read_some(
			buffer, [asio](const boost::system::error_code &, size_t) { asio->completed++; });
	}
	asio->context.restart();
	asio->context.poll();
}

void asio_cancel(struct asio *asio, unsigned count)
{
	asio->completed = 0;
	for (auto &descriptor : asio->descriptors)
		descriptor->cancel();
	while (asio->completed < count) {
		asio->context.restart();
		asio->context.poll();
	}
}

void asio_close(struct asio *asio)
{
	for (auto &descriptor : asio->descriptors)
		descriptor->release();
	delete asio;
}
