"""``ckptdoctor rehearse``: how a command is made small."""

from __future__ import annotations

import json

import pytest

from ckptdoctor.observe import lacking, shrinking
from probes.shrinker import deepspeed, devices, fetching, reductions, telling

PORT = 12345


def shrink(command, environ=None, gpus=0, files=None):
    return shrinking.shrink(command.split(), environ or {}, gpus, PORT, files or {})


def said(small):
    return " ".join(small.said)


TORCHRUN = "--standalone --nnodes=1 --nproc_per_node=2"
ACCELERATES = (
    "--num_processes=2 --num_machines=1 --machine_rank=0 --main_process_ip=127.0.0.1 --main_process_port=12345"
    " --rdzv_backend=static"
)


@pytest.mark.parametrize(
    ("command", "expected", "was"),
    [
        ("torchrun --nproc-per-node 8 train.py --lr 1", f"torchrun {TORCHRUN} train.py --lr 1", "8"),
        ("torchrun --nproc_per_node=gpu train.py", f"torchrun {TORCHRUN} train.py", "one for each GPU"),
        (
            "torchrun --nnodes 4 --node-rank 3 --nproc-per-node 8 --rdzv-endpoint host:29500 --rdzv-backend c10d"
            " --role worker train.py --nnodes 4",
            f"torchrun {TORCHRUN} --role worker train.py --nnodes 4",
            "32",
        ),
        ("torchrun --nnodes 1:4 --nproc-per-node 1 train.py", f"torchrun {TORCHRUN} train.py", "4"),
        (
            "python -m torch.distributed.run --nproc-per-node 8 -m package.train --master_port 1",
            f"python -m torch.distributed.run {TORCHRUN} -m package.train --master_port 1",
            "8",
        ),
        ("nohup torchrun --nproc-per-node=4 train.py", f"nohup torchrun {TORCHRUN} train.py", "4"),
        ("srun -N 2 --ntasks-per-node=1 torchrun --nproc-per-node 8 train.py", f"torchrun {TORCHRUN} train.py", "8"),
        (
            "accelerate launch --multi_gpu --num_processes 8 --mixed_precision bf16 train.py",
            f"accelerate launch --multi_gpu {ACCELERATES} --mixed_precision bf16 train.py",
            "8",
        ),
        (
            "accelerate launch --use_fsdp --num_processes 8 --num_machines 2 --machine_rank 1 --main_process_ip h train.py",
            f"accelerate launch {ACCELERATES} --use_fsdp train.py",
            "8",
        ),
        (
            "deepspeed --hostfile hosts --num_gpus 8 --num_nodes 2 train.py --deepspeed ds.json",
            "deepspeed --hostfile=none --num_gpus=2 --master_port=12345 train.py --deepspeed ds.json",
            "16",
        ),
        (
            "deepspeed --include localhost:0,1,2 train.py",
            "deepspeed --hostfile=none --num_gpus=2 --master_port=12345 train.py",
            "3",
        ),
        (
            "deepspeed train.py",
            "deepspeed --hostfile=none --num_gpus=2 --master_port=12345 train.py",
            "one for each GPU",
        ),
    ],
)
def test_many_ranks_become_two_on_this_machine(command, expected, was):
    small = shrink(command)

    assert " ".join(small.words) == expected
    assert said(small) == f"The job has 2 ranks instead of {was}, on this machine."


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python train.py --nproc_per_node 8", "python train.py --nproc_per_node 8"),
        ("python -u train.py", "python -u train.py"),
        ("python -m trl.scripts.sft --num_processes 8", "python -m trl.scripts.sft --num_processes 8"),
        ("torchrun --nproc-per-node 1 train.py", "torchrun --standalone --nnodes=1 --nproc_per_node=1 train.py"),
        ("torchrun train.py", "torchrun --standalone --nnodes=1 --nproc_per_node=1 train.py"),
        (
            "accelerate launch --num_processes 1 train.py",
            "accelerate launch --num_processes=1 --num_machines=1 train.py",
        ),
        ("accelerate launch --cpu train.py", "accelerate launch --cpu --num_processes=1 --num_machines=1 train.py"),
        ("accelerate config", "accelerate config"),
        ("bash train.sh 8", "bash train.sh 8"),
        ("llamafactory-cli train job.yaml", "llamafactory-cli train job.yaml"),
    ],
)
def test_one_rank_stays_one(command, expected):
    small = shrink(command)

    assert " ".join(small.words) == expected
    assert small.said == ()


def test_two_ranks_stay_two():
    assert shrink("torchrun --nproc-per-node 2 train.py").said == ()


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"distributed_type": "FSDP", "num_processes": 8, "num_machines": 2}, ACCELERATES),
        ({"distributed_type": "DEEPSPEED", "num_processes": 8}, ACCELERATES),
        ({"distributed_type": "MULTI_GPU", "num_processes": 8}, f"--multi_gpu {ACCELERATES}"),
        ({"distributed_type": "NO", "num_processes": 1}, "--num_processes=1 --num_machines=1"),
    ],
)
def test_accelerates_configuration_says_how_many(config, options):
    small = shrink("accelerate launch --config_file fsdp.yaml train.py", files={"fsdp.yaml": config})

    assert " ".join(small.words) == f"accelerate launch {options} --config_file fsdp.yaml train.py"


@pytest.mark.parametrize("command", ["llamafactory-cli train job.yaml", "swift sft --model m"])
def test_variables_of_trainers_that_start_their_own_ranks(command):
    environ = {
        "FORCE_TORCHRUN": "1",
        "NPROC_PER_NODE": "8",
        "NNODES": "2",
        "NODE_RANK": "1",
        "MASTER_ADDR": "10.0.0.1",
        "PET_NNODES": "2",
        "MINE": "kept",
    }
    small = shrink(command, environ)

    assert small.environ["NPROC_PER_NODE"] == "2"
    assert small.environ["NNODES"] == "1"
    assert small.environ["MINE"] == "kept"
    assert not {"NODE_RANK", "MASTER_ADDR", "PET_NNODES"} & set(small.environ)
    assert said(small) == "The job has 2 ranks instead of 16, on this machine."
    assert environ["NPROC_PER_NODE"] == "8"


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("llamafactory-cli train job.yaml", {"job.yaml": {"deepspeed": "ds_z3.json"}}),
        ("llamafactory-cli train job.yaml deepspeed=ds_z3.json", {"job.yaml": {}}),
        ("python -m llamafactory.cli train --deepspeed ds_z3.json", {}),
        ("lmf train job.yaml", {"job.yaml": {"fsdp": "full_shard"}}),
    ],
)
def test_llamafactory_starts_ranks_for_what_one_process_cannot_do(command, files):
    small = shrink(command, files=files)

    assert (small.environ["FORCE_TORCHRUN"], small.environ["NPROC_PER_NODE"]) == ("1", "2")
    assert said(small) == "The job has 2 ranks instead of one for each GPU, on this machine."


def test_a_job_of_one_process_sets_no_variable_of_ranks():
    small = shrink("llamafactory-cli train job.yaml", files={"job.yaml": {"deepspeed": None, "stage": "sft"}})

    assert not {"FORCE_TORCHRUN", "NPROC_PER_NODE"} & set(small.environ)


@pytest.mark.parametrize(("gpus", "is_on_cpu"), [(0, False), (1, True), (2, False)])
def test_two_ranks_do_not_share_a_gpu(gpus, is_on_cpu):
    small = shrink("torchrun --nproc-per-node 8 train.py", gpus=gpus)

    assert (small.environ.get("CUDA_VISIBLE_DEVICES") == "") is is_on_cpu
    assert ("two ranks cannot share one GPU" in said(small)) is is_on_cpu
    assert "CUDA_VISIBLE_DEVICES" not in shrink("python train.py", gpus=1).environ


def test_loggers_are_off_and_nothing_else_of_the_environment_changes():
    small = shrink("python train.py", {"WANDB_MODE": "online", "HF_HOME": "/cache"})

    assert small.environ["WANDB_MODE"] == "disabled"
    assert small.environ["HF_HOME"] == "/cache"
    assert set(small.environ) == {*shrinking.QUIET, "HF_HOME"}


def test_files_of_settings_are_found_in_the_command(tmp_path):
    for name in ("job.yaml", "ds.json"):
        (tmp_path / name).write_text("{}")
    words = ["llamafactory-cli", "train", str(tmp_path / "job.yaml"), f"deepspeed={tmp_path / 'ds.json'}", "none.yaml"]

    assert shrinking.named_files(words) == [str(tmp_path / "job.yaml"), str(tmp_path / "ds.json")]


@pytest.fixture
def reported(tmp_path, monkeypatch):
    """The folder of evidence of a process that has told nothing yet."""
    monkeypatch.setenv("CKPTDOCTOR_EVIDENCE", str(tmp_path))
    monkeypatch.setattr(telling, "_small", {})
    monkeypatch.setattr(telling, "_missing", [])
    return tmp_path


@pytest.mark.parametrize(
    ("was", "now"), [(2048, 512), (512, 512), (64, 64), (-1, -1), (None, None), (True, True), ("auto", "auto")]
)
def test_a_limit_lowers_numbers_alone(was, now):
    assert reductions.at_most(512)(was) is now or reductions.at_most(512)(was) == now


def test_what_was_made_small_is_told_once_for_each_process(reported):
    for sentence in (
        "`a` is 1 instead of 2.",
        "`a` is 1 instead of 3.",
        "Nothing is uploaded.",
        "`a` is 1 instead of 2.",
    ):
        telling.small(sentence)

    (file,) = reported.iterdir()
    assert json.loads(file.read_text()) == ["`a` is 1 instead of 2.", "Nothing is uploaded."]


def test_a_missing_tokenizer_is_named_with_the_next_step(reported):
    telling.missing("tokenizer", "Some/Model", OSError("We could not reach the hub\nat all"))
    telling.missing("configuration", "/no/such/folder", OSError("none"))
    telling.missing("dataset", str(reported), ValueError("no data"))

    assert lacking.sentences(reported) == [
        "The tokenizer of Some/Model is not on this machine, and the hub did not give it. Download it where there is a "
        'network: hf download Some/Model --include "*.json" "*.txt" "*.model" "*.jinja"',
        "There is no configuration at /no/such/folder: name a folder that exists.",
        f"{reported} holds no data set that the job can load: ValueError: no data",
    ]


ZERO3 = {
    "train_batch_size": 256,
    "train_micro_batch_size_per_gpu": 4,
    "gradient_accumulation_steps": "auto",
    "fp16": {"enabled": True, "loss_scale": 0},
    "optimizer": {"type": "OneBitAdam", "params": {"lr": 1e-4, "freeze_step": 23}},
    "wandb": {"enabled": True},
    "zero_optimization": {
        "stage": 3,
        "offload_optimizer": {"device": "cpu"},
        "offload_param": {"device": "none"},
        "zero_hpz_partition_size": 8,
        "stage3_param_persistence_threshold": 1000000,
    },
}


def test_deepspeeds_configuration_can_be_run_on_a_cpu(reported, monkeypatch):
    monkeypatch.setattr(devices, "on_cpu", lambda: True)

    small = deepspeed.reduced(ZERO3)

    assert small == {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "fp16": {"enabled": False},
        "bf16": {"enabled": True},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "torch_adam": True}},
        "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 1000000},
    }
    assert deepspeed.reduced(small) == small
    assert ZERO3["train_batch_size"] == 256
    assert json.loads(next(reported.iterdir()).read_text()) == [
        "DeepSpeed's offloading is off.",
        "DeepSpeed's `zero_hpz_partition_size` needs more ranks and is off.",
        "`fp16` needs a GPU: the job runs in bf16.",
        "DeepSpeed's optimizer OneBitAdam needs a compiler: AdamW is used.",
    ]


def test_as_much_is_partitioned_as_of_the_real_model_whoever_reads_the_configuration(monkeypatch):
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    monkeypatch.setattr(deepspeed, "_read_before", [])
    read = []

    def original(config, given):
        read.append(given["zero_optimization"].get("stage3_param_persistence_threshold"))

    deepspeed._initialized(original, None, ZERO3)  # by DeepSpeed alone
    deepspeed._read(original, None, ZERO3)  # by a trainer
    deepspeed._initialized(original, None, {"zero_optimization": {"stage": 3, deepspeed.PERSISTENCE: 320}})  # after it
    deepspeed._read(original, None, {"zero_optimization": {"stage": 3, deepspeed.PERSISTENCE: "auto"}})
    deepspeed._read(original, None, {"zero_optimization": {"stage": 3}})
    deepspeed._read(original, None, {"zero_optimization": {"stage": 2}})

    assert read == [7812, 7812, 320, "auto", 781, None]


def test_repositories_of_models_are_downloaded_without_weights(reported):
    asked = []

    def download(repo_id, *, repo_type=None, ignore_patterns=None):
        asked.append(ignore_patterns)

    fetching._download(download, "some/model")
    fetching._download(download, "some/model", ignore_patterns="*.md")
    fetching._download(download, "some/data", repo_type="dataset")

    assert asked == [[*fetching.WEIGHTS], ["*.md", *fetching.WEIGHTS], None]
