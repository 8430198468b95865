# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: MIT
#
# What is printed at the end: times, skips, failures, and the sum. Sourced by tests/run.sh.

echo "slowest:"
sort -rn "$results"/*.time | head -n 10 | sed 's/^/  /'
passed=0 failed=0 skipped=0 denied_skips=0 bad_skips=0 broken=()
for file in "$results"/*.totals; do
	[[ -e $file ]] || continue
	read -r p f s reason <"$file"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	run=$(basename "$file" .totals)
	[[ $f -gt 0 ]] && broken+=("$run")
	case $run in
	denied.*) denied_skips=$((denied_skips + s)) ;;
	*) [[ $s -gt 0 ]] && echo "skipped: $run: $s: $reason" ;;&
	kernels.*) ;;                         # what another kernel does not have
	build.build_cross) ;;                 # what needs a compiler that make check does not install
	system.system_ctxtool_record_page) ;; # what needs a browser, which make check installs where it can
	system.system_postgres_pool) ;;       # what needs a server that make check does not install
	*) bad_skips=$((bad_skips + s)) ;;
	esac
done
[[ $denied_skips -gt 0 ]] && echo "skipped: denied: $denied_skips: ring tests, for this pass forbids io_uring"
if [[ -n ${CI:-} && $bad_skips -gt 0 ]]; then
	echo "CI is set: $bad_skips skipped tests count as failed"
	failed=$((failed + bad_skips)) skipped=$((skipped - bad_skips))
fi
[[ $((passed + failed)) -gt 0 ]] || failed=1
# What went wrong stands at the end: often the end of a log is all that is left of it.
for run in "${broken[@]}"; do
	echo "FAILED: $run, see $results/$run.log, which says:"
	{ grep -E ':[FE]:|ERROR: |SUMMARY: |WARNING: Thread|runtime error:' "$results/$run.log" || tail -n 20 "$results/$run.log"; } | head -n 20 | sed 's/^/  /'
done
echo "took $((SECONDS - started)) s"
if [[ $skipped -gt 0 ]]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[[ $failed == 0 ]]
