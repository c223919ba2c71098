"""Checkpointing is switched on as transformers' Trainer does, after the trainer's own preparation of the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import check

pytestmark = pytest.mark.real

JOBS = Path(__file__).parent.parent / "jobs"
NARROW = ("--convention", "bound-method")
AXOLOTL = [
    part
    for one in ("axolotl==0.19.0", "peft==0.21.2", "accelerate==1.15.0", "addict==2.4.0", "colorama==0.4.6")
    for part in ("--with", one)
]
"""axolotl with what its patch manager imports."""


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


@pytest.fixture
def packed_job(tmp_path):
    """A job of axolotl's for Nemotron-H, whose blocks it patches for packed sequences; no block of this one needs a GPU."""
    folder = tmp_path / "nemotron"
    folder.mkdir()
    blocks = {"layers_block_type": ["full_attention", "mlp"], "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps({"model_type": "nemotron_h", **blocks}))
    settings = {
        "base_model": "nemotron",
        "sample_packing": True,
        "use_kernels": True,
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "bf16": False,
        "datasets": [{"path": "data", "type": "alpaca"}],
        "sequence_len": 512,
        "micro_batch_size": 1,
    }
    (tmp_path / "packed.yaml").write_text(json.dumps(settings))
    return tmp_path


def replaced(ran):
    """The evidence of the job's own step on the layer's forward."""
    [probe] = [
        one for one in ran.report["probes"] if (one["role"], one["variant"], one["engine"]) == ("subject", "", "none")
    ]
    return [one for one in probe["evidence"]["replaced"] if one["what"] == "NemotronHBlock.forward"]


def test_a_trainers_patch_of_a_layers_forward_switches_checkpointing_off(torch_python, packed_job):
    ran = check(torch_python, "--with", "transformers==5.23.0", *AXOLOTL, "--job", "packed.yaml", cwd=packed_job)
    assert (ran.status, ran.rules) == (1, ["CKPT002"])
    [finding] = ran.report["findings"]
    assert (finding["culprit"]["package"], finding["culprit"]["version"]) == ("axolotl", "0.19.0")
    assert finding["culprit"]["code"] == "NemotronHBlock.forward = patched_block_forward"
    [seen] = replaced(ran)
    assert seen["by"] == finding["culprit"]
    assert seen["with_"]["code"] == "def patched_block_forward("


def test_the_same_patch_is_sound_one_release_earlier(torch_python, packed_job):
    ran = check(torch_python, "--with", "transformers==5.22.2", *AXOLOTL, "--job", "packed.yaml", cwd=packed_job)
    assert (ran.status, ran.rules) == (0, [])
    assert replaced(ran)


CLASS = """\
import transformers.models.glm4.modeling_glm4 as modeling
from torch.utils.checkpoint import checkpoint

original = modeling.Glm4DecoderLayer.forward
inner = getattr(original, "__wrapped__", original)


def forward(self, *args, **kwargs):
    return inner(self, *args, **kwargs)


modeling.Glm4DecoderLayer.forward = forward


def function(layer, *args, **kwargs):
    return checkpoint(layer, *args, use_reentrant=False, **kwargs)
"""


INSTANCES = """\
import types

import transformers.models.glm4.modeling_glm4 as modeling
from torch.utils.checkpoint import checkpoint

original = modeling.Glm4DecoderLayer.forward
inner = getattr(original, "__wrapped__", original)
switch_on = modeling.Glm4PreTrainedModel.activation_checkpointing_enable


def forward(self, *args, **kwargs):
    return inner(self, *args, **kwargs)


def enable(self, *args, **kwargs):
    switch_on(self, *args, **kwargs)
    for layer in self.model.layers:
        layer.forward = types.MethodType(forward, layer)


modeling.Glm4PreTrainedModel.activation_checkpointing_enable = enable


def function(layer, *args, **kwargs):
    return checkpoint(layer, *args, use_reentrant=False, **kwargs)
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CLASS, "modeling.Glm4DecoderLayer.forward = forward"),
        (INSTANCES, "layer.forward = types.MethodType(forward, layer)"),
    ],
    ids=["of the class", "of each layer"],
)
def test_a_file_of_ones_own_that_replaces_the_forward_of_layers(torch_python, tmp_path, text, line):
    (tmp_path / "mine.py").write_text(text)
    ran = check(
        torch_python,
        *("--with", "transformers==5.23.0", "--engine", "none", "--checkpoint-fn", "mine.py:function", *NARROW),
        cwd=tmp_path,
    )
    assert (ran.status, ran.rules) == (1, ["CKPT002"])
    assert ran.report["findings"][0]["culprit"]["code"] == line
