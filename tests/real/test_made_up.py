"""A trainer, an engine, an issue form and a rule that do not exist, added to a copy of the project by their own files alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import conftest

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
TRAINER, RULE = ROOT / "tests" / "made_up_trainer", ROOT / "tests" / "made_up_rule"
COPIED = ("ckptdoctor", "probes", "tests", "docs")
LOG = """\
Traceback (most recent call last):
  File "/v/site-packages/transformers/models/glm4/modeling_glm4.py", line 577, in forward
    layer_outputs = self._gradient_checkpointing_func(
  File "/v/site-packages/overbake/checkpointing.py", line 5, in checkpoint_layer
    layer = function.__self__
AttributeError: 'functools.partial' object has no attribute '__self__'
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with the files added, and nothing else changed but the index of the rules' pages."""
    copy = tmp_path_factory.mktemp("project")
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "README_zh.md", "CONTRIBUTING.md", "pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / file, copy)
    for name in ("ckptdoctor", "probes"):
        shutil.copytree(TRAINER / name, copy / name, dirs_exist_ok=True)
    shutil.copytree(RULE / "rules", copy / "ckptdoctor" / "rules", dirs_exist_ok=True)
    shutil.copytree(RULE / "cases", copy / "tests" / "cases", dirs_exist_ok=True)
    shutil.copy(RULE / "CKPT950.md", copy / "docs" / "rules")
    index = copy / "docs" / "rules" / "README.md"
    link = "[CKPT950](CKPT950.md)"
    meaning = "The checkpoint function is called more than once a layer."
    index.write_text(f"{index.read_text()}| {link} | {meaning} |\n| `checkpointed already` | {link} |\n")
    return copy


@pytest.fixture
def run(project):
    """The copy's command line, in whose environments the trainer is installed."""
    path = os.pathsep.join(map(str, (project, TRAINER / "site-packages")))

    def run(*arguments, **more):
        return conftest.run(*arguments, environ={"PYTHONPATH": path}, cwd=project, **more)

    return run


def test_check_tries_the_function_under_the_engine_and_finds_the_line(run, demo_python):
    done = run(
        *("check", "--python", demo_python, "--checkpoint-fn", "overbake", "--engine", "scaled", "--engine", "none"),
        *("--format", "json"),
    )
    assert done.status == 1, done.err
    assert done.rules == ["CKPT001"]
    [finding] = done.report["findings"]
    assert finding["culprit"]["package"] == "overbake"
    assert finding["culprit"]["version"] == "1.2"
    assert finding["culprit"]["line"] == 5
    assert done.outcomes["glm4/overbake/scaled"] == "triggered"
    # Torch's own functions pass under the engine: what scales the loss scales the gradients back.
    assert done.outcomes["glm4/torch:non-reentrant/scaled"] == done.outcomes["glm4/none/scaled"] == "ok"
    assert done.report["environment"]["stack"][-1] == "overbake"
    assert any("`checkpoint: false`" in one["title"] for one in finding["remedies"])


def test_report_reproduces_it_under_the_engine_in_the_projects_own_form(run, demo_python, tmp_path):
    bundle = tmp_path / "report.zip"
    done = run(
        *("report", "--python", demo_python, "--checkpoint-fn", "overbake", "--engine", "scaled"),
        *("--template", "overbake", "--output", bundle),
    )
    assert done.status == 0, done.err
    with zipfile.ZipFile(bundle) as packed:
        script, page = (packed.read(name).decode() for name in ("repro.py", "report.md"))
    assert "(loss * 1024).backward()" in script
    assert "gradient_checkpointing_func=trainer.checkpoint_layer" in script
    assert re.findall(r"^### (.+)", page, re.MULTILINE) == ["What burns?", "In which oven?", "Recipe"]
    assert "reproduced it" in page
    assert "did **not**" not in page
    assert "pip install --no-deps overbake==1.2" in page


def test_explain_knows_the_trainers_code(run, tmp_path):
    log = tmp_path / "train.log"
    log.write_text(LOG)
    done = run("explain", log, "--format", "json")
    assert (done.report["verdict"], done.report["rule"]) == ("ours", "CKPT001")
    assert "overbake" in done.out


def test_rule_and_help_know_all_of_them(run):
    assert run("rule", "CKPT950").out.startswith("CKPT950 called-too-often\n")
    shown = run("check", "--help").out
    assert "scaled" in shown
    assert "overbake" in shown


def test_the_projects_own_tests_hold_them_to_be_whole(project):
    """In the copy, the completeness of catalog, rules and documents is tested by the project's own tests."""
    environ = {**os.environ, "PYTHONPATH": str(project)}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    tests = ["tests/test_catalog.py", "tests/test_rule_pages.py"]
    done = subprocess.run(
        [*command, *tests], cwd=project, env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout
    (project / "probes" / "engines" / "scaled.py").rename(project / "scaled.py")
    done = subprocess.run(
        [*command, *tests], cwd=project, env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    (project / "scaled.py").rename(project / "probes" / "engines" / "scaled.py")
    assert done.returncode == 1
    assert "scaled" in done.stdout


def test_contributing_shows_these_very_files():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    shown = re.findall(r"`((?:ckptdoctor|probes)/\S+)`:\n\n```\w+\n(.*?)```", text, re.DOTALL)
    assert {name for name, _ in shown} == {
        "ckptdoctor/catalog/trainers/overbake.toml",
        "probes/trainers/overbake.py",
        "ckptdoctor/catalog/engines/scaled.toml",
        "probes/engines/scaled.py",
    }
    for name, content in shown:
        assert content == (TRAINER / name).read_text()
