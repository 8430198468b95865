#!/bin/bash
# SPDX-License-Identifier: MIT
#
# No circle of files in lib/, tools/ and daemon/: a file does not, by way of others, call itself. What is called from
# below and what calls upwards stand in files of their own. An edge is a symbol that one object leaves undefined and
# another one defines, so calls and variables count, and headers do not. Every circle is listed with the symbols that
# close it.
set -eu
cd "$(dirname "$0")/.."

# edges OBJECT...: "from to symbol", by the names of the objects.
edges() {
	nm -A "$@" | awk '
		{ split($1, file, ":"); name = file[1]; sub(".*/", "", name); sub("[.]o$", "", name); type = $(NF - 1) }
		type == "U" { wanted[++count] = name " " $NF; next }
		NF == 3 && type ~ /[TDBRVWC]/ { definer[$NF] = name }
		END {
			for (i = 1; i <= count; i++) {
				split(wanted[i], want, " ")
				if ((want[2] in definer) && definer[want[2]] != want[1])
					print want[1], definer[want[2]], want[2]
			}
		}'
}

# A file that no other of those left needs is in no circle, nor is one that needs none: take them away while there are any.
circles() {
	awk '
		{ from[NR] = $1; to[NR] = $2; line[NR] = $0 }
		END {
			do {
				split("", outgoing); split("", incoming); removed = 0
				for (i in line) { outgoing[from[i]]++; incoming[to[i]]++ }
				for (i in line)
					if (!(to[i] in outgoing) || !(from[i] in incoming)) { delete line[i]; removed++ }
			} while (removed)
			for (i in line) print "  " from[i] " calls " to[i] ": " substr(line[i], length(from[i]) + length(to[i]) + 3)
		}' | sort
}

bad=0
# check FOLDER: the objects of the files that are in it.
check() {
	local found
	# daemon/engine/ is built where hiredis is.
	found=$(edges $(find "$1" -name '*.c' | sed 's|^|build/|; s|c$|o|' | while read -r object; do
		[[ $object == */engine/* && ! -e $object ]] || echo "$object"
	done) | circles)
	[ -z "$found" ] || { echo "$1 has a circle of files:"; echo "$found"; bad=1; }
}
check lib
check tools
check daemon
[ $bad = 0 ] && echo "no circle of files"
