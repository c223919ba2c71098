"""``ckptdoctor rehearse`` with LLaMA-Factory's own examples, data and command, and configurations of real size."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile

import pytest

from tests.conftest import TORCH, build, locked, run, uv

pytestmark = pytest.mark.real

TRAINER = "llamafactory==0.9.5"
STACK = (
    *("transformers==5.22.2", "deepspeed==0.19.8", "accelerate==1.11.0", "peft==0.18.1", "trl==0.24.0"),
    *("datasets==4.0.0", "omegaconf", "fire", "einops", "av", "scipy", "matplotlib", "numpy"),
)
BROKEN = "transformers==5.23.0"

QWEN3_4B = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 262144,
    "rope_theta": 5000000,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "torch_dtype": "bfloat16",
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 300,
}
"""What a real run on a CPU has of the same model."""

MAKE = """
import json, sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
folder, weights = sys.argv[1:]
letters = ["<pad>", "<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
made = Tokenizer(models.BPE(vocab={one: at for at, one in enumerate(letters)}, merges=[], unk_token="<unk>"))
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
made.save(folder + "/tokenizer.json")
if weights == "yes":
    from transformers import AutoConfig, AutoModelForCausalLM
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
"""
TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "chat_template": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}",
}

NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def python(environments):
    """LLaMA-Factory with the newest transformers that its checkpoint function fits."""
    made = build(environments / "rehearsal", [TORCH, *STACK], [TRAINER])
    # It is imported for audio, which no test has, and no release of it fits every torch.
    next(made.parents[1].glob("lib/python*/site-packages")).joinpath("torchaudio.py").touch()
    return made


@pytest.fixture(scope="module")
def broken(environments):
    """A folder with the release of transformers that comes after it."""
    from ckptdoctor.environment import pip_settings

    folder = environments / "rehearsal-broken"
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            arguments = pip_settings.uv_arguments(pip_settings.read(None, os.environ))
            uv("pip", "install", "--quiet", *arguments, "--no-deps", "--target", str(folder), BROKEN)
    return folder


@pytest.fixture(scope="module")
def repository(environments):
    """LLaMA-Factory's examples and demo data, from its source archive."""
    from ckptdoctor.environment import pip_settings
    from ckptdoctor.environment.index import Index

    name, _, version = TRAINER.partition("==")
    folder = environments / f"{name}-{version}"
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            with Index(pip_settings.read(None, os.environ)) as index:
                release = next(one for one in index.releases(name) if one.version == version)
                source = next(one for one in release.files if not one.is_wheel)
                content = index.session.get(source.url).content
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                wanted = (f"{folder.name}/examples/", f"{folder.name}/data/")
                members = [one for one in archive.getmembers() if one.name.startswith(wanted)]
                archive.extractall(environments, members, filter="data")
    return folder


@pytest.fixture(scope="module")
def models(python, tmp_path_factory):
    """The real configuration with a tokenizer and no weights, also for few tokens; and a small one with weights."""
    found = {}
    letters = {"vocab_size": SMALL["vocab_size"]}
    configs = {"real": QWEN3_4B, "letters": {**QWEN3_4B, **letters}, "small": {**QWEN3_4B, **SMALL}}
    for name, config in configs.items():
        folder = found[name] = tmp_path_factory.mktemp(name)
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
        subprocess.run([python, "-c", MAKE, folder, "yes" if name == "small" else "no"], check=True)
    return found


@pytest.fixture(scope="module")
def job(python, broken, repository, models):
    """Runs a command of ckptdoctor on an example, with one of two releases of transformers; its folder must stay as it is."""

    def start(command, example, *more, release="sound", model=None, variables=()):
        paths = {"sound": "", "broken": str(broken)}
        environ = {
            **NO_NETWORK,
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": paths[release],
            "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
            "DISABLE_VERSION_CHECK": "1",
            "ALLOW_EXTRA_ARGS": "1",  # transformers 5.22 has no `warmup_ratio` any more
            **dict(variables),
        }
        before = sorted(repository.rglob("*"))
        words = ["llamafactory-cli", "train", f"examples/{example}.yaml", *more]
        words += [f"model_name_or_path={model or models['real']}"]
        ran = run(*command, "--", *words, cwd=repository, environ=environ)
        assert sorted(repository.rglob("*")) == before
        return ran

    return start


def in_a_line(ran):
    """What was said on standard error, however it was wrapped."""
    return " ".join(ran.err.split())


def real(job, example, folder, models, release):
    """The example itself, with a model and data that train on a CPU."""
    small = ("cutoff_len=64", "max_samples=8", "gradient_accumulation_steps=1", f"output_dir={folder}")
    more = ("preprocessing_num_workers=1", "dataloader_num_workers=0", "use_cpu=true", "bf16=false")
    return job(["watch", "--exit-after"], example, *small, *more, release=release, model=models["small"])


def test_a_sound_stack_is_ok_as_in_the_real_run(job, models, tmp_path):
    rehearsed = job(["rehearse"], "train_lora/qwen3_lora_sft")
    trained = real(job, "train_lora/qwen3_lora_sft", tmp_path / "out", models, "sound")

    verdict = "OK: Gradient checkpointing works in this job with llamafactory, under no engine."
    assert (rehearsed.status, trained.status) == (0, 0), rehearsed.err
    assert verdict in rehearsed.err
    assert verdict in trained.err
    for small in (
        "note: `cutoff_len` is 512 instead of 2048.",
        "note: `gradient_accumulation_steps` is 2 instead of 8.",
        "note: The job ends after 3 optimizer steps.",
        "note: Checkpoints, evaluation, loggers and uploads are off. Output goes to a temporary folder.",
        "note: The model 'qwen3' has 4 layers of width 32 instead of 36 layers of width 2560",
    ):
        assert in_a_line(rehearsed).count(small) == 1
        assert small not in in_a_line(trained)


def test_a_broken_stack_is_found_with_the_line_as_in_the_real_run(job, models, tmp_path):
    rehearsed = job(["rehearse"], "train_lora/qwen3_lora_sft", release="broken")
    trained = real(job, "train_lora/qwen3_lora_sft", tmp_path / "out", models, "broken")

    assert (rehearsed.status, trained.status) == (1, 1), rehearsed.err
    for ran in (rehearsed, trained):
        assert ran.err.count("error[CKPT001]: llamafactory 0.9.5 reads __self__") == 1
        assert "--> llamafactory 0.9.5, llamafactory/model/model_utils/checkpointing.py:86" in ran.err
        assert "^^^ read here" in ran.err
        assert "--> transformers 5.23.0," in ran.err
        assert "transformers/modeling_layers.py:120" in ran.err
        assert "--- passed here" in ran.err


def test_full_tuning_with_zero3_gets_two_ranks(job):
    ran = job(["rehearse"], "train_full/qwen3_full_sft")

    assert ran.status == 0, ran.err
    verdict = "OK: Gradient checkpointing works in this job with llamafactory, under real ZeRO 3."
    assert f"{verdict} Seen in 4 steps of 2 ranks." in ran.err
    assert in_a_line(ran).count("note: The job has 2 ranks instead of one for each GPU, on this machine.") == 1


def test_what_is_not_on_this_machine_is_named(job):
    offline = {"HF_HUB_OFFLINE": "1"}  # without it the hub's client tries for a minute
    ran = job(["rehearse"], "train_lora/qwen3_lora_sft", model="Qwen/Qwen3-4B-Instruct-2507", variables=offline)

    assert ran.status != 0
    assert ran.err.count("The tokenizer of Qwen/Qwen3-4B-Instruct-2507 is not on this machine") == 1
    assert "hf download Qwen/Qwen3-4B-Instruct-2507 --include" in ran.err


SCRIPT = """
import os, sys
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback, Trainer, TrainingArguments

name, data = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype="float16")
rows = load_dataset("json", data_files=data, split="train").select(range(2500))
assert len(rows) == 256 and max(map(len, rows["text"])) < 400
rows = rows.map(lambda row: tokenizer(row["text"], truncation=True, max_length=64), num_proc=2, remove_columns=["text"])
rows = rows.map(lambda row: {"labels": row["input_ids"]})
parts = rows.train_test_split(test_size=1000)
arguments = TrainingArguments(
    "output",
    per_device_train_batch_size=8,
    gradient_accumulation_steps=4,
    fp16=True,
    gradient_checkpointing=True,
    eval_strategy="epoch",
    save_strategy="epoch",
    load_best_model_at_end=True,
    report_to=["tensorboard"],
    push_to_hub=True,
    hub_model_id="nobody/nothing",
    dataloader_num_workers=4,
)
stopping = EarlyStoppingCallback(2)
trainer = Trainer(model, arguments, train_dataset=parts["train"], eval_dataset=parts["test"], callbacks=[stopping])
model.save_pretrained("before")
trainer.train()
"""


def test_a_script_with_trainer_writes_and_uploads_nothing(python, models, tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    texts = [json.dumps({"text": "a text of its own " * (1 + at % 50)}) for at in range(3000)]
    (tmp_path / "text.jsonl").write_text("\n".join(texts))
    environ = {**NO_NETWORK, "CUDA_VISIBLE_DEVICES": "", "HF_HOME": str(tmp_path / "cache")}

    ran = run("rehearse", "--", python, "train.py", models["letters"], "text.jsonl", cwd=tmp_path, environ=environ)

    assert ran.status == 0, ran.err
    assert "works in this job with torch:non-reentrant, under no engine. Seen in 2 steps of 1 rank." in ran.err.replace(
        "\n  ", " "
    )
    for small in (
        "note: Data sets have 256 rows, short ones.",
        "note: `per_device_train_batch_size` is 2 instead of 8.",
        "note: `dataloader_num_workers` is 0 instead of 4.",
        "note: `fp16` needs a GPU: the job runs in bf16.",
        "note: What the job saves goes to a temporary folder.",
    ):
        assert in_a_line(ran).count(small) == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["cache", "text.jsonl", "train.py"]


LOOP = """
import sys
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

accelerator = Accelerator(mixed_precision="fp16", gradient_accumulation_steps=8)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], attn_implementation="flash_attention_2")
model.gradient_checkpointing_enable({"use_reentrant": False})
rows = [torch.randint(4, 200, (16,)) for _ in range(4000)]
loader = torch.utils.data.DataLoader(rows, batch_size=2, num_workers=4, prefetch_factor=2)
optimizer = torch.optim.AdamW(model.parameters())
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
model.train()
for tokens in loader:
    with accelerator.accumulate(model):
        accelerator.backward(model(input_ids=tokens, labels=tokens).loss)
        optimizer.step()
        optimizer.zero_grad()
"""


@pytest.mark.parametrize("version", [1, 2])
def test_a_loop_of_ones_own_is_sharded_on_cpus_and_ended(python, models, tmp_path, version):
    (tmp_path / "train.py").write_text(LOOP)
    sharding = f"--use_fsdp --fsdp_version {version} --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP"
    launch = ["accelerate", "launch", "--num_processes", "8", *sharding.split(), "--fsdp_offload_params", "true"]
    environ = {"CUDA_VISIBLE_DEVICES": "", "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]])}

    ran = run("rehearse", "--", *launch, "train.py", models["letters"], cwd=tmp_path, environ=environ)

    assert ran.status == 0, ran.err
    assert f"torch:non-reentrant, under FSDP{version} (bf16). Seen in 4 steps of 2 ranks." in ran.err.replace(
        "\n  ", " "
    )
    for small in (
        "note: The job has 2 ranks instead of 8, on this machine.",
        "note: FSDP's offloading is off.",
        "note: The attention 'flash_attention_2' needs a GPU: 'sdpa' is used.",
        "note: Data loaders have no workers.",
    ):
        assert in_a_line(ran).count(small) == 1


# -- what the trainer compares when it starts -------------------------------------------------------------------------

START = "import llamafactory.hparams.parser"
WITH_DEEPSPEED = """
from llamafactory.hparams import parser

class Unset:
    mixture_of_depths = None
    def __getattr__(self, name):
        return False

job = Unset()
job.deepspeed = "ds_z3.json"
parser._check_extra_dependencies(Unset(), Unset(), job)
"""


def started(python, code, folder, **variables):
    """What Python prints that starts LLaMA-Factory; empty where it starts."""
    environ = {key: value for key, value in os.environ.items() if key != "DISABLE_VERSION_CHECK"}
    environ |= {"PYTHONPATH": str(folder), **variables}
    done = subprocess.run([python, "-c", code], env=environ, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_the_trainer_starts_as_is_said(python, tmp_path):
    said = "llamafactory 0.9.5 starts no job with transformers 5.22.2"

    assert f"{said} without DISABLE_VERSION_CHECK=1: it requires " in run("env", "--python", python).out
    assert said not in run("env", "--python", python, environ={"DISABLE_VERSION_CHECK": "1"}).out
    assert "ImportError: transformers>=4.55.0,<=5.6.0 is required" in started(python, START, tmp_path)
    assert started(python, START, tmp_path, DISABLE_VERSION_CHECK="1") == ""


def test_no_setting_lets_it_start_with_a_release_of_deepspeed(python, environments):
    from ckptdoctor.environment import pip_settings

    folder = environments / "llamafactory-0.9.3-alone"
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            arguments = pip_settings.uv_arguments(pip_settings.read(None, os.environ))
            uv("pip", "install", "--quiet", *arguments, "--no-deps", "--target", str(folder), "llamafactory==0.9.3")

    refused = started(python, WITH_DEEPSPEED, folder, DISABLE_VERSION_CHECK="1")

    assert "ImportError: deepspeed>=0.10.0,<=0.16.9 is required" in refused
    assert "but found deepspeed==0.19.8" in refused
