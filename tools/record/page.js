/* SPDX-License-Identifier: MIT */
/*
 * Draws the recording of this page: on the left a tree of rows, elements of which only those in sight exist; on
 * the right a canvas with what they did in time. Texts of the recording are set as text, never as markup.
 */
"use strict";
(() => {
const data = JSON.parse(document.getElementById("recording").textContent);
const byId = (id) => document.getElementById(id);
const element = (name, className, text) => {
	const made = document.createElement(name);
	if (className)
		made.className = className;
	if (text !== undefined)
		made.textContent = text;
	return made;
};

/* ---- the recording as objects */

const duration = Math.max(data.duration, 1);
const strings = data.strings;
const LIVE = 0, FINISHED = 1;
const CANCELLING = 0x02, TIMED = 0x04, MULTISHOT = 0x08, PARKED = 0x10, FIXED_FILE = 0x20, STUCK = 0x40;
const ECANCELED = 125, ETIME = 62;

const processes = data.processes.map((p) => ({
	kind: "process", pid: p[0], name: strings[p[1]], begin: p[2], end: p[3], died: p[4], children: [], operations: [],
	batches: [], depth: 0, folded: false, parent: null,
}));
const contexts = data.contexts.map((c) => ({
	kind: "context", process: processes[c[0]], parentIndex: c[1], slot: c[2], generation: c[3], label: strings[c[4]],
	made: data.kinds[c[5]], begin: c[6], done: c[7], freed: c[8], outcome: c[9], error: c[10], code: c[11], origin: c[12],
	text: strings[c[13]], site: strings[c[14]], doneSite: strings[c[15]], tid: c[16], doneTid: c[17], causePid: c[18],
	children: [], operations: [], batches: [], folded: false,
}));
for (const context of contexts) {
	context.id = `${context.process.pid}:${context.slot}.${context.generation}`;
	context.parent = context.parentIndex < 0 ? context.process : contexts[context.parentIndex];
	context.parent.children.push(context);
	context.depth = context.parent.depth + 1;
	context.end = context.freed === null ? context.process.end : context.freed;
}
const operations = data.operations.map((o) => ({
	kind: "operation", context: contexts[o[0]] || null, opcode: data.opcodes[o[1]], fd: o[2], target: strings[o[3]],
	begin: o[4], done: o[5], result: o[6], flags: o[7], ring: o[8], batch: o[9],
}));
const batches = data.batches.map((b) => ({
	kind: "batch", context: contexts[b[0]] || null, begin: b[1], submit: b[2], reap: b[3], operations: b[4],
	cancelled: b[5], finished: b[6], sqes: b[7], enters: b[8], unsent: b[9], timed: b[10], ring: b[11], tid: b[12],
}));
for (const operation of operations) {
	operation.open = operation.done === null;
	operation.end = operation.open ? (operation.context ? operation.context.process.end : duration) : operation.done;
	operation.cancelled = !operation.open &&
		(operation.batch >= 0 || operation.result === -ECANCELED || (operation.flags & CANCELLING) !== 0);
	if (operation.context)
		operation.context.operations.push(operation);
}
for (const batch of batches)
	if (batch.context)
		batch.context.batches.push(batch);

/* Spans that overlap get lanes of their own, for the band of a context's operations. */
function giveLanes(list) {
	const free = [], busy = [];
	let lanes = 0;
	for (const operation of list) {
		while (busy.length && busy[0].end <= operation.begin) {
			free.push(busy[0].lane);
			popHeap(busy);
		}
		operation.lane = free.length ? free.pop() : lanes++;
		pushHeap(busy, operation);
	}
	return lanes;
}

/* A heap of operations by their end. */
function pushHeap(heap, item) {
	let at = heap.length;
	heap.push(item);
	while (at) {
		const up = (at - 1) >> 1;
		if (heap[up].end <= item.end)
			break;
		heap[at] = heap[up];
		at = up;
	}
	heap[at] = item;
}
function popHeap(heap) {
	const item = heap.pop();
	if (!heap.length)
		return;
	let at = 0;
	for (;;) {
		let below = 2 * at + 1;
		if (below >= heap.length)
			break;
		if (below + 1 < heap.length && heap[below + 1].end < heap[below].end)
			below++;
		if (heap[below].end >= item.end)
			break;
		heap[at] = heap[below];
		at = below;
	}
	heap[at] = item;
}

const FEW = 1;
for (const context of contexts) {
	if (context.operations.length <= FEW)
		continue;
	const names = new Map();
	for (const operation of context.operations)
		names.set(operation.opcode, (names.get(operation.opcode) || 0) + 1);
	context.band = {
		kind: "band", context, parent: context, operations: context.operations, lanes: giveLanes(context.operations), folded: true,
		depth: context.depth + 1,
		text: [...names].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([name, count]) => `${count} ${name}`).join(", "),
	};
}
/* How much is below each context; children come after their parents. */
for (let i = contexts.length - 1; i >= 0; i--) {
	const context = contexts[i];
	context.below = (context.below || 0) + context.operations.length;
	context.parent.below = (context.parent.below || 0) + context.below + 1;
}

/* ---- words */

function numberText(number) {
	return String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}
function timeText(ns, digits = 3) {
	const size = Math.abs(ns);
	const [unit, name] = size >= 1e9 ? [1e9, "s"] : size >= 1e6 ? [1e6, "ms"] : size >= 1e3 ? [1e3, "µs"] : [1, "ns"];
	const value = ns / unit;
	const places = unit === 1 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(Math.max(Math.abs(value), 1))));
	return `${value.toFixed(places).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "")} ${name}`;
}
const plural = (count, word) => `${numberText(count)} ${word}${count === 1 ? "" : word.endsWith("ch") ? "es" : "s"}`;
const outcomeName = (outcome) => data.outcomes[outcome];
const errorName = (number) => data.errors[Math.abs(number)] || `error ${number}`;

/* What a colour says, for the legend. */
const MEANINGS = {
	live: "live at the end", finished: "finished", call: "cancelled by a call", deadline: "deadline", signal: "signal",
	hangup: "peer left", process: "process ended", pressure: "pressure", owner: "its owner ended", service: "by the service",
	fd: "descriptor ready", host: "host gone", unreachable: "host not reached",
};

function causeText(context) {
	if (context.outcome === LIVE || context.outcome === FINISHED)
		return "";
	const origin = context.origin >= 0 ? contexts[context.origin] : context;
	const code = outcomeName(context.outcome) === "signal" ? ` ${origin.code}` : "";
	const by = origin.causePid ? ` by process ${origin.causePid}` : "";
	return `${outcomeName(context.outcome)}${code} ${errorName(origin.error)}${origin.text ? ` “${origin.text}”` : ""}${by}`;
}
const nameOf = (row) => row.kind === "process" ? `${row.name} ${row.pid}`
	: row.kind === "context" ? row.label || row.id
	: row.kind === "band" ? row.text
	: row.opcode;
function targetOf(operation) {
	if (operation.fd < 0)
		return "";
	return operation.flags & FIXED_FILE ? `fixed file ${operation.fd}` : `fd ${operation.fd} ${operation.target}`.trim();
}
function resultText(operation) {
	if (operation.open)
		return "in flight";
	return operation.result < 0 ? errorName(operation.result) : numberText(operation.result);
}

/* A timeout that is over has not failed. */
const hasFailed = (operation) => operation.result < 0 && !(operation.opcode === "TIMEOUT" && operation.result === -ETIME);

/* ---- colours */

const NAMES = ["paper", "panel", "line", "faint", "ink", "muted", "accent", "batch", "ok", "failed", "select",
	...new Set(data.outcomes)];
let colours = {};
function readColours() {
	const style = getComputedStyle(document.documentElement);
	colours = {};
	for (const name of NAMES)
		colours[name] = style.getPropertyValue(`--${name}`).trim() || style.getPropertyValue("--muted").trim();
}
readColours();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
	readColours();
	drawAll();
});
const outcomeColour = (outcome) => colours[outcomeName(outcome)];
function operationColour(operation) {
	if (operation.open)
		return colours.live;
	if (operation.cancelled && operation.context && operation.context.outcome > FINISHED)
		return outcomeColour(operation.context.outcome);
	if (operation.cancelled)
		return colours.call;
	return hasFailed(operation) ? colours.failed : colours.ok;
}

/* ---- rows: what is in sight of the tree, from top to bottom */

const ROW = 24, PROCESS_ROW = 30, OPERATION_ROW = 20, BAND_MAX = 168, BAND_MIN = 22;
let rows = [], tops = new Float64Array(1), words = [], selected = null;

function heightOf(row) {
	if (row.kind === "process")
		return PROCESS_ROW;
	if (row.kind === "operation")
		return OPERATION_ROW;
	if (row.kind === "band")
		return Math.min(BAND_MAX, Math.max(BAND_MIN, row.lanes * 3 + 10));
	return ROW;
}

function ownText(row) {
	if (row.kind === "operation")
		return `${row.opcode} ${targetOf(row)} ${resultText(row)}`.toLowerCase();
	return `${row.label} ${row.id} ${row.process.name} ${row.process.pid} ${outcomeName(row.outcome)} ${causeText(row)} ${row.site}`.toLowerCase();
}
const matchesWords = (text) => words.every((word) => text.includes(word));

/* Marks what the filter shows: what matches, what is above it, and of a context that matches all below. */
function applyFilter() {
	let count = 0;
	for (const context of contexts) {
		const mine = matchesWords(ownText(context));
		count += mine;
		context.matches = mine || context.parent.matches === true;
		context.leads = false;
	}
	for (const operation of operations) {
		operation.matches = matchesWords(ownText(operation));
		count += operation.matches;
		if (operation.matches && operation.context)
			operation.context.leads = true;
	}
	for (let i = contexts.length - 1; i >= 0; i--) {
		const context = contexts[i];
		if (context.matches || context.leads)
			context.parent.leads = true;
	}
	return count;
}

function addRows(node) {
	const filtered = words.length > 0;
	if (filtered && !node.matches && !node.leads)
		return;
	/* Not by recursion: a tree may be deeper than the stack. */
	const stack = [node];
	while (stack.length) {
		const row = stack.pop();
		rows.push(row);
		if (row.folded)
			continue;
		if (row.kind === "band") {
			const shown = filtered && !row.context.matches ? row.operations.filter((o) => o.matches) : row.operations;
			for (const operation of shown) {
				operation.parent = row;
				operation.depth = row.depth + 1;
				rows.push(operation);
			}
			continue;
		}
		if (row.kind === "operation")
			continue;
		for (let i = row.children.length - 1; i >= 0; i--)
			if (!filtered || row.children[i].matches || row.children[i].leads)
				stack.push(row.children[i]);
		if (row.kind === "context" && row.band)
			stack.push(row.band);
		else
			for (let i = row.operations.length - 1; i >= 0; i--)
				if (!filtered || row.matches || row.operations[i].matches) {
					row.operations[i].parent = row;
					row.operations[i].depth = row.depth + 1;
					stack.push(row.operations[i]);
				}
	}
}

function buildRows() {
	rows = [];
	for (const process of processes) {
		process.matches = false;
		if (words.length === 0 || process.leads)
			addRows(process);
	}
	tops = new Float64Array(rows.length + 1);
	for (let i = 0; i < rows.length; i++) {
		rows[i].place = i;
		tops[i + 1] = tops[i] + heightOf(rows[i]);
	}
	byId("sizer").style.height = `${tops[rows.length] + 12}px`;
	drawAll();
}

/* The index of the row at that height. */
function rowAt(y) {
	let low = 0, high = rows.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (tops[middle + 1] <= y)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Large trees begin folded, so that what is seen first are some hundred rows. */
function foldDeep() {
	const perDepth = [];
	for (const context of contexts)
		perDepth[context.depth] = (perDepth[context.depth] || 0) + 1;
	let shown = 0, depth = 1;
	while (depth < perDepth.length && (shown += perDepth[depth] || 0) <= 400)
		depth++;
	for (const context of contexts)
		context.folded = context.depth >= depth - (depth > 1 ? 1 : 0) && depth < perDepth.length;
}

/* ---- time on the page */

const plot = byId("plot"), scroll = byId("scroll");
const canvas = plot.querySelector("canvas"), axisCanvas = byId("axis").querySelector("canvas");
const overviewCanvas = byId("overview").querySelector("canvas");
const margin = duration * 0.012;
let from = -margin, to = duration + margin;
const FEWEST_NS = 200;

const xOf = (time) => (time - from) / (to - from) * plot.clientWidth;
const timeOf = (x) => from + x / plot.clientWidth * (to - from);

function setView(begin, end) {
	const whole = duration + 2 * margin;
	let width = Math.min(Math.max(end - begin, FEWEST_NS), whole);
	begin = Math.min(Math.max(begin, -margin), duration + margin - width);
	from = begin;
	to = begin + width;
	drawAll();
}
function zoom(factor, x = plot.clientWidth / 2) {
	const at = timeOf(x);
	setView(at - (at - from) * factor, at + (to - at) * factor);
}
const pan = (pixels) => {
	const time = pixels / plot.clientWidth * (to - from);
	setView(from + time, to + time);
};
function zoomTo(row) {
	const span = row.kind === "band" ? { begin: Math.min(...row.operations.map((o) => o.begin)), end: Math.max(...row.operations.map((o) => o.end)) } : row;
	const begin = Math.max(span.begin, 0), end = Math.max(span.end, begin + FEWEST_NS);
	setView(begin - (end - begin) * 0.08, end + (end - begin) * 0.08);
}

/* A canvas with as many pixels as the screen has for it. */
function prepare(of) {
	const scale = window.devicePixelRatio || 1, width = of.clientWidth, height = of.clientHeight;
	if (of.width !== Math.round(width * scale) || of.height !== Math.round(height * scale)) {
		of.width = Math.round(width * scale);
		of.height = Math.round(height * scale);
	}
	const context = of.getContext("2d");
	context.setTransform(scale, 0, 0, scale, 0, 0);
	context.clearRect(0, 0, width, height);
	return context;
}

function tickStep(pixels) {
	const wanted = (to - from) * pixels / Math.max(plot.clientWidth, 1);
	const power = 10 ** Math.floor(Math.log10(wanted));
	return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= wanted);
}
function eachTick(step, draw) {
	for (let time = Math.ceil(from / step) * step; time <= to; time += step)
		if (time >= -step / 1e6 && time <= duration * 1.0001)
			draw(Math.round(time), Math.round(xOf(time)) + 0.5);
}
const font = (size, weight = 400) => `${weight} ${size}px Inter, "Inter Variable", system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif`;

function tickText(time, step) {
	if (!time)
		return "0";
	const [unit, name] = duration >= 1e9 && step >= 1e7 ? [1e9, "s"] : step >= 1e5 ? [1e6, "ms"] : step >= 100 ? [1e3, "µs"] : [1, "ns"];
	return `${(time / unit).toFixed(Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9)))} ${name}`;
}

function drawAxis() {
	const context = prepare(axisCanvas), height = axisCanvas.clientHeight, step = tickStep(96);
	context.font = font(11.5);
	context.textBaseline = "middle";
	context.strokeStyle = colours.line;
	context.fillStyle = colours.muted;
	eachTick(step, (time, x) => {
		context.beginPath();
		context.moveTo(x, height - 7);
		context.lineTo(x, height);
		context.stroke();
		const text = tickText(time, step), width = context.measureText(text).width;
		context.fillText(text, Math.min(Math.max(x - width / 2, 3), axisCanvas.clientWidth - width - 3), height / 2 - 2);
	});
}

/* ---- the overview: how many operations were in flight */

const BINS = 1200;
const inFlight = (() => {
	const changes = [], bins = new Float64Array(BINS);
	for (const operation of operations) {
		changes.push([Math.max(operation.begin, 0), 1]);
		if (!operation.open)
			changes.push([operation.end, -1]);
	}
	changes.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
	let count = 0, at = 0, peak = 0;
	for (let bin = 0; bin < BINS; bin++) {
		bins[bin] = count;
		const until = (bin + 1) / BINS * duration;
		while (at < changes.length && changes[at][0] < until) {
			count += changes[at++][1];
			bins[bin] = Math.max(bins[bin], count);
		}
		peak = Math.max(peak, bins[bin]);
	}
	return { bins, peak };
})();

const overviewX = (time) => (time + margin) / (duration + 2 * margin) * overviewCanvas.clientWidth;
const overviewTime = (x) => x / overviewCanvas.clientWidth * (duration + 2 * margin) - margin;

function drawOverview() {
	const context = prepare(overviewCanvas), height = overviewCanvas.clientHeight, base = height - 1;
	const high = (count) => base - count / Math.max(inFlight.peak, 1) * (height - 12);
	context.beginPath();
	context.moveTo(overviewX(0), base);
	for (let bin = 0; bin < BINS; bin++) {
		context.lineTo(overviewX(bin / BINS * duration), high(inFlight.bins[bin]));
		context.lineTo(overviewX((bin + 1) / BINS * duration), high(inFlight.bins[bin]));
	}
	context.lineTo(overviewX(duration), base);
	context.globalAlpha = 0.22;
	context.fillStyle = colours.live;
	context.fill();
	context.globalAlpha = 1;
	context.strokeStyle = colours.live;
	context.lineWidth = 1.25;
	context.stroke();
	context.fillStyle = colours.batch;
	for (const batch of batches.length < 2000 ? batches : [])
		context.fillRect(overviewX(batch.begin) - 0.75, 6, 1.5, height - 6);
	const frame = byId("window").style, left = overviewX(from), right = overviewX(to);
	byId("window").hidden = right - left > overviewCanvas.clientWidth - 2;
	frame.left = `${left}px`;
	frame.width = `${Math.max(right - left, 3)}px`;
}

/* ---- the plot */

function fillBar(context, x0, x1, y, height, radius) {
	context.beginPath();
	context.roundRect(x0, y, Math.max(x1 - x0, 1.5), height, Math.min(radius, Math.max(x1 - x0, 1.5) / 2));
	context.fill();
}

function drawContext(context, row, top, height) {
	const width = plot.clientWidth, x0 = Math.max(xOf(row.begin), -8), x2 = Math.min(xOf(row.end), width + 8);
	const x1 = row.done === null ? x2 : Math.min(Math.max(xOf(row.done), x0), x2);
	const bar = 14, y = top + (height - bar) / 2;
	if (x2 < 0 || x0 > width)
		return;
	context.fillStyle = outcomeColour(row.outcome);
	if (x2 - x1 > 0.5) {
		context.globalAlpha = 0.3;
		fillBar(context, x0, x2, y, bar, 4);
		context.globalAlpha = 1;
	}
	if (x1 > -8)
		fillBar(context, x0, x1, y, bar, 4);
	/* What began before the recording has no beginning here. */
	if (row.begin < 0 && xOf(0) > -4) {
		const edge = xOf(0);
		context.clearRect(x0 - 1, y - 1, Math.max(edge - x0, 0) + 1, bar + 2);
		context.beginPath();
		context.moveTo(edge - 5, y + bar / 2);
		context.lineTo(edge + 0.5, y);
		context.lineTo(edge + 0.5, y + bar);
		context.fill();
	}
	const cause = causeText(row);
	if (!cause || row.done === null)
		return;
	context.fillStyle = outcomeColour(row.outcome);
	context.fillRect(x1 - 1, top + 3, 2, height - 6);
	const own = row.origin < 0 || contexts[row.origin] === row;
	if (!own)
		return;
	context.font = font(11, 600);
	context.textBaseline = "middle";
	const text = context.measureText(cause).width, right = Math.max(x2, x1) + 9;
	if (right + text < width - 4) {
		context.fillText(cause, right, top + height / 2 + 0.5);
	} else if (x0 - 9 - text > 4) {
		context.fillText(cause, x0 - 9 - text, top + height / 2 + 0.5);
	} else if (x1 - x0 > text + 16) {
		context.fillStyle = colours.paper;
		context.fillText(cause, x1 - text - 8, top + height / 2 + 0.5);
	}
}

function drawOperation(context, operation, y, height, lineHeight) {
	const width = plot.clientWidth, x0 = xOf(operation.begin), x1 = xOf(operation.end);
	if (x1 < 0 || x0 > width)
		return;
	const left = Math.max(x0, xOf(0), -4), right = Math.max(Math.min(x1, width + 4), left + 1);
	context.fillStyle = operationColour(operation);
	/* Lines of one pixel touch: every second one is paler. */
	context.globalAlpha = (operation.cancelled ? 0.5 : operation.open ? 0.6 : 0.9) * (height < 2 && height >= 1 && operation.lane % 2 ? 0.7 : 1);
	context.fillRect(left, y + (height - lineHeight) / 2, right - left, lineHeight);
	context.globalAlpha = 1;
	if (operation.cancelled && lineHeight >= 2)
		context.fillRect(right - 2, y + (height - lineHeight) / 2, 2, lineHeight);
}

function drawBand(context, row, top, height) {
	const room = height - 8, lane = Math.min(room / row.lanes, 7), line = lane >= 3 ? lane - 1 : lane;
	const shown = words.length && !row.context.matches;
	for (const operation of row.operations)
		if (!shown || operation.matches)
			drawOperation(context, operation, top + 4 + operation.lane * lane, lane, line);
}

function drawRow(context, row, top) {
	const height = heightOf(row);
	if (row === selected) {
		context.fillStyle = colours.select;
		context.fillRect(0, top, plot.clientWidth, height);
	}
	if (row.kind === "context")
		drawContext(context, row, top, height);
	else if (row.kind === "operation")
		drawOperation(context, row, top, height, 6);
	else if (row.kind === "band")
		drawBand(context, row, top, height);
	else {
		context.fillStyle = colours.line;
		context.fillRect(0, Math.round(top + height) - 1, plot.clientWidth, 1);
	}
}

/* The last row of what is below the row, which is itself in rows. */
function lastBelow(row) {
	let last = row.place + 1;
	while (last < rows.length && rows[last].depth > row.depth)
		last++;
	return last - 1;
}
/* The row of the context, or of the nearest one above it that is not folded away. */
function shownRow(context) {
	let found = context;
	for (let at = context; at; at = at.parent)
		if (at.folded && at !== context)
			found = at;
	return found.place !== undefined && rows[found.place] === found ? found : null;
}

function batchText(batch) {
	return `${plural(batch.operations, "operation")} ended in ${timeText(batch.reap)}`;
}

function drawBatches(context, offset, height) {
	const marks = byId("marks"), width = plot.clientWidth, pills = [], taken = [];
	for (const batch of batches) {
		const x0 = xOf(batch.begin), x1 = xOf(batch.begin + batch.reap);
		if (x1 < -2 || x0 > width + 2 || !batch.context)
			continue;
		const row = shownRow(batch.context);
		if (!row)
			continue;
		const top = tops[row.place] - offset, bottom = tops[lastBelow(row) + 1] - offset;
		if (bottom < 0 || top > height)
			continue;
		context.fillStyle = colours.batch;
		context.globalAlpha = 0.12;
		context.fillRect(x0, Math.max(top, -4), Math.max(x1 - x0, 0), Math.min(bottom, height + 4) - Math.max(top, -4));
		context.globalAlpha = 1;
		context.fillRect(x0 - 0.75, Math.max(top, -4), 1.5, Math.min(bottom, height + 4) - Math.max(top, -4));
		const y = Math.round(Math.min(Math.max(bottom - 20, top), height - 22));
		if (pills.length < 80 && !taken.some((t) => Math.abs(t.y - y) < 19 && Math.abs(t.x - x0) < 190)) {
			taken.push({ x: x0, y });
			pills.push({ batch, x: x0, y: Math.max(y, 2) });
		}
	}
	marks.replaceChildren(...pills.map(({ batch, x, y }) => {
		const pill = element("div", "batch", batchText(batch));
		pill.style.top = `${y}px`;
		if (x > width - 220)
			pill.style.right = `${width - x + 5}px`;
		else
			pill.style.left = `${x + 5}px`;
		return pill;
	}));
}

function drawPlot() {
	const context = prepare(canvas), height = canvas.clientHeight, offset = scroll.scrollTop;
	for (let i = rowAt(offset); i < rows.length && tops[i] < offset + height; i++)
		drawRow(context, rows[i], tops[i] - offset);
	context.globalCompositeOperation = "destination-over";
	context.strokeStyle = colours.faint;
	eachTick(tickStep(96), (time, x) => {
		context.beginPath();
		context.moveTo(x, 0);
		context.lineTo(x, height);
		context.stroke();
	});
	context.fillStyle = colours.panel;
	context.fillRect(0, 0, Math.max(xOf(0), 0), height);
	context.fillRect(xOf(duration), 0, Math.max(plot.clientWidth - xOf(duration), 0), height);
	context.globalCompositeOperation = "source-over";
	drawBatches(context, offset, height);
}

/* ---- the rows on the left */

function markWords(into, text) {
	const lower = text.toLowerCase();
	let at = 0;
	while (words.length && at < text.length) {
		let best = -1, length = 0;
		for (const word of words) {
			const found = lower.indexOf(word, at);
			if (found >= 0 && (best < 0 || found < best)) {
				best = found;
				length = word.length;
			}
		}
		if (best < 0)
			break;
		into.append(text.slice(at, best), element("mark", "", text.slice(best, best + length)));
		at = best + length;
	}
	into.append(text.slice(at));
}

const canFold = (row) => row.kind === "band" || (row.kind !== "operation" && (row.children.length || row.operations.length));

function tookText(row) {
	if (row.kind === "process")
		return plural(row.below || 0, "span");
	if (row.kind === "band")
		return plural(row.operations.length, "operation");
	if (row.folded && row.below)
		return `+${numberText(row.below)}`;
	return (row.begin < 0 ? "> " : "") + timeText((row.kind === "context" && row.done !== null ? row.done : row.end) - Math.max(row.begin, 0));
}

function rowElement(row, index) {
	const made = element("div", `row ${row.kind}`), depth = row.depth;
	made.id = `row-${index}`;
	made.style.top = `${tops[index]}px`;
	made.style.height = `${heightOf(row)}px`;
	made.style.paddingLeft = `${22 + Math.min(depth, 14) * 16}px`;
	made.setAttribute("role", "treeitem");
	made.setAttribute("aria-level", depth + 1);
	made.setAttribute("aria-selected", row === selected);
	made.tabIndex = row === selected || (!selected && index === 0) ? 0 : -1;
	if (canFold(row)) {
		made.setAttribute("aria-expanded", !row.folded);
		const twisty = element("span", "twisty", row.folded ? "▶" : "▼");
		twisty.dataset.fold = "1";
		made.append(twisty);
	}
	if (row.kind === "context") {
		const dot = element("span", "dot");
		dot.style.background = outcomeColour(row.outcome);
		made.append(dot);
		made.dataset.outcome = outcomeName(row.outcome);
	}
	const name = element("span", "name");
	markWords(name, nameOf(row));
	if (row.kind === "operation" && targetOf(row)) {
		name.append(" ");
		const target = element("small");
		markWords(target, targetOf(row));
		name.append(target);
	} else if (row.kind === "context" && row.label) {
		name.append(" ");
		name.append(element("small", "", `${row.slot}.${row.generation}`));
	}
	made.append(name, element("span", "took", tookText(row)));
	const cause = row.kind === "context" ? causeText(row) : "";
	made.setAttribute("aria-label", `${nameOf(row)}, ${tookText(row)}${cause ? `, ${cause}` : ""}`);
	return made;
}

function drawRows() {
	const offset = scroll.scrollTop, height = scroll.clientHeight, made = [];
	const focused = document.activeElement && document.activeElement.classList.contains("row");
	for (let i = rowAt(offset); i < rows.length && tops[i] < offset + height; i++)
		made.push(rowElement(rows[i], i));
	byId("rows").replaceChildren(...made);
	if (focused && selected) {
		const element = byId(`row-${selected.place}`);
		if (element)
			element.focus({ preventScroll: true });
	}
}

let asked = false;
function drawAll() {
	if (asked)
		return;
	asked = true;
	requestAnimationFrame(() => {
		asked = false;
		drawRows();
		drawPlot();
		drawAxis();
		drawOverview();
		document.documentElement.dataset.drawn = Number(document.documentElement.dataset.drawn || 0) + 1;
	});
}

/* ---- what there is to say of a row or a batch: pairs of a name and a text */

function facts(row) {
	const list = [];
	const add = (name, text) => {
		if (text)
			list.push([name, text]);
	};
	const began = (time) => time < 0 ? `${timeText(-time)} before the recording` : `at ${timeText(time, 6)}`;
	if (row.kind === "process") {
		add("recorded", `from ${timeText(row.begin)} to ${timeText(row.end)}${row.died ? ", when it ended" : ""}`);
		add("contexts and operations", numberText(row.below || 0));
	} else if (row.kind === "context") {
		add("id", row.id);
		add("outcome", MEANINGS[outcomeName(row.outcome)] || outcomeName(row.outcome));
		add("cause", causeText(row));
		if (row.origin >= 0 && contexts[row.origin] !== row && row.outcome > FINISHED)
			add("ended with", `${contexts[row.origin].label} ${contexts[row.origin].id}`);
		add("began", `${began(row.begin)}, ${row.made}, by thread ${row.tid}`);
		add("ended", row.done === null ? "" : `at ${timeText(row.done, 6)}, after ${timeText(row.done - row.begin)}` +
			(row.doneTid ? `, by thread ${row.doneTid}` : ""));
		add("freed", row.freed === null ? "not during the recording" : `at ${timeText(row.freed, 6)}` +
			(row.done !== null ? `, ${timeText(row.freed - row.done)} later` : ""));
		add("made at", row.site);
		add("ended at", row.doneSite);
		add("operations", row.operations.length ? numberText(row.operations.length) : "");
		for (const batch of row.batches)
			add("batch", `${plural(batch.operations, "operation")}: ${batch.cancelled} cancelled, ${batch.finished} had finished; ` +
				`${plural(batch.sqes, "cancel SQE")}, ${plural(batch.enters, "system call")}; submitted in ${timeText(batch.submit)}, ` +
				`reaped in ${timeText(batch.reap)}`);
	} else if (row.kind === "band") {
		add("operations", row.text);
		add("cancelled", numberText(row.operations.filter((o) => o.cancelled).length));
		add("at the same time", `up to ${numberText(row.lanes)}`);
		add("of", `${row.context.label} ${row.context.id}`);
	} else {
		add("on", targetOf(row));
		add("began", began(row.begin));
		add("took", `${timeText(row.end - row.begin)}${row.open ? " so far" : ""}`);
		add("result", resultText(row));
		add("", [row.cancelled && (row.batch >= 0 ? "ended by a batch" : "cancelled"), row.flags & TIMED && "linked timeout",
			row.flags & MULTISHOT && "multishot", row.flags & PARKED && "parked", row.flags & STUCK && "stuck"].filter(Boolean).join(", "));
		add("ring", String(row.ring));
		if (row.context)
			add("of", `${row.context.label} ${row.context.id}`);
	}
	return list;
}

const rowColour = (row) => row.kind === "context" ? outcomeColour(row.outcome) : row.kind === "operation" ? operationColour(row) : colours.muted;

function showDetails(row) {
	const details = byId("details");
	if (!row) {
		details.textContent = "Point at a row or choose one with the arrow keys. ? lists the keys.";
		return;
	}
	details.replaceChildren(element("b", "", nameOf(row)), ...facts(row).map(([name, text]) => {
		const made = element("div", "", name ? `${name} ` : "");
		made.append(element("span", "", text));
		return made;
	}));
}

const tip = byId("tip");
function showTip(row, x, y) {
	if (!row) {
		tip.hidden = true;
		return;
	}
	const head = element("h2"), list = element("dl"), square = element("i");
	square.style.background = rowColour(row);
	head.append(square, nameOf(row));
	for (const [name, text] of facts(row))
		list.append(element("dt", "", name), element("dd", "", text));
	tip.replaceChildren(head, list);
	tip.hidden = false;
	const box = tip.getBoundingClientRect();
	tip.style.left = `${Math.max(8, Math.min(x + 16, innerWidth - box.width - 8))}px`;
	tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(8, y - box.height - 12) : y + 18}px`;
}

/* What is at a place of the plot: of a band the operation, and of a row itself. */
function hit(x, y) {
	const offset = scroll.scrollTop, index = rowAt(y + offset), row = rows[index];
	if (!row)
		return null;
	if (row.kind !== "band")
		return row;
	const height = heightOf(row), lane = Math.min((height - 8) / row.lanes, 7);
	const wanted = Math.floor((y + offset - tops[index] - 4) / lane), time = timeOf(x), slack = (to - from) / plot.clientWidth * 2;
	return row.operations.find((o) => o.lane === wanted && o.begin - slack <= time && o.end + slack >= time) || row;
}

/* ---- what the user does */

function select(row, focus) {
	selected = row;
	showDetails(row);
	if (row && row.place !== undefined) {
		const top = tops[row.place], bottom = tops[row.place + 1];
		if (top < scroll.scrollTop)
			scroll.scrollTop = top;
		else if (bottom > scroll.scrollTop + scroll.clientHeight)
			scroll.scrollTop = Math.min(bottom - scroll.clientHeight, top);
	}
	drawRows();
	if (focus && row) {
		const element = byId(`row-${row.place}`);
		if (element)
			element.focus({ preventScroll: true });
	}
	drawAll();
}
function setFolded(row, folded) {
	if (!canFold(row) || row.folded === folded)
		return;
	row.folded = folded;
	buildRows();
}
function foldAll(folded) {
	for (const process of processes)
		process.folded = false;
	for (const context of contexts) {
		context.folded = folded;
		if (context.band)
			context.band.folded = true;
	}
	buildRows();
}

let unfiltered = null;
function setFilter(text) {
	words = text.toLowerCase().split(/\s+/).filter(Boolean);
	if (words.length && !unfiltered) {
		unfiltered = contexts.map((context) => context.folded);
	} else if (!words.length && unfiltered) {
		contexts.forEach((context, i) => {
			context.folded = unfiltered[i];
		});
		unfiltered = null;
	}
	for (const process of processes)
		process.leads = process.matches = false;
	const count = words.length ? applyFilter() : 0;
	/* What leads to something that matches is unfolded. */
	for (const context of words.length ? contexts : [])
		context.folded = !context.leads;
	byId("matches").textContent = words.length ? plural(count, "match") : "";
	scroll.scrollTop = 0;
	buildRows();
}

byId("filter").addEventListener("input", (event) => setFilter(event.target.value));
byId("filter").addEventListener("keydown", (event) => {
	if (event.key === "Escape") {
		event.target.value = "";
		setFilter("");
		event.target.blur();
	}
	event.stopPropagation();
});
byId("fit").addEventListener("click", () => setView(-margin, duration + margin));
byId("in").addEventListener("click", () => zoom(0.6));
byId("out").addEventListener("click", () => zoom(1 / 0.6));
byId("fold").addEventListener("click", () => foldAll(true));
byId("unfold").addEventListener("click", () => foldAll(false));
byId("keys").addEventListener("click", () => byId("help").showModal());

byId("rows").addEventListener("click", (event) => {
	const made = event.target.closest(".row");
	if (!made)
		return;
	const row = rows[Number(made.id.slice(4))];
	if (event.target.dataset.fold)
		setFolded(row, !row.folded);
	select(row, true);
});
byId("rows").addEventListener("dblclick", (event) => {
	const made = event.target.closest(".row");
	if (made && !event.target.dataset.fold)
		zoomTo(rows[Number(made.id.slice(4))]);
});
byId("rows").addEventListener("mousemove", (event) => {
	const made = event.target.closest(".row");
	showTip(made ? rows[Number(made.id.slice(4))] : null, event.clientX, event.clientY);
});
byId("rows").addEventListener("mouseleave", () => showTip(null));
scroll.addEventListener("scroll", drawAll, { passive: true });

function onWheel(event, zooms) {
	const x = event.clientX - plot.getBoundingClientRect().left;
	const amount = event.deltaMode === 1 ? 16 : 1;
	event.preventDefault();
	showTip(null);
	if (zooms || event.ctrlKey || event.metaKey)
		zoom(1.0016 ** (event.deltaY * amount), x);
	else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
		pan((event.deltaX || event.deltaY) * amount);
	else
		scroll.scrollTop += event.deltaY * amount;
}
plot.addEventListener("wheel", (event) => onWheel(event, false), { passive: false });
byId("axis").addEventListener("wheel", (event) => onWheel(event, true), { passive: false });
byId("overview").addEventListener("wheel", (event) => onWheel(event, true), { passive: false });

let drag = null;
for (const surface of [plot, byId("axis")]) {
	surface.addEventListener("pointerdown", (event) => {
		if (event.button)
			return;
		drag = { x: event.clientX, y: event.clientY, from, to, top: scroll.scrollTop, moved: false };
		surface.setPointerCapture(event.pointerId);
	});
	surface.addEventListener("pointermove", (event) => {
		const box = plot.getBoundingClientRect();
		if (!drag) {
			showTip(surface === plot ? hit(event.clientX - box.left, event.clientY - box.top) : null, event.clientX, event.clientY);
			return;
		}
		const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
		if (Math.abs(dx) + Math.abs(dy) > 3)
			drag.moved = true;
		if (!drag.moved)
			return;
		plot.classList.add("dragged");
		showTip(null);
		const time = -dx / plot.clientWidth * (drag.to - drag.from);
		if (surface === plot)
			scroll.scrollTop = drag.top - dy;
		setView(drag.from + time, drag.to + time);
	});
	surface.addEventListener("pointerup", (event) => {
		const box = plot.getBoundingClientRect();
		if (drag && !drag.moved && surface === plot) {
			const row = rows[rowAt(event.clientY - box.top + scroll.scrollTop)];
			if (row)
				select(row, true);
		}
		drag = null;
		plot.classList.remove("dragged");
	});
	surface.addEventListener("pointerleave", () => showTip(null));
}
plot.addEventListener("dblclick", (event) => {
	const box = plot.getBoundingClientRect(), row = hit(event.clientX - box.left, event.clientY - box.top);
	if (row)
		zoomTo(row);
});

let picked = null;
byId("overview").addEventListener("pointerdown", (event) => {
	picked = event.clientX;
	byId("overview").setPointerCapture(event.pointerId);
});
byId("overview").addEventListener("pointermove", (event) => {
	if (picked === null || Math.abs(event.clientX - picked) < 4)
		return;
	const left = byId("overview").getBoundingClientRect().left;
	const [a, b] = [picked - left, event.clientX - left].sort((one, other) => one - other);
	setView(overviewTime(a), overviewTime(b));
});
byId("overview").addEventListener("pointerup", (event) => {
	const left = byId("overview").getBoundingClientRect().left;
	if (picked !== null && Math.abs(event.clientX - picked) < 4) {
		const at = overviewTime(event.clientX - left), half = (to - from) / 2;
		setView(at - half, at + half);
	}
	picked = null;
});

function move(step) {
	if (!rows.length)
		return;
	const at = selected && rows[selected.place] === selected ? selected.place : -1;
	select(rows[Math.min(Math.max(at + step, 0), rows.length - 1)], true);
}
function leave() {
	if (!selected)
		return;
	if (canFold(selected) && !selected.folded)
		setFolded(selected, true);
	else if (selected.parent)
		select(selected.parent, true);
}
function enter() {
	if (!selected || !canFold(selected))
		return;
	if (selected.folded)
		setFolded(selected, false);
	else
		move(1);
}

const PAGE = 12;
const KEYS = {
	ArrowUp: () => move(-1), ArrowDown: () => move(1), PageUp: () => move(-PAGE), PageDown: () => move(PAGE),
	Home: () => move(-rows.length), End: () => move(rows.length),
	"+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), w: () => zoom(0.6), s: () => zoom(1 / 0.6),
	a: () => pan(-80), d: () => pan(80), 0: () => setView(-margin, duration + margin),
	z: () => selected && zoomTo(selected), "/": () => byId("filter").focus(), "?": () => byId("help").showModal(),
	Escape: () => {
		byId("filter").value = "";
		setFilter("");
		select(null);
		showTip(null);
	},
	Enter: () => selected && setFolded(selected, !selected.folded),
};
document.addEventListener("keydown", (event) => {
	if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open || event.target.closest("button"))
		return;
	const done = event.key === "ArrowLeft" ? () => event.shiftKey ? foldAll(true) : leave()
		: event.key === "ArrowRight" ? () => event.shiftKey ? foldAll(false) : enter()
		: KEYS[event.key] || KEYS[event.key.toLowerCase()];
	if (!done)
		return;
	event.preventDefault();
	done();
});
addEventListener("resize", drawAll);

/* ---- the head of the page */

function writeHead() {
	const named = processes.filter((p) => p.children.length);
	const names = (named.length ? named : processes).map((p) => `${p.name} ${p.pid}`);
	const title = names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
	document.title = `${title || "Nothing"}: contexts over time`;
	byId("title").replaceChildren(title || "No process", element("span", "", "  contexts and their operations over time"));
	byId("subtitle").textContent = [data.host, new Date(data.begin_ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }),
		`recorded for ${timeText(duration)}`, plural(contexts.length, "context"), plural(operations.length, "operation"),
		plural(batches.length, "batch")].filter(Boolean).join("  ·  ");
	byId("peak").textContent = `max ${numberText(inFlight.peak)}`;
	const warnings = [data.lost && `Not complete: ${data.lost}.`, ...data.notes].filter(Boolean);
	byId("warning").hidden = !warnings.length;
	byId("warning").textContent = warnings.join("\n");
}

function writeLegend() {
	const counts = new Map();
	for (const context of contexts)
		counts.set(context.outcome, (counts.get(context.outcome) || 0) + 1);
	const keys = [...counts].sort((a, b) => a[0] - b[0]).map(([outcome, count]) => {
		const key = element("button", "key"), square = element("i"), name = outcomeName(outcome);
		square.style.background = `var(--${name})`;
		key.append(square, MEANINGS[name] || name, element("b", "", numberText(count)));
		key.title = `Show only these: ${name}`;
		key.addEventListener("click", () => {
			const same = byId("filter").value === name;
			byId("filter").value = same ? "" : name;
			setFilter(byId("filter").value);
		});
		return key;
	});
	const extra = (className, colour, text) => {
		const key = element("span", "key"), square = element("i", className);
		if (colour)
			square.style.background = `var(--${colour})`;
		key.append(square, text);
		return key;
	};
	keys.push(extra("pale", "muted", "ended, not freed yet"));
	if (operations.some((o) => !o.cancelled && !o.open && !hasFailed(o)))
		keys.push(extra("", "ok", "operation that completed"));
	if (operations.some((o) => !o.cancelled && !o.open && hasFailed(o)))
		keys.push(extra("", "failed", "operation that failed"));
	if (batches.length)
		keys.push(extra("mark", "", "batch of cancels"));
	byId("legend").replaceChildren(...keys);
}

writeHead();
writeLegend();
showDetails(null);
foldDeep();
buildRows();
document.documentElement.dataset.ready = "1";
})();
