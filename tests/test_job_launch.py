"""What wraps the model of a job: its own settings, and accelerate's configuration beside it."""

import json
from pathlib import Path

import pytest

from ckptdoctor import catalog
from ckptdoctor.errors import UsageFault
from ckptdoctor.job import reading
from ckptdoctor.planning.options import named_functions

JOBS = Path(__file__).parent / "jobs"

LLAMAFACTORY = {"model_name_or_path": "glm4", "stage": "sft", "do_train": True, "finetuning_type": "full", "bf16": True}
AXOLOTL = {"base_model": "glm4", "sequence_len": 8, "micro_batch_size": 1, "bf16": True, "gradient_checkpointing": True}
ARGUMENTS = {"per_device_train_batch_size": 1, "model_name_or_path": "glm4", "gradient_checkpointing": True}

DDP = {"distributed_type": "MULTI_GPU", "num_processes": 8}
FSDP2 = {"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2}, "mixed_precision": "bf16"}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads settings as a job, beside other files and settings as text."""
    monkeypatch.chdir(JOBS)

    def read_files(job, *others, **versions):
        given = []
        for at, one in enumerate([job, *others]):
            if isinstance(one, str):
                given.append(one)
            elif one is not None:
                file = tmp_path / f"{at}.json"
                file.write_text(json.dumps(one))
                given.append(str(file))
        return reading.read(given, versions)

    return read_files


@pytest.mark.parametrize(
    ("configuration", "engine"),
    [
        ({"distributed_type": "NO"}, "none"),
        (DDP, "ddp"),
        ({"distributed_type": "MULTI_GPU", "num_processes": 1}, "none"),
        (FSDP2, "fsdp2"),
        ({"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 1}}, "fsdp1"),
        ({"distributed_type": "FSDP", "fsdp_config": {}}, "fsdp1"),
        ({"distributed_type": "FSDP"}, "fsdp1"),
        ({"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 3}}, "zero3"),
        ({"distributed_type": "DEEPSPEED", "deepspeed_config": {}}, "zero2"),
        ({"distributed_type": "DEEPSPEED", "deepspeed_config": {"deepspeed_config_file": "ds_z1.json"}}, "zero1"),
    ],
)
@pytest.mark.parametrize("job", [LLAMAFACTORY, AXOLOTL, ARGUMENTS | {"bf16": True}])
def test_accelerates_configuration_beside_a_job(read, job, configuration, engine):
    found = read(job, configuration)
    assert found.engine == engine
    assert engine in catalog.engines()
    assert " and " in found.source
    assert bool(found.setup.deepspeed) is engine.startswith("zero")


def test_the_order_of_the_files_does_not_matter(read):
    assert read(DDP, LLAMAFACTORY).engine == read(LLAMAFACTORY, DDP).engine == "ddp"


def test_a_jobs_own_deepspeed_goes_before_accelerates(read):
    assert read({**LLAMAFACTORY, "deepspeed": "ds_z3.json"}, FSDP2).engine == "zero3"


@pytest.mark.parametrize(
    ("of_job", "of_launcher", "precision"),
    [({}, "bf16", "bf16"), ({}, "no", "fp32"), ({"fp16": True}, "bf16", "fp16"), ({}, "fp16", "fp16")],
)
def test_accelerates_precision_counts_where_the_job_names_none(read, of_job, of_launcher, precision):
    assert read({**ARGUMENTS, **of_job}, {**DDP, "mixed_precision": of_launcher}).setup.precision == precision


def test_fsdp_without_mixed_precision_is_an_engine_of_its_own(read):
    assert read(ARGUMENTS, {**FSDP2, "mixed_precision": "no"}).engine == "fsdp2-fp32"
    assert read({**ARGUMENTS, "fsdp": "full_shard"}, transformers="5.5.0").engine == "fsdp1-fp32"


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({}, "ddp"),
        ({"ddp_find_unused_parameters": True}, "ddp-unused"),
        ({"ddp_find_unused_parameters": False}, "ddp"),
        # transformers looks for unused parameters where nothing is checkpointed.
        ({"gradient_checkpointing": False}, "ddp-unused"),
        ({"gradient_checkpointing": False, "ddp_find_unused_parameters": False}, "ddp"),
    ],
)
def test_whether_ddp_looks_for_unused_parameters(read, settings, engine):
    assert read({**ARGUMENTS, **settings}, DDP).engine == engine


def test_llamafactory_never_looks_for_unused_parameters_beside_an_adapter(read):
    off = {**LLAMAFACTORY, "disable_gradient_checkpointing": True}
    assert read(off, DDP).engine == "ddp-unused"
    assert read({**off, "finetuning_type": "lora"}, DDP).engine == "ddp"


def test_axolotls_ddp_looks_for_unused_parameters_for_some_families(read, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gemma4"}')
    gemma = {**AXOLOTL, "base_model": str(tmp_path), "ddp": True}
    assert read(gemma, DDP).engine == "ddp-unused"
    assert read({**gemma, "activation_offloading": True}, DDP).engine == "ddp"
    assert read({**AXOLOTL, "ddp": True, "gradient_checkpointing": False}, DDP).engine == "ddp"


@pytest.mark.parametrize(
    ("settings", "versions", "engine"),
    [
        ({"fsdp": "full_shard auto_wrap"}, {"transformers": "4.57.6"}, "fsdp1"),
        # Before transformers 5, accelerate alone decides on the version.
        ({"fsdp": "full_shard", "fsdp_config": {"version": 2}}, {"transformers": "4.57.6"}, "fsdp1"),
        ({"fsdp": ["full_shard"], "fsdp_config": {"version": 2}}, {"transformers": "5.0.0"}, "fsdp2"),
        ({"fsdp": True}, {"transformers": "5.9.0"}, "fsdp1"),
        ({"fsdp": True}, {"transformers": "5.10.0"}, "fsdp2"),
        ({"fsdp": True, "fsdp_config": {"fsdp_version": "1"}}, {"transformers": "5.24.0"}, "fsdp1"),
        ({"fsdp": "", "fsdp_config": {"version": 2}}, {"transformers": "5.24.0"}, "none"),
    ],
)
def test_fsdp_by_training_arguments(read, settings, versions, engine):
    assert read({**ARGUMENTS, "bf16": True, **settings}, **versions).engine == engine


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({"fsdp": ["full_shard", "auto_wrap"], "fsdp_config": {"fsdp_offload_params": True}}, "fsdp1"),
        ({"fsdp_version": 2, "fsdp_config": {"offload_params": False}}, "fsdp2"),
        ({"fsdp_config": {"fsdp_version": 2}}, "fsdp2"),
        ({"fsdp_config": {"version": 2, "reshard_after_forward": True}}, "fsdp2"),
    ],
)
def test_fsdp_by_axolotl(read, settings, engine):
    assert read({**AXOLOTL, **settings}).engine == engine


@pytest.mark.parametrize("name", ["activation_checkpointing", "fsdp_activation_checkpointing"])
def test_fsdps_own_checkpointing_is_a_function_where_it_is_alone(read, name):
    sharded = {"fsdp_config": {name: True, "version": 2}, "fsdp": True, "gradient_checkpointing": False, "bf16": True}
    for found in (
        read({**ARGUMENTS, **sharded}, transformers="5.24.0"),
        read({**AXOLOTL, **sharded}),
        read({**LLAMAFACTORY, **sharded, "disable_gradient_checkpointing": True}, transformers="5.24.0"),
    ):
        assert (found.functions, found.engine, found.is_checkpointed) == (["torch:wrapper"], "fsdp2", True)
        assert set(found.functions) <= set(named_functions())
        assert (found.setup.fsdp_checkpointing, found.setup.reentrant, found.unjudged) == (False, None, [])


def test_fsdps_own_checkpointing_is_tried_beside_the_trainers(read):
    launcher = {**FSDP2, "fsdp_config": {"fsdp_version": 2, "fsdp_activation_checkpointing": True}}
    beside = read(LLAMAFACTORY, launcher)
    assert (beside.functions, beside.setup.fsdp_checkpointing) == (["llamafactory"], True)
    assert "refuses both" not in " ".join(beside.untried)
    refused = read(ARGUMENTS, launcher)
    assert refused.setup.fsdp_checkpointing
    assert "transformers' Trainer refuses both together" in " ".join(refused.untried)


def test_fsdps_own_checkpointing_without_a_word_of_fsdp_is_not_judged(read):
    job = {**ARGUMENTS, "gradient_checkpointing": False, "fsdp_config": {"activation_checkpointing": True}}
    [reason] = read(job).unjudged
    assert reason.startswith("`fsdp_config.activation_checkpointing`: FSDP's own")
    assert "add --job accelerate.yaml" in reason
    # Up to transformers 5.9 the job's setting counts under accelerate's FSDP.
    assert read(job, FSDP2, transformers="5.9.0").functions == ["torch:wrapper"]
    assert read(job, FSDP2, transformers="5.10.0").functions == []


def test_llamafactory_is_never_reentrant_under_fsdp2(read):
    asked = {**LLAMAFACTORY, "use_reentrant_gc": True}
    assert read(asked, FSDP2, llamafactory="0.9.5").setup.reentrant is False
    assert read(asked, FSDP2, llamafactory="0.9.3").setup.reentrant is True
    assert read(asked, DDP, llamafactory="0.9.5").setup.reentrant is True


@pytest.mark.parametrize("job", [LLAMAFACTORY, AXOLOTL, ARGUMENTS])
def test_compilation_is_an_engine_alone_and_named_beside_another(read, job):
    assert read({**job, "torch_compile": True}).engine == "compile"
    beside = read({**job, "torch_compile": True}, DDP)
    assert beside.engine == "ddp"
    assert "`torch_compile`: compilation" in " ".join(beside.untried)
    assert read(job, {"distributed_type": "NO", "dynamo_config": {"dynamo_backend": "INDUCTOR"}}).engine == "compile"
    assert read(job, {"distributed_type": "NO", "dynamo_config": {"dynamo_backend": "NO"}}).engine == "none"


@pytest.mark.parametrize("kind", ["MEGATRON_LM", "XLA", "TPU"])
def test_what_accelerate_starts_otherwise_is_not_judged(read, kind):
    [reason] = read(LLAMAFACTORY, {"distributed_type": kind}).unjudged
    assert reason.startswith("`distributed_type`: ")


def test_what_accelerate_asks_for_besides_is_named(read):
    configuration = {**DDP, "fp8_config": {"backend": "TE"}, "parallelism_config": {"parallelism_config_tp_size": 2}}
    said = " ".join(read(LLAMAFACTORY, configuration).untried)
    assert "`fp8_config`" in said
    assert "`parallelism_config`" in said


# Settings beside a job


def test_settings_go_before_those_of_the_file(read):
    found = read(
        LLAMAFACTORY, "finetuning_type=lora", "lora_target=q_proj,v_proj", "deepspeed=ds_z2.json", "bf16=false"
    )
    assert (found.setup.tuning, found.setup.lora_targets) == ("lora", ("q_proj", "v_proj"))
    assert (found.engine, found.setup.precision) == ("zero2", "fp32")


def test_settings_reach_into_sections(read):
    found = read(ARGUMENTS, "gradient_checkpointing_kwargs.use_reentrant=true")
    assert found.functions == ["torch:reentrant"]
    with pytest.raises(UsageFault, match="`bf16` is no section"):
        read({**ARGUMENTS, "bf16": True}, "bf16.enabled=true")


@pytest.mark.parametrize("value", ["*a", "[1", "!!python/object/apply:os.system [x]", "x" * 20_000])
def test_a_value_that_is_none_is_refused(read, value):
    with pytest.raises(UsageFault, match="The value of `lora_target` cannot be read"):
        read(LLAMAFACTORY, f"lora_target={value}")


# What cannot stand together


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([DDP], "it names no job"),
        (["lora_rank=8"], "names no job"),
        ([LLAMAFACTORY, AXOLOTL], "several jobs"),
        ([LLAMAFACTORY, DDP, FSDP2], "several configurations of accelerate"),
        ([LLAMAFACTORY, {"distributed_type": "NONSENSE"}], "`distributed_type`"),
        ([LLAMAFACTORY, {"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 3}}], "`fsdp_config.version`"),
        ([LLAMAFACTORY, {**DDP, "mixed_precision": "int8"}], "`mixed_precision`"),
        ([LLAMAFACTORY, ""], "empty"),
        ([LLAMAFACTORY, "away.yaml"], "no file away.yaml"),
    ],
)
def test_what_is_no_single_job_is_refused(read, given, says):
    with pytest.raises(UsageFault) as caught:
        read(*given)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("more", "engine"),
    [
        ({}, "ddp"),
        ({"finetuning_type": "lora"}, "ddp"),
        ({"finetuning_type": "oft"}, "ddp-unused"),
        ({"stage": "rm"}, "ddp-unused"),
        ({"stage": "rm", "finetuning_type": "lora"}, "ddp"),
        ({"stage": "rm", "ddp_find_unused_parameters": False}, "ddp"),
        ({"ddp_find_unused_parameters": True}, "ddp-unused"),
    ],
)
def test_what_ddp_looks_for_depends_on_the_model_that_trainer_gets(read, more, engine):
    """Each was started with llamafactory 0.9.5 on two ranks: those under ``ddp-unused`` die with reentrant checkpointing."""
    assert read({**LLAMAFACTORY, **more}, DDP).engine == engine
    assert read({**LLAMAFACTORY, **more}).on_several == engine


@pytest.mark.parametrize("more", [{"deepspeed": "ds_z3.json"}, {"disable_gradient_checkpointing": True}])
def test_a_job_that_nothing_makes_ddp_is_not_tried_under_it(read, more):
    assert read({**LLAMAFACTORY, **more}).on_several == ""
    assert read(LLAMAFACTORY, {"distributed_type": "NO"}).on_several == ""


def test_a_reward_model_leaves_parameters_unused(read):
    assert [read({**LLAMAFACTORY, "stage": stage}).leaves_unused for stage in ("sft", "rm")] == [False, True]
