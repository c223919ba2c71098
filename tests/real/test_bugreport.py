"""A bug report of real stacks: its script shows the fault by itself, and nothing private is in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Ran

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / "cases"
SECRETS = {
    "HF_TOKEN": "hf_" + "aBcDeFgHiJ" * 3 + "kLmN",
    "USER": "zoe-keller",
}
PROXY = {"HTTPS_PROXY": "http://zoe:pr0xypass@proxy.acme-lab.example:3128"}
"""A secret too; nothing can be installed through it."""
READER = ("llamafactory/model/model_utils/checkpointing.py", 86)

RUN = """
import importlib, sys
from ckptdoctor.cli import report
sys.exit(report.command.main(sys.argv[1:], standalone_mode=False))
"""
"""The command by itself, as the command line runs it."""


def make(python, folder, *arguments, name="x.zip", **environ):
    """Run ``ckptdoctor report`` on a target; its exit status and output, and the members of the file."""
    merged = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--python", str(python), "-o", name, *map(str, arguments)],
        cwd=folder,
        env={**merged, "PYTHONPATH": str(Path(__file__).parents[2]), **SECRETS, **environ},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    path = folder / name
    members = {}
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder / "out")
            members = {one: archive.read(one).decode() for one in archive.namelist()}
    return Ran(done.returncode, done.stdout, done.stderr), members


def run_again(python, folder):
    """The script as a maintainer runs it: in a fresh process, with nothing of ours."""
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith("CKPTDOCTOR") and key != "PYTHONPATH"
    }
    return subprocess.run(
        [str(python), "-B", "repro.py"],
        cwd=folder / "out",
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(demo_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoe-keller") / "secret-project"
    folder.mkdir()
    return (*make(demo_python, folder, **PROXY), folder)


def test_the_failing_stack_makes_a_report_with_all_its_parts(demo):
    ran, members, _ = demo
    assert ran.status == 0, ran.err
    assert list(members) == [
        *["report.md", "report.html", "repro.py", "repro.log", "report.json", "packages.txt", "collect_env.txt"]
    ]
    assert "reproduces it: AttributeError" in ran.out
    assert "transformers==4.51.3\n" in members["packages.txt"]
    assert members["collect_env.txt"].startswith("Collecting environment information")
    text = members["report.md"]
    assert len(text) < 12_000
    assert members["repro.py"].strip() in text
    for part in (
        "llamafactory 0.9.2",
        f"{READER[0]}:{READER[1]}",
        "and reproduced it",
        "llamafactory 0.9.3",
        "not deepspeed",
    ):
        assert part in text, part


def test_the_script_needs_nothing_of_ours_and_shows_the_fault_again(demo, demo_python):
    _, members, folder = demo
    source = members["repro.py"]
    assert "ckptdoctor" not in re.sub(r"(?m)^#.*$", "", source)
    assert len(source.splitlines()) < 100
    done = run_again(demo_python, folder)
    assert done.returncode == 1
    assert f'{READER[0]}", line {READER[1]}, in' in done.stderr
    assert "AttributeError: 'functools.partial' object has no attribute '__self__'" in done.stderr


def test_nothing_private_is_in_it(demo):
    _, members, folder = demo
    home = str(Path.home())
    for name, text in members.items():
        for private in (
            "zoe-",
            "zoe:",
            "keller",
            "secret-project",
            "pr0xypass",
            "acme-lab",
            "hf_aBc",
            str(folder),
            f"{home}/",
        ):
            assert private.lower() not in text.lower(), (name, private)
    assert "<venv>/lib/python3" in members["repro.log"]


def test_a_silent_fault_of_ones_own_function_travels_with_its_file(torch_python, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(f"# token: {SECRETS['HF_TOKEN']}\n" + (CASES / "ckpt002_bad.py").read_text())
    ran, members = make(torch_python, tmp_path, "--engine", "none", "--checkpoint-fn", f"{mine}:checkpoint_function")
    assert ran.status == 0, ran.err
    assert "reproduces it: AssertionError: layers that are not run again in backward" in ran.out
    assert "def checkpoint_function(" in members["own_function.py"]
    assert "hf_aBc" not in members["own_function.py"]
    done = run_again(torch_python, tmp_path)
    assert done.returncode == 1
    assert "AssertionError: layers that are not run again in backward: [0, 1]" in done.stderr


def test_a_fault_under_real_zero_is_shown_under_real_zero(demo_python, tmp_path):
    function = f"{CASES / 'ckpt002_bad.py'}:checkpoint_function"
    ran, members = make(
        demo_python, tmp_path, "--engine", "zero3", "--checkpoint-fn", function, "--template", "deepspeed"
    )
    assert ran.status == 0, ran.err
    assert "deepspeed.initialize(" in members["repro.py"]
    assert "reproduces it: AssertionError" in ran.out
    assert members["report.md"].startswith("### Describe the bug")


def test_trainers_own_call_is_in_the_script_as_that_release_makes_it(torch_python, tmp_path):
    packages = ("--with", "transformers==5.22.2", "--with", "llamafactory==0.9.5")
    settings = ["stage: sft", "do_train: true", "finetuning_type: full", "gradient_checkpointing: true"]
    job = ["model_name_or_path: glm4", "dataset: identity", "template: glm4", "output_dir: saves", *settings]
    (tmp_path / "job.yaml").write_text("\n".join([*job, ""]))
    shutil.copytree(CASES.parent / "jobs" / "glm4", tmp_path / "glm4")
    ran, members = make(torch_python, tmp_path, *packages, "--job", "job.yaml")
    assert ran.status == 0, ran.err
    refused = "TypeError: _gradient_checkpointing_enable() got an unexpected keyword argument 'every_n_layers'"
    assert f"  reproduces it: {refused}" in ran.out
    call = "model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=None, every_n_layers=1, offload=False)"
    head, _, after = members["repro.py"].partition(call)
    assert after
    assert "# transformers' Trainer makes this call too, transformers/trainer.py:" in head
    assert "left out" not in head


def test_a_function_that_is_loaded_alone_is_shown_by_itself(demo_python, tmp_path):
    """ms-swift's reentrant checkpointing under DDP that searches for unused parameters."""
    arguments = ("--with", "ms-swift==4.6.0", "--checkpoint-fn", "ms-swift", "--engine", "ddp-unused")
    ran, members = make(demo_python, tmp_path, *arguments)
    assert ran.status == 0, ran.err
    assert "  reproduces it: RuntimeError: Expected to mark a variable ready only once" in ran.out
    assert "trainer._fix_gradient_checkpointing(" in members["repro.py"]


def test_a_sound_stack_makes_a_report_without_a_script(torch_python, tmp_path):
    ran, members = make(torch_python, tmp_path, "--engine", "none", "--template", "llamafactory")
    assert ran.status == 0, ran.err
    assert list(members) == ["report.md", "report.html", "report.json", "packages.txt", "collect_env.txt"]
    assert "**OK**" in members["report.md"]
    assert members["report.md"].startswith("### Reminder")


def test_what_cannot_be_told_of_is_no_report(bare_python, tmp_path):
    script = "from ckptdoctor.cli import run_command, COMMANDS; import ckptdoctor.cli as cli, sys;"
    script += "cli.COMMANDS = tuple({*COMMANDS, 'report'}); sys.exit(run_command(sys.argv[1:]))"
    arguments = [sys.executable, "-c", script, "report", "--python", str(bare_python), "-o"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for output, status in (("x.zip", 3), ("no/x.zip", 2), (".", 2), ("x.md", 2)):
        done = subprocess.run(
            [*arguments, output], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == status, done.stderr
    assert list(tmp_path.iterdir()) == []
