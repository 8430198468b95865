/* SPDX-License-Identifier: MIT */
/* What a client sends. */
#define FROM_SERVICE false
#include "fuzz_wire.h"
