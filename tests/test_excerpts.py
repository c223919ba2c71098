from __future__ import annotations

import msgspec
import pytest

from ckptdoctor.model.evidence import CallableInfo, Place, Region, Source
from ckptdoctor.model.report import Finding
from ckptdoctor.output.views import excerpts

FILE = "/env/lib/python3.11/site-packages/trainer/checkpointing.py"


def place(text: str, region: tuple[int, int, int, int] | None, line: int = 10, first: int = 10, **more) -> Place:
    lines = tuple(text.split("\n"))
    source = Source(first, lines, Region(*region) if region else None)
    code = lines[line - first].strip() if 0 <= line - first < len(lines) else ""
    return Place(FILE, line, "function", "trainer", "1.0", code, **{"source": source, **more})


def finding(culprit: Place | None, passed_by: Place | None = None, built: Place | None = None, **more) -> Finding:
    return Finding("CKPT001", "n", "error", "t", "d", ("p",), culprit=culprit, passed_by=passed_by, built=built, **more)


def marked(line: excerpts.Line) -> str:
    return line.text[line.start : line.end]


@pytest.mark.parametrize(
    ("text", "region", "shown"),
    [
        ("    x = func.__self__", (10, 9, 10, 22), "func.__self__"),
        ("\t\tx = func.__self__", (10, 7, 10, 20), "func.__self__"),
        ("    名 = 模型.__self__", (10, 9, 10, 20), "模型.__self__"),
        ("    x = '\x1b[2J'; y = f.g", (10, 21, 10, 24), "f.g"),
        ("    x = f('\u202e').g", (10, 9, 10, 17), r"f('\u202e').g"),
        ("    x = func.__self__", (10, 9, 10, 400), "func.__self__"),
        ("    def run(x):", None, "run"),
        ("    raise ValueError(x)", None, "raise ValueError(x)"),
    ],
)
def test_the_range_holds_the_expression_whatever_stands_before_it(text, region, shown):
    (found,) = excerpts.of(finding(place(text, region)))
    (line,) = found.around(0)

    assert marked(line) == shown
    assert "\x1b" not in line.text
    assert "\u202e" not in line.text
    assert "\t" not in line.text


def test_an_expression_of_several_lines_is_marked_without_indentation():
    text = "before\n    out = run(\n        partial(\n            layer,\n        ),\n    )\nafter"
    (found,) = excerpts.of(finding(place(text, (12, 9, 14, 10), line=11)))

    assert [(line.number, marked(line)) for line in found.around(0)] == [
        (11, ""),
        (12, "partial("),
        (13, "layer,"),
        (14, ")"),
    ]
    assert [line.text for line in found.around(0)][:2] == ["out = run(", "    partial("]
    assert [line.number for line in found.around(2)] == [10, 11, 12, 13, 14, 15, 16]


def test_a_place_without_source_shows_its_line_and_one_without_that_shows_none():
    only = place("func.__self__", None, source=msgspec.UNSET)
    (found,) = excerpts.of(finding(only))
    assert [(line.number, marked(line)) for line in found.around(2)] == [(10, "func.__self__")]

    (found,) = excerpts.of(finding(msgspec.structs.replace(only, code="")))
    assert found.around(2) == []
    assert (found.file, found.line, found.owner) == ("trainer/checkpointing.py", 10, "trainer 1.0")


def test_places_come_in_order_with_their_labels():
    read = place("x = f.__self__", (10, 5, 10, 15))
    built = place("run = partial(f)\nout = check(run)", (10, 7, 10, 17))
    passed = place("run = partial(f)\nout = check(run)", (11, 13, 11, 16), line=11)
    made_of = CallableInfo("functools.partial", "functools.partial(f, a=..., b=...)", "functools.partial")

    whole = finding(read, passed, built, callable=made_of)
    found = excerpts.of(whole)

    assert [(one.part, one.label) for one in found] == [
        ("culprit", "read here"),
        ("built", "built here"),
        ("passed", "passed here"),
    ]
    other = excerpts.of(msgspec.structs.replace(whole, rule="CKPT005"))
    assert [one.label for one in other] == ["here", "built here", "passed here: functools.partial(f, ...)"]


def test_what_is_built_where_it_is_passed_is_one_place():
    read = place("x = f.__self__", (10, 5, 10, 15))
    passed = place("out = check(\n    partial(f),\n)", (11, 5, 11, 15), line=20, first=20)
    built = msgspec.structs.replace(passed, line=21)

    assert [one.label for one in excerpts.of(finding(read, passed, built))] == ["read here", "passed here"]


def test_a_line_that_is_to_blame_and_passes_is_one_place():
    both = place("out = check(f)", (10, 13, 10, 14))

    assert [one.part for one in excerpts.of(finding(both, both))] == ["culprit"]


@pytest.mark.parametrize(
    ("rule", "code", "label"),
    [
        ("CKPT001", "x = f.__self__", "read here"),
        ("CKPT001", "raise ValueError", "raised here"),
        ("CKPT004", "def run(x):", "defined here"),
        ("CKPT013", "def enable(self):", "refused here"),
        ("CKPT099", "x = 1", "here"),
    ],
)
def test_labels_are_the_rules(rule, code, label):
    found = msgspec.structs.replace(finding(place(code, None)), rule=rule)

    assert excerpts.of(found)[0].label == label
