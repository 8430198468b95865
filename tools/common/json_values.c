/* SPDX-License-Identifier: MIT */
#include "json_values.h"

#include "names.h"
#include "terminal.h"

json_t *number_json(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *escaped_json(const char *text)
{
	char buffer[4096];

	return json_string(escape(text, buffer, sizeof(buffer)));
}

json_t *escaped_or_null(const char *text)
{
	return text[0] ? escaped_json(text) : json_null();
}

json_t *error_or_null(int error)
{
	char name[40];

	return error ? json_string(errno_text(error, name, sizeof(name))) : json_null();
}
