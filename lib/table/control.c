/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "file_id.h"
#include "sys.h"

union control_page control_page __attribute__((aligned(CONTROL_PAGE)));

/* Guarded by the table's lock. */
static int control_fd = -1;
static struct file_id control_file;
static bool inherited; /* the parent's memfd is mapped */

/* Maps fd over the page; -1: memory of this process's own, which is 0. */
static int map_page(int fd)
{
	int flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	void *memory = mmap(&control_page, sizeof(control_page), PROT_READ | PROT_WRITE, flags, fd, 0);

	return memory == MAP_FAILED ? -errno : 0;
}

static int make_memfd(void)
{
	int fd = sys_memfd_create(CTX_CONTROL_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return fd;
	int result = sys_ftruncate(fd, CTX_CONTROL_SIZE);
	/* Nobody can take the page away while this process looks at it. */
	if (!result)
		result = sys_add_seals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (!result)
		return fd;
	sys_close(fd);
	return result;
}

/* The recorder that started this program comes when it has found the table. */
static uint64_t first_until_ns(void)
{
	const char *wish = secure_getenv(CTX_CONTROL_VARIABLE);

	return wish && strcmp(wish, "1") == 0 ? clock_now_ns() + CTX_CONTROL_BEGINNING_NS : 0;
}

void control_make(void)
{
	int fd = -1;

	/* The rest of a larger page would lie over other data. */
	if (sysconf(_SC_PAGESIZE) <= CONTROL_PAGE)
		fd = make_memfd();
	if (fd >= 0 && map_page(fd)) {
		sys_close(fd);
		fd = -1;
	}
	if (fd >= 0) {
		atomic_store_explicit(&control_page.shared.record_until_ns, first_until_ns(),
				      memory_order_relaxed);
		control_page.shared.magic = CTX_CONTROL_MAGIC;
		control_fd = fd;
		control_file = file_id_of(fd);
		inherited = false;
	} else if (inherited) {
		inherited = map_page(-1) != 0;
	}
}

void control_forget(void)
{
	if (control_fd >= 0) {
		if (file_id_matches(control_file, control_fd))
			sys_close(control_fd);
		inherited = true;
	}
	control_fd = -1;
}

bool control_correct(uint64_t until_ns, uint64_t now_ns)
{
	bool over = until_ns <= now_ns;
	uint64_t right = over ? 0 : now_ns + CTX_CONTROL_AHEAD_NS;

	/* Where the recorder has stored another time meanwhile, that one is put right next time. */
	if (until_ns && !inherited)
		atomic_compare_exchange_strong_explicit(&control_page.shared.record_until_ns, &until_ns,
							right, memory_order_relaxed, memory_order_relaxed);
	return !over;
}
