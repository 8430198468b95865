#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh [--full] [VERSION...]
#
# Runs the test programs on other Linux kernels, each in a virtual machine: those of SUBSET, which meet what
# differs between kernels, or with --full all. VERSION is 6.1 or 6.12, default both. `make check-kernels` calls
# it; so does tests/run.sh for its pass `kernels`. What is printed on the console of a machine is kept in
# build/kernels/VERSION.log, and the count of each program in build/kernels/VERSION.totals.
#
# The last line is "N passed, N failed[, N skipped]". Exit 77: nothing could be run, and the last line says why.

set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
SUBSET='check_feature check_ring check_ring_wait check_park_ends check_park_order check_park_registered
	check_blocking_nowait check_taskgroup_ring check_source_backends'
# With no accelerator a processor is emulated, about 8 times slower than the real one.
MACHINE=(-machine q35 -accel "tcg,thread=multi" -smp 2 -m 2G -cpu "max,la57=off" -nodefaults -no-user-config
	-display none -no-reboot)
BOOT='console=ttyS0 panic=-1 quiet loglevel=2 psi=1 random.trust_cpu=on mitigations=off'

out=build/kernels
full=
[[ ${1:-} == --full ]] && { full=1; shift; }
versions=${*:-6.1 6.12}
work=$(mktemp -d)
machine=
stop() { [[ -z $machine ]] || kill "$machine" 2>/dev/null; rm -rf "$work"; }
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

refuse() {
	echo "$1"
	exit 77
}

# One of SUBSET that is not there is planned all the same, and fails.
plan() {
	if [[ -n $full ]]; then
		find build/tests -maxdepth 1 -name 'check_*' -executable ! -type d -printf '%f\n' | sort
	else
		printf '%s\n' $SUBSET
	fi
}

# The plan is an archive of its own behind the root file system: the kernel unpacks one after the other.
pack() {
	"$here/initramfs.sh" "$work/root.cpio" || return 1
	plan >"$work/plan"
	[[ -s $work/plan ]] || return 1
	(cd "$work" && echo plan | cpio --create --format=newc --quiet) >"$work/plan.cpio"
	cat "$work/root.cpio" "$work/plan.cpio" >"$work/initramfs"
}

# boot IMAGE LOG: until it has done its work, or the time is over.
boot() {
	local limit=$([[ -n $full ]] && echo 7200 || echo 900)
	timeout -k 10 "$limit" qemu-system-x86_64 "${MACHINE[@]}" -kernel "$1" -initrd "$work/initramfs" \
		-append "$BOOT" -chardev "file,id=console,path=$2" -serial chardev:console </dev/null >"$work/qemu" 2>&1 {lock}>&- &
	machine=$!
	wait "$machine"
	machine=
}

# count VERSION: from the console to one line a program; what was to run and did not has failed.
count() {
	tr -d '\r' <"$out/$1.log" | sed -n 's/^kernels: \(check_.*\)/\1/p' >"$out/$1.totals"
	if ! grep -q '^kernels: done' "$out/$1.log"; then
		echo "the machine ended before all of it was run: $(cat "$work/qemu" | tail -n 3)"
		echo "the_machine 0 1 0" >>"$out/$1.totals"
	fi
	tr -d '\r' <"$out/$1.log" | grep -vE '^Running suite|^100%: Checks|^kernels: done|sysrq: Resetting$' |
		grep -vE '^kernels: [a-z_]* [0-9]+ 0 0 *$'
}

run() {
	local version=$1 image at=$SECONDS
	if ! image=$("$here/fetch.sh" "$version" 2>"$work/why"); then
		tail -n 1 "$work/why" | tee -a "$work/reason"
		return 77
	fi
	echo "-- kernel ${image##*/vmlinuz-}"
	boot "$image" "$out/$version.log"
	count "$version"
	echo "-- kernel ${image##*/vmlinuz-}: $((SECONDS - at)) s"
}

command -v qemu-system-x86_64 >/dev/null || refuse 'no qemu-system-x86_64 here'
command -v cpio >/dev/null || refuse 'no cpio here'
mkdir -p $out
exec {lock}>$out/lock
flock "$lock" # two runs would write to the same files
pack || refuse 'no root file system could be made for a virtual machine'
counted=()
for version in $versions; do
	rm -f "$out/$version.totals"
	run "$version"
	[[ -e $out/$version.totals ]] && counted+=("$out/$version.totals")
done
[[ ${#counted[@]} -gt 0 ]] || refuse "no kernel could be had: $(tail -n 1 "$work/reason")"
[[ ! -s $work/reason ]] || echo "not run: $(tail -n 1 "$work/reason")"
cat "${counted[@]}" | awk '{ passed += $2; failed += $3; skipped += $4 } END {
	printf "%d passed, %d failed%s\n", passed, failed, skipped ? sprintf(", %d skipped", skipped) : ""
	exit failed > 0 }'
