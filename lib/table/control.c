/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "file_id.h"
#include "sys.h"

static struct ctx_control nobody_records;

struct ctx_control *_Atomic control_shared = &nobody_records;

/* Guarded by the table's lock. */
static int control_fd = -1;
static struct file_id control_file;

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
	int fd = make_memfd();
	void *memory = NULL;

	if (fd < 0)
		return;
	if (sys_mmap(CTX_CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, &memory)) {
		sys_close(fd);
		return;
	}
	struct ctx_control *control = memory;
	atomic_store_explicit(&control->record_until_ns, first_until_ns(), memory_order_relaxed);
	control->magic = CTX_CONTROL_MAGIC;
	control_fd = fd;
	control_file = file_id_of(fd);
	atomic_store_explicit(&control_shared, control, memory_order_release);
}

void control_forget(void)
{
	if (control_fd < 0)
		return;
	if (file_id_matches(control_file, control_fd))
		sys_close(control_fd);
	control_fd = -1;
	munmap(atomic_exchange(&control_shared, &nobody_records), CTX_CONTROL_SIZE);
}

bool control_correct(uint64_t until_ns, uint64_t now_ns)
{
	struct ctx_control *control = atomic_load_explicit(&control_shared, memory_order_relaxed);
	bool over = until_ns <= now_ns;
	uint64_t right = over ? 0 : now_ns + CTX_CONTROL_AHEAD_NS;

	/* Where the recorder has stored another time meanwhile, that one is put right next time. */
	if (until_ns)
		atomic_compare_exchange_strong_explicit(&control->record_until_ns, &until_ns, right,
							memory_order_relaxed, memory_order_relaxed);
	return !over;
}
