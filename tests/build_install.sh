#!/bin/bash
# SPDX-License-Identifier: MIT
# An installed copy is usable: README's example in C and a program in C++, found by
# pkg-config, linked with the shared and with the static library, run. Uninstalling
# leaves no file. Units wait for readiness exactly if ctxd was built to tell it.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$MAKE" --no-print-directory -j"$(nproc)" install DESTDIR="$work/root" PREFIX=/usr >/dev/null

# The paths inside ctxring.pc are those of the final place: the sysroot puts the copy in front.
export PKG_CONFIG_PATH=$work/root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
cflags=$(pkg-config --cflags ctxring)
shared=$(pkg-config --libs ctxring)
# Only our own library from the archive: libc stays shared.
private=$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --libs --static liburing)
static="$work/root/usr/lib/libctxring.a $private -pthread"
[ "$(pkg-config --modversion ctxring)" = "$(sed -n 's/^VERSION = *//p' /dev/null; \
	sed -n 's/^#define CTXRING_VERSION_M[A-Z]*OR //p' include/ctxring.h | paste -sd.)" ]

cat >"$work/minimal.c" <<'END'
#include <ctxring.h>
int main(void)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	return ctx_with_cancel(ctx_background(), "installed", &ctx) || ctx_cancel(ctx) || !ctx_err(ctx);
}
END
sources=("$work/minimal.c")
if [ -e README.md ]; then
	awk '/^```c$/ {inside = 1; next} /^```/ {if (inside) exit} inside' README.md >"$work/readme.c"
	[ -s "$work/readme.c" ] || { echo "README.md has no example in C"; exit 1; }
	sources+=("$work/readme.c")
fi
cp tests/support/raii.cc "$work/raii.cc"
sources+=("$work/raii.cc")

warnings="-Wall -Wextra -Werror"
for source in "${sources[@]}"; do
	case $source in
	*.cc) compilers="g++ clang++" standard=-std=c++17 ;;
	*) compilers="gcc clang" standard=-std=gnu11 ;;
	esac
	for compiler in $compilers; do
		$compiler $standard $warnings $cflags "$source" -o "$work/with-shared" $shared -luring
		$compiler $standard $warnings $cflags "$source" -o "$work/with-static" $static
		LD_LIBRARY_PATH=$work/root/usr/lib timeout 20 "$work/with-shared" </dev/null
		timeout 20 "$work/with-static" </dev/null
		readelf -d "$work/with-shared" | grep -q 'libctxring\.so\.[0-9]*\]'
		! readelf -d "$work/with-static" | grep -q libctxring
	done
done

units=(lib/systemd/system/ctxd.service lib/systemd/user/ctxd.service)
type=simple
! readelf -d "$work/root/usr/bin/ctxd" | grep -q 'NEEDED.*libsystemd' || type=notify
# One whose program names no library is as if built without.
"$MAKE" --no-print-directory install DESTDIR="$work/without" PREFIX=/usr READELF=echo >/dev/null
for unit in "${units[@]}"; do
	grep -qx "Type=$type" "$work/root/usr/$unit" || { echo "$unit is not of type $type"; exit 1; }
	grep -qx Type=simple "$work/without/usr/$unit" || { echo "$unit waits for what never comes"; exit 1; }
done

"$MAKE" --no-print-directory uninstall DESTDIR="$work/root" PREFIX=/usr >/dev/null
left=$(find "$work/root" ! -type d)
[ -z "$left" ] || { echo "uninstall left $left"; exit 1; }
echo "installed copy: ${#sources[@]} programs, shared and static"
