# SPDX-License-Identifier: MIT
#
# Writes RESULTS.md from the lines that the benchmarks append to build/bench.jsonl:
#
#   awk -f bench/results.awk build/bench.jsonl
#
# The first line describes the run: bench/run.sh writes it. Each other line is one figure, see bench_report() in
# bench.h. Every figure gets a place: what no rule of question_of() knows comes into a table at the end.

# The value of a field of the line at hand, "null" where it has none.
function field(name,    rest) {
	if (!match($0, "\"" name "\":"))
		return "null"
	rest = substr($0, RSTART + RLENGTH)
	if (rest ~ /^"/)
		return substr(rest, 2, index(substr(rest, 2), "\"") - 1)
	match(rest, /^[^,}]*/)
	return substr(rest, 1, RLENGTH)
}

# Text in a cell of a table.
function cell(text) {
	gsub(/\|/, "\\|", text)
	return text
}

function rounded(number) {
	number += 0
	if (number == int(number) && number < 1e9)
		return sprintf("%d", number)
	return sprintf(number >= 100 ? "%.0f" : number >= 10 ? "%.1f" : number >= 0.1 ? "%.2f" : "%.3f", number)
}

# A value in a unit that keeps it short: 1677.4 ns/op is 1.68 us/op.
function amount(number, unit) {
	number += 0
	if (unit ~ /^ns/ && number >= 1e6) {
		number /= 1e6
		sub(/^ns/, "ms", unit)
	} else if (unit ~ /^ns/ && number >= 1e3) {
		number /= 1e3
		sub(/^ns/, "us", unit)
	}
	return rounded(number) " " unit
}

function goal_text(goal) {
	sub(/^<= */, "at most ", goal)
	sub(/^>= */, "at least ", goal)
	return goal == "null" ? "" : goal
}

function is_met(i,    part, value) {
	split(goals[i], part, " ")
	value = ratios[i] == "null" ? values[i] : ratios[i]
	return part[1] == "<=" ? value + 0 <= part[2] + 0 : value + 0 >= part[2] + 0
}

function better(unit) {
	return unit ~ /\/s$|per s/ ? "higher" : "lower"
}

# The question that a figure answers: the heading of its table.
function question_of(bench, name, unit) {
	if (bench == "context")
		return better(unit) == "higher" ? "Do two threads that make children of one parent get in each other's way?" : \
			"What does a context cost?"
	if (bench == "memory")
		return "How much memory does a context or an operation take?"
	if (bench == "submit")
		return "What does an operation cost, beside plain liburing?"
	if (bench == "deadline")
		return "What does a deadline of operations cost, as a linked timeout for each or as one timer for all?"
	if (bench == "cancel")
		return unit == "calls" ? "How many system calls carry a batch of cancels?" : \
			"What does it cost to cancel and reap operations that are pending in the kernel?"
	if (bench == "park" && name ~ /^memory/)
		return question_of("memory")
	if (bench == "park")
		return name ~ /^end / ? "What does it cost to end a parked operation?" : \
			"What does a message cost when receives are parked?"
	if (bench == "churn")
		return better(unit) == "higher" ? \
			"Does parking cost a server whose connections come and go?" : \
			"What processor time does such a server take for a request?"
	if (bench == "http")
		return "How many requests a second does the example server answer, beside nginx and Go?"
	if (bench == "idle")
		return "What does a server with many idle connections cost, parked and pending?"
	if (bench == "blocking")
		return "What does a blocking call under a context cost?"
	if (bench == "taskgroup")
		return "What does a task of a group cost?"
	if (bench == "source")
		return "How soon does a context end after the event that it waits for?"
	if (bench == "spawn")
		return "What does a command under a context cost?"
	if (bench == "service" && better(unit) == "higher")
		return "How many contexts a second go through ctxd?"
	if (bench == "service")
		return name ~ /wake|cancel across/ ? "How soon does a cancel reach another process?" : \
			"What do ctxd and ctxtool cost?"
	if (bench == "httpd")
		return "Does a server become slower when clients leave early?"
	if (bench == "goodput")
		return "What is cancellation worth to a server before a busy upstream?"
	if (bench == "flood")
		return "How long does a client of ctxd wait while another user floods it?"
	if (bench == "fleet" && name ~ /across|engine, p50|all seen/)
		return "How soon does a cancel reach another host?"
	if (bench == "fleet" && name ~ /cut off|killed|engine away|live contexts/)
		return "What becomes of contexts of other hosts when something fails?"
	if (bench == "fleet")
		return "What does a fleet cost?"
	if (bench == "growth")
		return "Four times the work: how many times the time?"
	return "What else was measured?"
}

# The value of what figure i is compared with, if a line of its own has it.
function baseline(i,    k) {
	for (k = 1; k <= count; k++)
		if (benches[k] == benches[i] && againsts[k] == names[i] && ratios[k] == "null" &&
		    substr(againsts[i], 1, length(names[k])) == names[k])
			return amount(values[k], units[k])
	return ""
}

# True for a line that only has the value that another one is compared with.
function is_baseline(i,    k) {
	if (ratios[i] != "null" || againsts[i] == "null")
		return 0
	for (k = 1; k <= count; k++)
		if (benches[k] == benches[i] && names[k] == againsts[i] && ratios[k] != "null" &&
		    substr(againsts[k], 1, length(names[i])) == names[i])
			return 1
	return 0
}

function table(question,    i, name, against) {
	printf "\n## %s\n\n", question
	printf "| %s is better | measured | compared with | ratio | goal |\n|---|---|---|---|---|\n", \
		better(units[first[question]]) == "higher" ? "Higher" : "Lower"
	for (i = 1; i <= count; i++) {
		if (questions[i] != question || is_baseline(i))
			continue
		name = names[i]
		against = againsts[i] == "null" ? "" : againsts[i]
		if (against != "" && ratios[i] == "null") { # what the figure is of, rather than compared with
			name = name ", " against
			against = ""
		} else if (against != "" && baseline(i) != "") {
			against = against ", " baseline(i)
		}
		printf "| %s | %s | %s | %s | %s |\n", cell(name), amount(values[i], units[i]), cell(against), \
			ratios[i] == "null" ? "" : rounded(ratios[i]), \
			goal_text(goals[i]) (goals[i] != "null" && !is_met(i) ? ", missed" : "")
	}
}

# The floods have the same five figures each: one row for a flood.
function flood_table(question,    i, k, at, name, flood, kinds, kind, cells, seen, order, rows) {
	kinds = split("p50,p99,max,p99 of work,max of work", kind, ",")
	printf "\n## %s\n\n", question
	print "Milliseconds until a new client of another user has its first answer, and until ctxd has done the work for it.\n"
	print "| Lower is better | p50 | p99 | max | p99 of work | max of work |\n|---|---|---|---|---|---|"
	for (i = 1; i <= count; i++) {
		if (questions[i] != question)
			continue
		at = match(names[i], /: [^:]*$/)
		name = substr(names[i], 1, at - 1)
		if (!(name in seen)) {
			seen[name] = 1
			order[++rows] = name
		}
		cells[name, substr(names[i], at + 2)] = rounded(values[i]) \
			(goals[i] != "null" && !is_met(i) ? " (missed: " goal_text(goals[i]) ")" : "")
	}
	for (i = 1; i <= rows; i++) {
		printf "| %s |", cell(order[i])
		for (k = 1; k <= kinds; k++)
			printf " %s |", cells[order[i], kind[k]]
		printf "\n"
	}
}

# A row for a load, a column for what ends a request early; a table for each figure of these.
function goodput_table(question,    text, i, k, r, c, at, row, kind, column, kinds, cells, seen, rows, columns, row_of, column_of) {
	kinds = split("good,p99,for nobody", kind, ",")
	split("Answers within 500 ms a second, and the share of those who stay that had one|" \
		"p99 of answers, milliseconds; who still waited at the end of the run counts with the time until then|" \
		"Percent of the upstream's work that was for clients that had left", text, "|")
	printf "\n## %s\n\n", question
	print "The upstream works for four requests at a time, 30 ms for each. Clients arrive at 80 % and at 120 % of what it can do, whatever"
	print "the server does, and 0, 30 or 60 % of them leave after 10 ms. What ends a request early: \"neither\" nothing, \"deadline\" that its"
	print "500 ms are over, \"cancel\" that its client leaves, \"both\" either. \"Go\" is both in a server on net/http with the same queue."
	print "Where nobody leaves cancellation cannot help, and a deadline does. Below the capacity of the upstream everybody is answered in"
	print "any case, and cancellation makes the wait shorter. PostgreSQL has four connections here, and the query is pg_sleep(0.03); \"Go\""
	print "is lib/pq there."
	for (i = 1; i <= count; i++) {
		if (questions[i] != question)
			continue
		at = match(names[i], /, [^,]*$/)
		row = substr(names[i], 1, at - 1)
		column = substr(names[i], at + 2)
		k = substr(column, index(column, ": ") + 2)
		column = substr(column, 1, index(column, ": ") - 1)
		if (!(row in seen)) {
			seen[row] = 1
			row_of[++rows] = row
		}
		if (!(("", column) in seen)) {
			seen["", column] = 1
			column_of[++columns] = column
		}
		cells[k, row, column] = rounded(values[i]) (ratios[i] == "null" ? "" : sprintf(" (%d %%)", ratios[i] * 100 + 0.5)) \
			(goals[i] != "null" && !is_met(i) ? " (missed: " goal_text(goals[i]) ")" : "")
	}
	for (k = 1; k <= kinds; k++) {
		printf "\n%s:\n\n| %s is better |", text[k], k == 1 ? "Higher" : "Lower"
		for (c = 1; c <= columns; c++)
			printf " %s |", column_of[c]
		printf "\n|---|"
		for (c = 1; c <= columns; c++)
			printf "---|"
		printf "\n"
		for (r = 1; r <= rows; r++) {
			row = ""
			for (c = 1; c <= columns; c++)
				row = row " " cells[kind[k], row_of[r], column_of[c]] " |"
			if (row ~ /[0-9]/)
				printf "| %s |%s\n", row_of[r], row
		}
	}
}

/"run":/ {
	run = field("run")
	date = field("date")
	kernel = field("kernel")
	processor = field("processor")
	processors = field("processors")
	load = field("load")
	liburing = field("liburing")
	missing = field("missing")
	gsub(/,/, ", ", missing)
	next
}

{
	i = ++count
	benches[i] = field("bench")
	names[i] = field("case")
	values[i] = field("value")
	units[i] = field("unit")
	ratios[i] = field("ratio")
	againsts[i] = field("against")
	goals[i] = field("goal")
	questions[i] = question_of(benches[i], names[i], units[i])
	if (!(questions[i] in first)) {
		first[questions[i]] = i
		asked[++questions_count] = questions[i]
	}
	if (goals[i] != "null") {
		with_goal++
		if (!is_met(i))
			missed[++missed_count] = i
	}
}

END {
	print "# What was measured\n"
	print "`" run "` has written this, by `bench/results.awk`. To replace it by the figures of another machine:\n"
	print "    make bench && cp build/RESULTS.md bench/\n"
	print "| | |\n|---|---|"
	print "| Date | " date " |"
	print "| Kernel | " kernel " |"
	print "| Machine | " cell(processor) ", " processors " processors |"
	print "| Load average when the run began | " load " |"
	print "| liburing | " liburing " |"
	print "| Not installed, so not compared with | " (missing == "" ? "-" : missing) " |"
	print "\nTwo things that are compared take turns within one run; a figure is the median of its turns, a ratio the median of the"
	print "ratios. A goal is for the ratio, or for the value where there is no ratio. \"ordinary\" and \"defer\" are the two kinds of"
	print "ring: without setup flags, and with IORING_SETUP_DEFER_TASKRUN."
	printf "\n## Missed goals: %d of %d\n", missed_count, with_goal
	if (missed_count) {
		print "\n| Figure | compared with | measured | goal |\n|---|---|---|---|"
		for (k = 1; k <= missed_count; k++) {
			i = missed[k]
			printf "| %s: %s | %s | %s | %s |\n", benches[i], cell(names[i]), \
				againsts[i] == "null" ? "" : cell(againsts[i]), \
				ratios[i] == "null" ? amount(values[i], units[i]) : rounded(ratios[i]), \
				goal_text(goals[i]) (ratios[i] == "null" ? " " units[i] : "")
		}
		print "\n[LIMITS.md](LIMITS.md) says what was tried, and what stands in the way."
	}
	for (k = 1; k <= questions_count; k++)
		if (asked[k] ~ /floods it/)
			flood_table(asked[k])
		else if (asked[k] ~ /busy upstream/)
			goodput_table(asked[k])
		else
			table(asked[k])
}
