/* SPDX-License-Identifier: MIT */
/* The functions of bench/peers/asio.cc, which bench/park.c calls. */
#ifndef BENCH_ASIO_H
#define BENCH_ASIO_H

#ifdef __cplusplus
extern "C" {
#endif

struct asio;

/* The descriptors stay the caller's. */
struct asio *asio_open(const int *fds, unsigned count, unsigned operations);
/* Begins the receives order[0], order[1], ... Receive i is on descriptor i modulo the number of descriptors.
 */
void asio_start(struct asio *asio, const unsigned *order, unsigned count);
/* Cancels all receives and runs the handlers of these count. */
void asio_cancel(struct asio *asio, unsigned count);
void asio_close(struct asio *asio);

#ifdef __cplusplus
}
#endif

#endif
