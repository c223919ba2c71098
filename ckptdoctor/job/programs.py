"""Programs, scripts and modules that start training, and how each takes its settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckptdoctor.job import arguments
from ckptdoctor.job.arguments import Arguments
from ckptdoctor.job.launch import Launch, Sharding
from ckptdoctor.job.starting import Started

PROGRAMS = ("llamafactory-cli", "lmf", "axolotl", "swift", "megatron", "trl", "tune")
"""Programs of trainers."""


def _alone(values: Mapping[str, Any], variables: Mapping[str, str]) -> Launch | None:
    return None


@dataclass(frozen=True)
class Program:
    """How one program takes its settings.

    Attributes:
        format: The kind of job, as ``formats()`` names it; empty where its keys tell.
        read: Reads its arguments.
        takes_file: Its first argument may be a file of settings.
        takes_config: ``--config`` names a file of settings.
        refused: What it is, where such jobs cannot be read.
        is_trainers: It is a trainer's own, and no script that may be anything.
        launch: What it starts its processes with, by its settings and its environment.
    """

    format: str = ""
    read: Callable[[Sequence[str]], Arguments] = arguments.flags
    takes_file: bool = False
    takes_config: bool = False
    refused: str = ""
    is_trainers: bool = True
    launch: Callable[[Mapping[str, Any], Mapping[str, str]], Launch | None] = _alone


def _mixed(words: Sequence[str]) -> Arguments:
    """``key=value`` after a file, else options, as LLaMA-Factory takes either."""
    is_flags = any(word.startswith("--") for word in words)
    return arguments.flags(words) if is_flags else arguments.assignments(words)


def _hydras(configuration: str) -> Callable[[Sequence[str]], Arguments]:
    """Hydra's overrides; the configuration that they change is ``config_name``, by default that of the command."""

    def read(words: Sequence[str]) -> Arguments:
        found = arguments.assignments(words)
        named = arguments.flags(words)
        found.values["config_name"] = named.values.get("config_name", configuration)
        if variable := named.unresolved.get("config_name"):
            found.unresolved["config_name"] = variable
        return found

    return read


def _by_torchrun(*names: str) -> Callable[[Mapping[str, Any], Mapping[str, str]], Launch | None]:
    """A program that starts torchrun where one of some variables is set and not off."""

    def launch(values: Mapping[str, Any], variables: Mapping[str, str]) -> Launch | None:
        own = values.get("ENV")
        set_ = {**(own if isinstance(own, Mapping) else {}), **variables}
        found = [name for name in names if str(set_.get(name, "")).lower() not in ("", "0", "false", "n")]
        return Launch(f"`{found[0]}`", "ddp") if found else None

    return launch


_TRLS = {
    "single_gpu": Launch("`--accelerate_config single_gpu`", "one", precision="bf16"),
    "multi_gpu": Launch("`--accelerate_config multi_gpu`", "ddp", precision="bf16"),
    "fsdp1": Launch("`--accelerate_config fsdp1`", "fsdp", Sharding(1), precision="bf16"),
    "fsdp2": Launch("`--accelerate_config fsdp2`", "fsdp", Sharding(2), precision="bf16"),
    **{
        f"zero{stage}": Launch(
            f"`--accelerate_config zero{stage}`",
            "deepspeed",
            deepspeed={"zero_optimization": {"stage": stage}, "bf16": {"enabled": "auto"}},
            precision="bf16",
        )
        for stage in (1, 2, 3)
    },
}
"""Configurations of accelerate that TRL ships, under the names that its command takes."""


def _trl(values: Mapping[str, Any], variables: Mapping[str, str]) -> Launch | None:
    name = values.get("accelerate_config")
    if isinstance(name, str) and name not in _TRLS:
        why = f"`--accelerate_config`: {name} is none of TRL's own; add it with --job."
        return Launch("`--accelerate_config`", unjudged=(why,))
    return _TRLS[name] if isinstance(name, str) else None


LLAMAFACTORY = Program("llamafactory", _mixed, takes_file=True, launch=_by_torchrun("FORCE_TORCHRUN"))
AXOLOTL = Program("axolotl", takes_file=True)
SWIFT = Program("swift", takes_file=True, launch=_by_torchrun("NPROC_PER_NODE", "NNODES"))
MEGATRON = Program("swift-megatron", takes_file=True)
TRL = Program("trl", takes_config=True, launch=_trl)
VERL = Program("verl", _hydras("ppo_trainer"))
VERL_SFT = Program("verl", _hydras("sft_trainer"))
OPENRLHF = Program("openrlhf")
SCRIPT = Program(read=_mixed, takes_file=True, takes_config=True, is_trainers=False)

SWIFTS = ("sft", "pt", "rlhf")
TRLS = ("sft", "dpo", "grpo", "kto", "reward", "rloo", "orpo", "cpo", "bco")

_MODULES: tuple[tuple[str, Program], ...] = (
    (r"axolotl\.cli\.train", AXOLOTL),
    (r"llamafactory\.(cli|launcher)", LLAMAFACTORY),
    (r"swift\.cli\._megatron\.(sft|pt|rlhf)", MEGATRON),
    (r"swift\.cli\.(sft|pt|rlhf)", SWIFT),
    (r"trl\.scripts\.(\w+)", TRL),
    (r"verl\.trainer\.\w*sft_trainer\w*", VERL_SFT),
    (r"(?:verl|recipe)\.[\w.]*main_(?!generation|eval)\w+", VERL),
    (r"openrlhf\.cli\.train_\w+", OPENRLHF),
    (r"open_instruct\.\w+", Program(refused="an open-instruct job: not supported")),
    (r"torchtitan\.\w+", Program(refused="a torchtitan job: not supported")),
    (r"torchtune\.[\w.]+", Program(refused="a torchtune recipe: not supported")),
)


def program_of(run: Started) -> Program | None:
    """The program that a command runs, where it starts training; nothing where it does not."""
    if run.is_python:
        return _python(run)
    kind, *rest = run.words or [""]
    found = {
        "llamafactory-cli": LLAMAFACTORY if kind == "train" else None,
        "lmf": LLAMAFACTORY if kind == "train" else None,
        "axolotl": AXOLOTL if kind == "train" else None,
        "swift": SWIFT if kind in SWIFTS else None,
        "megatron": MEGATRON if kind in SWIFTS else None,
        "trl": TRL if kind in TRLS else None,
        "tune": Program(refused="a torchtune recipe: not supported") if kind == "run" else None,
    }.get(run.program)
    if found is not None:
        run.words[:] = rest
    return found


def _python(run: Started) -> Program | None:
    module = run.program.removesuffix(".py").strip("./").replace("/", ".")
    for pattern, program in _MODULES:
        if re.search(rf"(?:^|\.){pattern}$", module):
            return program
    if any(re.match(r"\+{0,2}actor_rollout_ref\.[\w.]+=", word) for word in run.words):
        return VERL
    return SCRIPT if run.words else None
