/* SPDX-License-Identifier: MIT */
#include "short.h"

#include <stdio.h>
#include <string.h>

#include "terminal.h"

char *top_time_text(uint64_t time_ns, char buffer[16])
{
	uint64_t hundredths = time_ns / 10000000;

	if (time_ns < 1000000000u || hundredths >= 6000)
		return duration_text(time_ns, buffer);
	if (hundredths < 1000)
		snprintf(buffer, 16, "%u.%02us", (unsigned)(hundredths / 100), (unsigned)(hundredths % 100));
	else
		snprintf(buffer, 16, "%u.%us", (unsigned)(hundredths / 100),
			 (unsigned)(hundredths / 10 % 10));
	return buffer;
}

char *top_rate_text(double rate, char buffer[16])
{
	if (rate <= 0)
		strcpy(buffer, "0");
	else if (rate < 99.95)
		snprintf(buffer, 16, rate < 0.05 ? "%.2f" : "%.1f", rate < 0.01 ? 0.01 : rate);
	else if (rate < 9999.5)
		snprintf(buffer, 16, "%.0f", rate);
	else if (rate < 999500)
		snprintf(buffer, 16, "%.0fk", rate / 1e3);
	else if (rate < 1e9)
		snprintf(buffer, 16, "%.1fM", rate / 1e6);
	else
		strcpy(buffer, ">999M");
	return buffer;
}
