"""A command made small: fewer ranks, on this machine, without loggers. What its processes do is made small in them."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ckptdoctor.observe import launchers
from ckptdoctor.observe.launchers import RANKS
from ckptdoctor.store import writing

FOLDER = "CKPTDOCTOR_REHEARSAL"
"""Variable with the temporary folder that takes what the job writes; ``probes/shrinker/telling.py`` reads it."""

QUIET = {
    "WANDB_MODE": "disabled",
    "SWANLAB_MODE": "disabled",
    "COMET_MODE": "disabled",
    "NEPTUNE_MODE": "debug",
    "DISABLE_MLFLOW_INTEGRATION": "TRUE",
    "TRACKIO_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "AXOLOTL_DO_NOT_TRACK": "1",
}
"""Variables that switch loggers and telemetry off."""

OF_MANY_MACHINES = (
    *("NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "RDZV_ID", "MIN_NNODES", "MAX_NNODES"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK"),
)
"""Variables by which a job finds its other machines; those of ``torchrun`` begin with ``PET_``."""


@dataclass(frozen=True)
class Command:
    """A command and its environment.

    Attributes:
        words: The command.
        environ: Its environment.
        said: What was made small: a sentence for each thing.
    """

    words: tuple[str, ...]
    environ: Mapping[str, str]
    said: tuple[str, ...] = ()


def shrink(
    words: Sequence[str], environ: Mapping[str, str], gpus: int, port: int, files: Mapping[str, Mapping[str, Any]]
) -> Command:
    """Make a command small.

    Args:
        words: The command.
        environ: Its environment.
        gpus: GPUs of this machine that the command may use.
        port: A free port of this machine.
        files: The files of settings that the command names, as ``named_files`` finds them, read.
    """
    kept, tasks = launchers.without_srun(list(words))
    small = {**_alone(environ), **QUIET}
    launched, was, ranks = launchers.launched(kept, port, files)
    if launched is None:
        launched = kept
        was, ranks = _by_variables(kept, environ, small, files)
        was = was or tasks
        ranks = ranks or 1
    said = [_ranks_said(was, ranks)] if was != ranks and (was > 1 or was < 0) else []
    if gpus and gpus < ranks:
        small["CUDA_VISIBLE_DEVICES"] = ""
        said.append("The job runs on the CPU: two ranks cannot share one GPU.")
    return Command(tuple(launched), small, tuple(said))


def named_files(words: Sequence[str]) -> list[str]:
    """The files of a command that may say how many processes there are, or that DeepSpeed trains the model."""
    endings = (".yaml", ".yml", ".json")
    return [value for word in words if (value := word.rpartition("=")[2]).endswith(endings) and Path(value).is_file()]


def read_files(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The files of settings that a command names, by path; what is no such file is left to the command."""
    found: dict[str, dict[str, Any]] = {}
    for name in named_files(words):
        try:
            content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(content, dict):
            found[name] = content
    return found


def gpus(environ: Mapping[str, str]) -> int:
    """NVIDIA's GPUs of this machine that a command with this environment may use."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    count = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return count if visible is None else min(count, len([one for one in visible.split(",") if one.strip()]))


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tell(folder: Path, said: Sequence[str]) -> None:
    """Put what was made small beside what the job's processes make small."""
    writing.keep(folder / "small-0.json", msgspec.json.encode(list(said)))


def _ranks_said(was: int, ranks: int) -> str:
    of_what = str(was) if was > 0 else "one for each GPU"
    return f"The job has {ranks} rank{'s'[: ranks > 1]} instead of {of_what}, on this machine."


# -- environment -------------------------------------------------------------------------------------------------------


def _alone(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environ.items() if key not in OF_MANY_MACHINES and not key.startswith("PET_")}


def _by_variables(
    words: Sequence[str], environ: Mapping[str, str], small: dict[str, str], files: Mapping[str, Mapping[str, Any]]
) -> tuple[int, int]:
    """Ranks of a program that starts its own processes: as the variables say, and as they do now."""
    names = {word.rpartition("/")[2] for word in words[:3]}
    is_own = bool(names & {"llamafactory-cli", "lmf", "llamafactory.cli"})
    asks = [name for name in ("NPROC_PER_NODE", "NNODES") if name in environ]
    is_forced = is_own and _is_on(environ.get("FORCE_TORCHRUN"))
    if is_own and not is_forced and _is_sharded(words, files):
        is_forced, small["FORCE_TORCHRUN"] = True, "1"  # on several GPUs it does so by itself
    if "NNODES" in small:
        small["NNODES"] = "1"
    if not asks and not is_forced:
        return 0, 0
    each, nodes = (
        launchers.count(environ.get(name), otherwise) for name, otherwise in (("NPROC_PER_NODE", -1), ("NNODES", 1))
    )
    was = each * nodes if each > 0 else -1
    ranks = RANKS if was < 0 else min(RANKS, was)
    small["NPROC_PER_NODE"] = str(ranks)
    return was, ranks


def _is_sharded(words: Sequence[str], files: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a job of LLaMA-Factory asks for DeepSpeed or FSDP, which one process cannot do."""
    keys = ("deepspeed", "fsdp")
    given = [word.lstrip("-").partition("=")[0] for word in words]
    return any(key in given or any(file.get(key) for file in files.values()) for key in keys)


def _is_on(value: str | None) -> bool:
    return str(value).lower() in ("1", "true", "y", "yes")
