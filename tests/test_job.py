import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import files, reading
from ckptdoctor.job.models import Choice
from ckptdoctor.job.summary import summary
from ckptdoctor.job.trainer_arguments import refused as refused_by_llamafactory
from ckptdoctor.model.evidence import Environment, Package
from ckptdoctor.planning.options import Options, named_functions
from ckptdoctor.planning.request import Request, probe_request
from tests.values import changed

JOBS = Path(__file__).parent / "jobs"
SECRET = "hf_aVeryOwnToken"
BOTH = ["torch:non-reentrant", "torch:reentrant"]

LLAMAFACTORY = {"model_name_or_path": "glm4", "stage": "sft", "do_train": True, "finetuning_type": "full", "bf16": True}
AXOLOTL = {"base_model": "glm4", "sequence_len": 8, "micro_batch_size": 1, "bf16": True, "gradient_checkpointing": True}
TRAINING_ARGUMENTS = {
    "output_dir": "out",
    "per_device_train_batch_size": 1,
    "model_name_or_path": "glm4",
    "gradient_checkpointing": True,
}


@pytest.fixture(autouse=True)
def in_the_jobs_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(JOBS)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in [*os.environ]:
        if name.startswith(("HF_", "USE_", "HUGGINGFACE_", "TRANSFORMERS_", "XDG_CACHE", "MODELSCOPE_")):
            monkeypatch.delenv(name)


@pytest.fixture
def read(tmp_path):
    """Reads settings, or a text, as a job file."""

    def read_file(content, name="train.yaml", model="", families=(), **versions):
        file = tmp_path / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return reading.read(file, versions, Choice(model, tuple(families)))

    return read_file


@pytest.fixture
def refuse(read):
    """The message and the hint with which a file is refused, a sentence each, and without what may be a secret."""

    def refusing(content, name="train.yaml"):
        with pytest.raises(UsageFault) as caught:
            read(content, name)
        fault = caught.value
        assert fault.message.endswith(".")
        assert "\n" not in fault.message
        assert fault.hint
        assert SECRET not in fault.message + fault.hint
        return fault.message

    return refusing


def untried(found):
    return " ".join(found.untried)


# The examples


def test_a_full_job_of_llamafactorys_under_zero_3():
    found = reading.read("llamafactory_full_z3.yaml")
    assert (found.trainer, found.engine, found.functions) == ("llamafactory", "zero3", ["llamafactory"])
    assert found.model == str(JOBS / "glm4")
    assert found.is_checkpointed
    assert (found.setup.tuning, found.setup.precision, found.setup.reentrant) == ("full", "bf16", None)
    assert json.loads(found.setup.deepspeed) == json.loads((JOBS / "ds_z3.json").read_text())
    assert found.untried == []
    assert summary(found) == "llamafactory_full_z3.yaml: LLaMA-Factory, full, ZeRO 3, bf16"


def test_a_lora_job_of_llamafactorys_that_is_not_reentrant():
    found = reading.read("llamafactory_lora_z3.yaml")
    assert (found.setup.tuning, found.setup.lora_targets) == ("lora", ("q_proj", "v_proj"))
    assert found.setup.reentrant is False
    assert found.untried == []
    assert summary(found).endswith(": LLaMA-Factory, LoRA on q_proj, v_proj, ZeRO 3, bf16, non-reentrant")


def test_a_job_in_json_that_trains_some_layers():
    found = reading.read("llamafactory_freeze.json")
    assert (found.setup.tuning, found.setup.trainable_layers, found.setup.precision) == ("freeze", -3, "fp16")
    assert (found.functions, found.engine, found.setup.deepspeed) == (["llamafactory:unsloth"], "none", "")
    assert summary(found) == "llamafactory_freeze.json: LLaMA-Factory, first 3 layers, one process or DDP, fp16"


def test_a_lora_job_of_axolotls():
    found = reading.read("axolotl_lora_z2.yaml")
    assert (found.trainer, found.engine, found.functions) == ("axolotl", "zero2", ["torch:non-reentrant"])
    assert (found.setup.lora_targets, found.setup.reentrant) == (("q_proj", "v_proj"), False)
    assert found.untried == []
    assert summary(found).endswith(": axolotl, LoRA on q_proj, v_proj, ZeRO 2, bf16, non-reentrant")


def test_training_arguments_with_deepspeed_inside():
    found = reading.read("training_arguments.json")
    assert (found.trainer, found.engine, found.functions) == ("transformers", "zero1", ["torch:non-reentrant"])
    assert json.loads(found.setup.deepspeed)["bf16"] == {"enabled": "auto"}
    assert found.setup.precision == "bf16"
    assert found.untried == ["The job names no model: give --model."]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_configuration_of_deepspeed_alone(stage):
    found = reading.read(f"ds_z{stage}.json")
    assert (found.trainer, found.engine, found.functions, found.model) == ("deepspeed", f"zero{stage}", [], "")
    assert found.is_checkpointed
    assert found.setup.precision == "fp32"
    assert "`bf16.enabled`, `fp16.enabled`: auto" in untried(found)
    assert summary(found) == f"ds_z{stage}.json: DeepSpeed, ZeRO {stage}, fp32"


def test_offloading_to_the_cpu_is_handed_on():
    found = reading.read("ds_z3_offload.json")
    assert json.loads(found.setup.deepspeed)["zero_optimization"]["offload_param"] == {"device": "cpu"}
    assert "offload" not in untried(found)


def test_every_example_names_functions_that_there_are():
    for file in JOBS.glob("*.*"):
        if file.name != "accelerate_fsdp2.yaml":  # it stands beside a job
            assert set(reading.read(file).functions) <= set(named_functions())


def test_reading_imports_nothing_heavy():
    code = (
        "import sys; from ckptdoctor.job import reading; reading.read('llamafactory_full_z3.yaml'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "transformers", "deepspeed", "peft"} & set(done.stdout.split())


# LLaMA-Factory


@pytest.mark.parametrize(
    ("settings", "functions", "reentrant"),
    [
        ({}, ["llamafactory"], None),
        ({"use_reentrant_gc": True}, ["llamafactory"], True),
        ({"use_reentrant_gc": False}, ["llamafactory"], False),
        ({"use_unsloth_gc": True}, ["llamafactory:unsloth"], None),
        ({"disable_gradient_checkpointing": True}, [], None),
        # transformers' Trainer switches its own on after that.
        ({"disable_gradient_checkpointing": True, "gradient_checkpointing": True}, BOTH, None),
        ({"use_reentrant_gc": False, "gradient_checkpointing": True}, ["llamafactory"], False),
    ],
)
def test_which_function_llamafactory_uses(read, settings, functions, reentrant):
    found = read({**LLAMAFACTORY, **settings})
    assert (found.functions, found.setup.reentrant) == (functions, reentrant)
    assert found.is_checkpointed is bool(functions)
    if not functions:
        assert summary(found).endswith("no checkpointing")


def test_trainer_switches_on_after_the_trainer_with_its_own_arguments(read):
    assert not read(LLAMAFACTORY).setup.trainer_switches_on
    again = read({**LLAMAFACTORY, "gradient_checkpointing": True}).setup
    assert (again.trainer_switches_on, again.reentrant, again.effective_reentrant) == (True, None, None)
    arguments = {"gradient_checkpointing_kwargs": {"use_reentrant": False}, "use_reentrant_gc": True}
    given = read({**LLAMAFACTORY, "activation_checkpointing": True, **arguments}).setup
    assert (given.reentrant, given.trainers_reentrant, given.effective_reentrant) == (True, False, False)


def test_a_job_that_does_not_train_checkpoints_nothing(read):
    found = read({**LLAMAFACTORY, "do_train": False, "do_predict": True})
    assert not found.is_checkpointed
    assert "`do_train`" in untried(found)


def test_llamafactory_switches_checkpointing_off_for_some_families(read, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gemma3n"}')
    assert not read({**LLAMAFACTORY, "model_name_or_path": str(tmp_path)}).is_checkpointed


@pytest.mark.parametrize(
    ("settings", "tuning", "targets", "layers"),
    [
        ({"finetuning_type": None}, "lora", (), 0),
        ({"finetuning_type": "lora", "lora_target": "all"}, "lora", (), 0),
        ({"finetuning_type": "lora", "lora_target": ["q_proj"]}, "lora", ("q_proj",), 0),
        ({"finetuning_type": "oft", "oft_target": "q_proj,k_proj"}, "lora", ("q_proj", "k_proj"), 0),
        ({"finetuning_type": "freeze"}, "freeze", (), 2),
        ({"finetuning_type": "freeze", "freeze_trainable_layers": 5}, "freeze", (), 5),
    ],
)
def test_how_llamafactory_tunes(read, settings, tuning, targets, layers):
    setup = read({**LLAMAFACTORY, **settings}).setup
    assert (setup.tuning, setup.lora_targets, setup.trainable_layers) == (tuning, targets, layers)


@pytest.mark.parametrize(
    "settings",
    [
        {"quantization_bit": 4},
        {"flash_attn": "fa2"},
        {"enable_liger_kernel": True},
        {"pure_bf16": True},
        {"neat_packing": True},
        {"stage": "dpo"},
        {"use_badam": True},
        {"ray_num_workers": 4},
        {"moe_aux_loss_coef": 0.01},
        {"fp8": True},
        {"optim": "galore_adamw_layerwise"},
    ],
)
def test_what_llamafactory_asks_for_and_cannot_be_tried_is_named(read, settings):
    found = read({**LLAMAFACTORY, **settings})
    assert len(found.untried) == 1
    assert found.untried[0].startswith(f"`{next(iter(settings))}`: ")


@pytest.mark.parametrize(
    "settings",
    [
        {"quantization_bit": None},
        {"flash_attn": "auto"},
        {"use_unsloth": False},
        {"stage": "pt"},
        {"ray_num_workers": 1},
        {"optim": "adamw_torch"},
        {"packing": True},
        {"learning_rate": 1e-4, "dataset": "identity", "report_to": "none", "hf_hub_token": SECRET},
    ],
)
def test_what_has_no_bearing_is_not_named(read, settings):
    assert read({**LLAMAFACTORY, **settings}).untried == []


@pytest.mark.parametrize("name", ["use_dora", "use_rslora", "pissa_init", "additional_target", "lora_dropout"])
def test_other_kinds_of_lora_are_named_where_there_is_lora(read, name):
    asked = {**LLAMAFACTORY, name: 0.1 if name == "lora_dropout" else "embed_tokens"}
    assert f"`{name}`" in untried(read({**asked, "finetuning_type": "lora"}))
    assert f"`{name}`" not in untried(read(asked))


def test_what_freezing_trains_besides_is_named(read):
    asked = {**LLAMAFACTORY, "finetuning_type": "freeze", "freeze_extra_modules": "norm"}
    assert "`freeze_extra_modules`" in untried(read(asked))
    assert "`freeze_trainable_modules`" in untried(read({**asked, "freeze_trainable_modules": "mlp"}))
    assert "`freeze_trainable_modules`" not in untried(read({**asked, "freeze_trainable_modules": "all"}))


def test_frozen_weights_keep_their_precision_where_none_is_asked_for(read):
    plain = {**LLAMAFACTORY, "bf16": False}
    assert "own precision" in untried(read({**plain, "finetuning_type": "lora"}))
    assert read(plain).untried == []
    assert read(plain).setup.precision == "fp32"


def test_a_variable_that_makes_it_another_trainer_is_named(read, monkeypatch):
    monkeypatch.setenv("USE_MCA", "1")
    assert "`USE_MCA`" in " ".join(read(LLAMAFACTORY).unjudged)


# Adapters that are there already


def test_an_adapter_that_the_job_goes_on_with_says_what_it_adapts(read):
    asked = {**LLAMAFACTORY, "finetuning_type": "lora", "adapter_name_or_path": "elsewhere, adapter"}
    found = read(asked)
    assert found.setup.lora_targets == ("q_proj", "v_proj")
    assert found.untried == []
    assert read({**asked, "create_new_adapter": True}).setup.lora_targets == ()


def test_an_adapter_that_is_not_here_is_named(read):
    found = read({**LLAMAFACTORY, "finetuning_type": "lora", "lora_target": "k_proj", "adapter_name_or_path": "away"})
    assert found.setup.lora_targets == ("k_proj",)
    assert "`adapter_name_or_path`" in untried(found)


def test_what_an_adapter_is_besides_is_named(read, tmp_path):
    config = {"peft_type": "LORA", "target_modules": ".*proj", "use_dora": True}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    found = read({**AXOLOTL, "adapter": "lora", "lora_model_dir": str(tmp_path)})
    assert found.setup.lora_targets == ()
    assert "DoRA" in untried(found)
    assert "pattern" in untried(found)


# axolotl


@pytest.mark.parametrize(
    ("settings", "functions", "reentrant"),
    [
        ({}, ["torch:reentrant"], None),
        ({"gradient_checkpointing": False}, [], None),
        ({"gradient_checkpointing": None}, [], None),
        ({"gradient_checkpointing": "yes"}, ["torch:reentrant"], None),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": False}}, ["torch:non-reentrant"], False),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": True}}, ["torch:reentrant"], True),
        ({"gradient_checkpointing_kwargs": {}}, BOTH, None),
        ({"rl": "dpo"}, ["torch:non-reentrant"], False),
        ({"unfrozen_parameters": ["lm_head"]}, ["torch:non-reentrant"], False),
        ({"gradient_checkpointing": "unsloth"}, ["axolotl:offload"], None),
        ({"activation_offloading": "hidden_states"}, ["torch:non-reentrant"], False),
        ({"activation_offloading": True}, ["torch:non-reentrant"], False),
        ({"activation_offloading": True, "adapter": "lora", "lora_target_linear": True}, ["torch:reentrant"], None),
        ({"activation_offloading": "legacy", "adapter": "lora"}, ["axolotl:offload"], None),
    ],
)
def test_which_function_axolotl_uses(read, settings, functions, reentrant):
    found = read({**AXOLOTL, **settings})
    assert (found.functions, found.setup.reentrant) == (functions, reentrant)
    assert found.is_checkpointed is bool(functions)


@pytest.mark.parametrize(
    ("settings", "version", "functions"),
    [
        ({"gradient_checkpointing": "offload"}, "0.9.0", ["axolotl:offload"]),
        ({"gradient_checkpointing": "offload"}, "0.12.2", ["torch:non-reentrant"]),
        ({"gradient_checkpointing": "offload"}, "", ["axolotl:offload", "torch:non-reentrant"]),
        ({"gradient_checkpointing": "offload_disk"}, "0.10.0", ["axolotl:offload-disk"]),
        ({"activation_offloading": "legacy"}, "0.16.1", ["axolotl:offload"]),
        ({"activation_offloading": "legacy"}, "0.18.0", ["torch:non-reentrant"]),
    ],
)
def test_what_offloading_means_from_one_axolotl_to_the_next(read, settings, version, functions):
    assert read({**AXOLOTL, **settings}, axolotl=version).functions == functions


def test_axolotl_never_checkpoints_some_families_reentrantly(read, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gemma4"}')
    assert read({**AXOLOTL, "base_model": str(tmp_path)}).functions == ["torch:non-reentrant"]


def test_offloading_without_checkpointing_is_what_axolotl_refuses(read):
    found = read({**AXOLOTL, "gradient_checkpointing": False, "activation_offloading": True})
    assert not found.is_checkpointed
    assert "refuses" in untried(found)


@pytest.mark.parametrize(
    ("settings", "precision", "says"),
    [
        ({}, "bf16", False),
        ({"bf16": "auto"}, "bf16", True),
        ({"bf16": None}, "bf16", True),
        ({"bf16": "auto", "fp16": True}, "fp16", False),
        ({"bf16": False, "fp16": True}, "fp16", False),
        ({"bf16": False}, "fp32", False),
    ],
)
def test_axolotls_precision(read, settings, precision, says):
    found = read({**AXOLOTL, **settings})
    assert found.setup.precision == precision
    assert ("`bf16`: auto" in untried(found)) is says


@pytest.mark.parametrize(
    ("settings", "targets", "says"),
    [
        ({"lora_target_linear": True}, (), False),
        ({"lora_target_linear": True, "lora_target_modules": ["q_proj"]}, (), False),
        ({"lora_target_modules": "all-linear"}, (), False),
        ({"lora_target_modules": "layers.*"}, (), True),
        ({"lora_target_modules": ["k_proj"]}, ("k_proj",), False),
        ({}, (), True),
    ],
)
def test_where_axolotl_puts_adapters(read, settings, targets, says):
    found = read({**AXOLOTL, "adapter": "qlora", **settings})
    assert (found.setup.tuning, found.setup.lora_targets) == ("lora", targets)
    assert ("`lora_target_modules`" in untried(found)) is says


@pytest.mark.parametrize(
    "settings",
    [
        {"load_in_4bit": True},
        {"flash_attention": "true"},
        {"attn_implementation": "flash_attention_2"},
        {"sample_packing": True},
        {"plugins": ["axolotl.integrations.liger.LigerPlugin"]},
        {"context_parallel_size": 2},
        {"tiled_mlp": True},
        {"selective_checkpointing": True},
        {"adapter": "llama-adapter"},
    ],
)
def test_what_axolotl_asks_for_and_cannot_be_tried_is_named(read, settings):
    found = read({**AXOLOTL, **settings})
    assert len(found.untried) == 1
    assert found.untried[0].startswith(f"`{next(iter(settings))}`: ")


@pytest.mark.parametrize(
    "settings",
    [{"load_in_4bit": "false"}, {"attn_implementation": "sdpa"}, {"context_parallel_size": 1}, {"wandb_project": "x"}],
)
def test_what_has_no_bearing_in_axolotl_is_not_named(read, settings):
    assert read({**AXOLOTL, **settings}).untried == []


def test_settings_that_ask_for_the_same_are_named_together(read):
    found = read({**AXOLOTL, "load_in_8bit": True, "gptq": True})
    assert [one.split(":")[0] for one in found.untried] == ["`load_in_8bit`, `gptq`"]


# TrainingArguments


@pytest.mark.parametrize(
    ("settings", "versions", "functions"),
    [
        ({}, {}, BOTH),
        ({}, {"transformers": "4.57.6"}, ["torch:reentrant"]),
        ({}, {"transformers": "5.0.0"}, ["torch:non-reentrant"]),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": True}}, {"transformers": "5.23.0"}, ["torch:reentrant"]),
        ({"gradient_checkpointing_kwargs": '{"use_reentrant": "false"}'}, {}, ["torch:non-reentrant"]),
        ({"gradient_checkpointing": False}, {}, []),
        ({"activation_checkpointing": False}, {}, []),
        ({"gradient_checkpointing": False, "activation_checkpointing": True}, {"transformers": "5.23.0"}, BOTH[:1]),
        (
            {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": True}},
            {},
            ["torch:reentrant"],
        ),
    ],
)
def test_which_function_transformers_uses(read, settings, versions, functions):
    found = read({**TRAINING_ARGUMENTS, **settings}, "arguments.json", **versions)
    assert found.functions == functions
    assert found.is_checkpointed is bool(functions)


def test_what_checkpointing_is_told_besides_is_named(read):
    kwargs = {"use_reentrant": False, "every_n_layers": 2, "preserve_rng_state": False}
    found = read({**TRAINING_ARGUMENTS, "gradient_checkpointing_kwargs": kwargs})
    assert "`gradient_checkpointing_kwargs.every_n_layers`" in untried(found)
    assert "`gradient_checkpointing_kwargs.preserve_rng_state`" in untried(found)
    assert "use_reentrant" not in untried(found)


def test_both_precisions_are_refused(refuse):
    assert "both bf16 and fp16" in refuse({**TRAINING_ARGUMENTS, "bf16": True, "fp16": True})


def test_trls_default_is_not_guessed(refuse, read):
    asked = {"num_train_epochs": 1, "max_length": 512}
    assert "TRL" in refuse(asked)
    assert "TRL" in refuse({"num_train_epochs": 1})
    assert read({**asked, "gradient_checkpointing": True}).functions == BOTH


# DeepSpeed


def test_a_path_is_taken_from_the_current_folder(read, refuse, tmp_path):
    (tmp_path / "beside.json").write_text('{"zero_optimization": {"stage": 2}}')
    assert read({**LLAMAFACTORY, "deepspeed": "ds_z2.json"}).engine == "zero2"
    assert "There is no file beside.json" in refuse({**LLAMAFACTORY, "deepspeed": "beside.json"})


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({"deepspeed": None}, "none"),
        ({"deepspeed": ""}, "none"),
        ({"deepspeed": {}}, "none"),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, "zero3"),
        ({"deepspeed": '{"zero_optimization": {"stage": 1}}'}, "zero1"),
        ({"deepspeed": {"train_batch_size": 1}}, "zero0"),
        ({"deepspeed": {"zero_optimization": True}}, "zero1"),
    ],
)
def test_what_may_stand_under_deepspeed(read, settings, engine):
    found = read({**TRAINING_ARGUMENTS, **settings})
    assert found.engine == engine
    assert bool(found.setup.deepspeed) is (engine != "none")
    if found.setup.deepspeed:
        assert json.loads(found.setup.deepspeed)["zero_optimization"]["stage"] == int(engine[-1])


@pytest.mark.parametrize(
    "value",
    [3, True, [], ["x"], {"zero_optimization": 3}, {"zero_optimization": {"stage": 4}}, {"bf16": {"enabled": "maybe"}}],
)
def test_what_may_not_stand_under_deepspeed(refuse, read, value):
    asked = {**TRAINING_ARGUMENTS, "deepspeed": value}
    if value == []:
        assert read(asked).engine == "none"
    else:
        assert "`deepspeed" in refuse(asked)


@pytest.mark.parametrize(
    ("enabled", "of_job", "precision", "disagree"),
    [
        ("auto", {"bf16": True}, "bf16", False),
        (True, {"bf16": True}, "bf16", False),
        (True, {}, "bf16", True),
        (False, {"bf16": True}, "bf16", True),
        (False, {}, "fp32", False),
        (False, {"fp16": True}, "fp16", True),
    ],
)
def test_precision_of_job_and_deepspeed(read, enabled, of_job, precision, disagree):
    config = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": enabled}, "fp16": {"enabled": "auto"}}
    if of_job == {"fp16": True}:
        config["fp16"] = {"enabled": False}
    found = read({**TRAINING_ARGUMENTS, **of_job, "deepspeed": config})
    assert found.setup.precision == precision
    assert ("disagree" in untried(found)) is disagree


@pytest.mark.parametrize(
    "zero",
    [
        {"offload_param": {"device": "nvme", "nvme_path": "/scratch"}},
        {"zero_quantized_weights": True},
        {"zero_hpz_partition_size": 8},
        {"mics_shard_size": 4},
    ],
)
def test_what_zero_asks_for_and_cannot_be_tried_is_named_and_left_out(read, zero):
    found = read({"bf16": {"enabled": True}, "zero_optimization": {"stage": 3, **zero}}, "ds.json")
    assert len(found.untried) == 1
    assert found.untried[0].startswith(f"`zero_optimization.{next(iter(zero))}`: ")
    assert json.loads(found.setup.deepspeed)["zero_optimization"] == {"stage": 3}


def test_what_zero_says_of_them_as_usual_is_not_named(read):
    zero = {"stage": 3, "zero_hpz_partition_size": 1, "mics_shard_size": -1, "offload_param": {"device": "none"}}
    assert read({"bf16": {"enabled": True}, "zero_optimization": zero}, "ds.json").untried == []


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"tensor_parallel": {"autotp_size": 2}}, True),
        ({"tensor_parallel": {"autotp_size": 1}}, False),
        ({"compile": {"deepcompile": True}}, True),
        ({"compile": {"disable": True}}, False),
        ({"amp": {"enabled": True}}, True),
        ({"amp": {"enabled": False}}, False),
        ({"activation_checkpointing": {"partition_activations": True}}, True),
        ({"wandb": {"enabled": True, "team": SECRET}, "steps_per_print": 5}, False),
    ],
)
def test_sections_of_deepspeed(read, section, says):
    found = read({"bf16": {"enabled": True}, "zero_optimization": {"stage": 2}, **section}, "ds.json")
    assert bool(found.untried) is says
    assert SECRET not in found.setup.deepspeed


# The model


def test_a_model_in_the_hubs_cache(read, tmp_path, monkeypatch):
    repository = tmp_path / "hub" / "models--org--name.x"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots" / "abc123").mkdir(parents=True)
    (repository / "snapshots" / "abc123" / "config.json").write_text('{"model_type": "glm4"}')
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    asked = {**LLAMAFACTORY, "model_name_or_path": "org/name.x"}
    assert read(asked).model == str(repository / "snapshots" / "abc123")
    assert read({**asked, "model_revision": "abc123"}).model == str(repository / "snapshots" / "abc123")
    assert read({**asked, "model_revision": "v2"}).model == ""
    assert read({**asked, "cache_dir": str(tmp_path / "empty")}).model == ""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    assert read(asked).model == ""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert read(asked).model


def test_a_model_in_modelscopes_cache(read, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "org" / "name___x"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    asked = {**LLAMAFACTORY, "model_name_or_path": "org/name.x"}
    assert read(asked).model == ""
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    assert read(asked).model == str(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("THUDM/GLM-4-9B-0414", "The architecture of THUDM/GLM-4-9B-0414, whose config.json is not on this machine"),
        ("/no/such/folder", "whose config.json is not on this machine: give --model."),
        (".", "a folder without a config.json"),
        ("../../../etc", "give --model"),
        ("${oc.env:MODEL}", "interpolation"),
        (f"https://me:{SECRET}@hub/x", "The architecture of the job's model"),
        ("x\0y", "The architecture of the job's model"),
        ("n" * 5000, "The architecture of the job's model"),
    ],
)
def test_a_model_that_is_not_here_is_named(read, name, says):
    found = read({**LLAMAFACTORY, "model_name_or_path": name})
    assert found.model == ""
    assert says in untried(found)
    assert SECRET not in untried(found)


@pytest.mark.parametrize("name", ["quantization_config", "auto_map"])
def test_what_of_a_model_is_not_tried_is_named(read, tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "glm4", name: {"a": "b"}}))
    found = read({**LLAMAFACTORY, "model_name_or_path": str(tmp_path)})
    assert found.model == str(tmp_path)
    assert len(found.untried) == 1


def test_a_models_configuration_that_cannot_be_read_is_left_to_the_target(read, tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert read({**LLAMAFACTORY, "model_name_or_path": str(tmp_path)}).model == str(tmp_path)


def test_axolotl_may_take_the_configuration_from_elsewhere(read):
    assert read({**AXOLOTL, "base_model": "org/away", "base_model_config": "glm4"}).model == str(JOBS / "glm4")


# Whose job it is


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"peft_type": "LORA"}, "a PEFT adapter's configuration"),
        ({"architectures": ["X"], "model_type": "glm4"}, "a model's configuration"),
        ({"log_history": [], "train_batch_size": 8}, "transformers' Trainer saves"),
        ({"merge_method": "slerp", "models": []}, "merging models"),
        ({"model": "x", "train_dataset": "y", "cutoff_len": 8}, "v1"),
        ({"learning_rate": 1}, "no key that belongs to one"),
        ({}, "no key that belongs to one"),
        ({"base_model": "x"}, "no key that belongs to one"),
        (
            {**LLAMAFACTORY, **AXOLOTL},
            "keys of axolotl (`gradient_checkpointing`) and LLaMA-Factory (`finetuning_type`)",
        ),
        ({**LLAMAFACTORY, "zero_optimization": {}}, "keys of DeepSpeed (`zero_optimization`) and LLaMA-Factory"),
        ({SECRET: 1}, "no key that belongs to one"),
    ],
)
def test_what_is_nobodys_job_is_refused(refuse, values, says):
    assert says in refuse(values)


@pytest.mark.parametrize(
    ("values", "trainer"),
    [
        ({"model_name_or_path": "x", "stage": "sft", "do_train": True}, "llamafactory"),
        ({"per_device_train_batch_size": 1, "gradient_checkpointing": True}, "transformers"),
        ({"base_model": "x", "datasets": []}, "axolotl"),
        ({"fp16": {"enabled": True}}, "deepspeed"),
        ({"bfloat16": {"enabled": True}}, "deepspeed"),
        ({"num_train_epochs": 1, "gradient_checkpointing": False, "fp16": True}, "transformers"),
    ],
)
def test_a_kind_is_told_by_its_keys(read, values, trainer):
    assert read(values).trainer == trainer


TORCHTUNE = {
    "output_dir": "/tmp/x",
    "tokenizer": {"_component_": "torchtune.models.llama3.llama3_tokenizer"},
    "checkpointer": {"_component_": "torchtune.training.FullModelHFCheckpointer"},
    "batch_size": 2,
    "enable_activation_checkpointing": True,
}
OPEN_INSTRUCT = {"model_name_or_path": "x", "use_slow_tokenizer": True, "num_epochs": 1, "num_train_epochs": 2}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (TORCHTUNE, "a torchtune recipe: not supported"),
        ({"output_dir": "x", "model": {"_component_": "y"}}, "a torchtune recipe"),
        ({"sft_type": "lora", "model_type": "x"}, "a job of ms-swift 2"),
        (OPEN_INSTRUCT, "an open-instruct job"),
        ({"micro_batch_size": 1, "forward_max_token_len_per_gpu": 8}, "such as verl's"),
        ({"model": "x", "peft_config": {}, "micro_batch_size": 1}, "LLaMA-Factory's v1 trainer"),
    ],
)
def test_another_trainers_file_is_refused_by_name(refuse, values, says):
    assert says in refuse(values)


@pytest.mark.parametrize(
    "name",
    [
        "num_epochs",
        "micro_batch_size",
        "output_dir",
        "deepspeed",
        "gradient_checkpointing",
        "train_batch_size",
        "infer_backend",
        "dataset",
    ],
)
def test_a_key_that_many_trainers_have_tells_nothing(refuse, name):
    assert "no key that belongs to one" in refuse({name: 1, "model_name_or_path": "x"})


@pytest.mark.parametrize(
    "settings",
    [
        {"use_mca": True},
        {"use_megatron_bridge": True},
        {"tensor_model_parallel_size": 1, "overlap_grad_reduce": True},
        {"recompute_granularity": "full"},
        {"use_unsloth": True},
    ],
)
def test_a_job_that_another_backend_trains_is_not_judged(read, settings):
    [reason] = read({**LLAMAFACTORY, **settings}).unjudged
    assert all(f"`{name}`" in reason for name in settings)
    assert read(LLAMAFACTORY).unjudged == []
    assert read({**LLAMAFACTORY, "use_unsloth": False, "use_mca": None}).unjudged == []


# A model that is not here


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl"),
        ("Qwen/Qwen3-30B-A3B", "qwen3_moe"),
        ("Qwen/Qwen3-8B", "qwen3"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama"),
        ("google/gemma-2b", "gemma"),
        ("google/gemma-2-9b", "gemma2"),
        ("THUDM/GLM-4-9B-0414", "glm4"),
        ("openai/gpt-oss-20b", "gpt_oss"),
        ("lmsys/vicuna-7b", ""),
        ("org/llamaish-7b", ""),
    ],
)
def test_a_family_is_guessed_from_a_models_name(read, name, family):
    known = ["gemma", "gemma2", "glm4", "gpt2", "gpt_oss", "llama", "qwen2", "qwen2_5_vl", "qwen3", "qwen3_moe"]
    found = read({**LLAMAFACTORY, "model_name_or_path": name}, families=known)
    assert (found.model, found.family, found.model_name) == ("", family, name)


@pytest.mark.parametrize(
    ("settings", "family", "how", "is_sure"),
    [
        ({"model_name_or_path": "Qwen/Qwen3-VL-8B-Instruct"}, "qwen3_vl", "the name Qwen/Qwen3-VL-8B-Instruct", True),
        ({"model_name_or_path": "microsoft/phi-4"}, "phi3", "the name microsoft/phi-4", True),
        ({"model_name_or_path": "zai-org/GLM-4.5"}, "glm4_moe", "the name zai-org/GLM-4.5", True),
        ({"model_name_or_path": "google/gemma-3-1b-it"}, "gemma3_text", "the name google/gemma-3-1b-it", True),
        ({"model_name_or_path": "org/my-gemma-9-tuned"}, "gemma", "the name org/my-gemma-9-tuned", False),
        ({"model_name_or_path": "zai-org/glm-4-9b-chat"}, "", "", True),
        ({"model_name_or_path": "org/x", "template": "mllama"}, "mllama", "the template mllama", True),
        ({"model_name_or_path": "org/x", "template": "qwen2_vl"}, "qwen2_vl", "the template qwen2_vl", False),
        (
            {"model_name_or_path": "org/qwen2-vl-tuned", "template": "qwen2_vl"},
            "qwen2_vl",
            "the name org/qwen2-vl-tuned and the template qwen2_vl",
            True,
        ),
        ({"model_name_or_path": "Qwen/Qwen3-8B", "template": "mllama"}, "mllama", "the template mllama", False),
    ],
)
def test_a_guess_says_how_and_whether_it_is_sure(read, settings, family, how, is_sure):
    """A guess that only rests on how a name is spelt, or that another one contradicts, is a doubt: it ends in no ok."""
    found = read({**LLAMAFACTORY, **settings}, families=["gemma", "glm4"])
    assert (found.family, found.how.removeprefix("guessed from ")) == (family, how)
    assert bool(found.doubt) is not is_sure


def test_axolotl_jobs_may_name_the_class(read):
    found = read({**AXOLOTL, "base_model": "org/x", "model_type": "MistralForCausalLM"})
    assert (found.family, found.how) == ("mistral", "from the job's model type MistralForCausalLM")


def test_a_job_says_where_its_family_is_from(read, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_vl"}')
    asked = {**LLAMAFACTORY, "model_name_or_path": str(tmp_path)}
    assert (read(asked).how, read(asked).doubt) == ("from the job's config.json", "")
    assert read(asked, model="glm4").how == "given with --model"
    (tmp_path / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoModel": "m.X"}}')
    assert "never run" in read(asked).doubt


def test_the_model_that_is_given_decides_on_its_familys_rules(read, tmp_path):
    asked = {**AXOLOTL, "base_model": "org/away"}
    assert read(asked).functions == ["torch:reentrant"]
    given = read(asked, model="gemma4")
    assert given.functions == ["torch:non-reentrant"]
    assert given.untried == []
    (tmp_path / "config.json").write_text('{"model_type": "gemma4"}')
    assert read(asked, model=str(tmp_path)).functions == ["torch:non-reentrant"]
    assert not read(LLAMAFACTORY, model="gemma3n").is_checkpointed


def test_a_guessed_family_decides_on_its_rules(read):
    found = read({**AXOLOTL, "base_model": "google/gemma-4-E2B-it"}, families=["gemma4"])
    assert found.functions == ["torch:non-reentrant"]


# Files


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "holds a list"),
        (f"{SECRET}\n", "holds a text"),
        ("5\n", "holds a value"),
        (b"\x89PNG\r\n\x1a\n\xff", "not a text file"),
        (b"stage: sft\0\n", "a binary file"),
        ("stage: \x07\n", "characters that YAML does not allow"),
        (f"stage: [sft\nx: {SECRET}: y\n", "line 2, column"),
        (f"a: *{SECRET}\n", "line 1, column 4"),
        (f"a: !!python/object/apply:os.system ['{SECRET}']\n", "not plain YAML, such as an object"),
        (f"a: !{SECRET} b\n", "line 1, column 4"),
        ("a: !!int x\n", "cannot read"),
        ("a: !!timestamp x\n", "cannot read"),
        ("a: " + "1" * 5000 + "\n", "cannot read"),
        ("zero_optimization: {stage: 2}\noptimizer: !!binary aGY=\n", "JSON does not know"),
        ("a: [1\nb: 2\n", "expected ',' or ']', but got ':' (line 2"),
        ("a:\tb\n\tc: 1\n", "found character '\\t' that cannot start any token (line 1, column 3)"),
        ("a: 1\n---\nb: 2\n", "more than one document (line 2"),
        ("stage: sft\nlora_rank: 8\nstage: pt\n", "`stage` twice (line 3, column 1)"),
        (f"x: {{'{SECRET} y': 1, '{SECRET} y': 2}}\n", "a key twice"),
        ("a: &a\n  b: *a\n", "contains itself"),
        ("a: " + "[" * 500 + "]" * 500, "nested more than"),
        ("a:\n" + "\n".join(" " * depth + "- " for depth in range(1, 400)), "nested more than"),
        ("x: " + "y" * files.LARGEST, "larger than 256 KiB"),
    ],
)
def test_hostile_yaml_is_refused_in_one_sentence(refuse, content, says):
    assert says in refuse(content)


def test_aliases_are_bounded_by_what_they_stand_for(refuse, read):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    assert "aliases written out" in refuse("\n".join(lines))
    merged = ["a: &a {x: 1}"]
    merged += [f"{n}: &{n} {{<<: [{', '.join([f'*{b}'] * 9)}]}}" for b, n in zip("abcdefgh", "bcdefghi", strict=True)]
    assert "aliases written out" in refuse("\n".join(merged))
    assert read("base: &b {stage: sft}\nmodel_name_or_path: glm4\nstage: sft\nx: *b\ny: {<<: *b, stage: pt}\n").trainer


def test_yaml_is_read_as_trainers_read_it(read):
    found = read(
        "model_name_or_path: glm4\nstage: sft\ndo_train: yes\nfinetuning_type: full\nbf16: on\n"
        "use_reentrant_gc: off\nlearning_rate: 1.0e-4\nmax_steps: 1_000\nrun_name: 2026-99-99\n1: x\nnull: y\n"
    )
    assert (found.setup.precision, found.setup.reentrant, found.is_checkpointed) == ("bf16", False, True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"stage": "sft",}', "not valid JSON"),
        ('{\n  "stage" "' + SECRET + '"}', "line 2, column"),
        ('{"a": 1, "a": 2}', "`a` twice in one object"),
        ('{"a": {"' + SECRET + ' x": 1, "' + SECRET + ' x": 2}}', "a key twice"),
        ('{"a": ' + "[" * 100_000, "beyond the limits"),
        ('{"a": ' + "1" * 5000 + "}", "beyond the limits"),
        ("[1]", "holds a list"),
        ("null", "is empty"),
        ("// no comments\n{}", "not valid JSON"),
        ("{}", "no key that belongs to one"),
    ],
)
def test_hostile_json_is_refused_in_one_sentence(refuse, content, says):
    assert says in refuse(content, "train.json")


def test_a_name_without_an_ending_is_told_by_how_the_text_begins(read):
    assert read('{"do_train": true, "finetuning_type": "full"}', "train").trainer == "llamafactory"
    assert read("finetuning_type: full\n", "train").trainer == "llamafactory"
    assert read("\ufefffinetuning_type: full\n").trainer == "llamafactory"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere.yaml", "There is no file nowhere.yaml"),
        (".", "a folder"),
        ("x\0y", "cannot be read"),
        ("", "path of a training job is empty"),
    ],
)
def test_what_is_no_file_is_refused(path, says):
    with pytest.raises(UsageFault, match=says):
        reading.read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "train.yaml")
    with pytest.raises(UsageFault, match="not a regular file"):
        reading.read(tmp_path / "train.yaml")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"finetuning_type": SECRET}, "`finetuning_type` in"),
        ({"finetuning_type": 3}, "not lora, oft, freeze or full"),
        ({"stage": "rlhf"}, "`stage` in"),
        ({"bf16": "true"}, "`bf16` in"),
        ({"use_reentrant_gc": "${x}"}, "not true or false"),
        ({"finetuning_type": "freeze", "freeze_trainable_layers": "2"}, "not a whole number"),
        ({"model_name_or_path": ["x"]}, "not a text"),
        ({"finetuning_type": "lora", "lora_target": {"a": SECRET}}, "not a list of names"),
        ({"gradient_checkpointing_kwargs": 3}, "not a mapping"),
        (
            {"gradient_checkpointing_kwargs": {"use_reentrant": "false"}, "gradient_checkpointing": True},
            "true or false",
        ),
        ({"gradient_checkpointing_kwargs": '{"x'}, "not valid JSON"),
        ({"deepspeed": "${oc.env:DS}"}, "interpolation"),
        ({"deepspeed": "glm4"}, "a folder"),
        ({"deepspeed": SECRET * 100}, "not the path of"),
    ],
)
def test_settings_of_another_type_are_refused(refuse, settings, says):
    assert says in refuse({**LLAMAFACTORY, **settings})


@pytest.mark.parametrize("value", ["maybe", 2, [True]])
def test_unknown_words_for_checkpointing_are_refused(refuse, value):
    assert "`gradient_checkpointing` in" in refuse({**AXOLOTL, "gradient_checkpointing": value})


def test_a_script_that_is_not_the_shells_is_called_one(refuse):
    assert "a script in another language" in refuse("import transformers\n", "train.py")
    assert "a script in another language" in refuse("#!/usr/bin/env python\nimport transformers\n", "train")


COMMENTED = """{
  // sharded
  "zero_optimization": {"stage": 2, "note": "a // b, ]"}, /* and */
  "bf16": {"enabled": true}, # on
}"""


def test_deepspeed_reads_json_with_comments(read):
    found = read(COMMENTED, "ds.json")
    assert (found.trainer, found.engine, found.setup.precision) == ("deepspeed", "zero2", "bf16")


def test_trainers_read_json_strictly(refuse, tmp_path):
    assert "not valid JSON" in refuse('{"finetuning_type": "full", // all\n "do_train": true}', "train.json")
    (tmp_path / "ds.json").write_text(COMMENTED)
    said = refuse({**LLAMAFACTORY, "deepspeed": str(tmp_path / "ds.json")})
    assert "`deepspeed`" in said
    assert "not valid JSON" in said


def test_tabs_between_words_are_what_omegaconf_takes(read, refuse):
    text = "finetuning_type:\tfull\t# all\ndo_train: true\nx: [1,\t2]\n"
    assert read(text).setup.tuning == "full"
    assert read(text, llamafactory="0.9.4").setup.tuning == "full"
    with pytest.raises(UsageFault, match="line 1, column 17"):
        read(text, llamafactory="0.9.3")
    assert "not valid YAML" in refuse("finetuning_type: full\nx:\n\ty: 1\n")
    assert "not valid YAML" in refuse("base_model:\tx\nsequence_len: 8\n")
    assert "not valid YAML" in refuse("finetuning_type: full\n" + "x: [" + "1,\t" * 300 + "2]\n")


# What runs otherwise than asked


@pytest.fixture
def installed(tmp_path):
    """An environment with a LLaMA-Factory and a transformers that have some arguments."""
    for file, text in {
        "llamafactory/hparams/model_args.py": "class A(B):\n    model_name_or_path: str = ''\n    finetuning_type: str = ''\n",
        "transformers/training_args.py": "class T:\n    output_dir: str\n    bf16: bool = False\n    do_train: bool = False\n",
        "transformers/training_args_seq2seq.py": "class S(T):\n    stage: str = ''\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    packages = [Package(name, "1.0", str(tmp_path)) for name in ("llamafactory", "transformers")]
    return Environment("3.11.7", "python", "linux", packages, ["transformers", "llamafactory"], families=["llama"])


def test_keys_that_llamafactory_refuses_are_named(installed, tmp_path, monkeypatch):
    assert refused_by_llamafactory([*LLAMAFACTORY, "use_reentrant_gcc"], installed) == ["use_reentrant_gcc"]
    job = tmp_path / "train.json"
    job.write_text(json.dumps({**LLAMAFACTORY, "lora_rnak": 8}))
    notes = probe_request(Request(job=str(job)), reading.JobFile(job), installed).notes
    assert "`lora_rnak`: llamafactory 1.0 has no such argument and rejects the job." in notes
    monkeypatch.setenv("ALLOW_EXTRA_ARGS", "1")
    assert refused_by_llamafactory(["lora_rnak"], installed) == []


def test_nothing_is_said_of_keys_where_the_arguments_cannot_be_read(installed, tmp_path):
    (tmp_path / "transformers" / "training_args.py").write_text("class (")
    assert refused_by_llamafactory(["lora_rnak"], installed) == []
    installed = changed(installed, "packages", installed.packages[1:])
    assert refused_by_llamafactory(["lora_rnak"], installed) == []


def test_a_family_with_the_jobs_targets_stands_in(installed, tmp_path):
    job = tmp_path / "train.json"
    asked = {**LLAMAFACTORY, "model_name_or_path": "org/away", "finetuning_type": "lora"}
    for targets, models in (("gate_proj,up_proj", ["llama"]), ("q_proj", []), ("Wqkv", []), ("c_attn", [])):
        job.write_text(json.dumps({**asked, "lora_target": targets}))
        found = probe_request(Request(job=str(job)), reading.JobFile(job), installed)
        assert found.options.models == models
        assert "org/away, was not tried" in found.stand_in


def test_a_family_that_the_environment_lacks_is_named(installed, tmp_path):
    job = tmp_path / "train.json"
    job.write_text(json.dumps({**LLAMAFACTORY, "model_name_or_path": "Qwen/Qwen3-VL-8B-Instruct"}))
    installed = changed(installed, "packages", [Package("transformers", "4.51.3", str(tmp_path))])
    [reason] = probe_request(Request(job=str(job)), reading.JobFile(job), installed).unjudged
    assert reason.startswith("transformers 4.51.3 has no model family 'qwen3_vl', which is the job's")
    assert reason.endswith("; transformers has it from 4.57.0 on.")
    newer = changed(installed, "families", ["qwen3_vl"])
    found = probe_request(Request(job=str(job)), reading.JobFile(job), newer)
    assert (found.unjudged, found.stand_in, found.options.models) == ((), "", ["qwen3_vl"])
    assert found.how == "guessed from the name Qwen/Qwen3-VL-8B-Instruct"


def test_the_trainer_says_which_class_it_builds(installed, tmp_path):
    job = tmp_path / "train.json"
    job.write_text(json.dumps({**LLAMAFACTORY, "model_name_or_path": "org/away"}))
    for release, order in (("0.9.2", ("Vision2Seq", "Seq2SeqLM", "CausalLM")), ("0.7.0", ("CausalLM",))):
        packages = [Package("llamafactory", release, str(tmp_path))]
        environment = changed(changed(installed, "packages", packages), "stack", ["llamafactory"])
        found = probe_request(Request(job=str(job)), reading.JobFile(job), environment)
        assert found.options.setup.auto_classes == order
        assert found.options.setup.frozen_towers


def test_one_model_alone_may_be_given(installed, tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(LLAMAFACTORY))
    request = Request(job=str(tmp_path / "train.json"), options=Options(models=["llama", "glm4"]))
    with pytest.raises(UsageFault, match="one model"):
        probe_request(request, reading.JobFile(request.job), installed)


def test_deepspeeds_old_name_of_bf16(read):
    found = read({"bfloat16": {"enabled": True}, "zero_optimization": {"stage": 2}}, "ds.json")
    assert found.setup.precision == "bf16"
    assert "`bfloat16`" in untried(found)
    assert json.loads(found.setup.deepspeed)["bf16"] == {"enabled": True}
    both = {"bfloat16": {"enabled": True}, "bf16": {"enabled": False}, "zero_optimization": {"stage": 2}}
    assert read(both, "ds.json").setup.precision == "fp32"


def test_what_of_a_multimodal_job_is_not_tried_is_named(read):
    assert "`freeze_language_model`" in untried(read({**LLAMAFACTORY, "freeze_language_model": True}))
    assert "`processor_type`" in untried(read({**AXOLOTL, "processor_type": "AutoProcessor"}))
    assert read({**LLAMAFACTORY, "freeze_language_model": False}).untried == []


def test_the_survey_of_a_folder_counts_what_is_read():
    survey = [sys.executable, str(JOBS.parent.parent / "benchmarks" / "jobs.py"), "--list", str(JOBS)]
    done = subprocess.run(survey, capture_output=True, text=True, check=True, timeout=60)
    assert "| jobs | 13 | 0 | 3 | 0 |" in done.stdout
    assert "refused: accelerate_fsdp2.yaml: accelerate_fsdp2.yaml is a configuration of accelerate" in done.stdout
