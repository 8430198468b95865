#!/bin/bash
# SPDX-License-Identifier: MIT
# A few seconds of each fuzzer; `make fuzz` runs them for longer.
cd "$(dirname "$0")/.." || exit
exec fuzz/run.sh 2
