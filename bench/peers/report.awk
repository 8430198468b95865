# SPDX-License-Identifier: MIT
#
# Makes the tables, the JSON lines and the scripts for gnuplot from build/peers.values, which bench/peers/run.sh writes:
#
#   R run...                        date, kernel, processor, processors, load, versions, limit of descriptors
#   S name                          a system, in the order of the tables
#   V work size name nanoseconds    a turn
#   K work size name reason         it has no figure
#
# It prints tables, and writes to the files json, page (Markdown) and plots/WORK.gp.

BEGIN {
	FS = "\t"
	split("idle tree token stay leave", works, " ")
	sizes["idle"] = "16 256 4096 16384 60000"
	sizes["tree"] = "10 100 1000 10000 100000"
	sizes["token"] = "10000"
	sizes["stay"] = sizes["leave"] = "64"
	heading["idle"] = "N idle receives, ended as one group"
	heading["tree"] = "A tree of N contexts below one, ended"
	heading["token"] = "A context below another, made and freed"
	heading["stay"] = "Requests, when 1 of 10 clients leaves"
	note["idle"] = "Nanoseconds for each receive, from the call that ends the group until the last callback has been told."
	note["tree"] = "Nanoseconds for each child, until the call that ends the parent has returned and all children are done."
	note["token"] = "Nanoseconds. Of the systems that are missing, liburing and libuv have no such object."
	note["stay"] = "64 connections, each with a request under way: a token is made, a receive begins under it, 32 bytes come and are " \
		"read, the\ntoken is freed. The clients write on the same thread. A second, the same while every tenth client leaves " \
		"instead; counted are\nthe requests of the others."
	describe_systems()
}

# Colours that are told apart by the colour-blind (Okabe and Ito): colour, width, dash type, point type.
function describe_systems() {
	style["ctxring, parked"] = "#0072B2 3.4 1 7"
	style["ctxring, pending, DEFER_TASKRUN"] = "#0072B2 2.2 1 6"
	style["ctxring, pending"] = "#0072B2 2.2 2 6"
	style["liburing, newest first"] = "#555555 1.8 1 5"
	style["liburing, oldest first"] = "#777777 1.6 2 4"
	style["liburing, an enter each"] = "#777777 1.6 3 4"
	style["liburing, ANY and ALL"] = "#555555 1.8 4 5"
	style["Asio on epoll"] = "#D98200 2 1 9"
	style["Asio on io_uring"] = "#D98200 2 2 8"
	style["Go"] = "#009E73 2 1 13"
	style["GLib"] = "#CC6699 2 1 11"
	style["libuv, uv_read_stop"] = "#D55E00 2 1 3"
	style["libuv, uv_close"] = "#D55E00 2 2 3"
	style["nsync"] = "#B8860B 2 1 15"
	style["threads and eventfd"] = "#7B4B2A 2 1 2"
	style["the machine alone"] = "#000000 1.4 3 0"
}

# Why a system is faster than ctxring where it is. Printed only where the figures say that it is.
function reason(work, name) {
	if (work == "idle" && name == "libuv, uv_read_stop")
		return "It takes the stream out of a list and clears a bit. No callback is told, no result is kept, and the socket stays in " \
			"the epoll set until an event comes. ctxring takes some 500 ns once for the end of a group, tells each receive its " \
			"end by a callback, and writes into its record who ended it."
	if (work == "idle" && name ~ /^liburing/)
		return "Compared with ctxring's pending receives, for which the kernel does the same work: liburing is told no group, keeps no " \
			"record and no cause of an end, and takes for granted that every operation of the ring is to end. ctxring's parked receives " \
			"end without the kernel."
	if (work == "token" && name == "Asio on epoll")
		return "A cancellation_signal has no parent, no lock, no time and no name: it is a pointer to one handler, whose memory Asio " \
			"keeps for the next. It belongs to one thread and ends one operation."
	if (work == "token" && name == "nsync")
		return "A note is one allocation and one lock, with neither an identity nor a record that others read."
	if (work == "token" && name == "Go")
		return "The garbage collector frees the context later, and most of that is not measured here."
	if (work == "tree" && name == "nsync")
		return "A note has no callbacks and no cause to copy: its end is one word."
	if ((work == "stay" || work == "leave") && name ~ /^liburing/)
		return "It makes no context for a request: the token is the user_data of the operation. What ctxring adds is the context " \
			"and its place on the ring, for each request, and for each client that leaves an io_uring_enter(2) of its own, because " \
			"the cancel is called outside of a dispatch. In a callback of a dispatch the cancels of all go together."
	if ((work == "stay" || work == "leave") && name == "Asio on io_uring")
		return "Its signal belongs to one operation and one thread, so no context is made and put into a tree for a request."
	return "Not explained yet."
}

$1 == "R" { for (i = 2; i <= NF; i++) run[i] = $i; next }
$1 == "S" { system_names[++system_count] = $2; next }
$1 == "K" { why[$2, $3, $4] = $5; next }
$1 == "V" { turns[$2, $3, $4] = turns[$2, $3, $4] " " $5; next }

function median(text,    v, n, i, k, t) {
	n = split(text, v, " ")
	for (i = 2; i <= n; i++) {
		t = v[i] + 0
		for (k = i - 1; k > 0 && v[k] + 0 > t; k--)
			v[k + 1] = v[k]
		v[k + 1] = t
	}
	least = v[1]
	most = v[n]
	turn_count = n
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function has(work, size, name) {
	return (work, size, name) in turns
}

function figure(work, size, name) {
	return median(turns[work, size, name])
}

function rounded(number) {
	return sprintf(number >= 100 ? "%.0f" : number >= 10 ? "%.1f" : "%.2f", number)
}

function with_commas(number,    text) {
	text = sprintf("%d", number)
	while (match(text, /[0-9][0-9][0-9][0-9]+($|,)/))
		text = substr(text, 1, RSTART + RLENGTH - (substr(text, RSTART + RLENGTH - 1, 1) == "," ? 5 : 4)) "," \
			substr(text, RSTART + RLENGTH - (substr(text, RSTART + RLENGTH - 1, 1) == "," ? 4 : 3))
	return text
}

function took_part(work, name,    i, n, size) {
	n = split(sizes[work], size, " ")
	for (i = 1; i <= n; i++)
		if (has(work, size[i], name))
			return 1
	return 0
}

# One row for a system, one column for a size.
function size_table(work, page,    i, k, n, size, line, name, reasons, count, seen, names, reason_at) {
	n = split(sizes[work], size, " ")
	line = "| Lower is better, N is |"
	for (k = 1; k <= n; k++)
		line = line " " with_commas(size[k]) " |"
	print line >page
	gsub(/[^|]+/, "---", line)
	print line >page
	for (i = 1; i <= system_count; i++) {
		name = system_names[i]
		if (!took_part(work, name))
			continue
		line = "| " (work == "tree" ? plain_name(name) : name) " |"
		for (k = 1; k <= n; k++) {
			if (has(work, size[k], name)) {
				line = line " " rounded(figure(work, size[k], name)) " |"
				continue
			}
			line = line " - |"
			reason_at = why[work, size[k], name]
			if (reason_at == "" || seen[name, reason_at]++)
				continue
			if (!(reason_at in names))
				reasons[++count] = reason_at
			names[reason_at] = names[reason_at] (names[reason_at] ? "; " : "") name
		}
		print line >page
	}
	for (i = 1; i <= count; i++)
		printf "%s- %s: %s\n", (i == 1 ? "\nWithout a figure:\n\n" : ""), reasons[i], names[reasons[i]] >page
}

function token_table(page,    i, name) {
	print "| Lower is better | |\n|---|---|" >page
	for (i = 1; i <= system_count; i++) {
		name = system_names[i]
		if (has("token", 10000, name))
			printf "| %s | %s |\n", plain_name(name), rounded(figure("token", 10000, name)) >page
	}
}

# Of ctxring and Asio only one form has the work that does no input and output.
function plain_name(name) {
	return name ~ /^ctxring/ ? "ctxring" : name ~ /^Asio/ ? "Asio, a cancellation_signal and its handler" : name
}

function request_table(page,    i, name, stay, leave) {
	print "| Higher is better | all stay, per second | 1 of 10 leaves, per second | ratio |\n|---|---|---|---|" >page
	for (i = 1; i <= system_count; i++) {
		name = system_names[i]
		if (!has("stay", 64, name) || !has("leave", 64, name))
			continue
		stay = 1e9 / figure("stay", 64, name)
		leave = 1e9 / figure("leave", 64, name)
		printf "| %s | %s | %s | %.2f |\n", name, with_commas(stay), with_commas(leave), leave / stay >page
	}
}

# The form of ctxring that is best for this, and the one that is pending as liburing is.
function best_of_ours(work, size,    i, value, best) {
	for (i = 1; i <= system_count; i++)
		if (system_names[i] ~ /^ctxring/ && has(work, size, system_names[i])) {
			value = figure(work, size, system_names[i])
			if (!best || value < best)
				best = value
		}
	return best
}

function pending_of_ours(size) {
	return figure("idle", size, "ctxring, pending, DEFER_TASKRUN")
}

function faster_section(page,    w, i, k, n, size, name, text, ours, theirs, count, reasons, of, because) {
	print "\n## Where another system is faster, and why\n" >page
	for (w = 1; w <= 5; w++) {
		n = split(sizes[works[w]], size, " ")
		for (i = 1; i <= system_count; i++) {
			name = system_names[i]
			if (name ~ /^ctxring/ || name == "the machine alone")
				continue
			text = ""
			for (k = 1; k <= n; k++) {
				if (!has(works[w], size[k], name))
					continue
				theirs = figure(works[w], size[k], name)
				ours = works[w] == "idle" && name ~ /^liburing/ ? pending_of_ours(size[k]) : best_of_ours(works[w], size[k])
				if (theirs < ours)
					text = text (text ? ", " : "") rounded(theirs) " to " rounded(ours) " ns" \
						(n > 1 ? " at " with_commas(size[k]) : "")
			}
			if (text == "")
				continue
			because = reason(works[w], name)
			if (!(because in of))
				reasons[++count] = because
			of[because] = of[because] (of[because] ? "; " : "") "**" works[w] ", " \
				(works[w] == "token" ? plain_name(name) : name) "**: " text
		}
	}
	for (i = 1; i <= count; i++)
		printf "- %s. %s\n", of[reasons[i]], reasons[i] >page
	if (!count)
		print "Nowhere." >page
}

function write_page(page,    w) {
	print "# Beside other libraries\n" >page
	print "`make bench-peers` has written this. To replace it by the figures of another machine:\n" >page
	print "    make bench-peers && cp build/PEERS.md bench/ && cp build/peers/*.svg bench/peers/\n" >page
	print "| | |\n|---|---|" >page
	printf "| Date | %s |\n| Kernel | %s |\n| Machine | %s, %s processors |\n| Load average when the run began | %s |\n", \
		run[2], run[3], run[4], run[5], run[6] >page
	printf "| Versions | %s |\n| RLIMIT_NOFILE | %s |\n", run[7], run[8] >page
	print "\nThe same work for each, written against its package: `bench/peers/work.h` says what is measured and what is the same," >page
	print "`bench/peers/run.sh` what is not. Each program counts that every receive ended by its cancel. The systems take turns; a" >page
	print "figure is the median. \"the machine alone\" is the limit: N callbacks, or states, that are each in a cache line of their" >page
	print "own, and 64 bytes of memory for a token, without a kernel and without a library." >page
	print "\n![" heading["idle"] "](peers/idle.svg)\n\n![" heading["tree"] "](peers/tree.svg)" >page
	for (w = 1; w <= 4; w++) {
		printf "\n## %s\n\n%s\n\n", heading[works[w]], note[works[w]] >page
		if (works[w] == "token")
			token_table(page)
		else if (works[w] == "stay")
			request_table(page)
		else
			size_table(works[w], page)
	}
	faster_section(page)
	if (run[8] + 0 < 60128 && took_part("idle", "Go"))
		printf "\nRLIMIT_NOFILE is %s here: of 60,000 receives, several share a socket.\n", run[8] >page
	close(page)
	while ((getline line <page) > 0)
		if (line ~ /^(\||##|- )/)
			print line
}

function write_json(    w, i, k, n, size, name, key) {
	for (w = 1; w <= 5; w++) {
		n = split(sizes[works[w]], size, " ")
		for (i = 1; i <= system_count; i++)
			for (k = 1; k <= n; k++) {
				name = system_names[i]
				key = "{\"bench\":\"peers\",\"work\":\"" works[w] "\",\"n\":" size[k] ",\"system\":\"" name "\","
				if (has(works[w], size[k], name)) {
					value = figure(works[w], size[k], name)
					printf "%s\"ns\":%.3f,\"least\":%.3f,\"most\":%.3f,\"turns\":%d}\n", key, value, least, most, \
						turn_count >json
				} else if (why[works[w], size[k], name] != "") {
					printf "%s\"skipped\":\"%s\"}\n", key, why[works[w], size[k], name] >json
				}
			}
	}
}

function log10(x) {
	return log(x) / log(10)
}

# The script for one plot: a line for each system, its name at the right in its colour. Names keep a distance from each
# other, and a thin line leads from the end of the curve to the name.
function write_plot(work, title, xlabel,    i, k, n, m, size, name, script, part, order, at, last_x, last_y, low, high, gap, t, \
	label_x, right, moved, total, plotted) {
	n = split(sizes[work], size, " ")
	script = plots "/" work ".gp"
	low = 1e30
	high = 0
	for (i = 1; i <= system_count; i++) {
		name = system_names[i]
		for (k = 1; k <= n; k++)
			if (has(work, size[k], name)) {
				last_x[name] = size[k]
				last_y[name] = log10(figure(work, size[k], name))
				low = last_y[name] < low ? last_y[name] : low
				high = last_y[name] > high ? last_y[name] : high
			}
		if (name in last_x)
			order[++m] = name
	}
	if (!m)
		return
	low = low < 0 ? -1 : int(low)
	high = int(high) + 1
	for (i = 2; i <= m; i++) {
		name = order[i]
		for (k = i - 1; k > 0 && last_y[order[k]] > last_y[name]; k--)
			order[k + 1] = order[k]
		order[k + 1] = name
	}
	gap = (high - low) / 25
	for (i = 1; i <= m; i++)
		at[i] = last_y[order[i]]
	for (t = 0; t < 400; t++)
		for (i = 1; i < m; i++)
			if (at[i + 1] - at[i] < gap) {
				moved = (gap - (at[i + 1] - at[i])) / 2
				at[i] -= moved
				at[i + 1] += moved
			}
	right = log10(size[n])
	label_x = right + (right - log10(size[1])) * 0.05
	print "# Written by bench/peers/report.awk." >script
	for (i = 1; i <= m; i++) {
		printf "$data%d << END\n", i >script
		for (k = 1; k <= n; k++)
			if (has(work, size[k], order[i]))
				printf "%d %.3f\n", size[k], figure(work, size[k], order[i]) >script
		print "END" >script
		split(style[order[i]], part, " ")
		printf "set arrow from %g,%g to %g,%g nohead lc rgb '%s' lw 0.7 dt 1\n", last_x[order[i]], 10 ^ last_y[order[i]], \
			10 ^ (label_x - 0.02), 10 ^ at[i], "#90" substr(part[1], 2) >script
		printf "set label '%s' at %g,%g left tc rgb '%s'%s\n", \
			label_of(work, order[i]), 10 ^ label_x, 10 ^ at[i], part[1], (order[i] == "ctxring, parked" ? "" : " noenhanced") >script
	}
	print "set logscale xy" >script
	printf "set xrange [%g:%g]\nset yrange [%g:%g]\n", size[1] * 0.8, size[n] * 1.12, 10 ^ low, 10 ^ high >script
	printf "set label '%s' at graph 0, screen 0.955 left font ',15'\n", title >script
	print "set label 'nanoseconds for each, both axes logarithmic' at graph 0, screen 0.912 left font ',11' tc rgb '#555555'" >script
	printf "set xlabel '%s'\n", xlabel >script
	line = "set xtics ("
	for (k = 1; k <= n; k++)
		line = line (k > 1 ? ", " : "") "'" with_commas(size[k]) "' " size[k]
	print line ")" >script
	print "set ytics ('0.1' 0.1, '1' 1, '10' 10, '100' 100, '1,000' 1000, '10,000' 10000, '100,000' 100000, '1,000,000' 1000000)" >script
	print "set border 3 lc rgb '#444444'\nset tics nomirror scale 0.5\nset grid ytics xtics lc rgb '#E4E4E4' lw 1 dt 1\nset key off" >script
	print "set rmargin 34\nset lmargin 11\nset tmargin 4.5" >script
	line = "plot "
	for (i = 1; i <= m; i++) {
		split(style[order[i]], part, " ")
		line = line (i > 1 ? ", " : "") "$data" i " with " (part[4] ? "linespoints pt " part[4] " ps 0.7" : "lines") \
			" lw " part[2] " lc rgb '" part[1] "' dt " dash(part[3])
	}
	print "set terminal svg size 880,560 font 'DejaVu Sans,12' background '#ffffff'" >script
	printf "set output '%s/%s.svg'\n%s\n", plots, work, line >script
	print "set terminal pngcairo size 1760,1120 font 'DejaVu Sans,12' fontscale 1.9 linewidth 2 pointscale 2 background '#ffffff'" >script
	printf "set output '%s/%s.png'\nreplot\n", plots, work >script
}

function dash(type) {
	return type == 2 ? "(9,4)" : type == 3 ? "(2,4)" : type == 4 ? "(9,3,2,3)" : 1
}

function label_of(work, name) {
	if (name == "ctxring, parked")
		return work == "tree" ? "{/:Bold ctxring}" : "{/:Bold ctxring, parked}"
	return name == "the machine alone" ? "limit: the machine alone" : name
}

END {
	write_json()
	write_page(page)
	write_plot("idle", "N idle receives ended as one group: time for each", "N receives")
	write_plot("tree", "A tree of N contexts ended: time for each child", "N children of one context")
}
