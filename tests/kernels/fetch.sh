#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fetch.sh 6.1|6.12
#
# Prints the path of a Linux of Debian's, its newest one of that line, and keeps it under build/kernels. The
# package is downloaded and unpacked there, never installed: 6.1 is Debian 12's own, 6.12 is in its backports
# and in Debian 13. Where the machine's own lists of packages do not have it, lists of its own are fetched, from
# the same place and also below build/kernels; the machine's are left alone.
# Exit 77: it cannot be had, with the reason as the last line.

set -u
cd "$(dirname "$0")/../.."
version=$1
kept=$PWD/build/kernels/$version
apt_root=$PWD/build/kernels/apt
flavour=cloud-amd64 # the smallest; without a module it has all that the tests need

refuse() {
	echo "Linux $version: $1"
	exit 77
} >&2

image() {
	find "$kept" -name 'vmlinuz-*' 2>/dev/null | sort -V | tail -n 1
}

# The address of the archive that the machine's own lists came from, else Debian's.
archive() {
	local own
	own=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n 's/^Debian //p' | grep -E "$1" | head -n 1)
	echo "${own:-$2}"
}

write_sources() {
	local debian security signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
	debian=$(archive '/debian/?$' http://deb.debian.org/debian)
	security=$(archive 'security/?$' http://deb.debian.org/debian-security)
	case $version in
	6.1) echo "deb $signed $security bookworm-security main" ;;
	6.12)
		echo "deb $signed $debian bookworm-backports main"
		echo "deb $signed $security trixie-security main"
		;;
	esac >"$apt_root/sources.list"
}

use_own_lists() {
	mkdir -p "$apt_root/lists/partial" "$apt_root/cache/archives/partial"
	write_sources
	own=(-o Dir::Etc::SourceList="$apt_root/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists="$apt_root/lists" -o Dir::Cache="$apt_root/cache")
	apt_log=$(apt-get "${own[@]}" "${common[@]}" update 2>&1)
}

# The newest that the lists know, if any.
package() {
	apt-cache "${own[@]}" search --names-only "^linux-image-$version\.[0-9].*-$flavour\$" |
		cut -d ' ' -f 1 | sort -V | tail -n 1
}

download() {
	local name
	name=$(package)
	[[ -n $name ]] || return 1
	apt_log=$(cd "$kept" && apt-get "${own[@]}" "${common[@]}" download "$name" 2>&1)
}

[[ $(uname -m) == x86_64 ]] || refuse "the kernels that are fetched are for x86_64, and this is $(uname -m)"
[[ -n $(image) ]] && { image; exit 0; }
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || refuse 'no apt-get and dpkg-deb here'
rm -rf "$kept"
mkdir -p "$kept"
own=() common=(-qq -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o APT::Sandbox::User=root) apt_log=
if ! download; then
	use_own_lists
	download || refuse "no package linux-image-$version.*-$flavour can be downloaded: ${apt_log:-no list has it}"
fi
for archive in "$kept"/*.deb; do
	dpkg-deb -x "$archive" "$kept/unpacked" && mv "$kept"/unpacked/boot/vmlinuz-* "$kept" || refuse "$archive is broken"
	rm -rf "$kept/unpacked" "$archive"
done
[[ -n $(image) ]] || refuse 'the package has no kernel'
image
