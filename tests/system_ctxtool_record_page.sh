#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The page of ctxtool record in a real browser, without a window: it shows the client that left, its batch of 200
# operations, and answers the mouse and the keys. Without a browser the test is skipped: make deps-pictures.

set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{httpd,upstream} $ctxtool
skip_without_uring
command -v python3 >/dev/null || { echo "there is no python3"; exit 77; }

examples/picture.sh "$work/page.html" >"$work/said" 2>&1 || fail "$(<"$work/said")"
python3 tests/support/check_page.py "$work/page.html" "$work/page.png"
