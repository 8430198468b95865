# shellcheck shell=bash disable=SC2046,SC2086,SC2154 # names of programs have no blanks
# SPDX-License-Identifier: MIT
#
# What each pass consists of. Sourced by tests/run.sh.

# run_build: the longest come first.
run_build() {
	local at=$SECONDS
	run_some build "$parallel" $(printf '%s\n' tests/build_{cross,warnings,fuzz,install}.sh tests/build_*.sh |
		awk -v named="$named" '!seen[$0]++ && (named || !/build_cross/)')
	echo "-- pass build: $((SECONDS - at)) s"
}

# run_system: three at a time, the longest first, each with processes of its own: what looks at all processes of the machine
# then sees those of no other. Where there are no process name spaces they run one after the other.
run_system() {
	local at=$SECONDS
	run_some system "$([[ -n $apart ]] && echo 3 || echo 1)" $(printf '%s\n' \
		tests/system_{ctxtool_timeout,fleet_demo,ctxtool_completion,fleet_failover,fleet,examples,ctxtool_run,postgres_pool,demo}.sh \
		tests/system_*.sh | awk '!seen[$0]++')
	echo "-- pass system: $((SECONDS - at)) s"
}

# Of no interest to kernels without rings, or with old ones: what has no rings, nor any feature of them. Clients of ctxd have none,
# and in pass normal their services run on each loop.
ringless='/check_(fleet.*|engine.*|bridge.*|forest|wire|config|map|reader.*|tracestate|journal|stem|selection|recording|'
ringless+='top_.*|service_.*)$'

# Those of more than two seconds of a processor in one of their passes, the longest first. So none of them is left to run alone at
# the end.
longest='faults_service faults bridge_limits blocking denied_calls faults_taskgroup service_descriptors blocking_nowait '
longest+='service_bridge service_orders fork_storm journal service_restart growth park_table op_timeout fork service_peers '
longest+='service_rights park_order spawn find park_unseen service_log client_bridge fleet_requests client_bridge_storm service '
longest+='fleet owner harness service_fake faults_park op pthread_cancel engine blocking_results source source_backends '
longest+='chain_contexts engine_liar park service_fleet spawn_start service_load callback_ring'

# longest_first DIRECTORY: the order of the programs that it reads.
longest_first() {
	awk -v directory="$1" -v longest="$longest" '
		{ there[$0]; programs[NR] = $0 }
		END {
			for (count = split(longest, names); ++i <= count; )
				if ((program = directory "/check_" names[i]) in there) {
					print program
					delete there[program]
				}
			for (i = 1; i <= NR; i++)
				if (programs[i] in there)
					print programs[i]
		}'
}

# run_programs PASS DIRECTORY: races alone, for both sides of one want a processor each.
run_programs() {
	local all races at=$SECONDS
	all=$(find "$2" -maxdepth 1 -name 'check_*' -executable ! -type d 2>/dev/null | sort)
	# Those in which calls fail are built where the sanitizers find what that breaks, and are a pass of their own.
	all=$(grep $([[ $1 == faults ]] || echo -v) '/check_faults' <<<"$all")
	races=$(grep -E '/check_race' <<<"$all")
	all=$(grep -vE '/check_race' <<<"$all")
	[[ $1 != denied && $1 != plain ]] || all=$(grep -vE "$ringless" <<<"$all")
	# tests/build_fuzz.sh runs what these test under AddressSanitizer.
	[[ $1 != asan || ! $sanitized_once ]] || all=$(for program in $all; do
		grep -qs TEST_TSAN "tests/${program##*/}.c" || echo "$program"
	done)
	[[ $1 != asan ]] || all=$(grep -vE '/check_(carrier|wire|reader|config|forest|fleet_list)$' <<<"$all")
	run_some "$1" 1 $races
	# Most tests wait most of the time.
	run_some "$1" $((parallel * 5 / 2)) $(longest_first "$2" <<<"$all")
	echo "-- pass $1: $((SECONDS - at)) s"
}

# run_kernels: in the virtual machine, and its counts beside those of the other passes.
run_kernels() {
	local at=$SECONDS log=$results/kernels.log name counts
	if ! "$MAKE" --no-print-directory deps-kernels >"$log" 2>&1; then
		echo "-- pass kernels: not run, for want of packages: $(grep -v '^make' "$log" | tail -n 1)"
		return
	fi
	rm -f build/kernels/6.1.totals
	tests/kernels/run.sh 6.1 >"$log" 2>&1
	if [[ $? == 77 ]]; then
		echo "-- pass kernels: not run: $(tail -n 1 "$log")"
		return
	fi
	cat "$log"
	[[ -s build/kernels/6.1.totals ]] || echo 'the_machine 0 1 0' >build/kernels/6.1.totals
	while read -r name counts; do
		echo "$counts" >"$results/kernels.$name.totals"
		[[ $name != the_machine ]] || cp "$log" "$results/kernels.$name.log"
	done <build/kernels/6.1.totals
	# What each of them printed stands before "-- NAME: N s".
	awk -v results="$results" '/^-- check_[a-z_]*: [0-9]+ s$/ {
		name = substr($2, 1, length($2) - 1)
		print said >(results "/kernels." name ".log")
		print $3 * 1000 " ms: kernels " name >(results "/kernels." name ".time")
		said = ""
		next
	} { said = said $0 "\n" }' "$log"
	echo "-- pass kernels: $((SECONDS - at)) s"
}

# run_soak: ends with the first sanitizer under which something breaks. The storm's own watchdog looks at its
# threads; whatever else hangs ends here.
run_soak() {
	local log=$results/soak.storm variant service status=0 at=$SECONDS
	for variant in asan tsan; do
		[[ $variant == asan ]] && service=build/asan/ctxd || service=build/ctxd
		timeout --foreground -k 10 300 tests/soak.sh build/$variant/tests/storm --service $service 10 >>"$log.log" 2>&1 || status=$?
		[[ $status == 0 ]] || break
	done
	case $status in
	0) echo "1 0 0" ;;
	77) echo "0 0 1 $(tail -n 1 "$log.log")" ;;
	*) echo "0 1 0" ;;
	esac >"$log.totals"
	printf -- '-- soak: %s\n' "$(tail -n 1 "$log.log")"
	echo "$((1000 * (SECONDS - at))) ms: soak storm" >"$log.time"
	echo "-- pass soak: $((SECONDS - at)) s"
}
