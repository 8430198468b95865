/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "parts.h"

#define MINUTE_NS (60 * NS_PER_SECOND)

void report_event(struct reports *reports, enum report_kind kind, uint64_t now_ns, enum log_level level,
		  const char *event, const char *format, ...)
{
	char fields[1500];
	va_list arguments;

	if (reports->kinds[kind].logged_ns && now_ns - reports->kinds[kind].logged_ns < MINUTE_NS) {
		reports->kinds[kind].left_out++;
		return;
	}
	va_start(arguments, format);
	vsnprintf(fields, sizeof(fields), format, arguments);
	va_end(arguments);
	if (reports->kinds[kind].left_out)
		log_event(level, event, "%s left_out=%" PRIu64, fields, reports->kinds[kind].left_out);
	else
		log_event(level, event, "%s", fields);
	reports->kinds[kind].logged_ns = now_ns;
	reports->kinds[kind].left_out = 0;
}
