"""What the project claims about real packages, shown with real packages from the index."""

from __future__ import annotations

import json

import msgspec
import pytest

from ckptdoctor.model.report import Report
from ckptdoctor.output import Style, render
from tests.conftest import check

pytestmark = pytest.mark.real

ENGINES = ("none", "partial", "zero0", "zero1", "zero2", "zero3")
OLDER = ("--with", "transformers==4.49.0")
NEWEST = ("--with", "transformers", "--with", "deepspeed", "--with", "llamafactory")


@pytest.fixture(scope="module")
def demo(demo_python):
    return check(demo_python)


def the_finding(ran):
    [finding] = ran.report["findings"]
    return finding


def shown(ran):
    """The lines that a person reads in a terminal of 80 columns, with an environment whose path is no longer than most."""
    style = Style(color=False, width=80, verbose=False, unicode=True)
    text = json.dumps(ran.report).replace(ran.report["environment"]["executable"], "/envs/train/bin/python")
    return render("text", msgspec.json.decode(text, type=Report), style).splitlines()


def test_the_fault_the_project_exists_for(demo):
    assert demo.status == 1
    assert demo.report["verdict"] == "fail"
    finding = the_finding(demo)
    assert finding["rule"] == "CKPT001"
    assert finding["severity"] == "error"
    assert finding["error"]["message"] == "'functools.partial' object has no attribute '__self__'"


def test_it_ends_as_it_did_when_these_files_were_measured(demo):
    assert demo.report["unexpected"] == []


def test_who_reads_and_who_hands_over(demo):
    finding = the_finding(demo)
    reader, giver = finding["culprit"], finding["passed_by"]
    assert (reader["package"], reader["version"], reader["line"]) == ("llamafactory", "0.9.2", 86)
    assert reader["file"].endswith("llamafactory/model/model_utils/checkpointing.py")
    assert "func.__self__" in reader["code"]
    assert (giver["package"], giver["version"], giver["line"]) == ("transformers", "4.51.3", 577)
    assert giver["file"].endswith("transformers/models/glm4/modeling_glm4.py")
    assert finding["callable"]["text"] == "functools.partial(Glm4DecoderLayer.__call__)"


def test_a_person_reads_the_real_lines_with_the_very_expressions_and_last_the_command(demo):
    lines = shown(demo)
    at = next(number for number, line in enumerate(lines) if "func.__self__" in line)
    read, marks = lines[at], lines[at + 1]
    assert read[marks.index("^") : marks.rindex("^") + 1] == "func.__self__"
    assert marks.endswith("^ read here")
    at = next(number for number, line in enumerate(lines) if "partial(decoder_layer" in line)
    passed, marks = lines[at], lines[at + 1]
    assert passed[marks.index("-") : marks.rindex("-") + 1] == "partial(decoder_layer.__call__, **flash_attn_kwargs)"
    assert the_finding(demo)["built"]["line"] == 578
    command = the_finding(demo)["remedies"][0]["commands"][0]
    assert lines[-1].strip() == command.replace(demo.report["environment"]["executable"], "/envs/train/bin/python")
    assert len(lines) <= 40


def test_deepspeed_is_cleared_by_the_run_without_it(demo):
    [cleared] = [one for one in the_finding(demo)["ruled_out"] if one["package"] == "deepspeed"]
    assert cleared["version"] == "0.16.4"
    by_id = {one["id"]: one for one in demo.report["probes"]}
    without = by_id["glm4/llamafactory/none"]
    assert "glm4/llamafactory/none" in cleared["probes"]
    assert "deepspeed" not in without["evidence"]["modules"]
    assert by_id["glm4/llamafactory/zero3"]["evidence"]["modules"]["deepspeed"] == "0.16.4"
    lines = {
        (frame["file"], frame["line"])
        for engine in ENGINES
        for frame in by_id[f"glm4/llamafactory/{engine}"]["evidence"]["error"]["frames"][-1:]
    }
    assert len(lines) == 1


def test_torch_is_cleared_and_every_engine_was_real(demo):
    assert {one["package"] for one in the_finding(demo)["ruled_out"]} == {"deepspeed", "torch"}
    for engine in ENGINES:
        assert demo.outcomes[f"glm4/llamafactory/{engine}"] == "triggered"
        assert demo.outcomes[f"glm4/none/{engine}"] == "ok"
    for function in ("torch:reentrant", "torch:non-reentrant"):
        for engine in ("none", "zero0", "zero1", "zero2", "zero3"):
            assert demo.outcomes[f"glm4/{function}/{engine}"] == "ok"


def test_remedies_are_a_version_a_patch_and_a_setting(demo):
    remedies = the_finding(demo)["remedies"]
    version, patch, setting = remedies
    assert version["kind"] == "version"
    executable = demo.report["environment"]["executable"]
    assert version["commands"] == [f"uv pip install --python {executable} --no-deps 'llamafactory==0.9.3'"]
    assert patch["kind"] == "patch"
    assert patch["proven"] == "some"
    assert '-        module: "torch.nn.Module" = func.__self__\n' in patch["diff"]
    assert setting["kind"] == "setting"
    assert "disable_gradient_checkpointing: true" in setting["title"]


def test_the_version_remedy_helps_under_every_engine(demo_python):
    ran = check(demo_python, "--with", "llamafactory==0.9.3")
    assert (ran.status, ran.report["verdict"], ran.rules) == (0, "ok", [])
    assert len(shown(ran)) <= 12
    assert "torch.compile (--engine all)" in " ".join(" ".join(shown(ran)).split())  # not tried
    for engine in ENGINES:
        assert ran.outcomes[f"glm4/llamafactory/{engine}"] == "ok"


def test_the_older_transformers_hands_over_a_bound_method(demo_python):
    ran = check(demo_python, *OLDER)
    errors = [one for one in ran.report["findings"] if one["severity"] == "error"]
    assert (ran.status, ran.report["verdict"], errors) == (0, "ok", [])
    assert ran.outcomes["glm/llamafactory/zero3"] == "ok"
    [probe] = [one for one in ran.report["probes"] if one["id"] == "glm/llamafactory/none"]
    assert probe["calling_convention"] == "bound-method"
    assert probe["evidence"]["handovers"][0]["callable"]["text"] == "GlmDecoderLayer.__call__"


def test_the_patch_that_is_shown_applies_and_helps(demo, demo_python, tmp_path):
    """The diff, applied with the ordinary tool to a copy of the file, makes the same check pass."""
    import shutil
    import subprocess
    from pathlib import Path

    source = Path(the_finding(demo)["culprit"]["file"])
    package = next(parent for parent in source.parents if parent.name == "llamafactory")
    shutil.copytree(package, tmp_path / "llamafactory")
    diff = next(one["diff"] for one in the_finding(demo)["remedies"] if one["kind"] == "patch")
    subprocess.run(["patch", "-p1"], input=diff, text=True, cwd=tmp_path, check=True, capture_output=True)
    arguments = ("--engine", "none", "--engine", "zero3", "--checkpoint-fn", "llamafactory")
    ran = check(demo_python, *arguments, environ={"PYTHONPATH": str(tmp_path)})
    # llamafactory's unsloth function does not restore the random state, patched or not: a warning, with dropout only.
    assert (ran.status, {one["severity"] for one in ran.report["findings"]} - {"warning"}) == (0, set())
    assert ran.outcomes["glm4/llamafactory/none"] == ran.outcomes["glm4/llamafactory/zero3"] == "ok"
    loaded = {one["evidence"]["loaded"]["place"]["file"] for one in ran.report["probes"] if "loaded" in one["evidence"]}
    assert loaded == {str(tmp_path / "llamafactory/model/model_utils/checkpointing.py")}


def test_the_newest_of_everything(demo_python):
    """Whatever is true of today's newest releases, with the evidence; what is asserted is that it holds together."""
    ran = check(demo_python, *NEWEST)
    assert ran.report["verdict"] in ("ok", "fail", "error")
    assert ran.status == {"ok": 0, "fail": 1, "error": 3}[ran.report["verdict"]]
    for finding in ran.report["findings"]:
        if finding["rule"] == "CKPT001":
            assert finding["culprit"]["package"] == "llamafactory"
            assert finding["passed_by"]["package"] == "transformers"
            assert any(one["package"] == "deepspeed" for one in finding["ruled_out"])
            assert finding["remedies"]


def test_last_known_newest(demo_python):
    """transformers 5.23.0 passes a partial of a plain function, which llamafactory 0.9.5 does not expect."""
    stack = ("--with", "transformers==5.23.0", "--with", "deepspeed==0.19.8", "--with", "llamafactory==0.9.5")
    ran = check(demo_python, *stack)
    finding = the_finding(ran)
    assert (ran.status, finding["rule"]) == (1, "CKPT001")
    assert finding["error"]["message"] == "'function' object has no attribute '__self__'"
    assert len(shown(ran)) <= 40
    assert finding["culprit"]["code"].endswith("func.func.__self__")
    assert finding["passed_by"]["file"].endswith("transformers/modeling_layers.py")
    assert finding["callable"]["text"].startswith("functools.partial(Glm4DecoderLayer.forward, Glm4DecoderLayer")


GOOD = '''\
"""Finds nothing out about the callable; leaves it to torch."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
'''

BAD = '''\
"""Reaches into the callable for the layer."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    layer = function.__self__
    assert layer.training
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
'''


def test_a_users_own_good_function(demo_python, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(GOOD)
    ran = check(demo_python, "--checkpoint-fn", f"{file}:checkpoint_function")
    assert (ran.status, ran.report["verdict"], ran.rules) == (0, "ok", [])


def test_a_users_own_bad_function(demo_python, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(BAD)
    ran = check(demo_python, "--checkpoint-fn", f"{file}:checkpoint_function")
    finding = the_finding(ran)
    assert (ran.status, finding["rule"]) == (1, "CKPT001")
    assert (finding["culprit"]["file"], finding["culprit"]["line"]) == (str(file), 6)
    assert finding["remedies"][0]["kind"] == "patch"
    assert finding["remedies"][0]["proven"] == "some"  # of the failing probes, a patch in a check runs a few


def test_a_family_that_was_not_measured_gets_a_release_that_was_run(demo_python):
    """Under ZeRO 3 alone: the step without an engine is taken beside it, and tells that DeepSpeed has no part in the fault."""
    arguments = ("--model", "qwen3", "--engine", "zero3", "--checkpoint-fn", "llamafactory")
    ran = check(demo_python, *arguments)
    finding = the_finding(ran)
    assert (ran.status, finding["rule"]) == (1, "CKPT001")
    assert "deepspeed" in [one["package"] for one in finding["ruled_out"]]
    release = finding["remedies"][0]
    assert release["proven"] == "all"
    assert release["changes"] == {"llamafactory": "0.9.3"}
    assert "glm4" not in release["evidence"]


def test_an_environment_that_cannot_import_the_model_is_not_ok(demo_python):
    """transformers 4.51.3 and deepspeed 0.19.4 import each other; with DeepSpeed hidden, all is well."""
    ran = check(demo_python, "--with", "deepspeed==0.19.4", "--engine", "none", "--checkpoint-fn", "torch:reentrant")
    assert (ran.status, ran.report["verdict"]) == (3, "error")
    finding = the_finding(ran)
    assert finding["culprit"]["file"].endswith("deepspeed/runtime/hybrid_engine.py")
    assert finding["error"]["type"] == "ImportError"
    assert any(remedy["changes"].get("deepspeed") for remedy in finding["remedies"])
    assert ran.outcomes["glm4/torch:reentrant/none"] == "ok"


def test_a_deepspeed_that_counts_numa_nodes_needs_no_numactl(demo_python):
    ran = check(demo_python, "--with", "deepspeed==0.15.4", "--engine", "zero3", "--checkpoint-fn", "torch:reentrant")
    assert (ran.status, ran.report["verdict"]) == (0, "ok")
