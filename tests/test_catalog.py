"""Every record of the catalog is whole, and has its file on the environment's side."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from string import Template

import pytest

from ckptdoctor import catalog
from ckptdoctor.bugreport import templates
from ckptdoctor.catalog.records import Settings

PROBES = Path(__file__).parents[1] / "probes"


def functions(file):
    return {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", catalog.functions())
def test_a_trainers_function_is_switched_on_by_a_file_of_its_own(name):
    trainer = catalog.trainer_of(name)
    assert trainer is not None
    enable = functions(PROBES / "trainers" / f"{trainer.module}.py")["enable"]
    assert [argument.arg for argument in enable.args.args] == ["module", "model", "name", "reentrant"]
    assert isinstance(trainer.settings, Settings)
    assert trainer.start


@pytest.mark.parametrize("name", catalog.functions())
def test_a_trainers_function_is_reproduced_by_lines_that_are_python(name):
    shown = catalog.functions()[name].reproduction
    ast.parse(Template(shown.transformers).substitute(torch="pass"))
    ast.parse(shown.own_model.strip(), mode="eval")


@pytest.mark.parametrize("name", catalog.engines())
def test_an_engine_wraps_the_model_in_a_file_of_its_own(name):
    engine = catalog.engines()[name]
    wrap = functions(PROBES / "engines" / f"{engine.file}.py")["wrap"]
    named = ["model", "layers", "settings", *engine.record.options.get(name, {})]
    assert [argument.arg for argument in wrap.args.args] == named
    record = engine.record
    named = [record.telling, record.on_demand, record.options, record.precision, record.instead]
    assert {one for some in named for one in some} <= set(record.names)
    assert {one.engine for one in record.instead.values()} <= set(catalog.engines())


def test_every_file_of_the_environments_side_has_a_record():
    owners = (*catalog.trainers().values(), *catalog.libraries().values())
    trainers = {trainer.module for trainer in owners if trainer.module}
    assert {file.stem for file in (PROBES / "trainers").glob("[a-z]*.py")} == trainers
    assert {file.stem for file in (PROBES / "engines").glob("[a-z]*.py")} == {
        one.file for one in catalog.engines().values()
    }


def test_every_calling_convention_is_a_function():
    written = functions(PROBES / "conventions.py").keys() - {"named"}
    assert written == {name.replace("-", "_") for name in catalog.conventions()}


@pytest.mark.parametrize("project", ["", *catalog.templates()])
def test_an_issue_form_names_parts_that_a_report_has(project):
    named = [line[1:] for line in catalog.template(project).split("\n") if line.startswith("$")]
    assert named
    assert all(isinstance(getattr(templates._Parts, name, None), property) for name in named)


def test_a_librarys_function_is_tried_only_if_it_is_named():
    assert catalog.is_optional("trl:offload")
    assert not catalog.is_optional("llamafactory")
    assert not {*catalog.libraries()} & {*catalog.trainers()}
    assert not any(catalog.is_trainer(name) for name in catalog.libraries())


def test_names_are_one_trainers_alone():
    spellings = [one for name, trainer in catalog.trainers().items() for one in (name, *trainer.spellings)]
    assert len(spellings) == len(set(spellings))
    orders = [trainer.order for trainer in catalog.trainers().values() if trainer.functions]
    assert len(orders) == len(set(orders))


def test_what_is_sent_over_the_bridge_is_json():
    sent = json.loads(json.dumps(catalog.sent()))
    assert sent["engines"]["zero3"] == {
        "module": "deepspeed",
        "package": "deepspeed",
        "casts_weights": True,
        "ranks": True,
        "precision": "",
        "hides_layers": False,
        "options": {"stage": 3},
    }
    assert sent["functions"]["llamafactory:unsloth"]["needs"] == ["get_unsloth_gradient_checkpointing_func"]
    assert sent["stack"][:2] == ["torch", "transformers"]
    assert {"llamafactory", "axolotl"} <= {*sent["stack"]}
