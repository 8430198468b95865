#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Library and programs compile for another machine, arm64, when make is told nothing but CC. They are built in a tree of their
# own, build/arm64, and run where qemu-aarch64 can.
#
# The libraries that they link with need not be there for arm64: others take their place, which have the same names as those of
# this machine and no code. Their headers are the same on both machines.
set -eu
cd "$(dirname "$0")/.."
machine=aarch64-linux-gnu
cc=$machine-gcc
out=build/arm64
stubs=$PWD/$out/stubs

skip() {
	echo "$1; make deps-cross installs it"
	exit 77
}
command -v $cc >/dev/null || skip "there is no $cc"
echo '#include <stdio.h>' | $cc -E -x c - >/dev/null 2>&1 || skip "$cc has no C library"

# stub LIBRARY: $stubs/libLIBRARY.so.
stub() {
	local archive
	archive=$(gcc -print-file-name="lib$1.a")
	[ -e "$archive" ] || { echo "there is no $archive to take names from"; exit 77; }
	nm -g --defined-only "$archive" | awk 'BEGIN { print ".text" }
		NF == 3 && !seen[$3]++ { print ".globl " $3 "\n.type " $3 ", %function\n" $3 ":" }
		END { print "\tret" }' >"$stubs/$1.s"
	$cc -shared -nostdlib -Wl,-soname,"lib$1.so" "$stubs/$1.s" -o "$stubs/lib$1.so"
}
mkdir -p "$stubs"
for library in uring jansson elf ncursesw tinfo; do
	stub $library
done
printf 'Name: ncursesw\nDescription: stub\nVersion: 6\nLibs: -lncursesw -ltinfo\n' >"$stubs/ncursesw.pc"
export PKG_CONFIG_LIBDIR=$stubs
unset PKG_CONFIG_PATH PKG_CONFIG LD AR OBJCOPY STRIP READELF CROSS_COMPILE

# cross ARGUMENT...: make with what is the same in each call.
cross() {
	"$MAKE" --no-print-directory OUT=$out CFLAGS='-O1 -g1' LDFLAGS="-L$stubs" "$@"
}
cross -j"$(nproc)" CC=$cc library tools >"$out/log" 2>&1 || { grep -A 3 -E 'error|cannot' "$out/log"; exit 1; }

for file in $out/libctxring.so $out/libctxring.o $out/ctxtool $out/ctxd $out/ctxd-fleet; do
	readelf -h "$file" | grep -q 'Machine: *AArch64' || { echo "$file is not for AArch64"; exit 1; }
done
# The names within the archive are local, as tests/build_exports.sh asks of the one for this machine.
diff -u <($machine-nm -D --defined-only $out/libctxring.so | awk '$2 == "T" { sub("@.*", ""); print $3 }' | sort) \
	<($machine-nm -g --defined-only $out/libctxring.a | awk 'NF == 3 { print $3 }' | sort)

# says WORD ARGUMENT...: whether make would call WORD to make the archive anew.
says() {
	cross "${@:2}" -n -B $out/libctxring.a | grep -q "^$1 " || { echo "make ${*:2} does not call $1"; exit 1; }
}
cross -q CROSS_COMPILE=$machine- library tools || { echo "CROSS_COMPILE=$machine- is not the same as CC=$cc"; exit 1; }
says $machine-ld CC="clang --target=$machine"
says $machine-objcopy CC="ccache $cc"
says my-ld CC=$cc LD=my-ld
AR=my-ar says my-ar CC=$cc
says ld CC=gcc

cross CC=$cc install-strip DESTDIR="$PWD/$out/installed" PREFIX=/usr >/dev/null
! readelf -S $out/installed/usr/bin/ctxtool | grep -q debug_info || { echo "install-strip leaves debugging information"; exit 1; }

how="for AArch64"
if command -v qemu-aarch64 >/dev/null; then
	number=$(sed -n 's/^#define CTXRING_VERSION_M[A-Z]*OR //p' include/ctxring.h | paste -sd.)
	version=$(qemu-aarch64 -L /usr/$machine -E LD_LIBRARY_PATH="$stubs" $out/ctxtool --version)
	[ "$version" = "ctxtool $number" ] || { echo "for AArch64, ctxtool says \"$version\""; exit 1; }
	how="$how, and run"
fi
echo "library and programs are $how"
