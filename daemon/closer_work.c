/* SPDX-License-Identifier: MIT */
/*
 * The process of a closer. It is a copy of the service made by clone(2), so only functions that are safe in a
 * signal handler may be called. It shares the service's table of descriptors, so it closes exactly what it is
 * told to.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "closer.h"
#include "table_copy.h"

/* The first descriptor that is not standard input, output or error. */
#define FD_FIRST 3

struct name {
	struct sockaddr_un address;
	socklen_t size;
};

static struct name name_of(int fd)
{
	struct name name = {.size = sizeof(name.address)};

	if (getsockname(fd, (struct sockaddr *)&name.address, &name.size))
		name.size = 0;
	return name;
}

/*
 * Whether fd is a socket with that name. In the service only the sockets of clients have the name of the
 * listener.
 */
static bool is_named(int fd, const struct name *name)
{
	struct name other = name_of(fd);

	return other.size && other.size == name->size &&
	       memcmp(&other.address, &name->address, sizeof(other.address)) == 0;
}

/* The service is dead: hangs up on its clients, also if another process keeps their sockets open. */
static void hang_up_all(int spared, const struct name *name)
{
	struct rlimit limit;
	int end = getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > (1u << 20) ? 1 << 20
										  : (int)limit.rlim_cur;

	for (int fd = FD_FIRST; fd < end; fd++)
		if (fd != spared && is_named(fd, name))
			shutdown(fd, SHUT_RDWR);
}

/* Waits for a job, and for the end of the service. False: the service is gone. */
static bool await_message(const struct closer_setup *setup)
{
	struct pollfd input[2] = {{.fd = setup->jobs, .events = POLLIN},
				  {.fd = setup->service_gone, .events = POLLIN}};

	if (setup->service_gone < 0)
		return true;
	while (poll(input, 2, -1) < 0 && errno == EINTR)
		;
	return !(input[1].revents & POLLIN);
}

_Noreturn void closer_work(const struct closer_setup *setup)
{
	const struct name name = name_of(setup->listener);
	struct closer_message job;

	prctl(PR_SET_NAME, "ctxd-closer");
	/*
	 * A closer that only waits is killed when the service dies. The service's own closer lives until it
	 * has hung up on all clients.
	 */
	if (setup->service_gone < 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setup->service_gone < 0 && getppid() != setup->service)
		_exit(0);
	for (;;) {
		if (!await_message(setup)) {
			hang_up_all(setup->spares_listener ? setup->listener : -1, &name);
			_exit(0);
		}
		if (recv(setup->jobs, &job, sizeof(job), 0) != (ssize_t)sizeof(job))
			_exit(0);
		int32_t result = job.kind == CLOSER_COPY ? table_copy(job.fd, job.bytes_max) : 0;
		close(job.fd);
		if (send(setup->jobs, &result, sizeof(result), MSG_NOSIGNAL) != (ssize_t)sizeof(result))
			_exit(0);
	}
}
