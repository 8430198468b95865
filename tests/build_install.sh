#!/bin/bash
# SPDX-License-Identifier: MIT
# An installed copy is usable: README's example in C and a program in C++, found by
# pkg-config, linked with the shared and with the static library, run. Uninstalling
# leaves no file. Units wait until ctxd says that it is ready only if ctxd was built to say so.
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

# The program in C++ is a client of the service of the copy.
export CTXD_SOCKET=$work/ctxd.sock
LD_LIBRARY_PATH=$work/root/usr/lib "$work/root/usr/bin/ctxd" --socket="$CTXD_SOCKET" 2>"$work/ctxd.err" &
service=$!
trap 'kill "$service" 2>/dev/null; wait "$service" || true; rm -rf "$work"' EXIT
until grep -q event=start "$work/ctxd.err"; do
	kill -0 "$service" || { cat "$work/ctxd.err"; exit 1; }
	sleep 0.02
done

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

units=(lib/systemd/system/ctxd.service lib/systemd/system/ctxd-fleet.service lib/systemd/user/ctxd.service)
type=simple
! readelf -d "$work/root/usr/bin/ctxd" | grep -q 'NEEDED.*libsystemd' || type=notify
# One whose program names no library is as if built without.
"$MAKE" --no-print-directory install DESTDIR="$work/without" PREFIX=/usr READELF=echo >/dev/null
for unit in "${units[@]}"; do
	grep -qx "Type=$type" "$work/root/usr/$unit" || { echo "$unit is not of type $type"; exit 1; }
	grep -qx Type=simple "$work/without/usr/$unit" || { echo "$unit waits for a message that this ctxd never sends"; exit 1; }
done

# man(1) finds each function of the library, without an index.
man3=$work/root/usr/share/man/man3 pages=0
for name in $(nm -D --defined-only "$work/root/usr/lib/libctxring.so" | sed -n 's/.* T \(ctx[a-z0-9_]*\)@.*/\1/p'); do
	[ -e "$man3/$name.3" ] || { echo "no page is found for $name"; exit 1; }
	leads=$(sed -n 's/^\.so man3\///p' "$man3/$name.3")
	[ -z "$leads" ] || grep -q "\b$name\b" "$man3/$leads" || { echo "the page of $name leads to $leads"; exit 1; }
	pages=$((pages + 1))
done
[ $pages -gt 90 ]

# The loader is told of a library that is installed for this system, and of nothing else.
printf '#!/bin/sh\necho told >>"%s/told"\n' "$work" >"$work/ldconfig"
chmod 755 "$work/ldconfig"
"$MAKE" --no-print-directory install DESTDIR="$work/packaged" PREFIX=/usr LDCONFIG="$work/ldconfig" >/dev/null
[ ! -e "$work/told" ] || { echo "ldconfig was run for a package"; exit 1; }
"$MAKE" --no-print-directory install PREFIX="$work/here" LDCONFIG="$work/ldconfig" >"$work/said"
if [ "$(id -u)" = 0 ]; then
	[ -e "$work/told" ] || { echo "ldconfig was not run"; exit 1; }
else
	grep -q ldconfig "$work/said" || { echo "make install does not mention ldconfig"; exit 1; }
fi
"$MAKE" --no-print-directory uninstall PREFIX="$work/here" LDCONFIG="$work/ldconfig" >/dev/null
left=$(find "$work/here" ! -type d)
[ -z "$left" ] || { echo "uninstall left $left"; exit 1; }
if [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then
	# In /usr/local, as it is by default: programs start at once.
	cat >"$work/local" <<'END'
set -eu
mount -t tmpfs none /usr/local
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
"$MAKE" --no-print-directory install >/dev/null
export PKG_CONFIG_PATH=/usr/local/lib/pkgconfig
unset PKG_CONFIG_SYSROOT_DIR
gcc -std=gnu11 "$1/minimal.c" -o "$1/local-program" $(pkg-config --cflags --libs ctxring)
"$1/local-program"
END
	unshare --mount bash "$work/local" "$work" || { echo "a program does not start after make install"; exit 1; }
fi

"$MAKE" --no-print-directory uninstall DESTDIR="$work/root" PREFIX=/usr >/dev/null
left=$(find "$work/root" ! -type d)
[ -z "$left" ] || { echo "uninstall left $left"; exit 1; }
echo "installed copy: ${#sources[@]} programs, shared and static"
