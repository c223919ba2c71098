"""The maps that are shipped, and what is told from them."""

import json

import jsonschema
import pytest

from ckptdoctor import catalog, knowledge
from ckptdoctor.errors import UsageFault
from ckptdoctor.output.map.json import schema
from tests.conftest import call

MAPS = (knowledge.TRAINERS_FILE, knowledge.DEEPSPEED_FILE)


@pytest.mark.parametrize("file", MAPS)
def test_every_cell_rests_on_a_run_and_says_how(file):
    found = knowledge.load(file)
    assert found.cells
    for cell in found.cells:
        run_of = found.run_of(cell)
        assert cell.verdict == run_of.verdict
        assert run_of.date
        assert (cell.how == "measured") == (cell.stack == run_of.stack)
    assert "/" not in {
        place.file[0] for one in found.runs for fault in one.faults for place in [fault.culprit] if place
    }


def test_every_release_that_was_varied_is_in_the_map():
    found = knowledge.load()
    for package, releases in found.axes.items():
        assert {cell.stack[package] for cell in found.cells if package in cell.stack} == set(releases)
    assert {name for name, trainer in catalog.trainers().items() if trainer.measured} == set(found.axes) - {
        "transformers"
    }
    assert found.audit.cells >= 20
    assert found.audit.disagreements == []


@pytest.mark.parametrize(
    ("transformers", "trainer", "verdict"),
    [
        ("4.50.3", ("llamafactory", "0.9.2"), "ok"),
        ("4.51.0", ("llamafactory", "0.9.2"), "fail"),
        ("4.51.3", ("llamafactory", "0.9.3"), "ok"),
        ("5.22.2", ("llamafactory", "0.9.5"), "ok"),
        ("5.23.0", ("llamafactory", "0.9.5"), "fail"),
        ("4.51.3", ("axolotl", "0.8.1"), "fail"),
    ],
)
def test_the_lines_that_are_known(transformers, trainer, verdict):
    stack = {"transformers": transformers, trainer[0]: trainer[1]}
    assert {cell.verdict for cell in knowledge.load().matching(stack)} == {verdict}


def test_deepspeed_makes_no_difference():
    found = knowledge.load(knowledge.DEEPSPEED_FILE)
    diagnosed = [cell for cell in found.cells if cell.verdict != "error"]
    by_rest = {}
    for cell in diagnosed:
        rest = tuple(sorted((name, release) for name, release in cell.stack.items() if name != "deepspeed"))
        by_rest.setdefault(rest, set()).add(cell.verdict)
    assert by_rest
    assert all(len(verdicts) == 1 for verdicts in by_rest.values())


def test_a_part_of_the_map():
    found = knowledge.about("axolotl", "glm4")
    assert {cell.model for cell in found.cells} == {"glm4"}
    assert all("llamafactory" not in cell.stack for cell in found.cells)
    assert set(found.axes) == {"transformers", "axolotl"}
    assert found.axes["transformers"][0] == "4.51.3"  # the first with that family


@pytest.mark.parametrize(("package", "model"), [("llama-factory", ""), ("", "gpt9")])
def test_what_is_not_known_is_said_not_to_be(package, model):
    with pytest.raises(UsageFault, match="Nothing is known"):
        knowledge.about(package, model)


def test_known_prints_what_is_shipped():
    ran = call("known", "llamafactory", "--model", "glm4", "--format", "json")
    assert ran.status == 0
    jsonschema.validate(json.loads(ran.out), schema())
    assert call("known", "nothing").status == 2
    assert "measured" in call("known", "deepspeed").out
