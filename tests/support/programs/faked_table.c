/* SPDX-License-Identifier: MIT */
/*
 * A process that shows a context table made by hand, for tests of ctxtool:
 *
 *	faked_table MODE [COUNT]
 *
 * Prints "ready PORT" when the table stands, PORT being that of a listening socket that its
 * first operation names; then waits until standard input is closed.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/table_writer.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#define SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static const char *mode;
static struct made_table table;
static int table_fd;

static int is(const char *name)
{
	return strcmp(mode, name) == 0;
}

static void check(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int listen_somewhere(unsigned *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check(fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, 1) == 0 &&
		      getsockname(fd, (struct sockaddr *)&address, &length) == 0,
	      "socket");
	*ret_port = ntohs(address.sin_port);
	return fd;
}

/* many: COUNT contexts; deep: each the child of the one before. */
static void fill_many(uint32_t count)
{
	table = made_table_begin(table.bytes, count + 1, 1, 1, 1, getpid(), now_ns());
	for (uint32_t slot = 1; slot <= count; slot++)
		made_table_add_context(&table, slot,
				       slot == 1    ? 0
				       : is("deep") ? slot - 1
						    : 1,
				       "one of many", now_ns());
}

static void fill(unsigned *ret_port)
{
	struct ctx_table_header *header;

	table = made_table_sample(table.bytes, getpid(), now_ns());
	header = made_table_header(&table);
	made_table_operation(&table, 1)->fd = listen_somewhere(ret_port);
	if (is("newer"))
		header->version = CTX_TABLE_VERSION + 1;
	if (is("unfinished"))
		header->magic = 0;
	if (is("foreign"))
		header->pid = 1;
	if (is("garbage"))
		memset(table.bytes, 0xa5, table.size);
	if (is("truncated"))
		header->contexts.count = 1000000;
	if (is("hostile")) {
		strcpy(made_table_context(&table, 2)->label, "\033]0;owned\007\xff\n\xe2\x80\xae");
		made_table_context(&table, 1)->parent_slot = 1;
		made_table_context(&table, 1)->parent_generation = 1;
		made_table_operation(&table, 2)->opcode = 250;
	}
}

/* The process as a whole takes one of its odd forms. */
static void transform(void)
{
	if (is("closed"))
		close(table_fd);
	if (is("undumpable")) {
		prctl(PR_SET_NAME, "ctx-timer");
		prctl(PR_SET_DUMPABLE, 0);
	}
	/* The child shows the parent's descriptor and not its mapping. */
	if (is("forked")) {
		check(madvise(table.bytes, table.size, MADV_DONTFORK) == 0, "madvise");
		if (fork() == 0) {
			while (getppid() != 1 && read(STDIN_FILENO, &(char){0}, 1) > 0)
				;
			_exit(0);
		}
	}
}

static uint64_t processor_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/*
 * A table that is being made: it has no seals for a moment, in which the process does not sleep, as one that
 * makes its table does not; then it has them, and then comes the next one. Until standard input is closed.
 */
static void keep_beginning(size_t size)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	for (unsigned round = 0; !(input.revents & POLLHUP); round++) {
		int fd = memfd_create(CTX_TABLE_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
		check(fd >= 0 && ftruncate(fd, (off_t)size) == 0, "memfd");
		void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		check(bytes != MAP_FAILED, "mmap");
		made_table_sample(bytes, getpid(), now_ns());
		for (uint64_t end_ns = processor_ns() + 1000000; processor_ns() < end_ns;)
			;
		check(fcntl(fd, F_ADD_SEALS, SEALS) == 0, "seals");
		poll(&input, 1, 2 + (int)(round % 5)); /* never in step with one who looks */
		munmap(bytes, size);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	uint32_t count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	size_t size = count ? made_table_size(count + 1, 1, 1, 1)
			    : made_table_size(MADE_SAMPLE_CONTEXTS, MADE_SAMPLE_OPERATIONS,
					      MADE_SAMPLE_CAUSES, MADE_SAMPLE_RINGS);
	unsigned port = 0;

	if (argc < 2)
		return 2;
	mode = argv[1];
	table_fd = memfd_create(CTX_TABLE_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	check(table_fd >= 0 && ftruncate(table_fd, (off_t)size) == 0, "memfd");
	table.bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, table_fd, 0);
	check(table.bytes != MAP_FAILED, "mmap");
	if (!is("unsealed"))
		check(fcntl(table_fd, F_ADD_SEALS, SEALS) == 0, "seals");
	if (count)
		fill_many(count);
	else
		fill(&port);
	transform();
	printf("ready %u\n", port);
	fflush(stdout);
	if (is("beginning"))
		keep_beginning(size);
	while (read(STDIN_FILENO, &(char){0}, 1) > 0)
		;
	if (is("crash"))
		abort();
	if (is("forked"))
		wait(NULL);
	return 0;
}
