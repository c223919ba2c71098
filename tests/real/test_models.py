"""Models at full size, most of several parts, built tiny by the class that a trainer builds, with their images."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import check

pytestmark = pytest.mark.real

MODELS = Path(__file__).parent.parent / "models"
"""Configurations of the full size: what transformers' classes have by default, as they write it."""

RELEASE = "transformers==5.23.0"

IN_MEMORY = (
    "import resource, subprocess, sys\n"
    "ran = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)\n"
    "sys.stdout.buffer.write(ran.stdout)\n"
    "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n"
)
"""Runs a command and tells the peak memory of the largest process in it, in KiB on Linux."""


def measured(python, *arguments):
    """The report, the peak memory of the largest process in bytes, and the seconds that it took."""
    command = [sys.executable, "-m", "ckptdoctor", "check", "--python", str(python), *map(str, arguments)]
    started = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", IN_MEMORY, *command, "--format", "json"], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout), int(ran.stderr.split()[-1]) * 1024, time.monotonic() - started


@pytest.fixture(scope="module")
def reports(torch_python):
    """The report on each full-size configuration; the first one prepares the environment."""
    check(torch_python, "--with", RELEASE, "--model", "llama", "--checkpoint-fn", "none", "--engine", "none")
    asked = ("--with", RELEASE, "--checkpoint-fn", "torch", "--engine", "none", "--no-cache")
    return {folder.name: measured(torch_python, *asked, "--model", folder) for folder in sorted(MODELS.iterdir())}


def test_full_size_models_fit_into_a_gigabyte_and_a_minute(reports):
    """Also one with state-space layers, which compute whole chunks without kernels: 256 tokens where there are few."""
    assert set(reports) == {"falcon_h1", "gemma3", "llama4", "mllama", "qwen3_vl"}
    for name, (_, peak, seconds) in reports.items():
        assert peak < 1e9, name
        assert seconds < 60, name


@pytest.mark.parametrize(
    ("name", "towers"),
    [
        ("gemma3", ["model.vision_tower.encoder.layers.0"]),
        ("llama4", ["vision_model.model.layers.0"]),
        ("mllama", []),  # from 4.52 on, nobody checkpoints its tower
        ("qwen3_vl", ["model.visual.blocks.0"]),
    ],
)
def test_images_go_through_the_tower_whose_layers_are_checked_too(reports, name, towers):
    report, _, _ = reports[name]
    usual = [one for one in report["probes"] if one["role"] == "subject" and not one["variant"]]
    for probe in usual:
        evidence = probe["evidence"]
        assert evidence["media"] == ["images"], probe["id"]
        assert evidence["model_class"].endswith("ForConditionalGeneration")
        names = [layer["name"] for layer in evidence["layers"]]
        assert [name for name in names if "vision" in name or "visual" in name][:1] == towers
    assert report["verdict"] == ("fail" if name == "llama4" else "ok")


def test_llama_4s_tower_loses_its_gradients_under_reentrant_checkpointing(reports):
    """transformers passes its hidden states by keyword, and a reentrant checkpoint function sees no input with a gradient."""
    report, _, _ = reports["llama4"]
    [finding] = report["findings"]
    assert finding["rule"] == "CKPT004"
    assert all("torch:reentrant" in one for one in finding["probes"])
    [probe] = [one for one in report["probes"] if one["id"].endswith("/llama4/torch:reentrant/none")]
    missing = probe["evidence"]["gradients"]["missing"]
    assert any(name.startswith("vision_model.model.layers.0.") for name in missing)


def test_a_job_is_tried_with_its_own_model_as_its_trainer_sets_it_up(torch_python, tmp_path):
    """LLaMA-Factory freezes the tower, so that nothing in it needs a gradient, and adapts the language model alone."""
    shutil.copytree(MODELS, tmp_path / "models")
    settings = {
        "model_name_or_path": "models/qwen3_vl",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": "all",
        "template": "qwen3_vl",
        "use_reentrant_gc": True,
    }
    (tmp_path / "train.json").write_text(json.dumps(settings))
    stack = ("transformers==5.13.1", "deepspeed==0.19.2", "peft==0.19.1", "accelerate==1.11.0", "llamafactory==0.9.5")
    packages = [part for one in stack for part in ("--with", one)]
    ran = check(torch_python, *packages, "--job", "train.json", cwd=tmp_path)
    assert (ran.status, ran.rules) == (0, [])
    assert "works on qwen3_vl (from the job's config.json) with llamafactory" in ran.report["summary"]
    [probe] = [
        one
        for one in ran.report["probes"]
        if (one["role"], one["variant"], one["engine"]) == ("subject", "", "none") and "as installed" not in one["id"]
    ]
    reached = {layer["name"]: layer.get("reached", True) for layer in probe["evidence"]["layers"]}
    assert [name for name, is_reached in reached.items() if not is_reached] == [
        "model.visual.blocks.0",
        "model.visual.blocks.1",
    ]
