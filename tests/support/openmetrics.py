# SPDX-License-Identifier: MIT
"""Ends with an error unless standard input is OpenMetrics text as its specification has it: each family once, with TYPE,
UNIT and HELP in front of its samples, only the escapes there are, and no series twice."""
import re
import sys

SUFFIX = {"counter": "_total", "histogram": "_bucket"}
text = sys.stdin.buffer.read().decode("utf-8")
lines = text.rstrip("\n").split("\n")
assert lines[-1] == "# EOF" and lines.count("# EOF") == 1, "the end"
families, series, current = {}, set(), None
for line in lines[:-1]:
    meta = re.fullmatch(r"# (TYPE|UNIT|HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)", line)
    if meta:
        kind, name, value = meta.groups()
        if name != current:
            assert name not in families, f"{name} is there twice"
            families[name] = {}
            current = name
        order = ("TYPE", "UNIT", "HELP")
        assert all(order.index(before) < order.index(kind) for before in families[name]), f"order: {line}"
        assert "samples" not in families[name], f"after samples: {line}"
        families[name][kind] = value
        if kind == "UNIT":
            assert name.endswith("_" + value), line
        if kind == "HELP":
            assert not re.search(r"\\[^\\n\"]", value), line
        continue
    sample = re.fullmatch(
        r'([a-zA-Z_:][a-zA-Z0-9_:]*)((?:\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*",?)*\})?)'
        r" (-?[0-9.]+(?:e[+-]?[0-9]+)?)", line)
    assert sample, f"no sample: {line!r}"
    name, labels, _ = sample.groups()
    kind = families[current]["TYPE"]
    assert name == current + SUFFIX.get(kind, ""), f"not of {current}: {line}"
    assert (name, labels) not in series, f"twice: {line}"
    series.add((name, labels))
assert series, "nothing"
