#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fuzz/run.sh SECONDS [TARGET...]: builds the fuzzers and runs each for so long, from its corpus. What is found on the way stays
# in build/fuzz; inputs that crash go to build/fuzz/artifacts, and the exit code is 1. 77: clang has no libFuzzer here.

set -u
cd "$(dirname "$0")/.." || exit
seconds=${1:?seconds}
shift
out=build/fuzz
mkdir -p $out/artifacts
flags=(-g1 -O1 -std=gnu11 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Iinclude
	-Ilib/base -Ilib/table -Ilib/wire -Ilib/core -Ilib/propagate -Idaemon/broker -Idaemon/engine -Idaemon/fleet
	-Idaemon/util -Itools/select -Itools/read -Itools/text)

echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n ? 0 : 0; }' >$out/probe.c
clang -fsanitize=fuzzer,address $out/probe.c -o $out/probe 2>/dev/null || { echo "clang has no libFuzzer here"; exit 77; }

sources_of() {
	case $1 in
	wire_client | wire_service | last_words | fleet_list) echo lib/wire/*.c ;;
	reader) echo tools/read/reader.c tools/read/read_*.c ;;
	carrier) echo lib/propagate/carrier.c lib/propagate/tracestate.c ;;
	fleet_wire) echo lib/wire/*.c lib/base/heap.c lib/base/overflow.c daemon/fleet/*.c daemon/util/{map,hash}.c ;;
	engine_answers) echo lib/wire/*.c daemon/engine/*.c daemon/fleet/id.c ;;
	config) echo lib/wire/*.c daemon/util/config.c daemon/util/log.c ;;
	broker) echo lib/wire/*.c lib/base/heap.c lib/base/overflow.c daemon/broker/*.c daemon/util/*.c ;;
	selection) echo lib/uring/opcode.c tools/select/{pattern,selection_*}.c tools/text/{duration,names,terminal}.c ;;
	*) return 1 ;;
	esac
}

# The engine is built where hiredis is. libFuzzer does not see its coverage.
all=(wire_client wire_service last_words reader config broker carrier fleet_wire fleet_list selection)
hiredis=()
if pkg-config --exists hiredis 2>/dev/null; then
	all+=(engine_answers)
	read -ra hiredis <<<"$(pkg-config --libs hiredis)"
	read -ra headers <<<"$(pkg-config --cflags hiredis)"
	flags+=("${headers[@]}")
fi

# object SOURCE: compiled once for all targets, and again when a source or header is newer. Prints its name.
object() {
	local object=$out/objects/${1%.c}.o
	if [ ! -e "$object" ] || [ -n "$(find include lib daemon tools fuzz -name '*.[ch]' -newer "$object" -print -quit)" ]; then
		mkdir -p "${object%/*}"
		clang "${flags[@]}" -c "$1" -o "$object.part" && mv "$object.part" "$object" || return
	fi
	echo "$object"
}

failed=0
for target in ${*:-"${all[@]}"}; do
	read -ra sources <<<"$(sources_of "$target")" || { echo "no target $target"; exit 2; }
	objects=()
	for source in "fuzz/fuzz_$target.c" "${sources[@]}"; do
		objects+=("$(object "$source")") || exit 1
	done
	clang "${flags[@]}" "${objects[@]}" "${hiredis[@]}" -o "$out/$target" || exit 1
	mkdir -p "$out/corpus/$target"
	log=$out/$target.log
	if "$out/$target" -max_total_time="$seconds" -max_len=16384 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=$out/artifacts/"$target"- "$out/corpus/$target" "fuzz/corpus/$target" >"$log" 2>&1; then
		echo "$target: $(grep -o 'number_of_executed_units: [0-9]*' "$log" | grep -o '[0-9]*$') runs," \
			"$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)"
	else
		tail -n 40 "$log"
		echo "$target: FAILED, the input is in $out/artifacts"
		failed=1
	fi
done
exit $failed
