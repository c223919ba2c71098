"""``ckptdoctor watch`` before axolotl's own command, as far as a CPU takes it: a small model, no adapter, no GPU kernels."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.conftest import TORCH, build, run
from tests.real.test_rehearse import MAKE, NO_NETWORK, QWEN3_4B, SMALL, TOKENIZER

pytestmark = pytest.mark.real

STACK = (
    *("transformers==5.16.1", "accelerate==1.13.0", "peft==0.20.0", "trl==1.9.0", "datasets==4.8.4", "numpy"),
    *(
        "addict",
        "bitsandbytes==0.50.2",
        "click",
        "colorama",
        "einops",
        "evaluate==0.4.1",
        "fastcore",
        "fire",
        "kernels",
    ),
    *("numba", "opentelemetry-exporter-otlp-proto-http", "optimum==1.16.2", "pillow", "posthog==6.7.11", "pydantic"),
    *("python-dotenv", "requests", "rich", "schedulefree==1.4.1", "scipy", "sentencepiece", "setuptools"),
    *("triton==3.9.0", "wandb"),
    # Of the newest, uv takes the wheel of another Python where two indexes have it.
    "multiprocess==0.70.18",
)
AXOLOTL = ("axolotl==0.19.0", "axolotl-contribs-lgpl==0.0.7", "axolotl-contribs-mit==0.0.6")
JOB = {
    "base_model": "model",
    "datasets": [{"path": "data.jsonl", "ds_type": "json", "type": "alpaca"}],
    "dataset_prepared_path": "prepared",
    "output_dir": "out",
    "val_set_size": 0,
    "sequence_len": 512,
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "max_steps": 3,
    "num_epochs": 1,
    "optimizer": "adamw_torch",
    "learning_rate": 0.0002,
    "bf16": False,
    "gradient_checkpointing": True,
    "special_tokens": {"pad_token": "<pad>"},
    "dataset_num_proc": 1,
}


@pytest.fixture(scope="module")
def python(environments):
    return build(environments / "axolotl-job", [TORCH, *STACK], AXOLOTL)


@pytest.fixture(scope="module")
def folder(python, tmp_path_factory):
    """A small model with weights, and something to learn."""
    made = tmp_path_factory.mktemp("axolotl")
    model = made / "model"
    model.mkdir()
    config = {**QWEN3_4B, **SMALL, "torch_dtype": "float32"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
    subprocess.run([python, "-c", MAKE, model, "yes"], check=True)
    line = json.dumps({"instruction": "Say it.", "input": "", "output": "It is said."}) + "\n"
    (made / "data.jsonl").write_text(line * 12)
    return made


def test_axolotls_own_command(python, folder):
    (folder / "job.yml").write_text(json.dumps(JOB))
    quiet = {**NO_NETWORK, "HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1", "CUDA_VISIBLE_DEVICES": ""}
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    ran = run("watch", "--exit-after", "--", "axolotl", "train", "job.yml", cwd=folder, environ={**quiet, "PATH": path})

    assert ran.status == 0, ran.err
    verdict = (
        "OK: Gradient checkpointing works in this job with torch:reentrant, under no engine. Seen in 2 steps of 1 rank."
    )
    assert ran.err.count(f"ckptdoctor watch: {verdict}") == 1
    assert "axolotl 0.19.0" in ran.err
