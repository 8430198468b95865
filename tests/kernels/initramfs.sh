#!/bin/bash
# SPDX-License-Identifier: MIT
#
# initramfs.sh FILE
#
# Writes a root file system for a virtual machine: the test programs as they were built, what they start, the
# commands that init and they need, and the libraries of all of these.

set -eu
PATH=$PATH:/usr/sbin:/sbin # of ldconfig, which users do not have in theirs
file=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

commands=(bash sh env cat cp chmod mkdir rm mount timeout ip sleep true false kill ls id nproc setarch)

# Files that nothing names as needed: pthread_cancel(3) loads it when it is called.
unnamed_library() {
	ldconfig -p | sed -n 's/.*libgcc_s\.so\.1 .*x86-64.* => //p' | head -n 1
}

libraries_of() {
	ldd "$@" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ :]*\) (.*/\1/p' | sort -u
}

add_program() {
	mkdir -p "$root/$(dirname "$2")"
	strip --strip-debug -o "$root/$2" "$1"
}

add_library() {
	mkdir -p "$root$(dirname "$1")"
	cp -L "$1" "$root$1"
}

# The same places as Debian's: /bin, /sbin and /lib are links into /usr.
mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,proc,sys,dev,tmp,run,etc,root}
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
needed=()
for name in "${commands[@]}"; do
	path=$(type -P "$name")
	cp -L "$path" "$root/usr/bin/$name"
	needed+=("$path")
done
for program in build/tests/check_* build/tests/checks build/tests/roles build/tests/deny_uring build/ctxd; do
	[[ -f $program && -x $program ]] || continue
	if [[ -L $program ]]; then
		mkdir -p "$root/ctxring/build/tests"
		cp -d "$program" "$root/ctxring/$program"
		continue
	fi
	add_program "$program" "ctxring/$program"
	needed+=("$program")
done
while read -r library; do add_library "$library"; done < <(libraries_of "${needed[@]}"; unnamed_library)
cp tests/kernels/init "$root/init"
chmod 755 "$root" "$root/init" # tests become users without rights
(cd "$root" && find . -print0 | cpio --null --create --format=newc --quiet) >"$file"
