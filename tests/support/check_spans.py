# SPDX-License-Identifier: MIT
"""
Checks what ctxtool record has written: check_spans.py trace|otlp FILE [operations in one batch].

trace: the rules of the Trace Event Format that Perfetto insists on. Complete events nest on their thread, arrows come
in pairs, and each of their ends lies within a slice of its thread.

otlp: the rules of OTLP's JSON form (opentelemetry-proto, "JSON Protobuf Encoding"): ids are hexadecimal and not all
zero, integers of 64 bits are strings, enumerations are numbers, names are those of the schema, in lowerCamelCase.
Parents that are named are there, or have another trace's sender. Prints what is wrong and exits with 1.
"""
import json
import re
import sys
from collections import defaultdict

wrong = []


def expect(condition, text):
    if not condition and len(wrong) < 20:
        wrong.append(text)


def check_trace(document, batch):
    events = document["traceEvents"]
    tracks, starts, ends, named = defaultdict(list), {}, {}, set()
    for event in events:
        expect(event["ph"] in "XMsfi", f"a phase {event['ph']}")
        if event["ph"] == "X":
            expect(event["dur"] >= 0, f"a duration below 0: {event}")
            tracks[event["pid"], event["tid"]].append(event)
        elif event["ph"] == "s":
            expect(event["id"] not in starts, f"two arrows of one id: {event}")
            starts[event["id"]] = event
        elif event["ph"] == "f":
            expect(event.get("bp") == "e", f"an arrow that ends before its slice: {event}")
            ends[event["id"]] = event
        elif event["ph"] == "M" and event["name"] == "thread_name":
            named.add((event["pid"], event["tid"]))
    expect(set(starts) == set(ends), "arrows without two ends")
    expect(set(tracks) == named, f"tracks without a name, or names without a track: {set(tracks) ^ named}")

    def ns(value):
        return round(value * 1000)

    for track, slices in tracks.items():
        stack = []
        for one in sorted(slices, key=lambda e: (ns(e["ts"]), -ns(e["dur"]))):
            begin, end = ns(one["ts"]), ns(one["ts"]) + ns(one["dur"])
            while stack and stack[-1] <= begin:
                stack.pop()
            expect(not stack or end <= stack[-1], f"does not nest on track {track}: {one}")
            stack.append(end)
    within = 0
    for arrow in list(starts.values()) + list(ends.values()):
        inside = any(ns(s["ts"]) <= ns(arrow["ts"]) <= ns(s["ts"]) + ns(s["dur"])
                     for s in tracks[arrow["pid"], arrow["tid"]])
        expect(inside, f"an arrow that touches no slice: {arrow}")
        within += inside
    for identity in starts:
        expect(starts[identity]["ts"] <= ends[identity]["ts"], f"an arrow into the past: {starts[identity]}")
    if batch:
        found = [e for e in events if e["ph"] == "X" and e["cat"] == "batch" and e["args"]["operations"] == batch]
        expect(len(found) == 1, f"{len(found)} batches of {batch} operations")
        expect(len(starts) >= batch, f"{len(starts)} arrows")
    return f"{len(events)} events on {len(tracks)} tracks"


FIELDS = {
    "request": {"resourceSpans"}, "resourceSpans": {"resource", "scopeSpans", "schemaUrl"},
    "resource": {"attributes", "droppedAttributesCount"}, "scopeSpans": {"scope", "spans", "schemaUrl"},
    "scope": {"name", "version", "attributes", "droppedAttributesCount"},
    "span": {"traceId", "spanId", "traceState", "parentSpanId", "flags", "name", "kind", "startTimeUnixNano",
             "endTimeUnixNano", "attributes", "droppedAttributesCount", "events", "droppedEventsCount", "links",
             "droppedLinksCount", "status"},
    "event": {"timeUnixNano", "name", "attributes", "droppedAttributesCount"},
    "link": {"traceId", "spanId", "traceState", "attributes", "droppedAttributesCount", "flags"},
    "status": {"message", "code"},
}
VALUES = {"stringValue": str, "boolValue": bool, "intValue": str, "doubleValue": float}


def check_fields(kind, value):
    expect(isinstance(value, dict) and set(value) <= FIELDS[kind], f"not a {kind}: {value}")


def check_attributes(holder):
    keys = [a["key"] for a in holder.get("attributes", [])]
    expect(len(keys) == len(set(keys)), f"attributes twice: {keys}")
    for attribute in holder.get("attributes", []):
        expect(set(attribute) == {"key", "value"} and len(attribute["value"]) == 1, f"an attribute {attribute}")
        for name, value in attribute["value"].items():
            expect(name in VALUES and isinstance(value, VALUES[name]), f"an attribute {attribute}")
            expect(name != "intValue" or re.fullmatch(r"-?\d{1,19}", value), f"an attribute {attribute}")


def check_id(text, digits):
    expect(isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", text) and int(text, 16), f"an id {text}")


def check_time(text):
    expect(isinstance(text, str) and re.fullmatch(r"\d{19}", text), f"a time {text}")


def check_otlp(document, batch):
    spans, batches = [], []
    check_fields("request", document)
    for resource in document["resourceSpans"]:
        check_fields("resourceSpans", resource)
        check_fields("resource", resource["resource"])
        check_attributes(resource["resource"])
        for scope in resource["scopeSpans"]:
            check_fields("scopeSpans", scope)
            check_fields("scope", scope["scope"])
            spans += scope["spans"]
    known = {(s["traceId"], s["spanId"]) for s in spans}
    expect(len(known) == len(spans), "two spans have one id")
    for span in spans:
        check_fields("span", span)
        check_id(span["traceId"], 32)
        check_id(span["spanId"], 16)
        check_time(span["startTimeUnixNano"])
        check_time(span["endTimeUnixNano"])
        expect(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]), f"ends before it begins: {span}")
        expect(isinstance(span["kind"], int) and 0 < span["kind"] < 6, f"a kind {span['kind']}")
        expect(bool(span["name"]), f"a span without a name: {span}")
        check_attributes(span)
        check_fields("status", span["status"])
        expect(span["status"].get("code", 0) in (0, 1, 2), f"a status {span['status']}")
        if "parentSpanId" in span:
            check_id(span["parentSpanId"], 16)
            expect((span["traceId"], span["parentSpanId"]) in known, f"its parent is not there: {span}")
        for event in span.get("events", []):
            check_fields("event", event)
            check_time(event["timeUnixNano"])
            check_attributes(event)
            batches += [a["value"]["intValue"] for a in event["attributes"] if a["key"] == "ctxring.batch.operations"]
        for link in span.get("links", []):
            check_fields("link", link)
            check_id(link["traceId"], 32)
            check_id(link["spanId"], 16)
    if batch:
        expect(batches.count(str(batch)) == 1, f"batches of {batches} operations")
    return f"{len(spans)} spans of {len({s['traceId'] for s in spans})} traces"


with open(sys.argv[2], encoding="utf-8") as file:
    text = {"trace": check_trace, "otlp": check_otlp}[sys.argv[1]](
        json.load(file), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
for line in wrong:
    print(f"{sys.argv[2]}: {line}"[:600])
if not wrong:
    print(f"{sys.argv[1]}: {text}")
sys.exit(bool(wrong))
