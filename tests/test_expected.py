"""Where what was run differs from what was measured of the same files, and where nothing may be said."""

import msgspec
import pytest

from ckptdoctor import expected, knowledge
from ckptdoctor.knowledge import files
from ckptdoctor.model.evidence import Environment, Package
from tests.test_extending import measured_here
from tests.test_output import failing, probe
from tests.values import changed, frozen

INSIDE = {
    "transformers": ["transformers/modeling_utils.py", "transformers/models/glm4/modeling_glm4.py"],
    "llamafactory": ["llamafactory/model/model_utils/checkpointing.py"],
}


@pytest.fixture
def site(tmp_path):
    """A folder of packages with the files of two releases."""
    for names in INSIDE.values():
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"# {name}\n")
    return tmp_path


@pytest.fixture
def know(site, monkeypatch):
    """What is known of these files: the verdict on each of the trainer's functions."""

    def known(verdict, how="measured"):
        made = measured_here(verdict, "99.0.0", trainer="99.1")
        runs = [
            msgspec.structs.replace(
                run,
                functions=[msgspec.structs.replace(one, verdict=verdict, rules=["CKPT001"]) for one in run.functions],
            )
            for run in made.runs
        ]
        cells = [msgspec.structs.replace(cell, how=how) for cell in made.cells]
        digests = {
            name: {version: files.installed(name, site, made.models())}
            for name, version in (("transformers", "99.0.0"), ("llamafactory", "99.1"))
        }
        found = msgspec.structs.replace(made, runs=runs, cells=cells, files=digests)
        monkeypatch.setattr(knowledge, "load", lambda *_: found)

    return known


def report(site, outcome="ok", **more):
    """A check of that environment, in which the trainer's function works or fails."""
    packages = [Package("transformers", "99.0.0", str(site)), Package("llamafactory", "99.1", str(site))]
    environment = Environment("3.11.7", "/env/bin/python", "linux", [Package("torch", "2.13.0"), *packages])
    rules = ["CKPT001"] if outcome == "triggered" else []
    made = probe("llamafactory", outcome, rules=rules, **more)
    probes = [probe("none", role="control"), made, probe("llamafactory", outcome, engine="zero3", rules=rules)]
    findings = [changed(failing().findings[0], "probes", (made.id,))] if outcome == "triggered" else []
    whole = msgspec.structs.replace(
        failing(), environment=environment, probes=probes, findings=findings, verdict="fail" if findings else "ok"
    )
    return frozen(whole)


def test_what_is_as_it_was_measured_is_not_mentioned(site, know):
    for verdict, outcome in (("ok", "ok"), ("fail", "triggered")):
        know(verdict)
        made = report(site, outcome)
        assert expected.compare(made) == made


@pytest.mark.parametrize(("verdict", "outcome"), [("fail", "ok"), ("ok", "triggered")])
def test_what_differs_is_kept_and_said_once_for_the_usual_step(site, know, verdict, outcome):
    know(verdict)

    made = expected.compare(report(site, outcome))

    [one] = made.unexpected
    assert (one.function, one.model, one.known) == ("llamafactory", "glm4", verdict)
    assert one.here == {"fail": "ok", "ok": "fail"}[verdict]
    assert one.stack == {"transformers": "99.0.0", "llamafactory": "99.1"}
    assert "measured here on 2027-01-02 with torch 2.99.0" in one.measured
    note = made.notes[-1]
    assert "This differs from what ckptdoctor knows" in note
    assert "with torch 2.13.0" in note
    assert "(CKPT001)" in note


def test_what_was_inferred_is_said_to_be(site, know):
    know("fail", how="inferred")
    [one] = expected.compare(report(site)).unexpected
    assert one.measured.startswith("inferred from a release with the same code")


@pytest.mark.parametrize("file", [name for names in INSIDE.values() for name in names])
def test_nothing_is_said_of_other_files(site, know, file):
    know("fail")
    (site / file).write_text("# patched\n")

    assert expected.compare(report(site)).unexpected == ()


@pytest.mark.parametrize("outcome", ["skipped", "crashed", "timeout"])
def test_nothing_is_said_of_what_was_broken_off(site, know, outcome):
    know("ok")
    assert expected.compare(report(site, outcome)).unexpected == ()


def test_what_could_not_be_diagnosed_is_no_failure_and_a_warning_neither(site, know):
    know("ok")
    made = report(site, "triggered")

    assert expected.compare(changed(made, "findings[0].rule", "CKPT900")).unexpected == ()
    assert expected.compare(changed(made, "findings[0].severity", "warning")).unexpected == ()


def test_nothing_is_said_of_a_job_or_of_another_family_or_variant(site, know):
    know("fail")
    assert expected.compare(changed(report(site), "job", "train.yaml")).unexpected == ()
    assert expected.compare(report(site, model="qwen2")).unexpected == ()
    assert expected.compare(report(site, engine="zero0")).unexpected == ()


def test_a_simulated_step_is_not_compared_with_a_real_one(site, know):
    know("fail")
    made = report(site)
    made = changed(made, "probes[1].evidence.forward_only", not made.probes[1].evidence.forward_only)
    assert expected.compare(made).unexpected == ()
