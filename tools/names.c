/* SPDX-License-Identifier: MIT */
/*
 * Opcodes, errors, kinds and states as words. The opcodes are listed here and not
 * taken from a header, so that a tool built with an old header names new ones.
 */
#include "names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctxring.h"
#include "table_format.h"

static const char *const opcodes[NAMES_OPCODES] = {
	[0] = "NOP",
	[1] = "READV",
	[2] = "WRITEV",
	[3] = "FSYNC",
	[4] = "READ_FIXED",
	[5] = "WRITE_FIXED",
	[6] = "POLL_ADD",
	[7] = "POLL_REMOVE",
	[8] = "SYNC_FILE_RANGE",
	[9] = "SENDMSG",
	[10] = "RECVMSG",
	[11] = "TIMEOUT",
	[12] = "TIMEOUT_REMOVE",
	[13] = "ACCEPT",
	[14] = "ASYNC_CANCEL",
	[15] = "LINK_TIMEOUT",
	[16] = "CONNECT",
	[17] = "FALLOCATE",
	[18] = "OPENAT",
	[19] = "CLOSE",
	[20] = "FILES_UPDATE",
	[21] = "STATX",
	[22] = "READ",
	[23] = "WRITE",
	[24] = "FADVISE",
	[25] = "MADVISE",
	[26] = "SEND",
	[27] = "RECV",
	[28] = "OPENAT2",
	[29] = "EPOLL_CTL",
	[30] = "SPLICE",
	[31] = "PROVIDE_BUFFERS",
	[32] = "REMOVE_BUFFERS",
	[33] = "TEE",
	[34] = "SHUTDOWN",
	[35] = "RENAMEAT",
	[36] = "UNLINKAT",
	[37] = "MKDIRAT",
	[38] = "SYMLINKAT",
	[39] = "LINKAT",
	[40] = "MSG_RING",
	[41] = "FSETXATTR",
	[42] = "SETXATTR",
	[43] = "FGETXATTR",
	[44] = "GETXATTR",
	[45] = "SOCKET",
	[46] = "URING_CMD",
	[47] = "SEND_ZC",
	[48] = "SENDMSG_ZC",
	[49] = "READ_MULTISHOT",
	[50] = "WAITID",
	[51] = "FUTEX_WAIT",
	[52] = "FUTEX_WAKE",
	[53] = "FUTEX_WAITV",
	[54] = "FIXED_FD_INSTALL",
	[55] = "FTRUNCATE",
	[56] = "BIND",
	[57] = "LISTEN",
	[58] = "RECV_ZC",
	[59] = "EPOLL_WAIT",
	[60] = "READV_FIXED",
	[61] = "WRITEV_FIXED",
	[62] = "PIPE",
	[63] = "NOP128",
	[64] = "URING_CMD128",
};

const char *opcode_name(unsigned opcode)
{
	return opcode < NAMES_OPCODES ? opcodes[opcode] : NULL;
}

const char *opcode_text(unsigned opcode, char *buffer, size_t size)
{
	if (opcode_name(opcode))
		return opcode_name(opcode);
	snprintf(buffer, size, "OP_%u", opcode);
	return buffer;
}

const char *errno_text(int error, char *buffer, size_t size)
{
	const char *name = NULL;

	if (error >= -4095 && error <= 4095)
		name = strerrorname_np(error < 0 ? -error : error);
	if (name)
		return name;
	snprintf(buffer, size, "error %d", error);
	return buffer;
}

const char *cause_kind_name(unsigned kind)
{
	switch (kind) {
	case CTX_CAUSE_NONE:
		return "none";
	case CTX_CAUSE_CALL:
		return "call";
	case CTX_CAUSE_DEADLINE:
		return "deadline";
	case CTX_CAUSE_SIGNAL:
		return "signal";
	case CTX_CAUSE_HANGUP:
		return "hang-up";
	case CTX_CAUSE_PROCESS:
		return "process";
	case CTX_CAUSE_PRESSURE:
		return "pressure";
	case CTX_CAUSE_OWNER:
		return "owner died";
	case CTX_CAUSE_SERVICE:
		return "service";
	case CTX_CAUSE_FD:
		return "descriptor";
	default:
		return "unknown";
	}
}

const char *context_kind_name(unsigned kind)
{
	switch (kind) {
	case CTX_TABLE_CANCEL:
		return "cancel";
	case CTX_TABLE_DEADLINE:
		return "deadline";
	case CTX_TABLE_MOVABLE:
		return "movable deadline";
	case CTX_TABLE_VALUE:
		return "value";
	case CTX_TABLE_DETACHED:
		return "detached";
	case CTX_TABLE_MERGED:
		return "merged";
	case CTX_TABLE_JOINED:
		return "joined";
	case CTX_TABLE_SOURCE:
		return "source";
	default:
		return "unknown";
	}
}

const char *state_name(uint32_t state)
{
	if (state & CTX_TABLE_LIVE)
		return "live";
	switch (state & CTX_TABLE_ERRNO) {
	case ECANCELED:
		return "cancelled";
	case ETIME:
		return "expired";
	default:
		return "done";
	}
}
