"""``ckptdoctor run`` with a trainer's real function, under the launchers that people use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import STACK, TORCH, TRAINER, build

pytestmark = pytest.mark.real

SCRIPT = """
import importlib.util, os, sys, types
import torch, torch.distributed as dist
from transformers import Glm4Config, Glm4ForCausalLM

def trainer():
    root = importlib.util.find_spec("llamafactory").submodule_search_locations[0]
    for name in ("llamafactory", "llamafactory.extras", "llamafactory.model", "llamafactory.model.model_utils"):
        sys.modules[name] = shell = types.ModuleType(name)
        shell.__path__ = [os.path.join(root, *name.split(".")[1:])]
    logging = types.ModuleType("llamafactory.extras.logging")
    logging.get_logger = lambda name: types.SimpleNamespace(info_rank0=print, warning_rank0=print)
    constants = types.ModuleType("llamafactory.extras.constants")
    constants.LAYERNORM_NAMES = set()
    for module in (logging, constants):
        sys.modules[module.__name__] = module
        setattr(sys.modules["llamafactory.extras"], module.__name__.rpartition(".")[2], module)
    from llamafactory.model.model_utils import checkpointing
    return checkpointing

for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "0")):
    os.environ.setdefault(name, value)  # accelerate's launcher starts one process on a CPU, and leaves these out
dist.init_process_group("gloo")
torch.manual_seed(0)
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
model = Glm4ForCausalLM(Glm4Config(**sizes, num_key_value_heads=2, head_dim=8, pad_token_id=0, eos_token_id=1)).train()
model.config.use_cache = False
model.enable_input_require_grads()
if sys.argv[-1] == "own":
    model.gradient_checkpointing_enable({"use_reentrant": True})
else:
    trainer()._gradient_checkpointing_enable(model)
wrapped = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
ids = torch.randint(0, 64, (2, 8), generator=torch.Generator().manual_seed(dist.get_rank()))
for _ in range(4):
    loss = wrapped(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if dist.get_rank() == 0:
        print("loss", repr(loss.item()), flush=True)
# A rank that leaves while gloo still has threads of the wrapper's now and then aborts.
dist.barrier()
del wrapped, loss
dist.destroy_process_group()
"""


def train(python, script, function, *before):
    launch = [
        str(python),
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        function,
    ]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*before, *launch], env=environ, capture_output=True, text=True, timeout=200, check=False)
    return done, [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("loss")]


def test_a_training_that_dies_trains_as_with_transformers_own_checkpointing(demo_python, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)

    ran, losses = train(demo_python, script, "trainer", sys.executable, "-m", "ckptdoctor", "run", "--")
    _, expected = train(demo_python, script, "own")
    dead, none = train(demo_python, script, "trainer")

    assert ran.returncode == 0, ran.stderr
    assert losses == expected
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert ran.stderr.count("ckptdoctor run: adapting what Glm4DecoderLayer") == 1
    assert dead.returncode != 0
    assert none == []
    assert "has no attribute '__self__'" in dead.stderr


@pytest.fixture(scope="module")
def launchers(environments):
    """The stack on which the fault began, with the launchers of DeepSpeed and accelerate."""
    return build(environments / "launchers", [TORCH, *STACK, "accelerate"], [TRAINER])


@pytest.mark.parametrize(
    "launcher",
    [
        ["deepspeed", "--num_accelerators", "2", "--master_port", "29517"],
        ["accelerate", "launch", "--cpu", "--num_processes", "1", "--mixed_precision", "no", "--dynamo_backend", "no"],
    ],
    ids=lambda words: words[0],
)
def test_it_works_in_the_processes_that_other_launchers_start(launchers, tmp_path, launcher):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    folder = str(launchers.parent)
    environ = {
        **os.environ,
        "PATH": os.pathsep.join([folder, os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "DS_ACCELERATOR": "cpu",
        "HF_HOME": str(tmp_path),
    }
    command = [sys.executable, "-m", "ckptdoctor", "run", "--", *launcher, str(script), "trainer"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=200, check=False)

    losses = [float(line.split()[-1]) for line in done.stdout.splitlines() if "loss " in line]
    assert done.returncode == 0, done.stderr
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    said = done.stdout + done.stderr
    assert said.count("ckptdoctor run: adapting what Glm4DecoderLayer") == 1
    assert said.count("ckptdoctor run: active for") == 1
