/* SPDX-License-Identifier: MIT */
/* What bench/park.c calls in bench/asio.cc. */
#ifndef BENCH_ASIO_H
#define BENCH_ASIO_H

#ifdef __cplusplus
extern "C" {
#endif

struct asio;

/* Does not own the descriptors. */
struct asio *asio_open(const int *fds, unsigned count, unsigned operations);
/* Begins receives order[0], order[1], ...: i reads descriptor i modulo their number. */
void asio_start(struct asio *asio, const unsigned *order, unsigned count);
/* Cancels all and runs their handlers. */
void asio_cancel(struct asio *asio, unsigned count);
void asio_close(struct asio *asio);

#ifdef __cplusplus
}
#endif

#endif
