/* SPDX-License-Identifier: MIT */
#include "write.h"

void write_string(FILE *to, const char *escaped_text)
{
	putc('"', to);
	for (const char *at = escaped_text; *at; at++) {
		if (*at == '<')
			fputs("\\u003c", to);
		else if (*at == '"' || *at == '\\') {
			putc('\\', to);
			putc(*at, to);
		} else {
			putc(*at, to);
		}
	}
	putc('"', to);
}

void write_text(FILE *to, const struct recording *recording, uint32_t text)
{
	write_string(to, recorded_text(recording, text));
}
