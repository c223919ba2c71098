"""What ``impact`` costs beside running everything on both sides: ``python benchmarks/impact.py --python TARGET``.

By hand means: ``matrix --exhaustive`` over base and head, with the same trainer and the same model families. The head
is the base with a comment, with other code in one family, or with other code in the layers that all families share. All
of them run one after another, each with a store of its own and from the same overlays. The target needs torch and
numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from uv import find_uv_bin

from ckptdoctor.environment import pip_settings

BASE = "5.22.2"
FAMILIES = (
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "phi3",
    "gpt2",
    "opt",
    "bloom",
    "falcon",
    "gemma2",
    "olmo2",
    "starcoder2",
)
LAYERS = "transformers/modeling_layers.py"
PASSES = "return self._gradient_checkpointing_func(partial(super().__call__, **kwargs), *args)"
EDITS = {
    "a comment": (LAYERS, PASSES, f"# passed\n            {PASSES}"),
    "code of one family": (
        "transformers/models/llama/modeling_llama.py",
        "hidden_states = residual + hidden_states",
        "hidden_states = hidden_states + residual",
    ),
    "code of all families": (
        LAYERS,
        PASSES,
        "call = super().__call__\n"
        "            return self._gradient_checkpointing_func(lambda *inputs: call(*inputs, **kwargs), *args)",
    ),
}


def main() -> None:
    """Time both ways and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the target's interpreter: torch, numpy and nothing else")
    parser.add_argument("--trainer", default="llamafactory==0.9.5")
    parser.add_argument("--families", type=int, default=len(FAMILIES), help="how many model families there are")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = unpacked(Path(folder, "base"))
        heads = {name: edited(base, Path(folder, name.replace(" ", "-")), *edit) for name, edit in EDITS.items()}
        run = Runs(options.python, options.trainer, FAMILIES[: options.families], Path(folder))
        for head in heads.values():  # the overlays are made, and torch is read from the disk, before anything is timed
            run.by_hand(head, families=FAMILIES[:1])
        for name, head in heads.items():
            hand, (seconds, found) = run.by_hand(head), run.impact(head)
            kinds = ", ".join(sorted({one["kind"] for one in found["changes"]})) or "nothing changed"
            ran = f"{len(found['families'])} of {options.families} families, {kinds}"
            print(
                f"{name:22} by hand {hand:7.1f} s, impact {seconds:7.1f} s, {hand / seconds:6.1f} times less  ({ran})"
            )


class Runs:
    """Runs commands on one target, each with a store that knows nothing."""

    def __init__(self, python: str, trainer: str, families: tuple[str, ...], folder: Path) -> None:
        self._target, self._trainer = ["--python", python], trainer
        self._families, self._folder, self._count = families, folder, 0

    def by_hand(self, head: Path, families: tuple[str, ...] = ()) -> float:
        """Everything on both sides."""
        trainer = self._trainer
        axes = [part for one in (f"transformers=={BASE}", str(head), trainer) for part in ("--vary", one)]
        seconds, _ = self._run("matrix", *axes, "--with", "accelerate", "--exhaustive", families=families)
        return seconds

    def impact(self, head: Path) -> tuple[float, dict]:
        """The same by impact: seconds, and what it found."""
        sides = ["--base", f"transformers=={BASE}", "--head", str(head), "--with", self._trainer, "--no-fixes"]
        return self._run("impact", *sides, "--with", "accelerate")

    def _run(self, command: str, *arguments: str, families: tuple[str, ...] = ()) -> tuple[float, dict]:
        self._count += 1
        store = self._folder / f"{self._count}.sqlite"
        models = [part for one in families or self._families for part in ("--model", one)]
        words = [sys.executable, "-m", "ckptdoctor", command, *self._target, *arguments, *models]
        started = time.perf_counter()
        done = subprocess.run(
            [*words, "--store", str(store), "--format", "json"], capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 1), done.stderr
        return time.perf_counter() - started, json.loads(done.stdout)


def unpacked(folder: Path) -> Path:
    """The base, installed in a folder."""
    arguments = pip_settings.uv_arguments(pip_settings.read(None, os.environ))
    command = [find_uv_bin(), "pip", "install", "--quiet", *arguments, "--no-deps", "--target", str(folder)]
    subprocess.run([*command, f"transformers=={BASE}"], check=True)
    return folder


def edited(base: Path, folder: Path, file: str, old: str, new: str) -> Path:
    """A wheel of the base with other text in one file."""
    folder.mkdir()
    wheel = folder / f"transformers-{BASE}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        for path in sorted(base.rglob("*")):
            name = path.relative_to(base).as_posix()
            if path.is_file() and name.startswith("transformers") and "__pycache__" not in name:
                content = path.read_bytes()
                if name == file:
                    assert old.encode() in content, file
                    content = content.replace(old.encode(), new.encode())
                made.writestr(name, content)
    return wheel


if __name__ == "__main__":
    main()
