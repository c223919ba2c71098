"""How pieces of source look in a terminal: carets under what is meant, whatever stands before it and however little room."""

from __future__ import annotations

import click
import pytest

from ckptdoctor.output import Style
from ckptdoctor.output.layout import Layout, cells
from ckptdoctor.output.views import source_text
from ckptdoctor.output.views.excerpts import Excerpt, Line


def excerpt(
    *lines: Line, part="culprit", line=10, end_line=0, label="read here", path="/env/a b/trainer.py"
) -> Excerpt:
    return Excerpt(part, label, "trainer 1.0", "trainer.py", path, line, "f", lines, end_line)


def shown(*excerpts: Excerpt, width=80, color=False, links=False) -> list[str]:
    style = Style(color=color, width=width, verbose=False, unicode=True, links=links)
    return source_text.lines(excerpts, Layout(style), "red")


def test_carets_stand_under_what_is_meant_in_columns_of_the_terminal():
    assert shown(excerpt(Line(10, "名 = 模型.__self__", 4, 15))) == [
        "  --> trainer 1.0, trainer.py:10",
        "  10 | 名 = 模型.__self__",
        "     |      ^^^^^^^^^^^^^ read here",
    ]


def test_of_several_lines_the_first_is_marked_and_the_last_is_named():
    lines = [
        Line(9, "before"),
        Line(10, "f("),
        Line(11, "    g(", 4, 6),
        Line(12, "        x,", 8, 10),
        Line(13, "after"),
    ]

    assert shown(excerpt(*lines, end_line=14, part="passed", label="passed here")) == [
        "  --> trainer 1.0, trainer.py:10",
        "  10 | f(",
        "  11 |     g(",
        "     |     -- passed here (to line 14)",
    ]


def test_lines_that_are_left_out_show():
    lines = [Line(8, "f("), Line(9, "    1,"), Line(10, "    g()", 4, 7)]

    assert shown(excerpt(*lines, line=8))[1:] == [
        "   8 | f(",
        "  ...",
        "  10 |     g()",
        "     |     ^^^ read here",
    ]


@pytest.mark.parametrize("width", [30, 40, 60])
@pytest.mark.parametrize("at", [0, 30, 120, 190])
@pytest.mark.parametrize("char", ["x", "模"])
def test_a_long_line_is_cut_around_what_is_meant(width, at, char):
    text = f"{char * at}meant{char * (200 - at)}"

    lines = shown(excerpt(Line(10, text, at, at + 5)), width=width)
    code, under, *rest = lines[next(at for at, line in enumerate(lines) if "|" in line) :]

    assert max(map(cells, [code, under, *rest])) <= width
    assert cells(code[: code.index("meant")]) == under.index("^")
    assert under[under.index("^") :].startswith("^^^^^")
    assert "read here" in " ".join([under, *rest])


def test_a_label_without_room_goes_below():
    long = "passed here: functools.partial(Layer.forward, Layer)"

    lines = [Line(9, "g("), Line(10, "    f(x)", 4, 8)]

    assert shown(excerpt(*lines, line=9, label=long), width=40)[3:] == [
        "     |     ^^^^",
        "     |     passed here:",
        "     |     functools.partial(Layer.forward,",
        "     |     Layer)",
    ]


def test_a_place_without_source_has_its_label_beside_it():
    assert shown(excerpt()) == [" --> trainer 1.0, trainer.py:10: read here"]


def test_places_share_a_margin():
    first, second = excerpt(Line(7, "a", 0, 1), line=7), excerpt(Line(1234, "b", 0, 1), line=1234, part="passed")

    assert [line.index("|") for line in shown(first, second) if "|" in line] == [7, 7, 7, 7]


def test_a_file_is_a_link_where_the_terminal_opens_links():
    place, *code = shown(excerpt(Line(10, "a", 0, 1)), color=True, links=True)

    assert "\x1b]8;;file://" in place
    assert "/env/a%20b/trainer.py\x1b\\trainer.py:10\x1b]8;;\x1b\\" in place
    assert "\x1b]" not in "".join(code)
    assert "\x1b]" not in "".join(shown(excerpt(Line(10, "a", 0, 1)), color=True))


@pytest.mark.parametrize("path", ["<string>", "trainer.py", ""])
def test_what_is_no_file_is_no_link(path):
    assert "\x1b]" not in "".join(shown(excerpt(Line(10, "a", 0, 1), path=path), links=True))


def test_a_file_with_a_hostile_name_makes_no_other_command():
    place = shown(excerpt(Line(10, "a", 0, 1), path="/env/\x1b\\\x07\n\udcff.py"), links=True)[0]

    address = place.partition("\x1b]8;;")[2].partition("\x1b\\")[0]
    assert address.isprintable()
    assert address.endswith("/env/%1B%5C%07%0A%FF.py")


def test_colour_changes_nothing_but_colour():
    pair = (excerpt(Line(10, "a.b", 0, 3)), excerpt(Line(12, "f(a)", 2, 3), part="passed"))

    assert list(map(click.unstyle, shown(*pair, color=True))) == shown(*pair)
