#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The folders of lib/, tools/ and daemon/ depend downwards only. The Makefile lists those of lib/, lowest first, and for each
# the folders that it may use (USES_name). The compiler finds no other headers; this test asks the same of calls and
# variables, which need no header: a symbol that the objects of a folder leave undefined is defined by no folder
# outside its list.
set -eu
cd "$(dirname "$0")/.."
objects=build/lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

uses() {
	sed -n "s/^USES_$1 := //p" Makefile
}

folders=$(sed -n 's/^LIB_FOLDERS := //p' Makefile)
[ "$(tr ' ' '\n' <<<"$folders" | sort)" = "$(find lib -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)" ] ||
	{ echo "LIB_FOLDERS of the Makefile names other folders than there are in lib/"; exit 1; }
same=$(find lib -name '*.c' -printf '%f\n' | sort | uniq -d)
[ -z "$same" ] || { echo "an archive holds one object of a name: $same"; exit 1; }

for folder in $folders; do
	nm -o --defined-only --extern-only $objects/"$folder"/*.o | awk -v folder="$folder" '{print $NF, folder}'
done >"$work/defined"

bad=0 below=
for folder in $folders; do
	for used in $(uses "$folder"); do
		[[ " $below " == *" $used "* ]] || { echo "USES_$folder names $used, which does not stand before it"; bad=1; }
	done
	below="$below $folder"
	nm -o --undefined-only $objects/"$folder"/*.o |
		awk -v allowed=" $folder $(uses "$folder") " '
			NR == FNR { folder_of[$1] = $2; next }
			($NF in folder_of) && !index(allowed, " " folder_of[$NF] " ") {
				split($1, file, ":")
				print file[1] " uses " $NF " of lib/" folder_of[$NF]
			}' "$work/defined" - >"$work/wrong"
	[ ! -s "$work/wrong" ] || { cat "$work/wrong"; bad=1; }
done

# uses_of_lib FOLDER ALLOWED...: what a folder uses of other folders of lib/.
uses_of_lib() {
	awk -v allowed=" ${*:2} " 'NR == FNR { if (!index(allowed, " " $2 " ")) defined[$1] = 1; next } ($NF in defined) { print }' \
		"$work/defined" <(objects_in "$1" | xargs nm -o --undefined-only)
}

# The same of tools/: the commands use all four folders, common/ uses select/, read/ and text/, select/ uses read/ and text/,
# read/ uses text/; record/, which one command uses, uses read/ and text/. Only objects of files that are there. And the same of daemon/, whose own files use broker/ and util/, while broker/ uses util/.
objects_in() {
	find "$@" -maxdepth 1 -name '*.c' | sed 's|^|build/|; s|c$|o|'
}
upward() {
	awk 'NR == FNR { defined[$NF] = 1; next } ($NF in defined) { print }' \
		<(objects_in "${@:2}" | xargs nm -o --defined-only --extern-only) \
		<(objects_in "$1" | xargs nm -o --undefined-only)
}
wrong=$(upward tools/text tools/read tools/select tools/common tools/top tools
	upward tools/read tools/select tools/common tools/top tools; upward tools/select tools/common tools/top tools
	upward tools/common tools/top tools; upward tools/top tools
	upward tools/record tools/select tools/common tools/top tools
	upward tools/read tools/record; upward tools/common tools/record)
wrong+=$(upward daemon/util daemon/broker daemon/fleet daemon; upward daemon/broker daemon; upward daemon daemon/fleet daemon/bridge)
[ -z "$wrong" ] || { echo "a call goes upwards in tools/ or daemon/:"; echo "$wrong"; bad=1; }
# daemon/fleet/ uses daemon/util, and base and wire of lib/.
wrong=$(upward daemon/fleet daemon/broker daemon daemon/engine daemon/bridge
	uses_of_lib daemon/fleet base wire)
[ -z "$wrong" ] || { echo "daemon/fleet/ uses what it may not:"; echo "$wrong"; bad=1; }
# daemon/engine/ uses headers of daemon/fleet/, and base and wire of lib/. Without hiredis it is not built.
if [ -e build/libctxd-engine-internal.a ]; then
	wrong=$(upward daemon/engine daemon/broker daemon/util daemon daemon/bridge
		uses_of_lib daemon/engine base wire
		nm -o --undefined-only $(objects_in daemon/engine) | grep ' U fleet_' || true)
	[ -z "$wrong" ] || { echo "daemon/engine/ uses what it may not:"; echo "$wrong"; bad=1; }
	wrong=$(nm -o --undefined-only $(find build/daemon build/tools -name '*.o') | grep ' U redis' | grep -v /daemon/engine/ || true)
	[ -z "$wrong" ] || { echo "another folder than daemon/engine/ uses hiredis:"; echo "$wrong"; bad=1; }
fi
[ $bad = 0 ] && echo "the folders of lib/, tools/ and daemon/ depend downwards only"
