"""A report is a value: each step returns a new one, an environment is inspected once, and proof says what was run."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from itertools import chain

import msgspec
import pytest

from ckptdoctor import diagnose as way
from ckptdoctor import remedies
from ckptdoctor.environment import session as sessions
from ckptdoctor.environment.inspection import Inspection
from ckptdoctor.environment.target import Target
from ckptdoctor.fix import carry_out
from ckptdoctor.job import files
from ckptdoctor.model import evidence, report
from ckptdoctor.model.evidence import Environment, Evidence, Package, Spec
from ckptdoctor.model.report import Remedy
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED
from ckptdoctor.planning.options import Options
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.planning.request import Request
from ckptdoctor.remedies import trial as trials
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.verdict import findings, gate
from tests.test_findings import FULL, raised, sound
from tests.test_output import failing

TYPES = [
    one
    for module in (evidence, report)
    for one in vars(module).values()
    if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", TYPES, ids=lambda one: one.__name__)
def test_nothing_in_a_report_can_be_changed(kind):
    assert kind.__struct_config__.frozen
    for field in msgspec.structs.fields(kind):
        assert not str(field.type).startswith(("list", "dict")), field.name


def test_a_report_refuses_to_be_changed():
    made = failing()
    for value, name in ((made, "notes"), (made.findings[0], "accepted"), (made.findings[0].remedies[0], "proven")):
        with pytest.raises(AttributeError):
            setattr(value, name, "other")


def test_gate_notes_and_edits_leave_the_report_as_it_was(tmp_path):
    made = failing()
    before = copy.deepcopy(made)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("llamafactory==0.9.2\n")

    judged = gate.apply(made, gate.Policy(ignore=("CKPT001",)))
    noted = judged.with_notes(["more"])
    carry_out.with_edits(noted, [str(requirements)])

    assert made == before
    assert (made.gate, judged.findings[0].accepted, noted.notes[-1]) == (None, "ignored", "more")
    assert judged.notes == made.notes


# -- remedies ---------------------------------------------------------------------------------------------------------


class Runs:
    """A session in which every probe comes out as told; it says which were run."""

    files = ()
    at_once = 1

    def __init__(self, make):
        self.make, self.ran = make, []

    def examine(self, specs, replacements=None):
        self.ran = [spec for worker in specs.values() for spec in worker]
        return [self.make(spec) for spec in self.ran]

    def write(self, name, text):
        return name


def found_with_a_fault():
    """A plan of which the trainer's function fails, and what came of it."""
    specs = [Spec("glm4", name) for name in ("llamafactory", "none", "torch:non-reentrant")]
    roles = ("subject", "control", "control")
    plan = Plan([Planned(spec, role, WITHOUT_DEEPSPEED) for spec, role in zip(specs, roles, strict=True)])
    seen = [raised(spec) if spec.function == "llamafactory" else sound(spec) for spec in specs]
    return plan, findings.find(FULL, plan, seen)


def context_of(plan, found, session):
    target = type("Alone", (), {"overlay": None})()
    return RemedyContext(target, Request(), FULL, plan, found, session, None)


def test_remedies_are_found_without_changing_what_they_are_for(monkeypatch):
    plan, found = found_with_a_fault()
    before = copy.deepcopy(found.findings)
    monkeypatch.setattr("ckptdoctor.remedies.source.find", lambda *_: [])

    helped = remedies.find(context_of(plan, found, Runs(sound)), verify=False)

    assert found.findings == before
    assert all(not one.remedies for one in before)
    assert [one.rule for one in helped] == [one.rule for one in before]
    assert helped[0].searched


def test_a_trial_says_whether_all_probes_were_run_or_only_those_that_failed():
    plan, found = found_with_a_fault()
    finding, made = found.findings[0], Remedy("patch", "t", "c", "")
    session = Runs(sound)
    context = context_of(plan, found, session)
    failing_probes = [one for one in plan.probes if one.spec.id in finding.probes]

    whole = trials.judge_all(session.examine(context.specs()), finding, context, FULL)
    ran_whole = {spec.id for spec in session.ran}
    part = trials.judge_failing(session.examine(context.specs(failing_probes)), finding, context, failing_probes)
    ran_part = {spec.id for spec in session.ran}

    assert whole.helps(finding, context)
    assert part.helps(finding, context)
    assert ran_part == set(finding.probes) < ran_whole
    by_all, by_part = (one.proves(made, finding, "so") for one in (whole, part))
    assert (by_all.proven, by_part.proven, made.proven) == ("all", "failing", "")
    assert (set(by_all.tried), set(by_part.tried)) == (ran_whole, ran_part)
    assert by_all.evidence == "tried here so: the 1 probe that failed is ok, and the 2 that passed before still are"
    assert by_part.evidence == "tried here so: the 1 probe that failed is ok; no other probe was run with it"
    trial = trials.judge_failing((), finding, context, ())
    assert trial.proves(made, finding, "so").proven == "some"
    assert (by_all.label, by_part.label, made.label) == (
        "patch, ok in all probes",
        "patch, ok in all failing probes",
        "patch",
    )


def test_a_remedy_that_loses_what_worked_is_no_remedy_though_it_fixes_what_failed():
    plan, found = found_with_a_fault()
    session = Runs(lambda spec: sound(spec) if spec.function == "llamafactory" else raised(spec))
    context = context_of(plan, found, session)

    assert not trials.judge_all(session.examine(context.specs()), found.findings[0], context, FULL).helps(
        found.findings[0], context
    )


# -- once -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def inspections(monkeypatch, tmp_path):
    """Counts how often each overlay of a target is inspected, in place of starting a Python there."""
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / "cache"))
    counted = Counter()
    packages = (Package("torch", "2.13.0", requires=()), Package("rich", "1"))

    def inspect(self):
        counted[self._overlay] += 1
        return Inspection(Environment("3.11.7", sys.executable, "linux", packages, ("torch",)), {"rich": ("torch>1",)})

    monkeypatch.setattr(sessions.Session, "inspect", inspect)
    return counted


def test_an_environment_is_inspected_once_with_each_overlay(inspections, monkeypatch, tmp_path):
    asked = []

    def make(python, requirements, *, environment_packages, **_):
        asked.append(environment_packages)
        return tmp_path / requirements[0]

    monkeypatch.setattr("ckptdoctor.environment.target.overlays.make", make)
    target = Target(tmp_path / "python", ["rich==2"])
    with target.session(target.overlay) as session:
        target.inspect(target.overlay, session)
    other = target.overlay_with(["rich==3"])
    for overlay in (None, target.overlay, other, other, target.overlay):
        target.inspect(overlay)

    assert inspections == {None: 1, target.overlay: 1, other: 1}
    assert asked == [{"torch": "2.13.0", "rich": "1"}] * 2


def test_one_inspection_tells_a_report_and_remedies_what_each_needs(inspections, tmp_path):
    inspected = Target(tmp_path / "python").inspect(None)

    assert [one.requires for one in inspected.environment.packages] == [(), ()]
    assert [one.requires for one in inspected.with_every_requirement().packages] == [(), ("torch>1",)]


@pytest.mark.parametrize("with_job", [False, True])
def test_a_run_inspects_once_and_reads_its_job_once(inspections, monkeypatch, tmp_path, with_job):
    job, read, text_of = tmp_path / "job.yaml", [], files.text_of
    job.write_text("model_name_or_path: THUDM/GLM-4-9B-0414\nstage: sft\n")
    monkeypatch.setattr("ckptdoctor.job.files.text_of", lambda path, kind="": read.append(path) or text_of(path, kind))
    monkeypatch.setattr(
        sessions.Session, "examine", lambda self, specs: [Evidence(one.id, "skipped") for one in chain(*specs.values())]
    )
    options = Options() if with_job else Options(["tiny-glm4"])
    request = Request(sys.executable, job=[str(job)] if with_job else (), options=options)

    made = way.diagnose(request)

    assert inspections == {None: 1}
    assert read == [str(job)] * with_job
    assert made.verdict == "error"
