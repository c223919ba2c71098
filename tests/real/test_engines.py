"""Engines of torch's own, in two real ranks: what goes together with checkpointing under them, and what does not."""

from __future__ import annotations

import zipfile

import pytest

from ckptdoctor.diagnose import diagnose
from ckptdoctor.model.evidence import Setup
from ckptdoctor.planning.options import Options
from ckptdoctor.planning.request import Request
from tests.conftest import check, run

pytestmark = pytest.mark.real

LOSES = """\
import torch

def loses(function, *args, **kwargs):
    with torch.no_grad():
        return function(*args, **kwargs)
"""


@pytest.fixture(scope="module")
def ran(demo_python):
    """torch's two functions, and FSDP's own, under each of torch's engines."""
    engines = ("ddp", "ddp-unused", "fsdp2", "fsdp2-fp32", "fsdp1", "fsdp1-fp32", "fsdp1-whole")
    return check(
        demo_python,
        *(part for name in engines for part in ("--engine", name)),
        *("--checkpoint-fn", "torch", "--checkpoint-fn", "torch:wrapper"),
    )


def outcomes(ran, engine):
    return {
        probe["checkpoint_function"]: probe["outcome"]
        for probe in ran.report["probes"]
        if probe["engine"] == engine and probe["model"] == "glm4" and not probe["variant"]
    }


SOUND = {"none": "ok", "torch:non-reentrant": "ok", "torch:reentrant": "ok", "torch:wrapper": "ok"}


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "fsdp2-fp32", "fsdp1", "fsdp1-fp32"])
def test_every_function_of_torchs_is_sound_under_ddp_and_fsdp(ran, engine):
    assert outcomes(ran, engine) == SOUND


@pytest.mark.parametrize("engine", ["ddp-unused", "fsdp1-whole"])
def test_reentrant_does_not_go_together_with_unused_parameters_and_with_fsdp1_around_the_whole_model(ran, engine):
    assert outcomes(ran, engine) == {**SOUND, "torch:reentrant": "triggered"}


def finding_under(ran, engine):
    [found] = [
        one
        for one in ran.report["findings"]
        if any(f"/{engine}/" in name for name in one["probes"]) and one["severity"] == "error"
    ]
    return found


def test_unused_parameters_and_reentrant_have_two_settings_that_fix_it(ran):
    finding = finding_under(ran, "ddp-unused")
    assert finding["rule"] == "CKPT010"
    assert finding["title"].startswith("Reentrant checkpointing and DDP with find_unused_parameters")
    assert "Expected to mark a variable ready only once" in finding["error"]["message"]
    assert finding["culprit"]["package"] == "torch"
    assert finding["culprit"]["file"].endswith("torch/utils/checkpoint.py")
    assert [one["package"] for one in finding["ruled_out"]] == ["deepspeed", "transformers"]
    titles = [one["title"] for one in finding["remedies"]]
    assert any("`ddp_find_unused_parameters: false`" in one for one in titles)
    assert any("use_reentrant: false" in one for one in titles)
    assert {one["proven"] for one in finding["remedies"]} == {"failing"}
    shown = {name for one in finding["remedies"] for name in one["tried"]}
    assert {"glm4/torch:reentrant/ddp/2 ranks", "glm4/torch:non-reentrant/ddp-unused/2 ranks"} <= shown


def test_fsdp1_and_reentrant(ran):
    finding = finding_under(ran, "fsdp1-whole")
    assert finding["title"].startswith("Reentrant checkpointing and FSDP1")
    assert finding["culprit"]["package"] == "torch"
    titles = [one["title"] for one in finding["remedies"]]
    assert any("use_reentrant: false" in one for one in titles)
    assert any("auto_wrap" in one for one in titles)


def test_the_precision_is_the_engines(ran):
    by_engine = {
        probe["engine"]: probe["evidence"]["precision"] for probe in ran.report["probes"] if not probe["variant"]
    }
    assert (by_engine["fsdp2"], by_engine["fsdp2-fp32"], by_engine["ddp"]) == ("bf16", "fp32", "fp32")
    assert not any("was run instead" in note for note in ran.report["notes"])


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "fsdp1"])
def test_a_function_that_loses_gradients_is_not_ok(demo_python, tmp_path, engine):
    (tmp_path / "mine.py").write_text(LOSES)
    found = check(demo_python, "--engine", engine, "--checkpoint-fn", "mine.py:loses", cwd=tmp_path)
    assert found.status == 1
    assert found.report["verdict"] == "fail"
    [probe] = [
        one
        for one in found.report["probes"]
        if one["engine"] == engine and one["checkpoint_function"].endswith(":loses")
    ]
    assert probe["outcome"] in ("triggered", "failed")
    assert probe["rules"]


def test_both_of_two_mechanisms_run_layers_three_times(demo_python):
    options = Options(
        functions=["torch:non-reentrant"], engines=["fsdp2"], beside=["none"], setup=Setup(fsdp_checkpointing=True)
    )
    report = diagnose(Request(python=str(demo_python), options=options, use_cache=False))
    [finding] = report.findings
    assert (report.verdict, finding.rule) == ("fail", "CKPT003")
    assert "FSDP's own activation checkpointing" in finding.title
    assert "ran 3 times" in finding.detail
    assert finding.culprit is not None
    assert finding.culprit.file.endswith("checkpoint_wrapper.py")
    titles = [one.title for one in finding.remedies]
    assert any("activation_checkpointing: false" in one for one in titles)
    assert any("gradient_checkpointing: false" in one for one in titles)
    assert all(one.proven == "failing" for one in finding.remedies)


@pytest.mark.parametrize(
    ("engine", "error", "words"),
    [
        ("ddp-unused", "Expected to mark a variable ready only once", "find_unused_parameters=True"),
    ],
)
def test_a_script_shows_it_in_two_processes_of_its_own(torch_python, tmp_path, engine, error, words):
    ran = run(
        *("report", "--python", torch_python, "--engine", engine, "--checkpoint-fn", "torch:reentrant"),
        *("--convention", "bound-method", "--output", tmp_path / "report.zip"),
    )
    assert ran.status == 0, ran.err
    assert f"  reproduces it: RuntimeError: {error}" in ran.out
    with zipfile.ZipFile(tmp_path / "report.zip") as packed:
        script = packed.read("repro.py").decode()
    assert words in script
    assert "left out" not in script
