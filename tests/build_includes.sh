#!/bin/bash
# SPDX-License-Identifier: MIT
# Dependencies point one way. Each file of lib/ has a layer; it may include headers of
# its own layer and of those below, and a file without a layer is an error: give it one
# here. The context core knows nothing of io_uring. Daemon, tools and examples use
# the public header and the table format, the daemon the wire format, the heap of times and the overflow ids too.
set -eu
cd "$(dirname "$0")/.."

layer() {
	case $1 in
	# what knows neither contexts nor io_uring
	ctxring | exports | version | list | heap | clock | sys | raw | memory | lock | thread | file_id | text_file | wire | overflow) echo 1 ;;
	table_format | table) echo 2 ;;
	# contexts: the tree, telling of its end, and what waits for it
	context | done | node | inherited | walk | sweep | callback | cause | value | merge | cancel | format | find) echo 3 ;;
	timer | worker | deadline | wait | signal | mailbox) echo 3 ;;
	# operations and the plan of a batch, still without a ring
	uring | feature | op | plan | attempt | park_fd | park_buffers) echo 5 ;;
	ring* | reap | opcode | record | slot | group | stage | batch | park | complete | dispatch | drain | ladder | explain | adopt | close*) echo 6 ;;
	# what stands on rings: blocking calls, task groups, commands, sources, contexts as text
	blocking* | ctxio* | thread_ring | pool | taskgroup* | spawn* | keeper* | cgroup | watcher | source* | propagate* | carrier) echo 7 ;;
	# contexts of other processes
	client*) echo 8 ;;
	esac
}

bad=0
for file in lib/*.[ch]; do
	name=$(basename "$file" | sed 's/\.[ch]$//')
	own=$(layer "$name")
	[ -n "$own" ] || { echo "$file: has no layer"; bad=1; continue; }
	while read -r included; do
		its=$(layer "${included%.h}")
		if [ -z "$its" ] || [ "$its" -gt "$own" ]; then
			echo "$file (layer $own) includes $included (layer ${its:-none})"
			bad=1
		fi
	done < <(sed -n 's/^#include "\(.*\)"/\1/p' "$file")
done

for file in tools/*.[ch] examples/*.[ch] examples/libraries/*.c daemon/*.[ch]; do
	[ -e "$file" ] || continue
	while read -r included; do
		case $included in
		ctxring.h | table_format.h) ;;
		wire.h | heap.h | overflow.h) [[ $file == daemon/* ]] || { echo "$file includes $included"; bad=1; } ;;
		*) [ -e "$(dirname "$file")/$included" ] || { echo "$file includes $included of lib/"; bad=1; } ;;
		esac
	done < <(sed -n 's/^#include "\(.*\)"/\1/p' "$file")
done
[ $bad = 0 ] && echo "includes point one way"
