"""Jobs of TRL, ms-swift, verl and OpenRLHF, as settings."""

import json
from pathlib import Path

import pytest

from ckptdoctor.job import reading
from ckptdoctor.job.summary import summary
from ckptdoctor.model.evidence import Environment, Package
from ckptdoctor.planning.options import named_functions
from ckptdoctor.planning.request import Request, probe_request

JOBS = Path(__file__).parent / "jobs"
NON_REENTRANT, REENTRANT = ["torch:non-reentrant"], ["torch:reentrant"]
NEWER = {"trl": "1.8.0", "transformers": "5.24.0"}

TRL = {"model_name_or_path": "glm4", "dataset_text_field": "text", "bf16": True, "gradient_checkpointing": True}
SWIFT = {"model": "glm4", "tuner_type": "full", "torch_dtype": "bfloat16"}
VERL = {"actor_rollout_ref": {"model": {"path": "glm4", "use_remove_padding": False}, "actor": {}}}
OPENRLHF = {"pretrain": "glm4", "zero_stage": 2, "gradient_checkpointing": True}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads settings as a job file."""
    monkeypatch.chdir(JOBS)
    monkeypatch.setenv("HOME", str(tmp_path))

    def read_settings(values, **versions):
        (tmp_path / "job.json").write_text(json.dumps(values))
        found = reading.read(tmp_path / "job.json", versions)
        assert set(found.functions) <= {*named_functions(), "torch:wrapper"}
        assert summary(found)
        return found

    return read_settings


def said(found):
    return " ".join(found.untried)


# TRL


@pytest.mark.parametrize(
    ("release", "is_on"), [("0.21.0", False), ("0.22.0", True), ("1.8.0", True)], ids=["0.21", "0.22", "1.8"]
)
def test_trl_switches_checkpointing_on_by_default_from_a_release_on(read, release, is_on):
    asked = {name: value for name, value in TRL.items() if name != "gradient_checkpointing"}
    found = read(asked, trl=release, transformers="4.57.6")
    assert found.is_checkpointed is is_on
    assert "by default" not in said(found)
    assert not read({**asked, "gradient_checkpointing": False}, trl=release).is_checkpointed


def test_trls_default_is_named_where_its_release_is_not_known(read):
    asked = {name: value for name, value in TRL.items() if name != "gradient_checkpointing"}
    assert "`gradient_checkpointing`: on by default from TRL 0.22.0 on" in said(read(asked))
    assert "by default" not in said(read(TRL))


@pytest.mark.parametrize(
    ("versions", "functions"),
    [
        ({"trl": "0.26.0", "transformers": "4.57.6"}, REENTRANT),
        ({"trl": "0.27.0", "transformers": "4.57.6"}, NON_REENTRANT),
        (NEWER, NON_REENTRANT),
        ({}, NON_REENTRANT + REENTRANT),
    ],
)
def test_whether_trl_is_reentrant_by_default(read, versions, functions):
    assert read(TRL, **versions).functions == functions
    told = {**TRL, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    assert read(told, **versions).functions == REENTRANT


def test_trl_is_reentrant_for_an_adapter_under_zero_3(read):
    asked = {**TRL, "use_peft": True, "lora_target_modules": "all-linear", "deepspeed": "ds_z3.json"}
    told = {**asked, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    assert read(told, **NEWER).functions == REENTRANT
    assert read(told, trl="0.27.0").functions == NON_REENTRANT
    assert read({**told, "use_peft": False}, **NEWER).functions == NON_REENTRANT
    assert read({**told, "deepspeed": "ds_z2.json"}, **NEWER).functions == NON_REENTRANT


@pytest.mark.parametrize(
    ("settings", "release", "precision"),
    [
        ({"bf16": None}, "0.19.0", "bf16"),
        ({"bf16": None}, "0.18.2", "fp32"),
        ({"bf16": None, "torch_dtype": "bfloat16"}, "0.18.2", "bf16"),
        ({"bf16": None, "fp16": True}, "1.8.0", "fp16"),
        ({"bf16": False}, "1.8.0", "fp32"),
    ],
)
def test_trls_precision(read, settings, release, precision):
    assert read({**TRL, **settings}, trl=release).setup.precision == precision


def test_trls_adapter(read):
    assert read(TRL).setup.tuning == "full"
    found = read({**TRL, "use_peft": True, "lora_target_modules": ["q_proj", "v_proj"], "lora_r": 16})
    assert (found.setup.tuning, found.setup.lora_targets) == ("lora", ("q_proj", "v_proj"))
    assert found.setup.inputs_require_grad
    assert found.untried == []
    assert "`lora_target_modules`: the job names no modules" in said(read({**TRL, "use_peft": True}))
    assert read({**TRL, "use_peft": True, "lora_target_modules": ["all-linear"]}).setup.lora_targets == ()


@pytest.mark.parametrize(
    "settings",
    [
        {"load_in_4bit": True},
        {"torch_dtype": "bfloat16"},
        {"dtype": "float16"},
        {"attn_implementation": "flash_attention_2"},
        {"packing": True},
        {"padding_free": True},
        {"use_liger_kernel": True},
        {"num_generations": 8},
        {"beta": 0.1},
    ],
)
def test_what_trl_asks_for_and_cannot_be_tried_is_named(read, settings):
    [one] = read({**TRL, **settings}).untried
    assert one.startswith(f"`{next(iter(settings))}`: ")


@pytest.mark.parametrize("settings", [{"attn_implementation": "sdpa"}, {"packing": False}, {"dtype": "float32"}])
def test_what_has_no_bearing_in_trl_is_not_named(read, settings):
    assert read({**TRL, **settings}).untried == []


def test_offloading_is_a_function_of_its_own(read):
    found = read({**TRL, "activation_offloading": True}, **NEWER)
    assert (found.functions, found.setup.reentrant, found.untried) == (["trl:offload"], False, [])
    kwargs = {"gradient_checkpointing_kwargs": {"offload": True, "use_reentrant": True}}
    found = read({**TRL, **kwargs}, **NEWER)
    assert (found.functions, found.setup.reentrant, found.untried) == (["transformers:offload"], True, [])
    plain = {"per_device_train_batch_size": 1, "model_name_or_path": "glm4", "gradient_checkpointing": True, **kwargs}
    assert read(plain, **NEWER).functions == ["transformers:offload"]


# ms-swift


@pytest.mark.parametrize(
    ("settings", "is_on", "reentrant"),
    [
        ({}, True, True),
        ({"gradient_checkpointing": False}, False, True),
        ({"gradient_checkpointing": "false"}, False, True),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": False}}, True, False),
        ({"gradient_checkpointing_kwargs": '{"use_reentrant": "false"}'}, True, False),
    ],
)
def test_swift_checkpoints_by_default_and_decides_itself_on_reentrant(read, settings, is_on, reentrant):
    found = read({**SWIFT, **settings})
    assert found.functions == (["ms-swift"] if is_on else [])
    assert (found.is_checkpointed, found.setup.reentrant) == (is_on, reentrant)


@pytest.mark.parametrize(
    ("name", "engine", "offloads"),
    [("zero0", "zero0", 0), ("zero2", "zero2", 0), ("zero2_offload", "zero2", 1), ("zero3_offload", "zero3", 2)],
)
def test_swifts_own_names_for_deepspeed(read, name, engine, offloads):
    found = read({**SWIFT, "deepspeed": name})
    assert found.engine == engine
    assert found.setup.deepspeed.count('"cpu"') == offloads
    assert read({**SWIFT, "deepspeed": "ds_z3.json"}).engine == "zero3"


@pytest.mark.parametrize(
    ("settings", "tuning", "targets"),
    [
        ({"tuner_type": None}, "lora", ()),
        ({"tuner_type": None, "train_type": "lora"}, "lora", ()),
        ({"tuner_type": "lora", "target_modules": "all-linear"}, "lora", ()),
        ({"tuner_type": "lora", "target_modules": ["q_proj", "v_proj"]}, "lora", ("q_proj", "v_proj")),
        ({"tuner_type": "lora", "target_modules": "q_proj v_proj"}, "lora", ("q_proj", "v_proj")),
        ({"tuner_type": "boft"}, "full", ()),
    ],
)
def test_how_swift_tunes(read, settings, tuning, targets):
    found = read({**SWIFT, "split_dataset_ratio": 0, **settings})
    assert (found.setup.tuning, found.setup.lora_targets) == (tuning, targets)


@pytest.mark.parametrize(
    ("settings", "precision"),
    [
        ({}, "bf16"),
        ({"torch_dtype": "float16"}, "fp16"),
        ({"torch_dtype": "float32"}, "fp16"),
        ({"torch_dtype": "float32", "fp16": False, "bf16": False}, "fp32"),
        ({"torch_dtype": None}, "bf16"),
    ],
)
def test_swifts_precision(read, settings, precision):
    assert read({**SWIFT, **settings}).setup.precision == precision


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_bits": 4},
        {"use_liger_kernel": True},
        {"packing": True},
        {"rlhf_type": "dpo"},
        {"attn_impl": "flash_attn"},
        {"freeze_llm": True},
        {"task_type": "seq_cls"},
        {"vit_gradient_checkpointing": False},
        {"sequence_parallel_size": 2},
        {"callbacks": ["activation_cpu_offload"]},
    ],
)
def test_what_swift_asks_for_and_cannot_be_tried_is_named(read, settings):
    [one] = read({**SWIFT, **settings}).untried
    assert one.startswith(f"`{next(iter(settings))}`: ")


@pytest.mark.parametrize(
    "settings", [{"tensor_model_parallel_size": 2}, {"recompute_granularity": "full"}, {"tuner_backend": "unsloth"}]
)
def test_what_else_trains_swifts_model_is_not_judged(read, settings):
    [reason] = read({**SWIFT, **settings}).unjudged
    assert reason.startswith(f"`{next(iter(settings))}`: ")


# verl


def actor(**settings):
    return {"actor_rollout_ref": {**VERL["actor_rollout_ref"], "actor": settings}}


def of_model(**settings):
    parts = VERL["actor_rollout_ref"]
    return {"actor_rollout_ref": {**parts, "model": {**parts["model"], **settings}}}


def test_verl_checkpoints_by_default_and_is_never_reentrant(read):
    assert read(VERL).functions == NON_REENTRANT
    assert read(of_model(enable_gradient_checkpointing=False)).functions == []
    assert read(VERL).setup.reentrant is False


def test_verls_adapter(read):
    found = read(of_model(lora_rank=32, target_modules=["q_proj"]))
    assert (found.setup.tuning, found.setup.lora_targets) == ("lora", ("q_proj",))
    assert read(of_model(lora_rank=32, target_modules="all-linear")).setup.lora_targets == ()
    assert read(VERL).setup.tuning == "full"


@pytest.mark.parametrize("values", [actor(strategy="megatron"), actor(strategy="veomni")])
def test_what_else_trains_verls_model_is_not_judged(read, values):
    assert len(read(values).unjudged) == 1


def test_verls_own_offloading_is_not_judged(read):
    [reason] = read(of_model(enable_activation_offload=True)).unjudged
    assert "`actor_rollout_ref.model.enable_activation_offload`" in reason


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (of_model(use_remove_padding=None), "use_remove_padding"),
        (of_model(use_liger=True), "use_liger"),
        (of_model(tiled_mlp={"enabled": True}), "tiled_mlp"),
        (actor(ulysses_sequence_parallel_size=2), "ulysses_sequence_parallel_size"),
        (actor(fsdp_config={"offload_policy": True}), "offload_policy"),
    ],
)
def test_what_verl_asks_for_and_cannot_be_tried_is_named(read, values, name):
    assert name in said(read(values))
    assert name not in said(read(VERL))
    assert "the critic" in said(read(VERL))


# OpenRLHF


def test_openrlhfs_names_before_and_after(read):
    dotted = {"model.model_name_or_path": "glm4", "ds.zero_stage": 3, "model.gradient_checkpointing_enable": True}
    for asked in (dotted, {"pretrain": "glm4", "zero_stage": 3, "gradient_checkpointing": True}):
        found = read(asked)
        assert (found.functions, found.engine, found.setup.precision) == (NON_REENTRANT, "zero3", "bf16")
        assert json.loads(found.setup.deepspeed)["bf16"] == {"enabled": True}
        assert found.untried == []


@pytest.mark.parametrize(
    ("settings", "functions", "reentrant"),
    [
        ({}, NON_REENTRANT, False),
        ({"gradient_checkpointing_use_reentrant": True}, REENTRANT, True),
        ({"gradient_checkpointing": False}, [], False),
    ],
)
def test_which_function_openrlhf_uses(read, settings, functions, reentrant):
    found = read({**OPENRLHF, **settings})
    assert (found.functions, found.setup.reentrant) == (functions, reentrant)


def test_openrlhfs_adapter_precision_and_offloading(read):
    found = read({**OPENRLHF, "lora_rank": 8, "param_dtype": "fp16", "adam_offload": True})
    assert (found.setup.tuning, found.setup.lora_targets, found.setup.precision) == ("lora", (), "fp16")
    assert json.loads(found.setup.deepspeed)["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}


@pytest.mark.parametrize(
    "settings",
    [
        {"load_in_4bit": True},
        {"packing_samples": True},
        {"attn_implementation": "flash_attention_2"},
        {"ring_attn_size": 2},
    ],
)
def test_what_openrlhf_asks_for_and_cannot_be_tried_is_named(read, settings):
    [one] = read({**OPENRLHF, **settings}).untried
    assert one.startswith(f"`{next(iter(settings))}`: ")


# Keys that the installed releases do not know


@pytest.fixture
def installed(tmp_path):
    """An environment in which packages declare some arguments."""

    def with_files(files, **versions):
        for name, content in files.items():
            file = tmp_path / "site" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        packages = tuple(Package(name, version, str(tmp_path / "site")) for name, version in versions.items())
        return Environment(executable="python", python="3.11.7", platform="Linux", packages=packages)

    return with_files


def notes(tmp_path, environment, *values):
    given = []
    for at, one in enumerate(values):
        (tmp_path / f"{at}.json").write_text(json.dumps(one))
        given.append(str(tmp_path / f"{at}.json"))
    found = probe_request(Request(job=given), reading.JobFile(*given), environment)
    return [one for one in found.notes if "has no such argument" in one]


def test_keys_that_trl_refuses_are_named(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(JOBS)
    fields = "class A:\n    model_name_or_path: str\n    dataset_text_field: str\n"
    own = {"trl/trainer/sft_config.py": fields, "transformers/training_args.py": "class B:\n    bf16: bool\n"}
    environment = installed(own, trl="1.8.0", transformers="5.24.0")
    [note] = notes(tmp_path, environment, {**TRL, "dataset_mixture": {}})
    assert note == "`gradient_checkpointing`: trl 1.8.0 has no such argument and rejects the job."


def test_keys_that_axolotl_ignores_are_named(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(JOBS)
    schema = "class A:\n    base_model: str\n    kind: str = Field(validation_alias='model_type')\n    micro_batch_size: int\n"
    environment = installed({"axolotl/utils/schemas/config.py": schema}, axolotl="0.18.0")
    job = {"base_model": "glm4", "micro_batch_size": 1, "model_type": "x", "gradient_checkpoint": True}
    assert notes(tmp_path, environment, job) == [
        "`gradient_checkpoint`: axolotl 0.18.0 has no such argument and ignores it."
    ]


def test_keys_that_accelerate_refuses_are_named(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(JOBS)
    fields = "class A:\n    distributed_type: str\n    num_processes: int = 1\n"
    environment = installed({"accelerate/commands/config/config_args.py": fields}, accelerate="1.11.0")
    [note] = notes(tmp_path, environment, TRL, {"distributed_type": "NO", "num_processes": 1, "fdsp_config": {}})
    assert note == "`fdsp_config`: accelerate 1.11.0 has no such argument and rejects its configuration."


def test_options_that_openrlhf_refuses_are_named(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(JOBS)
    options = "parser.add_argument('--pretrain')\nparser.add_argument('--zero_stage', type=int)\n"
    environment = installed({"openrlhf/cli/train_sft.py": options}, openrlhf="0.9.9")
    [note] = notes(tmp_path, environment, OPENRLHF)
    assert note.startswith("`gradient_checkpointing`: openrlhf 0.9.9 has no such argument")
