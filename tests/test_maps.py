from __future__ import annotations

import base64
import csv
import gzip
import html
import importlib.resources
import io
import json
import re
import typing

import click
import jsonschema
import msgspec
import pytest
from markdown_it import MarkdownIt

from ckptdoctor import catalog, knowledge
from ckptdoctor.model import declared
from ckptdoctor.model.compatibility import SCHEMA, Audit, Cell, Fault, Judged, Map, Run
from ckptdoctor.model.evidence import Place
from ckptdoctor.output import Style, formats, render
from ckptdoctor.output.map.html import render as render_html
from ckptdoctor.output.map.json import schema, schema_text
from ckptdoctor.output.markup import code, prose
from ckptdoctor.output.views import digest
from ckptdoctor.output.views.ranges import joined, label, span
from ckptdoctor.output.views.table import sheets
from ckptdoctor.words.wording import gist
from tests.test_output import acting

TRANSFORMERS = ["4.49.0", "4.50.3", "4.51.0", "4.51.3", "5.23.0"]
LLAMAFACTORY = ["0.9.1", "0.9.2", "0.9.3"]
AXOLOTL = ["0.8.1", "0.9.2"]
HOSTILE = (
    "\x1b[31m\x1b]0;owned\x07\r\x9b2J\u202e\u2066\u200b\u2028\n=1+1\t@someone #12 | `a` ``b <img src=x onerror=alert(1)> "
    "</script><!-- </noscript> **b** [l](http://evil.example) ~~s~~ &lt; $x$ www.evil.example $look\nFAIL"
)


def style(**changes) -> Style:
    return Style(**{"color": False, "width": 110, "verbose": False, "unicode": True, **changes})


def fault(stack, **changes) -> Fault:
    """The fault by which an old LLaMA-Factory fails on a newer transformers."""
    trainer, version = next(
        ((name, at) for name, at in stack.items() if name in catalog.with_functions()), ("mine", "1.0")
    )
    fields = {
        "rule": "CKPT001",
        "severity": "error",
        "title": f"{trainer} {version} reads `__self__` from a callable that does not have it",
        "functions": [trainer, f"{trainer}:unsloth"],
        "culprit": Place(f"{trainer}/checkpointing.py", 86, "f", trainer, version, "module = func.__self__"),
        "passed_by": Place(
            "transformers/modeling_glm4.py", 577, "forward", "transformers", stack.get("transformers", ""), "f("
        ),
        "callable": "functools.partial(Glm4DecoderLayer.__call__)",
        "error": "AttributeError: 'functools.partial' object has no attribute '__self__'",
    }
    return Fault(**{**fields, **changes})


def run(stack, verdict, model="glm4", **changes) -> Run:
    summary = {
        "ok": "Gradient checkpointing works here.",
        "fail": "Gradient checkpointing does not work here.",
        "error": f"transformers {stack.get('transformers')} cannot be imported.",
    }
    fields = {
        "stack": stack,
        "model": model,
        "verdict": verdict,
        "summary": summary[verdict],
        "functions": [Judged("llamafactory", verdict, rules=["CKPT001"] if verdict == "fail" else [])],
        "faults": [fault(stack)] if verdict == "fail" else [],
        "packages": {**stack, "torch": "2.13.0"},
        "date": "2026-11-24",
    }
    return Run(**{**fields, **changes})


def build(axes, verdict_of, models=("glm4",), stacks=None, **more) -> Map:
    """A map in which the first combination of each verdict and trainer was run, and the others are inferred from it."""
    runs, cells, first = [], [], {}
    for model in models:
        for stack in every(axes) if stacks is None else stacks:
            verdict = verdict_of(stack, model)
            if verdict is None:
                continue
            trainer = tuple(item for item in stack.items() if item[0] != "transformers")
            key = (model, trainer, verdict)
            how = "inferred" if key in first else "measured"
            if key not in first:
                first[key] = len(runs)
                runs.append(run(stack, verdict, model))
            cells.append(Cell(stack, model, verdict, how, first[key]))
    about = (SCHEMA, "0.1.0", "2026-11-24", "3.11.7", "2.13.0+cpu", "linux x86_64")
    return declared.marked(Map(*about, axes, runs, cells, **more))


def every(axes):
    """Every combination, trainers being alternatives."""
    stacks = [{}]
    for package in [name for name in axes if name not in catalog.with_functions()]:
        stacks = [{**stack, package: release} for stack in stacks for release in axes[package]]
    trainers = [(name, release) for name in catalog.with_functions() for release in axes.get(name, [])]
    return [{**stack, name: release} for name, release in trainers for stack in stacks] if trainers else stacks


def usual(stack, model="glm4"):
    """As README has it: 0.9.1 and 0.9.2 fail from 4.51 on, all fail on 5.23.0."""
    at = TRANSFORMERS.index(stack["transformers"])
    if at == 4:
        return "fail"
    return "fail" if at >= 2 and stack.get("llamafactory") in ("0.9.1", "0.9.2") else "ok"


def readme(**more) -> Map:
    return build({"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY}, usual, **more)


def grid(sheet):
    """A sheet as rows of words."""
    words = [[("" if cell is None else cell.verdict) for cell in row.cells] for row in sheet.rows]
    return {row.label: line for row, line in zip(sheet.rows, words, strict=True)}


def planted(value, hostile=HOSTILE, keys=True, kind=str):
    """A copy with hostile text behind every string; without ``keys`` packages keep their names, and so their table."""
    if isinstance(value, msgspec.Struct):
        kinds = {field.name: field.type for field in msgspec.structs.fields(value)}
        fields = {name: planted(getattr(value, name), hostile, keys, kind) for name, kind in kinds.items()}
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, list):
        return [planted(item, hostile, keys) for item in value]
    if isinstance(value, dict):
        return {key + hostile if keys else key: planted(item, hostile, keys) for key, item in value.items()}
    if isinstance(value, str) and typing.get_origin(kind) is not typing.Literal:
        return value + hostile
    return value


def whole() -> Map:
    """A map with something in every field."""
    axes = {"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY, "axolotl": AXOLOTL, "python": ["3.11"]}

    def verdict(stack, model):
        if stack.get("axolotl") == "0.9.2" and stack["transformers"] < "4.51":
            return "error" if stack["transformers"] == "4.49.0" else None
        return usual(stack) if model == "glm4" else "ok"

    found = build(
        axes,
        verdict,
        models=("glm4", "llama", "qwen2"),
        requires={"llamafactory": {"0.9.2": ["transformers<=4.49.0"]}},
        audit=Audit(3, ["transformers 4.51.3, llamafactory 0.9.1 was inferred to fail and works"]),
        notes=["nothing was run on a GPU"],
    )
    found.runs[0].functions.append(Judged("axolotl:disk", "ok", convention="partial-bound", why="x", forward_only=True))
    return found


CASES = [
    readme,
    whole,
    lambda: readme(models=("glm4", "llama")),
    lambda: build({}, usual, stacks=[]),
    lambda: build({"transformers": []}, usual),
    lambda: build({"transformers": TRANSFORMERS}, usual),
    lambda: build({"transformers": ["4.51.3"]}, usual),
]


# -- ranges -----------------------------------------------------------------------------------------------------------


def test_boxes_join_where_they_are_neighbours_and_alike():
    axes = {"a": ["1", "2", "3"], "b": ["x", "y"]}
    boxes = [({"a": (a,), "b": (b,)}, a != "3") for a in axes["a"] for b in axes["b"]]

    assert joined(boxes, axes) == [
        ({"a": ("1", "2"), "b": ("x", "y")}, True),
        ({"a": ("3",), "b": ("x", "y")}, False),
    ]


def test_a_gap_is_not_bridged():
    assert joined([({"a": ("1",)}, 0), ({"a": ("3",)}, 0)], {"a": ["1", "2", "3"]}) == [
        ({"a": ("1",)}, 0),
        ({"a": ("3",)}, 0),
    ]


def test_releases_that_are_on_no_axis_stay_apart():
    boxes = [({"a": (release,)}, 0) for release in ("9", "1", "8")]

    assert len(joined(boxes, {"a": ["1"]})) == 3


def test_the_order_of_releases_is_the_axis_not_the_alphabet():
    boxes = [({"a": (release,)}, 0) for release in ("0.12.2", "0.8.1")]

    assert joined(boxes, {"a": ["0.8.1", "0.12.2"]}) == [({"a": ("0.8.1", "0.12.2")}, 0)]


def test_labels():
    assert span(["4.51.0"]) == "4.51.0"
    assert span(["4.51.0", "4.51.3", "5.22.2"]) == "4.51.0 - 5.22.2"
    assert label({"llamafactory": ("1", "2"), "python": ("3.11",)}, ["llamafactory", "axolotl", "python"]) == (
        "llamafactory 1 - 2, python 3.11"
    )
    assert label({"python": ("3.11",)}, ["llamafactory", "python"]) == "no trainer, python 3.11"


# -- tables -----------------------------------------------------------------------------------------------------------


def test_rows_and_columns_that_are_alike_become_ranges():
    [sheet] = sheets(readme())

    assert sheet.title == "glm4"
    assert sheet.package == "transformers"
    assert sheet.headers == ["4.49.0 - 4.50.3", "4.51.0 - 4.51.3", "5.23.0"]
    assert grid(sheet) == {
        "llamafactory 0.9.1 - 0.9.2": ["ok", "fail", "fail"],
        "llamafactory 0.9.3": ["ok", "ok", "fail"],
    }


def test_a_joined_cell_knows_what_it_rests_on():
    [sheet] = sheets(readme())
    works, fails, _ = sheet.rows[0].cells

    assert (works.measured, works.inferred, works.rules) == (2, 2, ())
    assert (fails.measured, fails.inferred, fails.rules) == (2, 2, ("CKPT001",))
    assert {cell.stack["transformers"] for cell in fails.cells} == {"4.51.0", "4.51.3"}


def test_unjoined_sheets_show_every_release():
    [sheet] = sheets(readme(), join=False)

    assert sheet.headers == TRANSFORMERS
    assert [row.label for row in sheet.rows] == [f"llamafactory {release}" for release in LLAMAFACTORY]
    assert all(len(cell.cells) == 1 for row in sheet.rows for cell in row.cells)


def test_what_is_not_in_the_map_is_blank_and_splits_ranges():
    def verdict(stack, model):
        return None if stack == {"transformers": "4.50.3", "llamafactory": "0.9.2"} else "ok"

    [sheet] = sheets(build({"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY}, verdict))

    assert sheet.headers == ["4.49.0", "4.50.3", "4.51.0 - 5.23.0"]
    assert grid(sheet) == {
        "llamafactory 0.9.1": ["ok", "ok", "ok"],
        "llamafactory 0.9.2": ["ok", "", "ok"],
        "llamafactory 0.9.3": ["ok", "ok", "ok"],
    }


def test_a_release_of_which_nothing_is_known_has_a_blank_row():
    def verdict(stack, model):
        return None if stack["llamafactory"] == "0.9.2" else "ok"

    [sheet] = sheets(build({"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY}, verdict))

    assert grid(sheet) == {"llamafactory 0.9.1": ["ok"], "llamafactory 0.9.2": [""], "llamafactory 0.9.3": ["ok"]}


def test_other_rules_are_another_range():
    found = readme()
    for one in found.runs:
        if one.stack["llamafactory"] == "0.9.2" and one.faults:
            one.faults[0].rule = "CKPT010"

    assert [row.label for row in sheets(found)[0].rows] == [f"llamafactory {release}" for release in LLAMAFACTORY]


def test_a_warning_is_another_range():
    found = build({"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY}, lambda stack, model: "ok")
    found.runs[1].faults.append(fault(found.runs[1].stack, rule="CKPT006", severity="warning"))

    [sheet] = sheets(found)

    assert [row.cells[0].warnings for row in sheet.rows] == [(), ("CKPT006",), ()]
    assert "ok warns:CKPT006 1/5" in render("text", found, style())
    assert "ok (warns CKPT006) 1/5" in render("markdown", found, style())


def test_errors_join_when_they_say_the_same_but_for_releases():
    stacks = [{"transformers": release} for release in TRANSFORMERS]
    runs = [run(stack, "error") for stack in stacks]
    runs[4].summary = "torch has no wheel for this Python."
    cells = [Cell(stack, "", "error", "measured", at) for at, stack in enumerate(stacks)]
    found = msgspec.structs.replace(build({"transformers": TRANSFORMERS}, usual), runs=runs, cells=cells)

    assert [row.label for row in sheets(found)[0].rows] == ["transformers 4.49.0 - 4.51.3", "transformers 5.23.0"]
    assert [(one.why, [place.label for place in one.where]) for one in digest.reasons(found)] == [
        ("transformers cannot be imported.", ["transformers 4.49.0 - 4.51.3"]),
        ("torch has no wheel for this Python.", ["transformers 5.23.0"]),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("transformers 4.51.3 fails", "transformers fails"),
        ("no transformers==4.51.3.", "no transformers."),
        ("transformers 4.51.30 fails", "transformers 4.51.30 fails"),
        ("transformers 4.51.3.post1", "transformers 4.51.3.post1"),
        ("Python 3.11, torch 2.13.0+cpu", "Python, torch 2.13.0+cpu"),
        ("needs 4.51.3", "needs 4.51.3"),
    ],
)
def test_gist_takes_out_releases_of_the_stack_only(text, shown):
    assert gist(text, {"transformers": "4.51.3", "python": "3.11", "torch": "2.13.0", "empty": ""}) == shown


def test_a_single_axis_has_its_releases_as_rows():
    [sheet] = sheets(build({"transformers": TRANSFORMERS, "torch": ["2.13.0"]}, usual))

    assert sheet.headers == ["verdict"]
    assert grid(sheet) == {"transformers 4.49.0 - 4.51.3": ["ok"], "transformers 5.23.0": ["fail"]}


def test_two_trainers_alone_are_one_axis():
    axes = {"llamafactory": LLAMAFACTORY, "axolotl": AXOLOTL}
    [sheet] = sheets(build(axes, lambda stack, model: "ok"))

    assert grid(sheet) == {"llamafactory 0.9.1 - 0.9.3": ["ok"], "axolotl 0.8.1 - 0.9.2": ["ok"]}


def test_without_transformers_the_longest_axis_is_across():
    axes = {"python": ["3.10", "3.11"], "llamafactory": LLAMAFACTORY}

    assert sheets(build(axes, lambda stack, model: "ok"))[0].package == "llamafactory"


def test_several_packages_make_rows_of_combinations():
    axes = {"transformers": TRANSFORMERS[:2], "llamafactory": LLAMAFACTORY[:2], "python": ["3.10", "3.11", "3.12"]}
    [sheet] = sheets(build(axes, lambda stack, model: "fail" if stack["python"] == "3.12" else "ok"))

    assert grid(sheet) == {
        "llamafactory 0.9.1 - 0.9.2, python 3.10 - 3.11": ["ok"],
        "llamafactory 0.9.1 - 0.9.2, python 3.12": ["fail"],
    }


def test_a_combination_without_a_trainer_has_a_row():
    axes = {"transformers": TRANSFORMERS, "llamafactory": ["0.9.3"]}
    stacks = [*every(axes), *({"transformers": release} for release in TRANSFORMERS)]

    [sheet] = sheets(build(axes, lambda stack, model: usual(stack), stacks=stacks[1:]))

    assert [row.label for row in sheet.rows] == ["llamafactory 0.9.3", "no trainer"]


def test_one_cell_a_stack_makes_one_sheet_that_notes_its_models():
    found = readme()
    for cell in found.cells[:4]:
        cell.model = "glm"

    assert [sheet.title for sheet in sheets(found)] == ["glm (4), glm4 (11)"]


def test_models_have_sheets_of_their_own_and_equal_ones_share():
    found = build(
        {"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY},
        lambda stack, model: "ok" if model == "glm" else usual(stack),
        models=("glm4", "glm", "llama"),
    )

    shared, other = sheets(found)

    assert (shared.title, other.title) == ("glm4, llama", "glm")
    assert len(shared.rows[0].cells[0].cells) == 8
    assert grid(other) == {"llamafactory 0.9.1 - 0.9.3": ["ok"]}


def test_what_did_not_come_to_a_model_stands_in_every_sheet():
    found = readme(models=("glm4", "llama"))
    lost = {"transformers": "4.49.0", "llamafactory": "0.9.1"}
    found.cells = [cell for cell in found.cells if cell.stack != lost]
    found.runs.append(run(lost, "error", model=""))
    found.cells.append(Cell(lost, "", "error", "measured", len(found.runs) - 1))

    [sheet] = sheets(found)

    assert sheet.title == "glm4, llama"
    assert sheet.rows[0].cells[0].verdict == "error"


def test_a_fixed_release_that_cells_leave_out_is_no_hindrance():
    found = build({"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY}, usual)
    found.axes["torch"] = ["2.13.0"]

    assert [row.label for row in sheets(found)[0].rows] == ["llamafactory 0.9.1 - 0.9.2", "llamafactory 0.9.3"]
    assert "in all combinations torch 2.13.0" in render("text", found, style())


# -- digest -----------------------------------------------------------------------------------------------------------


def test_the_headline_counts():
    assert digest.headline(whole()) == (
        "Of 72 combinations 60 work, 9 fail and 3 cannot be diagnosed; 23 were measured, the rest inferred."
    )
    assert digest.headline(build({}, usual, stacks=[])) == "This map is empty."
    assert digest.headline(build({"transformers": ["4.51.3"]}, usual)) == "Of 1 combination 1 works; all were measured."


def test_what_was_asked():
    assert digest.asked(whole()) == (
        "transformers 4.49.0 - 5.23.0 (5 releases) x llamafactory 0.9.1 - 0.9.3 (3 releases) or axolotl 0.8.1 - 0.9.2 "
        "(2 releases); models glm4, llama, qwen2"
    )


def test_a_fault_stands_once_with_its_combinations():
    [known] = digest.faults(readme())

    assert known.title == "llamafactory reads `__self__` from a callable that does not have it"
    assert [(place.version, place.line) for place in known.read_at] == [("0.9.1", 86), ("0.9.2", 86), ("0.9.3", 86)]
    assert [(place.label, place.measured, place.total) for place in known.where] == [
        ("transformers 4.51.0 - 5.23.0, llamafactory 0.9.1 - 0.9.2", 2, 6),
        ("transformers 5.23.0, llamafactory 0.9.3", 1, 1),
    ]


def test_a_fault_of_one_release_names_it():
    found = build({"transformers": TRANSFORMERS, "llamafactory": ["0.9.2"]}, usual)

    assert digest.faults(found)[0].title.startswith("llamafactory 0.9.2 reads")


def test_another_error_is_another_fault():
    found = readme()
    found.runs[1].faults[0].error = "TypeError: another"

    assert len(digest.faults(found)) == 2


def test_models_are_named_where_there_are_several():
    found = build(
        {"transformers": TRANSFORMERS},
        lambda stack, model: "ok" if model == "glm" else usual(stack),
        models=("glm4", "glm", "llama"),
    )
    for one in found.runs:
        one.faults = [fault({"llamafactory": "0.9.2", **one.stack})] if one.verdict == "fail" else []

    assert [place.label for place in digest.faults(found)[0].where] == ["transformers 5.23.0 (glm4, llama)"]


@pytest.mark.parametrize(
    ("measured", "total", "words"),
    [
        (0, 1, "inferred"),
        (1, 1, "measured"),
        (0, 3, "all 3 inferred"),
        (3, 3, "all 3 measured"),
        (1, 3, "1 of 3 measured"),
    ],
)
def test_it_always_says_how_it_is_known(measured, total, words):
    assert digest.share(measured, total) == words


def test_the_audit_is_loud_when_it_disagrees():
    quiet = readme(audit=Audit(12))

    assert digest.audit(quiet) == ("Audit: 12 inferred combinations were run as well; all agree with the inference.")
    assert "1 DISAGREES with the inference:" in digest.audit(whole())
    assert digest.audit(readme()) == ""


def test_what_was_judged_on_its_forward_pass_only_is_noted():
    assert digest.notes(whole())[1].endswith("The backward pass was simulated on CPU: axolotl:disk.")


# -- declared requirements --------------------------------------------------------------------------------------------

REQUIRES = {"llamafactory": {"0.9.2": ["transformers<=4.49.0", "peft<1"], "0.9.3": ["transformers >=4.50,<=4.51.0"]}}


def required_of(page, sheet, row, column):
    """What the page has of a cell: what its releases require, and what of it how many combinations do not meet."""
    data = data_of(page)
    required, (outside, unmet), *_ = data["kinds"][data["sheets"][0][sheet]["rows"][row]["cells"][column]][6:]
    texts = data["words"]
    return [texts[number] for number in required], outside, {texts[number]: count for number, count in unmet}


def test_a_cell_says_what_it_does_not_meet_of_its_own_releases_requirements():
    found = readme(requires=REQUIRES)

    assert {(cell.stack["transformers"], cell.stack["llamafactory"]) for cell in found.cells if cell.unmet} == {
        *((release, "0.9.2") for release in TRANSFORMERS[1:]),
        *((release, "0.9.3") for release in ("4.49.0", "4.51.3", "5.23.0")),
    }
    assert {text for cell in found.cells for text in cell.unmet} == {
        "llamafactory 0.9.2 requires transformers<=4.49.0",
        "llamafactory 0.9.3 requires transformers<=4.51.0,>=4.50",
    }


@pytest.mark.parametrize(
    ("requirement", "is_unmet"),
    [
        ("transformers<4; python_version >= '3.11'", True),
        ("transformers<4; python_version < '3.11'", False),
        ("transformers<4; sys_platform == 'linux'", True),
        ("transformers<4; sys_platform == 'darwin'", False),
        ("transformers<4; platform_system == 'Darwin'", False),
        ("transformers<4; platform_machine == 'x86_64'", True),
        ("transformers<4; extra == 'old'", False),
        ("Transformers<4", True),
        ("transformers", False),
        ("peft<0", False),
        ("transformers is old", False),
    ],
)
def test_only_what_applies_where_the_map_was_made_counts(requirement, is_unmet):
    found = build({"transformers": ["4.51.3"], "llamafactory": ["0.9.2"]}, usual)
    found.requires = {"llamafactory": {"0.9.2": [requirement]}}

    assert bool(declared.unmet(found.cells[0].stack, found)) == is_unmet


def test_the_python_of_a_combination_decides_where_it_is_varied():
    axes = {"transformers": ["4.51.3"], "python": ["3.9", "3.12"], "llamafactory": ["0.9.2"]}
    requires = {"llamafactory": {"0.9.2": ["transformers<4; python_version < '3.10'"]}}
    found = build(axes, lambda stack, model: "ok", requires=requires)

    assert [(cell.stack["python"], bool(cell.unmet)) for cell in found.cells] == [("3.9", True), ("3.12", False)]
    assert required_of(render("html", found, style()), "single", 0, 0)[0] == [
        "llamafactory 0.9.2 requires transformers<4"
    ]
    assert required_of(render("html", found, style()), "single", 0, 1)[0] == []


def test_json_has_what_a_cell_does_not_meet_and_nothing_where_nothing_is_known():
    cells = json.loads(render("json", readme(requires=REQUIRES), style()))["cells"]

    unmet = {tuple(cell["stack"].values()): cell.get("unmet") for cell in cells}
    assert unmet["4.51.3", "0.9.2"] == ["llamafactory 0.9.2 requires transformers<=4.49.0"]
    assert unmet["4.49.0", "0.9.2"] is unmet["4.51.3", "0.9.1"] is None


def test_the_page_has_the_requirements_of_each_cells_own_release():
    found = readme(requires=REQUIRES)
    run_of_another = next(cell.run for cell in found.cells if cell.stack["llamafactory"] == "0.9.2")
    for cell in found.cells:
        if cell.stack["llamafactory"] == "0.9.3" and cell.verdict == "ok":
            cell.how, cell.run = "inferred", run_of_another
    page = render("html", found, style())

    text = "llamafactory 0.9.3 requires transformers<=4.51.0,>=4.50"
    assert required_of(page, "single", 2, 1) == ([text], 0, {})
    assert required_of(page, "single", 2, 3) == ([text], 1, {text: 1})
    assert required_of(page, "single", 0, 3) == ([], 0, {})
    assert required_of(page, "joined", 1, 1) == ([text], 1, {text: 1})


def test_the_page_says_what_is_not_met_without_scripts():
    static = static_of(render("html", readme(requires=REQUIRES), style()))

    assert "<span>2/4 measured</span><span>requirements forbid 1/4</span></td>" in static
    assert "<h3>llamafactory 0.9.2 requires transformers&lt;=4.49.0</h3>" in static
    assert "<dd>transformers 4.50.3 - 5.23.0, llamafactory 0.9.2 " in static
    assert "llamafactory 0.9.1 requires" not in static


def test_what_is_shipped_is_marked():
    found = knowledge.about("llamafactory")
    unmet = {(cell.stack["transformers"], cell.stack["llamafactory"]): cell.unmet for cell in found.cells}

    assert unmet["4.57.1", "0.9.4"] == []
    assert unmet["5.0.0", "0.9.4"] == ["llamafactory 0.9.4 requires transformers!=4.52.0,!=4.57.0,<=4.57.1,>=4.51.0"]


# -- every format -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", formats("map"))
def test_formats_end_in_one_newline_and_change_nothing(name, case):
    found = case()

    text = render(name, found, style())

    assert found == case()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("width", [40, 110, 4000])
@pytest.mark.parametrize("name", formats("map"))
def test_no_format_lets_hostile_text_act_on_a_terminal(name, width, keys):
    text = render(name, planted(whole(), keys=keys), style(width=width))

    assert acting(text) == set()
    assert "\\x1b" in text or "\\u001b" in text


# -- text -------------------------------------------------------------------------------------------------------------


def test_text_reads_from_the_headline_to_the_notes():
    lines = render("text", whole(), style()).splitlines()

    assert lines[0] == "ckptdoctor 0.1.0, 2026-11-24: Python 3.11.7, torch 2.13.0+cpu, linux x86_64"
    starts = ["Of 72", "model glm4", "model llama, qwen2", "  2/11", "CKPT001  error", "cannot be", "Audit", "notes"]
    at = [next(number for number, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert at == sorted(at)


def test_text_has_the_table_and_the_fault():
    text = render("text", readme(), style())

    for part in (
        "  transformers                4.49.0 - 4.50.3  4.51.0 - 4.51.3   5.23.0\n",
        "  llamafactory 0.9.1 - 0.9.2  ok 2/4           FAIL CKPT001 2/4  FAIL CKPT001 0/2\n",
        "  llamafactory 0.9.3          ok 1/2           ok 0/2            FAIL CKPT001 1/1\n",
        "CKPT001  error  llamafactory reads `__self__` from a callable that does not have it\n",
        "  what         AttributeError: 'functools.partial' object has no attribute '__self__'\n",
        "  read by      llamafactory 0.9.1, llamafactory/checkpointing.py:86\n",
        "  passed by    transformers 4.51.0, transformers/modeling_glm4.py:577\n",
        "  in           transformers 4.51.0 - 5.23.0, llamafactory 0.9.1 - 0.9.2: 2 of 6 measured\n",
        "               transformers 5.23.0, llamafactory 0.9.3: measured\n",
    ):
        assert part in text


def test_a_narrow_terminal_gets_the_table_turned_and_then_a_list():
    turned = render("text", readme(), style(width=70))
    listed = render("text", readme(), style(width=40))

    assert "  transformers     llamafactory 0.9.1 - 0.9.2  llamafactory 0.9.3\n" in turned
    assert "- llamafactory 0.9.3\n    4.49.0 - 4.51.3: ok 1/4\n    5.23.0: FAIL CKPT001 1/1\n" in listed


def test_a_list_shows_blanks_too():
    text = render("text", whole(), style(width=40))

    assert "- axolotl 0.9.2\n    4.49.0: ? 1/1\n    4.50.3: .\n" in text


@pytest.mark.parametrize("width", [40, 60, 80, 110, 200])
@pytest.mark.parametrize("case", CASES)
def test_only_what_must_not_be_broken_is_wider_than_the_terminal(case, width):
    for line in render("text", case(), style(width=width)).splitlines():
        assert len(line) <= width or " " not in line.strip()


@pytest.mark.parametrize("width", [40, 110])
def test_colour_changes_nothing_but_colour(width):
    colored = render("text", whole(), style(width=width, color=True))

    assert click.style("FAIL CKPT001", fg="red").removesuffix("\x1b[0m") in colored or width == 40
    assert click.unstyle(colored) == render("text", whole(), style(width=width))


def test_ascii_only():
    assert render("text", planted(whole(), " schön"), style(unicode=False)).isascii()


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("width", [40, 110, 4000])
def test_hostile_text_makes_no_line_that_looks_like_ours(width, keys):
    lines = render("text", planted(whole(), keys=keys), style(width=width)).splitlines()

    assert not any(line.startswith("FAIL") for line in lines)
    assert sum(line.startswith("Audit") for line in lines) == 1


# -- markdown ---------------------------------------------------------------------------------------------------------


def tokens(text):
    """Leaves of what GitHub would make of a text."""
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return [leaf for token in parsed for leaf in (token.children or [token])]


def test_markdown_has_the_table_and_the_fault():
    text = render("markdown", readme(), style())

    for part in (
        "**Of 15 combinations 8 work and 7 fail; 6 were measured, the rest inferred.**\n",
        "### Model glm4\n",
        "| transformers | 4.49.0 - 4.50.3 | 4.51.0 - 4.51.3 | 5.23.0 |\n| --- | --- | --- | --- |\n",
        "| llamafactory 0.9.1 - 0.9.2 | ok 2/4 | **FAIL** CKPT001 2/4 | **FAIL** CKPT001 0/2 |\n",
        "### CKPT001 error: llamafactory reads `__self__` from a callable that does not have it\n",
        "- Read by: `llamafactory 0.9.1, llamafactory/checkpointing.py:86`, ",
        "  - transformers 5.23.0, llamafactory 0.9.3: measured\n",
        "Measured with ckptdoctor 0.1.0, 2026-11-24: Python 3.11.7, torch 2.13.0+cpu, linux x86\\_64.\n",
    ):
        assert part in text


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize(
    "hostile", [HOSTILE, "`", "``", "|", "\\", "\\|", "`|`", " `@x` ", "\n# a", "\n\n- b", "\n---"]
)
def test_hostile_text_in_markdown_is_no_markup(hostile, keys):
    def skeleton(text):
        return [token.type for token in tokens(text) if token.type not in ("text", "code_inline", "softbreak")]

    text = render("markdown", planted(whole(), hostile, keys), style())

    assert skeleton(text) == skeleton(render("markdown", planted(whole(), " x", keys), style()))
    assert not {"html_inline", "html_block", "link_open", "image"} & {token.type for token in tokens(text)}


def test_hostile_text_in_markdown_mentions_and_links_no_one():
    bare = " ".join(
        leaf.content for leaf in tokens(render("markdown", planted(whole()), style())) if leaf.type == "text"
    )

    assert not re.search(r"@|#|://|www\.", bare)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a *b* _c_", r"a \*b\* \_c\_"),
        ("reads `__self__` from", "reads `__self__` from"),
        ("mail a@b.c now", "mail `a@b.c` now"),
        ("see #12, GH-12 or deadbee", "see `#12,` `GH-12` or `deadbee`"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("a|b", r"a\|b"),
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("4.51.3 - 5.0", "4.51.3 - 5.0"),
        ("# a", "`#` a"),
        ("a\nb", "a b"),
        ("a ` b", r"a \` b"),
    ],
)
def test_prose(text, shown):
    assert prose(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a", "`a`"), ("", ""), ("a `b` c", "``a `b` c``"), ("`b", "`` `b ``"), ("a|b", r"`a\|b`"), ("a\nb", "`a b`")],
)
def test_code(text, shown):
    assert code(text) == shown


# -- csv --------------------------------------------------------------------------------------------------------------


def test_csv_has_a_line_a_cell():
    found = whole()
    head, *lines = csv.reader(io.StringIO(render("csv", found, style())))

    assert head == [*found.axes, "model", "verdict", "how", "rules", "inferred_from", "why", "date"]
    assert len(lines) == len(found.cells)
    assert dict(zip(head, lines[3], strict=True)) == {
        "transformers": "4.51.3",
        "llamafactory": "0.9.1",
        "axolotl": "",
        "python": "3.11",
        "model": "glm4",
        "verdict": "fail",
        "how": "inferred",
        "rules": "CKPT001",
        "inferred_from": "transformers==4.51.0 python==3.11 llamafactory==0.9.1",
        "why": "Gradient checkpointing does not work here.",
        "date": "2026-11-24",
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\n=", " ="])
def test_no_cell_of_a_spreadsheet_is_a_formula(start):
    found = whole()
    found.axes = {start + package: releases for package, releases in found.axes.items()}
    for cell in found.cells:
        cell.stack = {start + package: start + release for package, release in cell.stack.items()}
        cell.model = start + cell.model
    for one in found.runs:
        one.summary, one.date = start + one.summary, start + one.date
        one.stack = {start + package: release for package, release in one.stack.items()}
        for known in one.faults:
            known.rule = start + known.rule

    for line in csv.reader(io.StringIO(render("csv", found, style()))):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in line)
        assert any(cell.startswith("'") for cell in line)


# -- json -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_maps_keep_to_the_schema_and_read_back(case):
    rendered = json.loads(render("json", case(), style()))

    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator(schema()).validate(rendered)
    assert msgspec.convert(rendered, Map) == case()


def test_json_has_a_line_a_cell_and_a_line_a_run():
    found = whole()
    lines = [line for line in render("json", found, style()).splitlines() if line.startswith("  {")]

    assert len(lines) == len(found.cells) + len(found.runs)


def test_hostile_text_in_json_reads_back_whole():
    found = planted(whole())
    found.schema = SCHEMA

    assert msgspec.json.decode(render("json", found, style()), type=Map) == found


@pytest.mark.parametrize("field", ["schema", "axes", "runs", "cells"])
def test_schema_wants_what_readers_rely_on(field):
    rendered = json.loads(render("json", readme(), style()))
    del rendered[field]

    with pytest.raises(jsonschema.ValidationError, match=field):
        jsonschema.Draft202012Validator(schema()).validate(rendered)


def test_shipped_schema_is_what_the_types_give():
    shipped = importlib.resources.files("ckptdoctor.output.map").joinpath("map.schema.json").read_text(encoding="utf-8")

    assert shipped == schema_text(), "write schema_text() to map.schema.json"


# -- html -------------------------------------------------------------------------------------------------------------


def data_of(page):
    [text] = re.findall(r'<script type="text/plain" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(gzip.decompress(base64.b64decode(text)))


def static_of(page):
    """What the page shows of tables where no script runs."""
    [text] = re.findall(r'<div id="plain">(.*?)<section aria-labelledby="(?:timeline|faults|how)', page, re.DOTALL)
    return text


def test_the_page_reaches_for_nothing():
    page = html.unescape(render("html", whole(), style()))

    assert "default-src 'none'" in page
    assert "unsafe-inline" not in page
    assert not re.search(r"""src\s*=|href\s*=\s*"(?!#)|url\(|@import|https?://|innerHTML|eval\(| on\w+=["']""", page)


def test_the_page_says_something_without_scripts():
    static = static_of(render("html", readme(), style()))

    assert (
        '<th scope="row"><span>llamafactory 0.9.1 - 0.9.2</span></th><td class="ok"><span>ok</span>'
        "<span>2/4 measured</span></td>" in static
    )
    assert (
        '<td class="fail"><span>FAIL CKPT001</span><span>llamafactory reads <code>__self__</code> from a callable that '
        "does not have it</span><span>fix: llamafactory 0.9.3 or transformers 4.50.3</span>" in static
    )


def test_the_page_holds_every_cell_once_collapsed_and_once_not():
    data = data_of(render("html", readme(), style()))
    [sheet] = data["sheets"]

    assert len(sheet["joined"]["rows"]) == 2
    assert sheet["joined"]["columns"] == ["4.49.0 - 4.50.3", "4.51.0 - 4.51.3", "5.23.0"]
    assert [len(row["cells"]) for row in sheet["single"]["rows"]] == [5, 5, 5]
    verdict, rules, _, measured, total, runs, *_ = data["kinds"][sheet["joined"]["rows"][0]["cells"][1]]
    assert (verdict, rules, measured, total) == ("fail", ["CKPT001"], 2, 4)
    stacks = data["runs"]["stack"]
    assert [stacks["values"][stacks["rows"][number]]["llamafactory"] for number in runs] == ["0.9.1", "0.9.2"]


@pytest.mark.parametrize("keys", [True, False])
def test_hostile_text_in_the_page_is_no_markup(keys):
    page = render("html", planted(whole(), keys=keys), style())
    plain = render("html", planted(whole(), " x", keys), style())

    def tags(text):
        # What stands between backticks is shown as code, in whoever's text.
        return [tag for tag in re.findall(r"<[!/a-z][^\s>]*", text) if not tag.endswith("code")]

    assert tags(page) == tags(plain)
    assert "onerror=alert(1)>" in data_of(page)["runs"]["summary"]["values"][0]


def test_the_page_of_a_large_map_holds_it_all():
    axes = {
        "transformers": [f"4.{number}.0" for number in range(100)],
        "llamafactory": [f"0.{number}" for number in range(25)],
        "axolotl": [f"0.{number}" for number in range(15)],
    }
    verdicts = ("ok", "fail", "error")
    found = build(
        axes,
        lambda stack, model: verdicts[(len(model) + int(stack["transformers"][2:-2]) // 7) % 3],
        models=("glm4", "glm", "llama"),
    )

    data = data_of(render_html(found, style()))

    assert len(found.cells) == 12_000
    assert sum(len(row["cells"]) for sheet in data["sheets"] for row in sheet["single"]["rows"]) == 12_000
