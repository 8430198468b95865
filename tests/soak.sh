#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the storm as its sanitizer needs it: soak.sh PROGRAM ARGUMENT...

export ASAN_OPTIONS=detect_stack_use_after_return=1:${ASAN_OPTIONS:-}
export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-}
export TSAN_OPTIONS=suppressions=${0%.sh}/tsan.suppressions:halt_on_error=1:die_after_fork=0:atexit_sleep_ms=0:second_deadlock_stack=1:${TSAN_OPTIONS:-}
# Address space randomised by more bits than ThreadSanitizer copes with.
case $1 in
*/tsan/*) exec setarch "$(uname -m)" -R "$@" ;;
esac
exec "$@"
