/* SPDX-License-Identifier: MIT */
#include "handle.h"

#include <stdatomic.h>
#include <sys/resource.h>

#include "feature.h"

/* A page of a registered time counts against RLIMIT_MEMLOCK. Where that is lower, rings are worth more. */
#define MEMLOCK_MIN (1u << 20)

#define REGISTER_MEM_REGION 34u /* IORING_REGISTER_MEM_REGION, Linux 6.13 */
#define REGION_WAIT_ARG 1u	/* IORING_MEM_REGION_REG_WAIT_ARG */
#define REGION_TYPE_USER 1u	/* IORING_MEM_REGION_TYPE_USER */
#define REG_WAIT_TS 1u		/* IORING_REG_WAIT_TS */

/* struct io_uring_region_desc */
struct region {
	uint64_t address, size;
	uint32_t flags, id;
	uint64_t mmap_offset, reserved[4];
};

/* struct io_uring_mem_region_reg */
struct region_request {
	uint64_t region, flags, reserved[2];
};

_Static_assert(sizeof(struct uring_reg_wait) == 64, "as the kernel has it");
_Static_assert(sizeof(struct region) == 64, "as the kernel has it");

static _Atomic bool wait_unknown; /* this kernel registers no times; set to the same by all threads */

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

bool uring_handle_wants_disabled(void)
{
	struct rlimit limit;

	return !atomic_load_explicit(&wait_unknown, memory_order_relaxed) &&
	       feature_allowed(FEATURE_REGISTERED_WAIT) && !getrlimit(RLIMIT_MEMLOCK, &limit) &&
	       limit.rlim_cur >= MEMLOCK_MIN;
}

void uring_handle_register_wait(struct uring_handle *handle, const struct io_uring *uring)
{
	size_t size = page_size();
	void *page = NULL;

	if (sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, &page))
		return;
	const struct region region = {
		.address = (uint64_t)(uintptr_t)page, .size = size, .flags = REGION_TYPE_USER};
	const struct region_request request = {.region = (uint64_t)(uintptr_t)&region,
					       .flags = REGION_WAIT_ARG};
	int error = uring_register(uring, REGISTER_MEM_REGION, &request, 1);
	if (error < 0) {
		munmap(page, size);
		if (error == -EINVAL)
			atomic_store_explicit(&wait_unknown, true, memory_order_relaxed);
		return;
	}
	handle->wait = page;
	handle->wait->flags = REG_WAIT_TS;
}

void uring_handle_register(struct uring_handle *handle, const struct io_uring *uring)
{
	struct io_uring_rsrc_update update = {.offset = -1U, .data = (unsigned)uring->ring_fd};

	if (!feature_allowed(FEATURE_REGISTERED_RING) || uring->ring_fd < 0 ||
	    sys_uring_register(uring->ring_fd, IORING_REGISTER_RING_FDS, &update, 1) != 1)
		return;
	handle->fd = (int)update.offset;
	handle->flags = IORING_ENTER_REGISTERED_RING;
}

void uring_handle_unregister(struct uring_handle *handle, const struct io_uring *uring)
{
	struct io_uring_rsrc_update update = {.offset = (unsigned)handle->fd};

	/*
	 * By the index, since the program may have closed the descriptor. Before Linux 6.3 only a descriptor
	 * will do.
	 */
	if (handle->flags &&
	    sys_uring_register(handle->fd, IORING_UNREGISTER_RING_FDS | URING_REGISTER_USE_REGISTERED_RING,
			       &update, 1) != 1)
		sys_uring_register(uring->ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
	uring_handle_forget(handle, uring);
}

void uring_handle_free(struct uring_handle *handle)
{
	if (handle->wait)
		munmap(handle->wait, page_size());
	handle->wait = NULL;
}

int uring_handle_enter(const struct uring_handle *handle, unsigned to_submit, const struct uring_wait *wait)
{
	unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | handle->flags;
	uint64_t timeout_ns = wait->timeout_ns;
	struct __kernel_timespec time;
	struct io_uring_getevents_arg argument = {.sigmask_sz = _NSIG / 8};

	if (!wait->min_complete || timeout_ns == CTX_FOREVER)
		return uring_handle_enter_plain(handle, to_submit, wait->min_complete, wait->events);
	if (wait->absolute && handle->absolute)
		flags |= handle->absolute;
	else if (wait->absolute)
		timeout_ns = clock_left_ns(timeout_ns);
	time = uring_time(timeout_ns);
	if (handle->wait) {
		handle->wait->time = time;
		return sys_uring_enter(handle->fd, to_submit, wait->min_complete,
				       flags | URING_ENTER_REGISTERED, NULL, sizeof(*handle->wait));
	}
	argument.ts = (uint64_t)(uintptr_t)&time;
	return sys_uring_enter(handle->fd, to_submit, wait->min_complete, flags, &argument, sizeof(argument));
}

int uring_enter(const struct io_uring *uring, unsigned to_submit, const struct uring_wait *wait)
{
	const struct uring_handle handle = uring_handle_of(uring);

	return uring_handle_enter(&handle, to_submit, wait);
}
