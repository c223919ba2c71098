"""What a bisection found, printed."""

import json
from importlib import resources

import jsonschema
import pytest

from ckptdoctor.model.compatibility import BISECTION, Bisection, Fault, Judged, Line, Run
from ckptdoctor.model.evidence import Place
from ckptdoctor.output import Style, render
from ckptdoctor.output.bisection.json import schema, schema_text

PLAIN = Style(color=False, width=100, verbose=False, unicode=True)
HOSTILE = "\x1b[31m\x9b2J\u202e\n"


def side(release, verdict, text=""):
    place = Place("llamafactory/checkpointing.py", 86, "f", "llamafactory", "0.9.2", f"func.__self__{text}")
    faults = [Fault("CKPT001", "error", f"reads{text}", ["llamafactory"], place, place, "", f"AttributeError: x{text}")]
    judged = [Judged("llamafactory", verdict, convention="partial-bound")]
    return Run({"transformers": release}, "glm4", verdict, f"said{text}", judged, faults if verdict == "fail" else [])


def found(text="", between=(), fixes=False):
    first, second = ("fail", "ok") if fixes else ("ok", "fail")
    line = Line("4.50.3", "4.51.0", side("4.50.3", first, text), side("4.51.0", second, text), list(between))
    verdicts = {"4.50.3": first, "4.51.0": second, "4.51.3": second}
    stack = {"llamafactory": f"0.9.2{text}"}
    return Bisection(
        *(BISECTION, "0.1.0", "2026-01-02", "3.11", "2.13.0", "linux"),
        *("transformers", ["4.50.3", "4.51.0", "4.51.3"], stack, [line], 2, 1, verdicts, ["4.50.3", "4.51.0"]),
    )


def test_both_sides_of_the_line_are_shown():
    text = render("text", found(), PLAIN)
    assert "transformers 4.51.0 is the first that fails" in text
    assert "transformers 4.50.3 works" in text
    assert "CKPT001  AttributeError: x" in text
    assert "llamafactory/checkpointing.py:86" in text
    assert (
        "2 of 3 releases measured, 1 of them known from earlier runs; 1 inferred from those with the same code."
        in " ".join(text.split())
    )
    assert "is the first that works" in render("text", found(fixes=True), PLAIN)
    assert "cannot be diagnosed: 4.50.9" in render("text", found(between=["4.50.9"]), PLAIN)


def test_no_line_is_said_too():
    none = found()
    none.lines = []
    assert "The verdict does not change: every release fails or works." in render("text", none, PLAIN)


def test_json_keeps_to_the_shipped_schema():
    shipped = (
        resources.files("ckptdoctor.output.bisection").joinpath("bisection.schema.json").read_text(encoding="utf-8")
    )
    assert shipped == schema_text()
    jsonschema.Draft202012Validator(schema()).validate(json.loads(render("json", found(), PLAIN)))


@pytest.mark.parametrize("format_", ["text", "json"])
def test_text_out_of_packages_acts_on_nothing(format_):
    shown = render(format_, found(HOSTILE), PLAIN)
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
