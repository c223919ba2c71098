"""``ckptdoctor watch`` with real training commands, and its interface for Python, transformers' Trainer and pytest."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import STACK, TORCH, TRAINER, build, run
from tests.real.test_run import SCRIPT

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
QUIET = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    file = tmp_path_factory.mktemp("job") / "train.py"
    file.write_text(SCRIPT)
    return file


def torchrun(python, *words):
    return ["--", str(python), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, words)]


def test_a_sound_job_of_two_ranks_trains_to_its_end_and_is_ok(demo_python, script):
    ran = run("watch", *torchrun(demo_python, script, "own"), environ=QUIET)

    assert ran.status == 0, ran.err
    assert "OK: Gradient checkpointing works in this job with torch:reentrant, under DDP." in ran.err
    assert "Seen in 4 steps of 2 ranks." in ran.err
    assert "train.py:" in ran.err  # who switched it on
    assert ran.out.count("loss") == 4


def test_a_job_that_dies_is_told_once_with_the_line_to_blame(demo_python, script, tmp_path):
    file = tmp_path / "report.txt"
    ran = run("watch", "--format", f"text={file}", *torchrun(demo_python, script, "trainer"), environ=QUIET)

    assert ran.status == 1
    text = file.read_text()
    assert text.count("error[CKPT001]: ") == 1
    assert "llamafactory/model/model_utils/checkpointing.py:86" in text
    assert "transformers/models/glm4/modeling_glm4.py:577" in text


def test_run_and_watch_together(demo_python, script):
    ran = run("run", "--watch", "--", str(demo_python), str(script), "trainer", environ=QUIET)

    assert ran.status == 0, ran.err
    assert "adapting what Glm4DecoderLayer is passed as" in ran.err
    assert "OK: Gradient checkpointing works in this job with llamafactory" in ran.err


@pytest.mark.parametrize(("case", "status"), [("bad", 1), ("good", 0)])
def test_the_cases_of_ckpt015(demo_python, case, status):
    ran = run(
        "watch", "--exit-after", "--", str(demo_python), str(CASES / f"ckpt015_{case}.py"), "100000", environ=QUIET
    )

    assert ran.status == status, ran.err
    assert ("draws other random numbers in recomputation" in ran.err) == (case == "bad")
    assert ("preserve_rng_state=False" in ran.err) == (case == "bad")


INSIDE = """
import sys
import torch, ckptdoctor
with ckptdoctor.watching() as watched:
    exec(open(sys.argv.pop(1)).read())
print(watched.report.verdict, [one.rule for one in watched.report.findings])
"""

FIXTURE = """
def test_good(ckptdoctor_watching):
    exec(open({good!r}).read(), {{}})

def test_bad(ckptdoctor_watching):
    exec(open({bad!r}).read(), {{}})

def test_that_trains_nothing(ckptdoctor_watching):
    import torch
"""

CALLBACK = """
import torch, ckptdoctor
from transformers import Glm4Config, Glm4ForCausalLM, Trainer, TrainingArguments

sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
model = Glm4ForCausalLM(Glm4Config(**sizes, num_key_value_heads=2, head_dim=8, pad_token_id=0, eos_token_id=1))
data = [dict.fromkeys(("input_ids", "labels"), torch.randint(0, 64, (8,))) for _ in range(16)]
settings = dict(max_steps=4, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True)
arguments = TrainingArguments("out", gradient_checkpointing=True, **settings)
callback = ckptdoctor.callback()
Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()
print(callback.report.verdict, *callback.report.notes)
"""


@pytest.fixture(scope="module")
def inside(environments):
    """Runs Python in an environment with torch and transformers that sees ckptdoctor, and what it needs, as installed."""
    python = build(environments / "launchers", [TORCH, *STACK, "accelerate"], [TRAINER])
    paths = [str(ROOT), sysconfig.get_paths()["purelib"]]

    def start(folder, *words):
        environ = {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.run(
            [str(python), *words], cwd=folder, env=environ, capture_output=True, text=True, check=False
        )

    return start


def test_a_loop_of_ones_own_is_watched_from_python(inside, tmp_path):
    (tmp_path / "loop.py").write_text(INSIDE)

    bad = inside(tmp_path, "loop.py", str(CASES / "ckpt015_bad.py"))
    good = inside(tmp_path, "loop.py", str(CASES / "ckpt015_good.py"))

    assert bad.stdout == "fail ['CKPT015']\n", bad.stderr
    assert good.stdout == "ok []\n", good.stderr


def test_a_trainer_is_watched_by_a_callback(inside, tmp_path):
    (tmp_path / "train.py").write_text(CALLBACK)

    ran = inside(tmp_path, "train.py")

    assert "ok Checkpointing was switched on by transformers 4.51.3, transformers/trainer.py:" in ran.stdout, ran.stderr
    assert ran.stderr.count("ckptdoctor: OK: ") == 1


def test_a_fixture_fails_the_test_whose_steps_broke_a_rule(inside, tmp_path):
    names = {name: str(CASES / f"ckpt015_{name}.py") for name in ("good", "bad")}
    (tmp_path / "test_it.py").write_text(FIXTURE.format(**names))

    ran = inside(tmp_path, "-m", "pytest", "-q", "-n", "0", "test_it.py")

    assert "3 passed, 2 errors" in ran.stdout, ran.stdout
    assert "CKPT015" in ran.stdout
    assert "No training step was seen" in ran.stdout
