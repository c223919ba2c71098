"""Made-up input for everything that is read from outside: each ends in a verdict or in one sentence, never in a crash."""

from __future__ import annotations

import importlib.metadata
import json
import os
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptdoctor import output, results
from ckptdoctor.cli import run_command
from ckptdoctor.environment import inspection, process, rounds
from ckptdoctor.errors import DoctorError, UsageFault
from ckptdoctor.job import reading
from ckptdoctor.model.evidence import Environment, Spec
from ckptdoctor.model.report import SCHEMA, Report
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED
from ckptdoctor.output import Style
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.verdict import findings, gate
from tests.test_findings import raised, sound
from tests.test_plan import FULL
from tests.test_surroundings import IDLE, Said, probes
from tests.values import changed

bounded = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

SHOWN = Style(color=False, width=100, verbose=True, unicode=True)
TEXT = st.text(st.characters(codec=None), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def damaged(whole):
    """A text, with a piece of it replaced or cut."""

    def damage(where, length, piece):
        start = where % (len(whole) + 1)
        return whole[:start] + piece + whole[start + length :]

    return st.builds(damage, st.integers(0, 10**6), st.integers(0, 30), st.binary(max_size=12))


def altered(tree):
    """Plain data, with one value somewhere in it replaced or removed."""
    paths = list(_paths(tree))

    def apply(number, value, removes):
        *way, last = paths[number % len(paths)]
        whole = inner = json.loads(json.dumps(tree))
        for step in way:
            inner = inner[step]
        if removes:
            del inner[last]
        else:
            inner[last] = value
        return whole

    return st.builds(apply, st.integers(0, 10**6), VALUES, st.booleans())


def _paths(tree, way=()):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, value in items:
        yield (*way, name)
        yield from _paths(value, (*way, name))


def is_one_sentence(error):
    """What a person is told is one line and no report of a crash."""
    assert isinstance(error, DoctorError)
    assert error.message
    return True


# -- job files --------------------------------------------------------------------------------------------------------

JOB = {
    "model_name_or_path": "THUDM/GLM-4-9B-0414",
    "stage": "sft",
    "finetuning_type": "lora",
    "lora_target": "all",
    "deepspeed": {"zero_optimization": {"stage": 3}, "train_batch_size": "auto"},
    "gradient_checkpointing_kwargs": {"use_reentrant": False},
    "bf16": True,
    "freeze_trainable_layers": 2,
    "output_dir": "out",
}
AXOLOTL = {
    "base_model": "THUDM/GLM-4-9B-0414",
    "adapter": "qlora",
    "lora_target_linear": True,
    "gradient_checkpointing": "offload",
    "micro_batch_size": 1,
    "sequence_len": 128,
    "datasets": [{"path": "a", "type": "alpaca"}],
    "fsdp_config": {"fsdp_version": 2},
}


@pytest.mark.parametrize("job", [JOB, AXOLOTL, JOB["deepspeed"]], ids=["llamafactory", "axolotl", "deepspeed"])
@bounded
@given(data=st.data())
def test_a_job_file(tmp_path, job, data):
    file = tmp_path / "job.yaml"
    whole = yaml.safe_dump(job).encode()
    content = data.draw(
        damaged(whole) | st.binary(max_size=80) | altered(job).map(lambda one: json.dumps(one).encode())
    )
    file.write_bytes(content)
    try:
        reading.read(str(file))
    except UsageFault as fault:
        is_one_sentence(fault)


# -- baselines, stored results, settings ------------------------------------------------------------------------------


def planned():
    """A function of a trainer's beside what it is judged by, and the plan that they make."""
    specs = [Spec("glm4", name) for name in ("llamafactory", "none", "torch:non-reentrant")]
    roles = ("subject", "control", "control")
    return Plan([Planned(spec, role, WITHOUT_DEEPSPEED) for spec, role in zip(specs, roles, strict=True)]), *specs


def report():
    """A report with a finding, as made from real evidence."""
    plan, spec, control, torch = planned()
    found = findings.find(FULL, plan, [raised(spec), sound(control), sound(torch)])
    verdict, summary = found.verdict()
    return Report(SCHEMA, "0", verdict, summary, FULL, found.probes, found.findings)


BASELINE = json.loads(msgspec.json.encode(gate.Baseline(accepted=gate.updated(report(), gate.Policy()))))


@bounded
@given(content=damaged(json.dumps(BASELINE).encode()) | altered(BASELINE).map(lambda one: json.dumps(one).encode()))
def test_a_baseline(tmp_path, content):
    file = tmp_path / "baseline.json"
    file.write_bytes(content)
    made = report()
    try:
        gate.apply(made, gate.Policy(accepted=gate.read(str(file))))
    except UsageFault as fault:
        is_one_sentence(fault)
    else:
        output.render("text", made, SHOWN).encode()


@bounded
@given(data=st.data())
def test_a_stored_result(tmp_path, data):
    os.environ["CKPTDOCTOR_CACHE"], before = str(tmp_path), os.environ.get("CKPTDOCTOR_CACHE")
    try:
        results.store("key", report(), [], [])
        for file in (tmp_path / "results").glob("*.json"):
            whole = file.read_bytes()
            changed = altered(json.loads(whole)).map(lambda one: json.dumps(one).encode())
            file.write_bytes(data.draw(damaged(whole) | changed))
        found = results.load("key")
    finally:
        os.environ.pop("CKPTDOCTOR_CACHE") if before is None else os.environ.update(CKPTDOCTOR_CACHE=before)
    if found is not None:
        for name in output.formats("report"):
            output.render(name, found, SHOWN).encode()


SETTINGS = (
    b"[tool.ckptdoctor]\nfail-on = 'warning'\nselect = ['CKPT001']\ntimeout = 5\nengine = 'none'\nverbose = true\n"
)


@bounded
@given(content=damaged(SETTINGS) | st.binary(max_size=60).map(lambda some: b"[tool.ckptdoctor]\n" + some))
def test_settings(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("settings")
    (folder / "pyproject.toml").write_bytes(content)
    before = Path.cwd()
    os.chdir(folder)
    try:
        status = run_command(["check", "--python", "/nowhere", "--job", ""])
    finally:
        os.chdir(before)
    assert status in (2, 3)


# -- packages' metadata -----------------------------------------------------------------------------------------------

METADATA = b"""\
Metadata-Version: 2.1
Name: llamafactory
Version: 0.9.2
Requires-Dist: transformers!=4.46.*,<=4.49.0
Requires-Dist: torch>=2 ; extra == 'x'

Text
"""


@bounded
@given(content=damaged(METADATA) | st.binary(max_size=80))
def test_metadata(tmp_path, content):
    folder = tmp_path / "llamafactory-0.9.2.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_bytes(content)
    stack = probes("stack")
    read = [stack.read(one) for one in importlib.metadata.distributions(path=[str(tmp_path)])]
    packages = [one for one in read if one] + [
        {"name": "transformers", "version": "4.51.3", "location": "", "requires": []}
    ]
    facts = {"python": "3.11", "executable": "python", "platform": "linux", "packages": packages}
    target = msgspec.convert({**facts, "stack": [one["name"] for one in packages]}, Environment, strict=False)

    output.render("text", target, SHOWN).encode()


# -- the bridge's lines -----------------------------------------------------------------------------------------------

EVIDENCE = json.loads(msgspec.json.encode(raised(Spec("glm4", "llamafactory"))))
EVENTS = [{"event": "done", "evidence": EVIDENCE, "files": []}, {"event": "facts", "environment": {}}]


@bounded
@given(line=damaged(json.dumps(EVENTS[0]).encode()) | altered(EVENTS[0]).map(lambda one: json.dumps(one).encode()))
def test_a_line_of_the_bridge(line):
    told = process.Process(Said(line + b"\n" + IDLE), {})
    with suppress(EOFError):
        while event := told.read(1):
            if event["event"] == "done":
                judged(rounds.evidence_of(event["evidence"]))


def judged(evidence):
    plan, spec, control, torch = planned()
    evidence = changed(evidence, "id", spec.id)
    found = findings.find(FULL, plan, [evidence, sound(control), sound(torch)])
    verdict, summary = found.verdict()
    assert verdict in ("ok", "fail", "error")
    made = Report(SCHEMA, "0", verdict, summary, FULL, found.probes, found.findings)
    for name in output.formats("report"):
        output.render(name, made, SHOWN).encode()


@bounded
@given(facts=VALUES | altered(json.loads(msgspec.json.encode(FULL))))
def test_what_a_target_says_of_itself(facts):
    try:
        found = inspection.inspection_of({"environment": facts}, Path("python")).environment
    except DoctorError as error:
        is_one_sentence(error)
    else:
        output.render("text", found, SHOWN).encode()
