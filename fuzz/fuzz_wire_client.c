/* SPDX-License-Identifier: MIT */
/* Fuzzes what a client reads: messages from the service. */
#define FROM_SERVICE true
#include "fuzz_wire.h"
