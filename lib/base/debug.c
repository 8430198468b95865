/* SPDX-License-Identifier: MIT */
#include "debug.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys.h"

bool debug_wanted;

/* The reason that debug_leave_reason() has left. format NULL: none. It has no buffer for its text, because it
 * lies in the thread-local memory that a library has from the start, of which there is little. */
static __thread struct {
	const char *format;
	unsigned long first, second;
	int error;
} reason __attribute__((tls_model("initial-exec")));

/* What has been explained: a hash of place and explanation for each, never removed. 0: free. */
#define TOLD_MAX 1024u
static _Atomic uint64_t told[TOLD_MAX];
static _Atomic bool told_full;

void debug_read_environment(void)
{
	const char *setting = secure_getenv("CTXRING_DEBUG");

	for (unsigned i = 0; i < TOLD_MAX; i++)
		atomic_store_explicit(&told[i], 0, memory_order_relaxed);
	atomic_store_explicit(&told_full, false, memory_order_relaxed);
	debug_wanted = setting && !strcmp(setting, "1");
}

__attribute__((constructor(101))) static void read_environment(void)
{
	debug_read_environment();
}

/* ---- lines. They are put together by hand where a signal handler may be running. */

struct line {
	char text[512];
	size_t length;
};

static void add_text(struct line *line, const char *text)
{
	size_t length = strlen(text), room = sizeof(line->text) - 1 - line->length;

	length = length < room ? length : room;
	memcpy(line->text + line->length, text, length);
	line->length += length;
}

static void add_number(struct line *line, uintptr_t number)
{
	char digits[2 + 2 * sizeof(number) + 1];
	char *place = digits + sizeof(digits) - 1;

	*place = '\0';
	do
		*--place = "0123456789abcdef"[number & 15];
	while (number >>= 4);
	*--place = 'x';
	*--place = '0';
	add_text(line, place);
}

static void add_format(struct line *line, const char *format, va_list arguments)
{
	size_t room = sizeof(line->text) - 1 - line->length;
	int length = vsnprintf(line->text + line->length, room, format, arguments);

	if (length > 0)
		line->length += (size_t)length < room ? (size_t)length : room - 1;
}

static void add_formatted(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 0)));
static void add_formatted(struct line *line, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_format(line, format, arguments);
	va_end(arguments);
}

static void write_line(struct line *line)
{
	line->text[line->length++] = '\n'; /* the functions above leave room for it */
	sys_tell(STDERR_FILENO, line->text, line->length);
}

static void add_error(struct line *line, const char *function, int error)
{
	const char *name = error ? strerrorname_np(error < 0 ? -error : error) : NULL;

	add_text(line, "ctxring: ");
	add_text(line, function);
	add_text(line, error < 0    ? " returned -"
		       : error == 0 ? " returned NULL"
				    : " began an operation that will complete with -");
	if (error)
		add_text(line, name ? name : "?");
	add_text(line, ": ");
}

/* Adds where the call is. Where that can be found out, as a place in its file and after its function, which
 * is only known if the file exports it. */
static void add_site(struct line *line, const void *site, bool in_handler)
{
	Dl_info info;

	add_text(line, "; called at ");
	add_number(line, (uintptr_t)site);
	if (in_handler || !dladdr(site, &info) || !info.dli_fname)
		return;
	const char *slash = strrchr(info.dli_fname, '/');
	add_text(line, ", ");
	add_text(line, slash ? slash + 1 : info.dli_fname);
	add_text(line, "+");
	add_number(line, (uintptr_t)site - (uintptr_t)info.dli_fbase);
	if (!info.dli_sname)
		return;
	add_text(line, " in ");
	add_text(line, info.dli_sname);
	add_text(line, "+");
	add_number(line, (uintptr_t)site - (uintptr_t)info.dli_saddr);
}

/* ---- once for each place */

static uint64_t mix(uint64_t value)
{
	value ^= value >> 33;
	value *= 0xff51afd7ed558ccdull;
	value ^= value >> 33;
	value *= 0xc4ceb9fe1a85ec53ull;
	return value ^ value >> 33;
}

/* Notes that this is explained. True: it was not before. When the table is full nothing more is explained. */
static bool note_first(uintptr_t place, const char *explanation, int error)
{
	uint64_t hash = mix(place + mix((uintptr_t)explanation + (unsigned)error)) | 1;

	for (unsigned i = 0; i < TOLD_MAX; i++) {
		_Atomic uint64_t *entry = &told[(hash / 2 + i) % TOLD_MAX];
		uint64_t known = atomic_load_explicit(entry, memory_order_relaxed);
		if (!known && atomic_compare_exchange_strong_explicit(
				      entry, &known, hash, memory_order_relaxed, memory_order_relaxed))
			return true;
		if (known == hash)
			return false;
	}
	if (!atomic_exchange_explicit(&told_full, true, memory_order_relaxed)) {
		struct line line = {.length = 0};
		add_text(&line,
			 "ctxring: there is no room to remember more explanations, so no new ones follow");
		write_line(&line);
	}
	return false;
}

/* ---- explanations */

int debug_leave_reason(int error, const char *format, unsigned long first, unsigned long second)
{
	reason.error = error;
	reason.format = format;
	reason.first = first;
	reason.second = second;
	return error;
}

void debug_change_reason(int error)
{
	reason.error = error;
}

/* Takes the reason that was left for error. NULL: there is none. */
static const char *take_reason(int error)
{
	const char *format = reason.format && reason.error == error ? reason.format : NULL;

	reason.format = NULL;
	return format;
}

int debug_tell(const void *site, const char *function, int error, const char *format, ...)
{
	int saved = errno;
	const char *left = take_reason(error), *explanation = left ? left : format;
	struct line line = {.length = 0};
	va_list arguments;

	if (!note_first((uintptr_t)site, explanation, error))
		return error;
	add_error(&line, function, error);
	if (left) {
		add_formatted(&line, left, reason.first, reason.second);
	} else {
		va_start(arguments, format);
		add_format(&line, format, arguments);
		va_end(arguments);
	}
	add_site(&line, site, false);
	write_line(&line);
	errno = saved;
	return error;
}

int debug_tell_invalid(const void *site, const char *function, const char *otherwise, ...)
{
	const char *name, *missing = NULL;
	va_list arguments;

	va_start(arguments, otherwise);
	while (!missing && (name = va_arg(arguments, const char *)))
		if (!va_arg(arguments, const void *))
			missing = name;
	va_end(arguments);
	if (!missing)
		return debug_tell(site, function, -EINVAL, "%s", otherwise ? otherwise : "Invalid argument");
	/* The name, and not the format, tells explanations apart. */
	reason.format = NULL;
	if (!note_first((uintptr_t)site, missing, 0))
		return -EINVAL;
	int saved = errno;
	struct line line = {.length = 0};
	add_error(&line, function, -EINVAL);
	add_text(&line, "argument ");
	add_text(&line, missing);
	add_text(&line, " is NULL");
	add_site(&line, site, false);
	write_line(&line);
	errno = saved;
	return -EINVAL;
}

int debug_tell_in_handler(const void *site, const char *function, int error, const char *text)
{
	struct line line = {.length = 0};

	if (!note_first((uintptr_t)site, text, error))
		return error;
	add_error(&line, function, error);
	add_text(&line, text);
	add_site(&line, site, true);
	write_line(&line);
	return error;
}

void debug_tell_event(uintptr_t key, const char *format, ...)
{
	int saved = errno;
	struct line line = {.length = 0};
	va_list arguments;

	if (!note_first(key, format, 0))
		return;
	add_text(&line, "ctxring: ");
	va_start(arguments, format);
	add_format(&line, format, arguments);
	va_end(arguments);
	write_line(&line);
	errno = saved;
}
