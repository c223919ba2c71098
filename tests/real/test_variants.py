"""Variants that only some jobs have, with real packages and without a job file."""

import json
from pathlib import Path

import pytest

from tests.conftest import check
from tests.real.test_jobs import NEWER

pytestmark = pytest.mark.real

OLDER = (
    "--with",
    "peft==0.19.1",
    "--with",
    "accelerate==1.11.0",
    "--engine",
    "none",
    "--checkpoint-fn",
    "torch",
    "--model",
    "glm4",
)
"""An adapter with transformers 4.51.3, which leaves the output of frozen embeddings as it is."""

ENGINES = ("none", "ddp", "fsdp2", "zero3")

MUTATIONS = Path(__file__).parents[1] / "mutations"

PREPARE = "call `model.enable_input_require_grads()` before training"


@pytest.fixture(scope="module")
def newer(torch_python):
    engines = [part for name in ENGINES for part in ("--engine", name)]
    return check(torch_python, *NEWER, *engines, "--checkpoint-fn", "torch", "--model", "glm4", "--thorough")


@pytest.fixture(scope="module")
def older(demo_python):
    return check(demo_python, *OLDER)


def rules(ran, engine="none"):
    """The rules that fired, by function and variant."""
    probes = [one for one in ran.report["probes"] if one["engine"] == engine and one["role"] == "subject"]
    return {
        (one["checkpoint_function"], one["variant"]): one["rules"]
        for one in probes
        if one["variant"] and one["outcome"] != "skipped"
    }


def test_an_adapter_under_zero_3_is_found_without_a_job(newer):
    assert newer.status == 0, newer.err
    found = rules(newer, "zero3")
    assert found["torch:non-reentrant", "lora+inputs require grad"] == ["CKPT007"]
    assert found["torch:reentrant", "lora+inputs require grad"] == []
    [finding] = newer.report["findings"]
    assert (finding["severity"], finding["culprit"]["package"]) == ("warning", "deepspeed")
    assert "LoRA" in finding["title"]
    [remedy] = finding["remedies"]
    assert "use_reentrant: true" in remedy["title"]
    assert (remedy["proven"], remedy["tried"]) == ("failing", ["glm4/torch:reentrant/zero3/lora+inputs require grad"])


def test_newer_releases_train_every_variant(newer):
    found = rules(newer)
    variants = {variant for _, variant in found}
    usual = {"packed", "cache", "prefix", "bf16", "lora", "lora+inputs require grad", "perturbed"}
    assert variants == {*usual, "accumulated", "second"}
    assert not any(found.values()), found


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_are_accumulated_and_weights_move_under_every_engine(newer, engine):
    found = rules(newer, engine)
    for function in ("torch:non-reentrant", "torch:reentrant"):
        assert [found[function, variant] for variant in ("accumulated", "second")] == [[], []]


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_an_adapter_trains_in_two_ranks(newer, engine):
    found = rules(newer, engine)
    assert {function: found[function, "lora+inputs require grad"] for function, _ in found} == {
        "torch:non-reentrant": [],
        "torch:reentrant": [],
    }


def test_what_is_wrong_with_accumulation_or_after_an_optimizer_step_is_found_in_two_ranks(torch_python):
    names = ("accumulation_lost", "stale_weights")
    functions = [part for name in names for part in ("--checkpoint-fn", f"{MUTATIONS / name}.py:checkpoint_function")]
    ran = check(torch_python, "--thorough", "--engine", "ddp", "--convention", "bound-method", *functions)
    found = {(Path(key[0]).name.partition(".")[0], key[1]): value for key, value in rules(ran, "ddp").items()}
    assert found == {
        ("accumulation_lost", "accumulated"): ["CKPT005"],
        ("accumulation_lost", "second"): [],
        ("stale_weights", "accumulated"): [],
        ("stale_weights", "second"): ["CKPT009"],
    }
    titles = [one["title"] for one in ran.report["findings"]]
    assert any("with gradient accumulation" in title for title in titles)
    assert any("in the step after an optimizer step" in title for title in titles)


def test_a_plain_script_loses_an_adapters_gradients(older):
    """The most reported fault: no input of a reentrant checkpoint requires a gradient."""
    found = rules(older)
    assert {key for key, codes in found.items() if codes} == {
        ("torch:reentrant", "lora"),
        ("torch:reentrant", "prefix"),
    }
    findings = {one["probes"][0].rpartition("/")[2]: one for one in older.report["findings"]}
    assert {(one["rule"], one["severity"]) for one in findings.values()} == {("CKPT004", "warning")}
    lora = findings["lora"]
    assert "does not require grad" in lora["detail"]
    assert "does not call `enable_input_require_grads()`" in lora["title"]


def test_what_prepares_the_inputs_fixes_it(older):
    for finding in older.report["findings"]:
        prepare, other = finding["remedies"]
        assert (prepare["title"], prepare["proven"]) == (PREPARE, "failing")
        assert prepare["tried"][0].endswith("inputs require grad")
        assert "use_reentrant: false" in other["title"]
    assert older.report["verdict"] == "ok"


@pytest.mark.parametrize(
    ("config", "severity", "status"),
    [
        ({"num_kv_shared_layers": 20, "num_hidden_layers": 30}, "error", 1),
        # As the family has it: only some of its models share.
        ({}, "warning", 0),
    ],
)
def test_layers_that_share_keys_and_values_get_wrong_gradients(torch_python, tmp_path, config, severity, status):
    """Gemma 4: a reentrant checkpoint runs the layer whose keys are shared without a graph."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma4_text", **config}))
    ran = check(torch_python, *NEWER, "--model", tmp_path, "--engine", "none", "--checkpoint-fn", "torch")
    finding = ran.report["findings"][0]
    assert (finding["rule"], finding["severity"], ran.status) == ("CKPT005", severity, status)
    assert finding["title"].startswith("Reentrant checkpointing gives wrong gradients")
    assert finding["culprit"] is None
    assert "use_reentrant: false" in finding["remedies"][0]["title"]
    wrong = {probe for one in ran.report["findings"] for probe in one["probes"]}
    assert all("/torch:reentrant/" in probe for probe in wrong)
    assert f"{tmp_path}/torch:reentrant/none{'' if config else '/shared-kv'}" in wrong


def test_a_job_whose_layers_share_keys_and_values_fails_with_the_trainers_default(torch_python, tmp_path):
    """Layers of two kinds in turn: two layers could share nothing. LLaMA-Factory is reentrant unless told otherwise."""
    kinds = ["sliding_attention", "full_attention"] * 2
    config = {"num_kv_shared_layers": 2, "num_hidden_layers": 4, "layer_types": kinds}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma4_text", **config}))
    job = {"model_name_or_path": str(tmp_path), "stage": "sft", "do_train": True, "finetuning_type": "full"}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    ran = check(torch_python, *NEWER, "--job", tmp_path / "job.yaml")
    assert (ran.status, ran.report["verdict"], ran.rules) == (1, "fail", ["CKPT005"]), ran.err
    [finding] = ran.report["findings"]
    assert finding["culprit"] is None
    assert {"deepspeed", "llamafactory"} == {one["package"] for one in finding["ruled_out"]}
    assert finding["remedies"][0]["title"] == "set `use_reentrant_gc: false`"
    assert any(probe.endswith("/llamafactory/none/non-reentrant") for probe in finding["remedies"][0]["tried"])


FAMILIES = ("--model", "mixtral", "--model", "llama", "--engine", "none", "--checkpoint-fn", "torch:non-reentrant")


def dependent(ran):
    """The layers that save other shapes for other values, by family."""
    probes = [one for one in ran.report["probes"] if one["variant"] == "perturbed"]
    return {one["model"]: one["evidence"].get("value_dependent", []) for one in probes}


def test_experts_that_select_their_tokens_depend_on_values(demo_python):
    """transformers 4.51.3: each expert runs on the tokens that are routed to it."""
    ran = check(demo_python, *FAMILIES)
    assert (ran.status, ran.rules) == (0, ["CKPT014"]), ran.err
    found = dependent(ran)
    assert [one["layer"] for one in found["mixtral"]] == ["model.layers.0", "model.layers.1"]
    assert all(one["changed"] > 0 for one in found["mixtral"])
    assert found["llama"] == []
    [finding] = ran.report["findings"]
    assert (finding["severity"], finding["culprit"]["package"]) == ("warning", "transformers")
    assert "current_state" in finding["culprit"]["code"]
    assert "MixtralDecoderLayer" in finding["title"]


def test_experts_as_one_grouped_product_do_not(torch_python):
    """transformers 5.13.1: shapes stay, whichever expert a token is routed to."""
    ran = check(torch_python, *NEWER, *FAMILIES)
    assert (ran.status, ran.rules) == (0, []), ran.err
    assert dependent(ran) == {"mixtral": [], "llama": []}
