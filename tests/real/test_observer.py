"""The observer of ``ckptdoctor watch`` in jobs that really run: what it sees, and that it leaves a job as it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from ckptdoctor import catalog
from tests.conftest import STACK, TORCH, TRAINER, build

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
WATCHED = ROOT / "tests" / "real" / "watched"
HOOK = ROOT / "probes" / "no_touch"
QUIET = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false"}


# -- jobs of plain torch, in one process ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jobs(torch_python):
    """What was seen of each job in ``scenarios.py``, by its name."""
    environ = {**os.environ, **QUIET, "NO_TOUCH": str(HOOK), "CATALOG": json.dumps(catalog.sent())}
    command = [str(torch_python), str(WATCHED / "scenarios.py")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert told, done.stderr
    return {one["name"]: one for one in told}


def steps(job):
    return job["process"]["steps"]


def counts(step):
    """Runs in the forward pass and in all, of each layer."""
    return [(one["in_forward"], one["forwards"]) for one in step["layers"]]


def test_no_job_is_changed_and_nothing_is_left_behind(jobs):
    for name, job in jobs.items():
        assert job.get("same") is True, (name, job)
        assert job["hooks left"] is False, name
        assert job["model left"] is False, name
        assert job["process"]["ended"] != "gave up", (name, job["process"]["why"])


SOUND = {
    "sound": (1, 2),
    "reentrant": (1, 2),
    "closure": (1, 2),
    "lbfgs": (3, 6),
    "evaluates": (1, 2),
    "reference": (2, 4),
    "other_order": (2, 4),
    "listed_parts": (1, 2),
    "two_models": (1, 2),
    "master_weights": None,
    "shared_layers": (4, 8),
    "accumulates": (2, 4),
    "selective": (1, 2),
    "debug": (1, 2),
    "users_hooks": (1, 2),
    "deep": (1, 2),
    "strict_warnings": (1, 2),
    "every_second": (1, 2),
    "parts": (1, 2),
    "caught_error": (1, 2),
    "compiled_loss": (1, 2),
    "loses_no_random_state": (1, 2),
    "own function: none": (1, 2),
    "routing": (1, 2),
    "raises_in_backward": (1, 2),
}
"""Jobs in which nothing is wrong with checkpointing, with the runs of each layer in a step."""


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_job_raises_no_alarm(jobs, name):
    observed = steps(jobs[name])

    assert len(observed) == 2
    for step in observed:
        assert step["differs"] == []
        assert step["arithmetic"] == []
        assert step["gradients"]["missing"] == []
        assert step["not_finite"] == []
        assert all(again == 2 * forward for forward, again in counts(step))
        assert step["layers"]
        assert SOUND[name] is None or set(counts(step)) == {SOUND[name]}


BROKEN = {
    "loses_random_state": "random numbers",
    "functional_dropout": "random numbers",
    "own_generator": "values",
    "own function: random state": "random numbers",
    "own function: keyword": "keywords",
    "own function: autocast": "shapes",
    "own function: value": "values",
    "own function: shape": "shapes",
    "routing_flips": "values",
}
"""Jobs in which recomputation gets something else than the forward pass, and what."""


@pytest.mark.parametrize("name", BROKEN)
def test_what_differs_in_recomputation_is_seen(jobs, name):
    for step in steps(jobs[name]):
        assert {one["what"] for one in step["differs"]} == {BROKEN[name]}
        assert {one["layer"] for one in step["differs"]} == {"layers.0", "layers.1", "layers.2"}


def test_the_line_that_drops_random_states_is_named_where_it_is_just_one(jobs):
    step = steps(jobs["loses_random_state"])[0]

    assert step["preserves_random"] is False
    assert step["random_dropped_by"] is None  # three jobs in that file do it


def test_another_precision_in_recomputation_is_seen(jobs):
    (first, *_) = steps(jobs["own function: autocast"])[0]["arithmetic"]

    assert first["forward"] == "float32 without autocast"
    assert first["recomputed"] == "float32 under autocast to bfloat16"


def test_how_often_layers_ran_is_seen(jobs):
    for name in ("nested", "wrapped_twice", "own function: twice"):
        assert set(counts(steps(jobs[name])[0])) == {(1, 3)}, name
    for name in ("off", "eval_mode"):
        assert set(counts(steps(jobs[name])[0])) == {(1, 1)}, name
    assert counts(steps(jobs["skipped_layer"])[0]) == [(1, 2), (1, 1), (1, 2)]
    frozen = steps(jobs["frozen_layers"])[0]
    assert counts(frozen) == [(1, 1), (1, 2), (1, 2)]
    assert [one["reached"] for one in frozen["layers"]] == [False, True, True]
    assert frozen["gradients"]["missing"] == []


def test_parameters_that_are_cut_off_are_seen(jobs):
    step = steps(jobs["frozen_prefix"])[0]

    assert len(step["gradients"]["missing"]) == 18
    assert {one["reached"] for one in step["layers"]} == {False}
    assert steps(jobs["not_finite"])[0]["not_finite"] == ["layers.1.up.weight"]


def test_memory_that_is_kept_all_the_same_is_seen(jobs):
    kept, sound = (steps(jobs[name])[0]["kept"] for name in ("keeps_memory", "deep"))

    assert kept["each"] > 800_000 > 100_000 > sound["each"]
    assert kept["output"] == sound["output"] == 2 * 8 * 16 * 4


def test_a_checkpoint_function_of_ones_own_is_named(jobs):
    step = steps(jobs["own function: none"])[0]

    assert step["function"] == "__main__:Recompute"
    assert step["function_called"] == 3
    assert step["handovers"][0]["callable"]["text"] == "Layer (the module itself)"
    assert step["handovers"][0]["by"]["code"] == "return Recompute.apply(layer, fault, hidden)"


def test_errors_that_the_job_catches_are_kept(jobs):
    for name, during in (("raises_in_backward", "backward"), ("caught_error", "forward")):
        error = jobs[name]["process"]["error"]
        assert error["during"] == during
        assert error["error"]["frames"][-1]["file"].endswith((".py",))


COMPILED = ("compiled_model", "compiled_in_place", "compiled_layers", "compiled_forwards")


@pytest.mark.parametrize("name", [*COMPILED, "compiled_forward_pass", "compiled_step"])
def test_what_is_compiled_runs_as_before_and_is_said_not_to_be_observed(jobs, name):
    (step,) = steps(jobs[name])

    assert step["layers"] == []
    expected = "torch.compile compiles the layers" if name in COMPILED else "no layer ran outside of compiled code"
    assert step["unobserved"] == expected


def test_a_fault_of_its_own_is_reported_and_switches_it_off_and_a_fork_is_observed(torch_python):
    environ = {**os.environ, **QUIET, "NO_TOUCH": str(HOOK), "CATALOG": json.dumps(catalog.sent())}
    command = [str(torch_python), "-W", "error::UserWarning", str(WATCHED / "own_faults.py")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    *faults, fork = [json.loads(line) for line in done.stdout.splitlines()]

    assert len(faults) == 6, done.stderr
    for one in faults:
        assert one["same"], one
        assert one["clean"], one
        assert one["ended"] == "gave up"
        assert "a fault of the observer's own" in one["why"]
    assert fork["told"] == [["observed", 2]]


# -- real trainers, in processes of their own -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def old(environments):
    """transformers 4.51.3 with accelerate and DeepSpeed."""
    return build(environments / "launchers", [TORCH, *STACK, "accelerate"], [TRAINER])


@pytest.fixture(scope="module")
def new(environments):
    """transformers with the calling convention of 5.23, PEFT and TRL."""
    wanted = ("transformers==5.24.0", "accelerate==1.15.0", "peft==0.21.2", "trl==1.16.0", "numpy")
    return build(environments / "adapters", [TORCH, *wanted])


@pytest.fixture
def train(tmp_path):
    """Run a job, watched or not: what each rank reported, by rank, and the digests of its weights."""

    def start(python, ranks, *words, watch=True, status=0, **environ):
        folder = tmp_path / "evidence"
        folder.mkdir(exist_ok=True)
        for file in folder.glob("process-*"):
            file.unlink()
        (folder / "settings.json").write_text(json.dumps({"steps": 2, "catalog": catalog.sent()}))
        hooked = {"PYTHONPATH": str(HOOK), "CKPTDOCTOR_DO": "watch", "CKPTDOCTOR_EVIDENCE": str(folder)}
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
        done = subprocess.run(
            [str(python), *launch, str(WATCHED / words[0]), *words[1:]],
            env={**os.environ, **QUIET, **environ, **(hooked if watch else {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode != 0) == bool(status), done.stderr[-3000:]
        assert "ckptdoctor" not in done.stderr
        told = [json.loads(file.read_text()) for file in folder.glob("process-*.json")]
        weights = sorted(re.findall(r"rank \d weights [0-9a-f]{64}", done.stdout))
        return {one["rank"]: one for one in told if one["steps"] or one.get("error")}, weights

    return start


def is_sound(process, engine, runs):
    assert process["ended"] == "observed", process["why"]
    assert len(process["steps"]) == 2
    for step in process["steps"]:
        assert (step["engine"], step["model_class"]) == (engine, "LlamaForCausalLM")
        assert step["differs"] == step["arithmetic"] == step["unused"] == step["gradients"]["missing"] == []
        assert set(counts(step)) == {runs}
        assert {one["type"] for one in step["layers"]} == {"LlamaDecoderLayer"}
        assert step["switched_on_by"]


@pytest.mark.parametrize(("engine", "words"), [("ddp", []), ("fsdp2", ["fsdp2"]), ("zero3", ["zero3"])])
def test_a_trainer_with_two_ranks(old, train, engine, words):
    _, expected = train(old, 2, "trainer.py", *words, watch=False)
    told, weights = train(old, 2, "trainer.py", *words)

    assert weights == expected
    assert len(weights) == 2
    assert sorted(told) == [0, 1]
    for process in told.values():
        is_sound(process, engine, (1, 2))


def test_accelerate_with_a_loop_of_its_own_that_accumulates(old, train):
    _, expected = train(old, 1, "loop.py", "reentrant", watch=False)
    told, weights = train(old, 1, "loop.py", "reentrant")

    assert weights == expected != []
    is_sound(told[0], "none", (2, 4))
    assert told[0]["steps"][0]["function"] == "torch:reentrant"
    assert told[0]["steps"][0]["switched_on_by"]["file"].endswith("loop.py")


def test_one_rank_that_differs(old, train):
    told, _ = train(old, 2, "trainer.py", FAULT="functional_dropout", FAULT_RANK="1")

    assert told[0]["steps"][0]["differs"] == []
    (one,) = told[1]["steps"][0]["differs"]
    assert (one["layer"], one["what"]) == ("model.layers.1", "values")


def test_an_error_in_backward_in_one_rank(old, train):
    told, _ = train(old, 2, "trainer.py", status=1, FAULT="raises_in_backward", FAULT_RANK="1")

    assert told[1]["error"]["during"] == "backward"
    assert told[1]["error"]["error"]["message"] == "a fault in backward"
    # The other rank dies of the connection that ends, if it comes to that before it is stopped.
    assert not told.get(0, {}).get("error") or "gloo" in told[0]["error"]["error"]["message"]


def test_trl(new, train):
    _, expected = train(new, 1, "sft.py", watch=False)
    told, weights = train(new, 1, "sft.py")

    assert weights == expected != []
    is_sound(told[0], "none", (2, 4))


def test_lora(new, train):
    told, _ = train(new, 1, "lora.py", "inputs", "reentrant")

    for step in told[0]["steps"]:
        assert step["differs"] == step["gradients"]["missing"] == []
        assert set(counts(step)) == {(1, 2)}


def test_a_forward_that_was_replaced_switches_checkpointing_off_since_5_23(old, new, train):
    broken, _ = train(new, 1, "trainer.py", FAULT="replaced_forward")
    step = broken[0]["steps"][0]

    assert set(counts(step)) == {(1, 1)}
    (replaced,) = step["replaced"]
    assert replaced["what"] == "LlamaDecoderLayer.forward"
    assert replaced["by"]["code"] == "kind.forward = patched_forward"
    assert replaced["with_"]["function"].endswith("patched_forward")

    harmless, _ = train(old, 1, "trainer.py", FAULT="replaced_forward")
    assert set(counts(harmless[0]["steps"][0])) == {(1, 2)}
