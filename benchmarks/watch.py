"""How much watching costs a job: ``python benchmarks/watch.py --python TARGET``, where TARGET has torch.

In one process and in turn, so that a machine that slows down slows all of them: steps that nobody watches, the two steps that
an observer watches, and steps after it is gone; for several sizes of a model whose layers are checkpointed. Each figure is the
median over the rounds. ``--device cuda`` runs it on a GPU. Then the start of a Python that imports torch, with and without
the observer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from ckptdoctor import catalog

ROOT = Path(__file__).resolve().parent.parent
HOOK = ROOT / "probes" / "no_touch"
SIZES = ((128, 4, 128), (512, 4, 512), (1024, 8, 512))
"""Of models: features, layers, tokens."""


def main() -> None:
    """Time steps and starts, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", required=True, help="an interpreter with torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "settings.json").write_text(json.dumps({"steps": 2, "catalog": catalog.sent()}))
        print(
            "| features | layers | tokens | ms plain | first observed | second | later |\n|---|---|---|---|---|---|---|"
        )
        for size in SIZES:
            done = subprocess.run(
                [options.python, "-c", STEPS, str(HOOK), folder, options.device, str(options.rounds), *map(str, size)],
                capture_output=True,
                text=True,
                check=True,
            )
            times = json.loads(done.stdout.splitlines()[-1])
            plain, *others = (statistics.median(times[name]) for name in ("plain", "first", "second", "later"))
            ratios = " | ".join(f"{one / plain:.2f} (+{1000 * (one - plain):.1f} ms)" for one in others)
            print(f"| {' | '.join(map(str, size))} | {1000 * plain:.1f} | {ratios} |", flush=True)
            once = times["once"][0]
        bare, watched = starts(options.python, folder, options.rounds)
    print(f"reading what is installed, once a job: {1000 * once:.0f} ms")
    print(f"a Python that imports torch: {bare:.2f} s, watched {watched - bare:+.2f} s   goal +0.20")


def starts(python: str, folder: str, rounds: int) -> tuple[float, float]:
    """Seconds that a Python which imports torch takes, without the observer and with it."""
    hooked = {"PYTHONPATH": str(HOOK), "CKPTDOCTOR_DO": "watch", "CKPTDOCTOR_EVIDENCE": folder}
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + 1):
        for is_watched, taken in times.items():
            started = time.perf_counter()
            subprocess.run(
                [python, "-c", "import torch"], env={**os.environ, **(hooked if is_watched else {})}, check=True
            )
            if number:
                taken.append(time.perf_counter() - started)
    return statistics.median(times[False]), statistics.median(times[True])


STEPS = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import torch
import _ckptdoctor_hook as hook
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

folder, device, rounds, features, count, tokens = *sys.argv[2:4], *map(int, sys.argv[4:])


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            self.add_module(name, torch.nn.Linear(features, features, bias=False))

    def forward(self, hidden):
        parts = [one(hidden).unflatten(-1, (-1, 64)).transpose(1, 2) for one in (self.q_proj, self.k_proj, self.v_proj)]
        return self.o_proj(functional.scaled_dot_product_attention(*parts, is_causal=True).transpose(1, 2).flatten(2))


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = torch.nn.Linear(features, 3 * features, bias=False)
        self.up_proj = torch.nn.Linear(features, 3 * features, bias=False)
        self.down_proj = torch.nn.Linear(3 * features, features, bias=False)

    def forward(self, hidden):
        return self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm, self.self_attn = torch.nn.RMSNorm(features), Attention()
        self.post_attention_layernorm, self.mlp = torch.nn.RMSNorm(features), Mlp()

    def forward(self, hidden):
        hidden = hidden + self.self_attn(self.input_layernorm(hidden))
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(1000, features), torch.nn.Linear(features, 1000, bias=False)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(count))

    def forward(self, ids):
        hidden = self.embedding(ids)
        for layer in self.layers:
            hidden = checkpoint(layer, hidden, use_reentrant=False)
        return self.head(hidden)


model = Model().to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
ids = torch.randint(0, 1000, (1, tokens), device=device)


# On a CPU, what counts is its time in one thread: other processes do not slow that down.
torch.set_num_threads(1)
now = time.process_time if device == "cpu" else time.perf_counter


def step():
    started = now()
    with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
        loss = functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if device != "cpu":
        torch.cuda.synchronize()
    return now() - started


times = {name: [] for name in ("plain", "first", "second", "later")}
for _ in range(3):
    step()
for _ in range(rounds):
    times["plain"] += [step() for _ in range(4)]
    observer = hook.probes("observer.observer").start(folder)
    times["first"].append(step())
    times["second"].append(step())
    assert not observer.is_open
    times["later"] += [step() for _ in range(4)]
started = now()
hook.probes("stack").facts()
times["once"] = [now() - started]
print(json.dumps(times))
"""
"""Prints the seconds of each kind of step."""


if __name__ == "__main__":
    main()
