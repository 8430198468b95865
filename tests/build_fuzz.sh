#!/bin/bash
# SPDX-License-Identifier: MIT
# A second of each fuzzer; `make fuzz` runs them for longer.
cd "$(dirname "$0")/.." || exit
exec fuzz/run.sh 1
