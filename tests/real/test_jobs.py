"""Jobs as they are about to start, probed with real packages; and several ranks."""

import json
import shutil
from pathlib import Path

import psutil
import pytest

from tests.conftest import check, judged

pytestmark = pytest.mark.real

JOBS = Path(__file__).parent.parent / "jobs"

NEWER = [
    *("--with", "transformers==5.13.1", "--with", "deepspeed==0.19.2", "--with", "peft==0.19.1"),
    *("--with", "accelerate==1.11.0", "--with", "llamafactory==0.9.5"),
]
"""Releases with which an adapter, ZeRO 3 and non-reentrant checkpointing do not go together."""


@pytest.fixture
def jobs(tmp_path):
    """The example jobs, in a folder of the test's own."""
    shutil.copytree(JOBS, tmp_path / "jobs")
    return tmp_path / "jobs"


def changed(folder, name, **settings):
    file = folder / name
    lines = [line for line in file.read_text().splitlines() if line.split(":")[0] not in settings]
    file.write_text(
        "\n".join([*lines, *(f"{key}: {value}" for key, value in settings.items() if value is not None)]) + "\n"
    )
    return file.name


def subjects(ran):
    """The usual steps that count, by function and engine."""
    counting = [one for one in ran.report["probes"] if one["role"] == "subject" and not one["variant"]]
    return {(one["checkpoint_function"], one["engine"]): one for one in counting}


def test_a_full_job_with_zero_3_fails_before_any_weight_is_read(demo_python, jobs):
    ran = check(demo_python, "--job", "llamafactory_full_z3.yaml", cwd=jobs)
    assert (ran.status, ran.rules) == (1, ["CKPT001"])
    assert list(subjects(ran)) == [("llamafactory", "zero3")]
    [probe] = subjects(ran).values()
    assert probe["evidence"]["model_class"] == "Glm4ForCausalLM"
    assert probe["evidence"]["precision"] == "bf16"
    [finding] = ran.report["findings"]
    assert "deepspeed" in [one["package"] for one in finding["ruled_out"]]
    assert [one["kind"] for one in finding["remedies"]][:2] == ["version", "patch"]
    assert "ZeRO 3" in ran.report["job"]


def test_an_adapter_with_zero_3_and_non_reentrant_checkpointing(torch_python, jobs):
    job = changed(jobs, "llamafactory_lora_z3.yaml", bf16="false")
    ran = check(torch_python, *NEWER, "--job", job, cwd=jobs)
    assert (ran.status, ran.rules) == (1, ["CKPT007"])
    [finding] = ran.report["findings"]
    assert finding["culprit"]["package"] == "deepspeed"
    assert "llamafactory" in [one["package"] for one in finding["ruled_out"]]
    newer, reentrant = finding["remedies"][:2]
    assert (newer["changes"], newer["proven"]) == ({"deepspeed": "0.19.8"}, "all")
    assert reentrant["title"] == "set `use_reentrant_gc: true`"
    fixed = check(torch_python, *NEWER, "--job", changed(jobs, job, use_reentrant_gc="true"), cwd=jobs)
    assert (fixed.status, fixed.rules) == (0, [])


def test_frozen_layers_need_not_be_recomputed(torch_python, jobs):
    ran = check(torch_python, *NEWER, "--job", "llamafactory_freeze.json", cwd=jobs)
    assert ran.status == 0
    assert ran.rules in ([], ["CKPT002"])


def test_layers_that_are_frozen_and_left_out_on_purpose_are_a_note(torch_python, jobs):
    (jobs / "trained_only.py").write_text(
        "from torch.utils.checkpoint import checkpoint\n\n"
        "def f(function, *args, **kwargs):\n"
        "    layer = function.func.__self__ if hasattr(function, 'func') else function.__self__\n"
        "    if any(one.requires_grad for one in layer.parameters()):\n"
        "        return checkpoint(function, *args, use_reentrant=False, **kwargs)\n"
        "    return function(*args, **kwargs)\n"
    )
    ran = check(
        torch_python, *NEWER, "--checkpoint-fn", "trained_only.py:f", "--job", "llamafactory_freeze.json", cwd=jobs
    )
    assert (ran.status, ran.rules) == (0, ["CKPT002"])
    assert {one["severity"] for one in ran.report["findings"]} == {"note"}


def test_a_job_without_checkpointing_has_nothing_to_fail(demo_python, jobs):
    job = changed(jobs, "llamafactory_full_z3.yaml", disable_gradient_checkpointing="true")
    ran = check(demo_python, "--job", job, cwd=jobs)
    assert (ran.status, ran.rules) == (0, [])
    assert "switched off" in ran.report["summary"]


def test_what_cannot_be_tried_is_named(demo_python, jobs):
    job = changed(jobs, "llamafactory_full_z3.yaml", model_name_or_path="THUDM/GLM-4-9B-0414", quantization_bit=4)
    report = check(demo_python, "--job", job, cwd=jobs).report
    assert any("quantiz" in one for one in report["not_tried"])
    assert any("THUDM/GLM-4-9B-0414" in one for one in report["not_tried"])


@pytest.mark.parametrize(("trainer", "status"), [("0.9.3", 3), ("0.9.4", 0)])
def test_a_job_that_its_trainer_never_starts_is_not_ok(demo_python, jobs, trainer, status):
    """0.9.3 ends with an error whatever is set; 0.9.4 lets people switch the check off."""
    stack = ("--with", f"llamafactory=={trainer}", "--with", "deepspeed==0.18.2")
    ran = check(demo_python, "--job", "llamafactory_full_z3.yaml", *stack, cwd=jobs)
    assert (ran.status, ran.rules) == (status, ["CKPT900"] if status else [])
    refusal = f"llamafactory {trainer} starts no job with deepspeed 0.18.2"
    if status:
        assert ran.report["summary"].startswith(f"This job does not start: {refusal}, whatever is set: ")
    else:
        assert any(one.startswith(f"{refusal} without DISABLE_VERSION_CHECK=1: ") for one in ran.report["notes"])
        assert ran.report["not_starting"] == ["llamafactory"]
        freed = check(
            demo_python, "--job", "llamafactory_full_z3.yaml", *stack, cwd=jobs, environ={"DISABLE_VERSION_CHECK": "1"}
        )
        assert freed.report["not_starting"] == []
        assert "starts no job" not in " ".join(freed.report["notes"])


def test_an_adapter_without_peft_cannot_be_diagnosed(demo_python, jobs):
    ran = check(demo_python, "--job", "llamafactory_lora_z3.yaml", cwd=jobs)
    assert (ran.status, ran.rules) == (3, ["CKPT900"])
    [finding] = ran.report["findings"]
    assert "PEFT cannot be imported" in json.dumps(finding)
    [remedy] = finding["remedies"]
    assert (remedy["title"], remedy["proven"]) == ("install peft", "all")
    assert "'peft==" in remedy["commands"][0]


def test_a_job_says_itself_under_which_engine(demo_python, jobs):
    ran = check(demo_python, "--job", "llamafactory_full_z3.yaml", "--engine", "none", cwd=jobs)
    assert ran.status == 2
    assert "--engine" in ran.err


def test_no_job_is_not_the_environment(demo_python, jobs):
    ran = check(demo_python, "--job", "", cwd=jobs)
    assert (ran.status, ran.out) == (2, "")
    assert "empty" in ran.err


def test_a_function_of_ones_own_in_a_jobs_place(demo_python, jobs):
    (jobs / "mine.py").write_text(
        "import torch\nfrom torch.utils.checkpoint import checkpoint\n\n"
        "def mine(function, *args, **kwargs):\n"
        "    assert not torch.is_autocast_enabled('cpu'), 'float32 alone'\n"
        "    return checkpoint(function, *args, use_reentrant=False, **kwargs)\n"
    )
    job = ("--job", changed(jobs, "llamafactory_full_z3.yaml", deepspeed=None))
    ran = check(demo_python, "--checkpoint-fn", "mine.py:mine", *job, cwd=jobs)
    assert (ran.status, ran.rules) == (1, ["CKPT010"])
    assert {one["evidence"]["precision"] for one in subjects(ran).values()} == {"bf16"}
    assert "--checkpoint-fn was used instead" in " ".join(ran.report["notes"])


def test_what_goes_wrong_only_in_a_large_batch_fails_the_job(demo_python, jobs):
    (jobs / "mine.py").write_text(
        "from torch.utils.checkpoint import checkpoint\n\n"
        "def mine(function, hidden, *args, **kwargs):\n"
        "    hidden = hidden.detach().requires_grad_() if len(hidden) > 4 else hidden\n"
        "    return checkpoint(function, hidden, *args, use_reentrant=False, **kwargs)\n"
    )
    ran = check(demo_python, "--checkpoint-fn", "mine.py:mine", "--job", "llamafactory_full_z3.yaml", cwd=jobs)
    assert (ran.status, ran.rules) == (1, ["CKPT004"])
    [finding] = ran.report["findings"]
    assert [one.rpartition("/")[2] for one in finding["probes"]] == ["course"]
    assert "deepspeed" not in finding["impasse"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fsdp_config": "{activation_checkpointing: true}", "deepspeed": None}, "nothing says that FSDP is used"),
        ({"use_mca": "true"}, "Megatron"),
    ],
)
def test_what_another_backend_checkpoints_is_not_judged(demo_python, jobs, settings, says):
    ran = check(demo_python, "--job", changed(jobs, "llamafactory_full_z3.yaml", **settings), cwd=jobs)
    assert (ran.status, ran.rules, ran.report["probes"]) == (3, ["CKPT900"], [])
    assert says in ran.report["summary"]


def test_fsdps_own_checkpointing_beside_a_trainers_runs_layers_three_times(demo_python, jobs):
    """As a Slurm script starts it: the job and accelerate's configuration are read, and nothing in the script is run."""
    changed(jobs, "llamafactory_full_z3.yaml", deepspeed=None)
    own = (jobs / "accelerate_fsdp2.yaml").read_text().replace("checkpointing: false", "checkpointing: true")
    (jobs / "own.yaml").write_text(own)
    launch = "srun accelerate launch --config_file own.yaml src/train.py $JOB"
    (jobs / "start.sh").write_text(f'#!/bin/bash\ntouch ran\nJOB=llamafactory_full_z3.yaml\n{launch} "$@"\n')
    ran = check(demo_python, "--with", "llamafactory==0.9.3", "--job", "start.sh", cwd=jobs)
    assert (ran.status, ran.rules) == (1, ["CKPT003"])
    assert list(subjects(ran)) == [("llamafactory", "fsdp2")]
    assert ran.report["job"] == "start.sh: LLaMA-Factory, full, FSDP2 (bf16), bf16"
    assert not (jobs / "ran").exists()


def test_the_headline_says_which_model_was_tried_and_how_it_is_known(demo_python, jobs):
    job = changed(jobs, "llamafactory_full_z3.yaml", deepspeed=None, model_name_or_path="Qwen/Qwen2.5-7B")
    ran = check(demo_python, "--with", "llamafactory==0.9.3", "--job", job, cwd=jobs)
    assert ran.status == 0
    assert {one["model"] for one in subjects(ran).values()} == {"qwen2"}
    assert "works on qwen2 (guessed from the name Qwen/Qwen2.5-7B) with llamafactory" in ran.report["summary"]


def test_another_model_in_the_place_of_the_jobs_own_is_never_ok(demo_python, jobs):
    job = changed(jobs, "llamafactory_full_z3.yaml", deepspeed=None, model_name_or_path="org/unknown", template=None)
    ran = check(demo_python, "--with", "llamafactory==0.9.3", "--job", job, cwd=jobs)
    assert (ran.status, ran.report["verdict"]) == (3, "not judged")
    assert ran.report["summary"].startswith("The job's own model, org/unknown, was not tried.")
    assert "works on glm4" in ran.report["summary"]


def own(folder, body):
    (folder / "mine.py").write_text(
        "import os, time\nfrom torch.utils.checkpoint import checkpoint\n\n"
        f"def mine(function, *args, **kwargs):\n{body}\n"
        "    return checkpoint(function, *args, use_reentrant=False, **kwargs)\n"
    )
    return ("--checkpoint-fn", "mine.py:mine", "--engine", "zero2", "--nproc", "2")


def left_behind(marker):
    """Processes that were started with an environment variable of that value."""
    found = []
    for one in psutil.process_iter():
        try:
            found += [one.pid] if one.environ().get("MARKER") == marker else []
        except psutil.Error:
            continue
    return found


def test_two_ranks(demo_python, tmp_path):
    ran = check(demo_python, *own(tmp_path, "    assert os.environ['WORLD_SIZE'] == '2'"), cwd=tmp_path)
    assert (ran.status, ran.rules) == (0, [])
    assert all(name.endswith("2 ranks") for name in ran.outcomes if "/zero2" in name and "tiny" not in name)


def test_ranks_have_batches_of_their_own(demo_python, tmp_path):
    """What one rank takes from another is the same where all have the same batch."""
    body = "    import torch; torch.distributed.broadcast(args[0].data, 0)"
    ran = judged(demo_python, *own(tmp_path, body), cwd=tmp_path)
    assert ran.status == 1
    assert set(ran.rules) & {"CKPT005", "CKPT009"}


@pytest.mark.parametrize(
    ("body", "outcome", "said"),
    [
        ("    if os.environ.get('RANK') == '1': os.kill(os.getpid(), 9)", "crashed", "rank 1"),
        ("    if os.environ.get('RANK') == '1': raise ValueError('on one rank')", "triggered", "on one rank"),
        ("    if os.environ.get('RANK') == '1': time.sleep(1000)", "timeout", "no result"),
    ],
)
def test_a_rank_that_goes_wrong_is_the_probes_outcome(demo_python, tmp_path, body, outcome, said):
    marker = {"MARKER": str(tmp_path)}
    ran = judged(demo_python, *own(tmp_path, body), "--timeout", "8", cwd=tmp_path, environ=marker)
    assert ran.status == 1
    probes = [one for one in ran.report["probes"] if one["engine"] == "zero2"]
    [probe] = [one for one in probes if one["checkpoint_function"].endswith(":mine")]
    assert probe["outcome"] == outcome
    assert said in probe["error"]
    assert left_behind(str(tmp_path)) == []


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl", "llama4"])
def test_a_full_size_model_of_several_parts_is_built_tiny(demo_python, tmp_path, family):
    """The configuration of the family's own full size, as it stands in a folder that holds nothing else."""
    tokens = {"image_token_id": 60, "video_token_id": 61, "vision_start_token_id": 62}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, **tokens}))
    ran = check(demo_python, "--model", tmp_path, "--checkpoint-fn", "torch:reentrant", "--engine", "none")
    assert ran.status == 0
    probes = [one for one in ran.report["probes"] if one["role"] == "subject" and not one["variant"]]
    assert {one["outcome"] for one in probes} == {"ok"}
    assert all(one["evidence"]["model_class"].endswith("ForConditionalGeneration") for one in probes)
    assert all(one["evidence"]["layers"] for one in probes)


def test_what_is_no_language_model_is_said(demo_python, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "pixtral"}')
    ran = check(demo_python, "--model", tmp_path, "--checkpoint-fn", "torch:reentrant", "--engine", "none")
    assert (ran.status, ran.rules) == (3, ["CKPT900"])
    assert "no language model" in json.dumps(ran.report["findings"])
