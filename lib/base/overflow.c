/* SPDX-License-Identifier: MIT */
#include "overflow.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "sys.h"

#define OVERFLOW_DEFAULT 65534u
/* How many uids there are: 32 bits, without the last number, which means none. */
#define ALL 4294967295u

/* Reads as much of a file of /proc as text has room for, and adds a NUL. "" where it cannot be read. */
static void read_file(const char *path, char *text, size_t size)
{
	int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	int length = fd < 0 ? fd : sys_read(fd, text, size - 1);

	if (fd >= 0)
		sys_close(fd);
	text[length > 0 ? length : 0] = '\0';
}

/* True when a map, whose lines are "FIRST OUTSIDE COUNT", covers all numbers. Lines do not overlap, so their
 * counts are added up. */
static bool maps_all(const char *path)
{
	char text[4096], *at = text, *end;
	uint64_t sum = 0;

	read_file(path, text, sizeof(text));
	for (int field = 0;; field++, at = end) {
		uint64_t number = strtoull(at, &end, 10);
		if (end == at)
			return sum >= ALL;
		if (field % 3 == 2)
			sum += number;
	}
}

static uint32_t overflow_id(const char *setting, const char *map)
{
	char text[32], *end;

	if (maps_all(map))
		return UINT32_MAX;
	read_file(setting, text, sizeof(text));
	unsigned long number = strtoul(text, &end, 10);
	return end == text ? OVERFLOW_DEFAULT : (uint32_t)number;
}

uid_t overflow_uid(void)
{
	return overflow_id("/proc/sys/kernel/overflowuid", "/proc/self/uid_map");
}

gid_t overflow_gid(void)
{
	return overflow_id("/proc/sys/kernel/overflowgid", "/proc/self/gid_map");
}
