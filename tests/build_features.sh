#!/bin/bash
# SPDX-License-Identifier: MIT
# What CTXRING_FEATURES knows, in lib/uring/feature.c, is what man/ctxring.7 says, name by name and kernel by kernel.
set -eu
cd "$(dirname "$0")/.."

known=$(sed -n 's/^\t\[FEATURE_[A-Z_]*\] = {"\([a-z-]*\)", "\([0-9.]*\)".*/\1 \2/p' lib/uring/feature.c)
said=$(sed -n '/^\\fBCTXRING_FEATURES\\fP$/,/^\.SH/s/^\\fB\([a-z\\-]*\)\\fP (\([0-9.]*\))$/\1 \2/p' man/ctxring.7 | tr -d '\\')
[ -n "$known" ] && diff <(echo "$known") <(echo "$said") && echo "$(wc -l <<<"$known") features are as documented"
