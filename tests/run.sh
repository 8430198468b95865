#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs every test in every pass and sums up. `make check` calls it; so may you, from
# the top of the tree, with the names of passes as arguments:
#
#   normal   tests/check_*.c as they are
#   asan     under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer; without those of the pass tsan, unless the passes
#            are named: all passes together are to take less than 20 minutes
#   tsan     those that say TEST_TSAN, under ThreadSanitizer
#   denied   with io_uring_setup(2) forbidden by seccomp: ring tests are skipped there
#   plain    with every optional kernel feature switched off; as in the pass before, without programs that have no rings
#   faults   tests/check_faults*.c, in the tree of asan: the k-th system call or allocation fails
#   build    tests/build_*.sh: compilers, installed copy, exports, includes; build_cross.sh, which compiles library and programs for
#            another machine, only if the passes are named
#   system   tests/system_*.sh: the real programs
#   kernels  some of tests/check_*.c on Debian 12's own kernel, in a virtual machine: tests/kernels. Where that
#            cannot be had it says why, and counts nothing.
#   soak     twenty seconds of the random storm of make soak, half of them under each sanitizer; counts as one test
#
# A script exits with 0 (passed), 77 (skipped, the reason is its last line) or anything
# else (failed). With CI set, a skip is a failure, but for the passes denied and
# kernels, and for those that need a cross compiler, a browser or PostgreSQL.
# The last line is "N passed, N failed", or "N passed, N failed, N skipped".

set -u
cd "$(dirname "$0")/.." || exit
named=$*
# Set where all passes run: what runs under ThreadSanitizer does not run under AddressSanitizer, too.
sanitized_once=$([[ $named ]] || echo 1)
passes=${*:-normal asan tsan denied plain faults build kernels system soak}
results=build/results
parallel=$(nproc)
export MAKE=${MAKE:-make}
unset MAKEFLAGS MFLAGS MAKELEVEL
rm -rf $results
mkdir -p $results/bin
started=$SECONDS
# The python3 of pyenv(1) is a script, which takes a second to find the real one.
[[ ! -x /usr/bin/python3 ]] || ln -s /usr/bin/python3 $results/bin
PATH=$PWD/$results/bin:$PATH

runs() { [[ " $passes " == *" $1 "* ]]; }

. tests/run/one.sh    # runs a test program or a script, and several at a time
. tests/run/passes.sh # what each pass consists of
. tests/run/behind.sh # what is compiled meanwhile

if runs normal || runs denied || runs plain || runs kernels || runs system || runs soak; then
	build normal TOGETHER=1 all tests
	await_built normal
fi
set -m # a process group of its own, which can be ended as a whole
run_behind &
behind=$!
set +m
trap '[[ -z $behind ]] || kill -- -"$behind" 2>/dev/null' EXIT
for pass in normal denied plain; do
	runs $pass && run_programs $pass build/tests
done
runs asan && await_built asan && run_programs asan build/asan/tests
runs tsan && await_built tsan && run_programs tsan build/tsan/tests
runs faults && await_built asan && run_programs faults build/asan/tests
runs system && run_system
runs kernels && run_kernels
runs soak && await_built soak_asan && await_built soak_tsan && run_soak
while kill -0 "$behind" 2>/dev/null; do
	set_policy --other
	sleep 0.2
done
behind=

. tests/run/total.sh  # what is printed at the end; its last command is the status of all
