/* SPDX-License-Identifier: MIT */
/* The text forms of the service's calls: ids and errors. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

int ctxd_format_id(struct ctxd_id id, char *buffer, size_t size)
{
	if (!buffer && size)
		return debug_error(-EINVAL, "buffer is NULL and size is not 0");
	return snprintf(buffer, size, "%" PRIx64 "-%" PRIx64, id.epoch, id.number);
}

int ctxd_parse_id(const char *text, struct ctxd_id *ret_id)
{
	struct ctxd_id id;

	if (!text || !ret_id)
		return debug_error(-EINVAL, "the text is no id, or an argument is NULL");
	text = wire_parse_hex(text, &id.epoch);
	if (!text || *text != '-')
		return debug_error(-EINVAL, "the text is no id, or an argument is NULL");
	text = wire_parse_hex(text + 1, &id.number);
	if (!text || *text)
		return debug_error(-EINVAL, "the text is no id, or an argument is NULL");
	*ret_id = id;
	return 0;
}

void client_explain(const void *site, const char *function, int error)
{
	char text[300];

	ctxd_explain(error, text, sizeof(text));
	debug_tell(site, function, error, "%s", text);
}

int ctxd_explain(int error, char *buffer, size_t size)
{
	static const struct {
		int error;
		const char *text;
	} words[] = {
		{ENOENT, "there is no service: its socket does not exist; start ctxd, or name its socket in "
			 "CTXD_SOCKET"},
		{ECONNREFUSED, "there is no service: its socket exists, but no process listens there any "
			       "more; start ctxd again"},
		{EACCES, "this user may not connect to the service; ask who runs it, or start a ctxd of your "
			 "own and name its socket in CTXD_SOCKET"},
		{EPERM, "the process that listens there runs neither as root nor as this user; unset "
			"CTXD_SOCKET, or run this program as that user"},
		{EXDEV, "this process is in another time namespace than the service, so that deadlines would "
			"mean another time; start a ctxd in this namespace"},
		{EPROTONOSUPPORT, "the service speaks another version of the protocol; bring ctxd and the "
				  "library to the same version"},
		{EPROTO,
		 "the process that listens there is not ctxd, or it broke the protocol; check CTXD_SOCKET"},
		{EDQUOT,
		 "a quota of this user is used up; end what is not needed, or raise it, see ctxd.conf(5)"},
		{ETIMEDOUT,
		 "the service did not answer in time; check whether ctxd is stopped or overloaded"},
		{ENOTCONN, "the service has ended or closed the connection; the client tries to connect "
			   "again by itself"},
		{EMFILE, "this process has no file descriptors left; raise RLIMIT_NOFILE (ulimit -n)"},
		{ENFILE, "this system has no file descriptors left; raise sysctl fs.file-max"},
		{EAGAIN, "no thread could be started; raise RLIMIT_NPROC, or pids.max of the cgroup"},
		{ENOMEM, "there is not enough memory; free some, or raise memory.max of the cgroup"},
		{ESHUTDOWN, "the service is shutting down; start ctxd again"},
		{ESTALE,
		 "the id is from before the service was started again; get the new one from the process that "
		 "shares the context"},
		{ENOTSUP,
		 "not supported here: other hosts need fleet_engine in ctxd.conf(5) and ctxd-fleet; to "
		 "cancel by table needs membarrier(2) in that process"},
		{EHOSTUNREACH,
		 "the other host did not answer; check that ctxd-fleet runs on both hosts and that both "
		 "reach the engine: ctxtool fleet"},
	};

	if (!buffer && size)
		return debug_error(-EINVAL, "buffer is NULL and size is not 0");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (words[i].error == -error)
			return snprintf(buffer, size, "%s", words[i].text);
	return snprintf(buffer, size, "%s",
			strerrordesc_np(error < 0 ? -error : error)
				? strerrordesc_np(error < 0 ? -error : error)
				: "unknown error");
}
