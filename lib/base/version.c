/* SPDX-License-Identifier: MIT */
#include "ctxring.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

const char *ctx_version(void)
{
	return TEXT(CTXRING_VERSION_MAJOR) "." TEXT(CTXRING_VERSION_MINOR);
}
