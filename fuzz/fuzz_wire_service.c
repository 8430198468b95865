/* SPDX-License-Identifier: MIT */
/* Fuzzes what the service reads: messages from a client. */
#define FROM_SERVICE false
#include "fuzz_wire.h"
