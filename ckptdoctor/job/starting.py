"""Launchers of training: accelerate, torchrun, DeepSpeed's, and Python itself. Each is taken off a command's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ckptdoctor.job import arguments, launch
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.shell_words import is_open, open_in

Loader = Callable[[str], Mapping[str, Any]]
"""Loads a file that a command names."""

_ACCELERATES = {
    *("cpu", "multi_gpu", "tpu", "enable_cpu_affinity", "dynamo_use_fullgraph", "dynamo_use_dynamic"),
    *("dynamo_use_regional_compilation", "use_deepspeed", "use_fsdp", "use_parallelism_config", "use_megatron_lm"),
    *("same_network", "m", "module", "no_python", "tpu_cluster", "no_tpu_cluster", "tpu_use_sudo", "downcast_bf16"),
    *("fp8_use_autocast_during_eval", "debug", "quiet", "q", "h", "help"),
}
"""Options of ``accelerate launch`` without a value, as accelerate 1.14 declares them."""
_TORCHS = {"standalone", "m", "module", "no_python", "run_path", "h", "help", "use_env", "virtual_local_rank"}
"""Those of ``torchrun``, as torch 2.13 declares them."""
_DEEPSPEEDS = {
    *("module", "no_python", "no_local_rank", "force_multi", "save_pid", "bind_cores_to_rank"),
    *("no_ssh", "no_ssh_check", "elastic_training", "h", "help"),
}
"""Those of ``deepspeed``, as DeepSpeed 0.19 declares them."""

PYTHON = re.compile(r"(?:python|pypy)[\d.]*w?(?:\.exe)?")
_PYTHONS_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")

TORCH_MODULES = ("torch.distributed.run", "torch.distributed.launch")
ACCELERATE_MODULES = ("accelerate.commands.launch",)
STARTERS = ("accelerate", "accelerate-launch", "torchrun", "deepspeed")


_NO_STARTERS = {
    *(
        "echo",
        "printf",
        "cat",
        "grep",
        "egrep",
        "which",
        "type",
        "command",
        "pip",
        "pip3",
        "git",
        "cp",
        "mv",
        "ls",
        "rm",
    ),
    *(
        "mkdir",
        "test",
        "sed",
        "awk",
        "man",
        "kill",
        "pkill",
        "pgrep",
        "ps",
        "tail",
        "head",
        "tee",
        "find",
        "alias",
        "trap",
    ),
    *("wget", "curl", "chmod", "touch", "logger", "apt", "apt-get"),
}
"""Commands that name programs and start none of them."""


class Started(NamedTuple):
    """What a command runs in the end.

    Attributes:
        program: A program, the path of a script in Python, or a module.
        words: Its arguments.
        launch: What its launchers do.
        is_python: It is a script or a module.
    """

    program: str
    words: list[str]
    launch: Launch
    is_python: bool = False


def started(words: Sequence[str], load: Loader, programs: Sequence[str]) -> Started | None:
    """What a command runs: from the first word on that is a launcher, Python or one of some programs; or nothing.

    Args:
        words: The command.
        load: Loads a file that it names.
        programs: The programs that start training.
    """
    at = next((at for at, word in enumerate(words) if _is_start(word, programs)), None)
    if at is None or words[0].rpartition("/")[2] in _NO_STARTERS:
        return None
    name, rest = words[at].rpartition("/")[2], list(words[at + 1 :])
    if PYTHON.fullmatch(name):
        return _python(rest, load)
    return _launched(name, rest, load) if name in STARTERS else Started(name, rest, Launch())


def _is_start(word: str, programs: Sequence[str]) -> bool:
    name = word.rpartition("/")[2]
    return name in STARTERS or name in programs or bool(PYTHON.fullmatch(name))


def _python(words: list[str], load: Loader) -> Started | None:
    while words:
        word = words.pop(0)
        if word == "-m" and words:
            return _module(words.pop(0), words, load)
        if word in _PYTHONS_WITH_VALUE:
            del words[:1]
        elif word == "-c":
            return None
        elif not word.startswith("-"):
            return Started(word, words, Launch(), is_python=True)
    return None


def _module(name: str, words: list[str], load: Loader) -> Started | None:
    if name in TORCH_MODULES:
        return _launched("torchrun", words, load)
    if name in ACCELERATE_MODULES:
        return _launched("accelerate", ["launch", *words], load)
    return Started(name, words, Launch(), is_python=True)


def _launched(name: str, words: list[str], load: Loader) -> Started | None:
    if name == "accelerate" and words[:1] != ["launch"]:
        return None
    words = words[1:] if name == "accelerate" else words
    switches = _switches(name)
    at = _program_at(words, switches)
    if at == len(words):
        return None
    options = arguments.flags(words[:at], switches)
    by = _by_accelerate(options, load) if name.startswith("accelerate") else Launch(f"`{name}`", "ddp")
    program, rest = words[at], words[at + 1 :]
    if options.values.get("no_python") and program.rpartition("/")[2]:
        return Started(program.rpartition("/")[2], rest, by)
    if PYTHON.fullmatch(program.rpartition("/")[2]):
        inner = _python(rest, load)
        return inner._replace(launch=by) if inner else None
    return Started(program, rest, by, is_python=True)


def options_of(name: str, words: Sequence[str]) -> int:
    """How many of a launcher's words are its own options.

    Args:
        name: ``torchrun``, ``deepspeed``, or accelerate's.
        words: What follows it; for accelerate, what follows ``launch``.
    """
    return _program_at(words, _switches(name))


def _switches(name: str) -> set[str]:
    return {"torchrun": _TORCHS, "deepspeed": _DEEPSPEEDS}.get(name, _ACCELERATES)


def _program_at(words: Sequence[str], switches: set[str]) -> int:
    """Where a launcher's own options end."""
    at = 0
    while at < len(words):
        word = words[at]
        if not word.startswith("-"):
            if is_open(word) and len(words) > at + 1:  # options in a variable of their own
                at += 1
                continue
            return at
        name = word.lstrip("-").replace("-", "_")
        at += 1 if "=" in name or name in switches else 2
    return len(words)


def _by_accelerate(options: arguments.Arguments, load: Loader) -> Launch:
    """A launch by accelerate: its file, and its options over that."""
    source = "`accelerate launch`"
    values = dict(options.values)
    file = values.pop("config_file", None)
    base: dict[str, Any] = {}
    untried: list[str] = []
    if variable := options.unresolved.get("config_file"):
        return Launch(source, unjudged=(f"`--config_file`: the script does not say what `{variable}` is.",))
    if isinstance(file, str):
        base, source = dict(load(file)), file
    sections = {"fsdp": dict(base.get("fsdp_config") or {}), "deepspeed": dict(base.get("deepspeed_config") or {})}
    for key, value in values.items():
        if key.startswith("fsdp_"):
            sections["fsdp"][key] = value
        elif key in ("zero_stage", "offload_optimizer_device", "offload_param_device", "deepspeed_config_file"):
            sections["deepspeed"][key] = value
        elif key in ("mixed_precision", "num_processes", "dynamo_backend"):
            base[key] = value
    kinds = {
        "use_fsdp": "FSDP",
        "use_deepspeed": "DEEPSPEED",
        "use_megatron_lm": "MEGATRON_LM",
        "multi_gpu": "MULTI_GPU",
    }
    named = next((kind for key, kind in kinds.items() if values.get(key)), None)
    if named is None and launch.MARK not in base:
        untried.append(
            "`accelerate launch` names no configuration: accelerate's default file is not read, DDP is tried."
        )
        named = "MULTI_GPU"
    base.update({launch.MARK: named or base[launch.MARK], "fsdp_config": sections["fsdp"]})
    base["deepspeed_config"] = sections["deepspeed"]
    base["deepspeed_config"] = {key: value for key, value in sections["deepspeed"].items() if value is not True}
    made = launch.read(Fields(source, base))
    open_ = [
        f"`{one}`: the script does not say which options of accelerate it has." for one in map(open_in, options.rest)
    ]
    open_ += [f"`--{key}`: the script does not say what `{what}` is." for key, what in _that_matter(options.unresolved)]
    return replace(made, untried=(*made.untried, *untried), unjudged=(*made.unjudged, *open_))


def _that_matter(unresolved: Mapping[str, str]) -> list[tuple[str, str]]:
    matter = ("mixed_precision", "zero_stage", "deepspeed_config_file", "fsdp_version", "fsdp_activation_checkpointing")
    return [(key, what) for key, what in unresolved.items() if key in matter]
