/* SPDX-License-Identifier: MIT */
/* What the service sends. */
#define FROM_SERVICE true
#include "fuzz_wire.h"
