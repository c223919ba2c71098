"""Checkpointing is switched on as transformers' Trainer does, after the trainer's own preparation of the model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import check

pytestmark = pytest.mark.real

JOBS = Path(__file__).parent.parent / "jobs"
NARROW = ("--convention", "bound-method")


@pytest.fixture
def jobs(tmp_path):
    """The example jobs, in a folder of the test's own; ``twice.yaml`` has checkpointing switched on by Trainer too."""
    shutil.copytree(JOBS, tmp_path / "jobs")
    job = (JOBS / "llamafactory_full_z3.yaml").read_text()
    left = [line for line in job.splitlines() if line.partition(":")[0] not in ("deepspeed", "bf16")]
    (tmp_path / "jobs" / "twice.yaml").write_text("\n".join([*left, "gradient_checkpointing: true", ""]))
    return tmp_path / "jobs"


def twice(python, jobs, transformers):
    """The finding on the job that switches checkpointing on twice."""
    packages = ("--with", f"transformers=={transformers}", "--with", "llamafactory==0.9.5")
    ran = check(python, *packages, *NARROW, "--job", "twice.yaml", cwd=jobs)
    assert (ran.status, ran.rules) == (1, ["CKPT013"])
    [finding] = ran.report["findings"]
    assert finding["culprit"]["package"] == "llamafactory"
    assert finding["culprit"]["code"] == "def _gradient_checkpointing_enable("
    caller = finding["passed_by"]
    assert (caller["package"], Path(caller["file"]).name) == ("transformers", "trainer.py")
    assert not [one for one in finding["remedies"] if one["kind"] == "version" and not one["proven"]]
    return finding


def test_a_replaced_method_that_cannot_take_trainers_call(torch_python, jobs):
    finding = twice(torch_python, jobs, "5.22.2")
    assert finding["passed_by"]["code"] == "self.model.gradient_checkpointing_enable("
    setting = finding["remedies"][0]
    assert setting["title"] == "remove `gradient_checkpointing: true`: the trainer switches checkpointing on itself"
    assert (setting["kind"], setting["proven"]) == ("setting", "failing")


def test_a_fix_that_leaves_another_fault_is_not_offered(torch_python, jobs):
    finding = twice(torch_python, jobs, "5.23.0")
    assert finding["passed_by"]["code"] == "self.model.activation_checkpointing_enable("
    # Without the second call the function fails too, in the way of CKPT001.
    assert not [one for one in finding["remedies"] if one["title"].startswith("remove ")]
