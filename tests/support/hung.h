/* SPDX-License-Identifier: MIT */
/* Memory that does not answer: whoever touches it waits, in the kernel too, as for a device that hangs. */
#ifndef TEST_HUNG_H
#define TEST_HUNG_H

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "support/rings.h"

#define HUNG_SIZE 4096

struct hung {
	int faults;
	char *page;
};

/* Skips the test where it is not allowed. */
static inline struct hung hung_new(void)
{
	struct hung hung = {.faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)};
	struct uffdio_api api = {.api = UFFD_API};

	if (hung.faults < 0)
		test_skip("userfaultfd(2) is not allowed here");
	hung.page = mmap(NULL, HUNG_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(hung.page, MAP_FAILED);
	struct uffdio_register region = {.range = {.start = (uintptr_t)hung.page, .len = HUNG_SIZE},
					 .mode = UFFDIO_REGISTER_MODE_MISSING};
	ck_assert_ok(ioctl(hung.faults, UFFDIO_API, &api));
	ck_assert_ok(ioctl(hung.faults, UFFDIO_REGISTER, &region));
	return hung;
}

/* Until somebody waits for it. */
static inline void hung_await(const struct hung *hung)
{
	struct pollfd fd = {.fd = hung->faults, .events = POLLIN};

	ck_assert_int_eq(poll(&fd, 1, 30000), 1);
	ck_assert_int_eq(fd.revents, POLLIN);
}

/* Whoever waits goes on. */
static inline void hung_release(const struct hung *hung)
{
	struct uffdio_zeropage zero = {.range = {.start = (uintptr_t)hung->page, .len = HUNG_SIZE}};

	ck_assert_ok(ioctl(hung->faults, UFFDIO_ZEROPAGE, &zero));
}

static inline void hung_end(const struct hung *hung)
{
	munmap(hung->page, HUNG_SIZE);
	close(hung->faults);
}

#endif
