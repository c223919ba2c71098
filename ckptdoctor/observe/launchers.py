"""The launchers of a command, made to start few ranks on this machine: torchrun, accelerate, DeepSpeed's, srun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckptdoctor.job.starting import ACCELERATE_MODULES, PYTHON, STARTERS, TORCH_MODULES, options_of

RANKS = 2
"""Ranks of a job that has more than one."""

_TORCHS = (
    *("nnodes", "nproc_per_node", "node_rank", "rdzv_backend", "rdzv_endpoint", "rdzv_id", "rdzv_conf"),
    *("master_addr", "master_port", "max_restarts", "local_addr", "standalone"),
)
_DEEPSPEEDS = (
    *("hostfile", "H", "include", "i", "exclude", "e", "num_nodes", "min_elastic_nodes", "max_elastic_nodes"),
    *("num_gpus", "num_accelerators", "master_addr", "master_port", "node_rank", "launcher", "launcher_args"),
    *("force_multi", "no_ssh", "no_ssh_check", "bind_cores_to_rank", "bind_core_list", "ssh_port", "autotuning"),
)
_ACCELERATES = (
    *("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port", "gpu_ids", "cpu"),
    *("multi_gpu", "deepspeed_hostfile", "deepspeed_exclusion_filter", "deepspeed_inclusion_filter", "same_network"),
    *("deepspeed_multinode_launcher", "rdzv_backend", "rdzv_conf", "max_restarts", "mpirun_hostfile"),
)
"""Options of launchers that say how many processes there are, and where; ours take their place."""

_SRUNS_WITH_VALUE = {"N", "n", "c", "p", "A", "J", "t", "w", "x", "o", "e", "i", "G", "D", "M", "q", "C", "m"}
"""Options of ``srun`` by one letter, whose value may be the next word."""


def count(value: Any, otherwise: int) -> int:
    """A number of processes; ``auto`` and ``gpu`` are none."""
    text = str(value).partition(":")[2] or str(value)  # at least and at most so many machines
    return int(text) if text.isdigit() else otherwise


def launched(words: list[str], port: int, files: Mapping[str, Mapping[str, Any]]) -> tuple[list[str] | None, int, int]:
    """A launcher's words made small, with the ranks before and after; none where there is no launcher."""
    at, name = _launcher(words)
    if at < 0:
        return None, 0, 0
    before, rest = words[:at], words[at:]
    own = options_of(name, rest)
    options, program = rest[:own], rest[own:]
    change = {"torchrun": _torchrun, "deepspeed": _deepspeed}.get(name, _accelerate)
    changed, was, ranks = change(options, port, files)
    return [*before, *changed, *program], was, ranks


def _launcher(words: Sequence[str]) -> tuple[int, str]:
    """Where the arguments of the command's launcher begin, and which it is; -1 where there is none."""
    for at, word in enumerate(words):
        name = word.rpartition("/")[2]
        if PYTHON.fullmatch(name):
            if words[at + 1 : at + 2] != ["-m"]:
                return -1, ""
            module = words[at + 2] if len(words) > at + 2 else ""
            if module in TORCH_MODULES:
                return at + 3, "torchrun"
            return (at + 3, "accelerate") if module in ACCELERATE_MODULES else (-1, "")
        if name == "accelerate":
            return (at + 2, name) if words[at + 1 : at + 2] == ["launch"] else (-1, "")
        if name in STARTERS:
            return at + 1, name
    return -1, ""


Changed = tuple[list[str], int, int]


def _torchrun(options: list[str], port: int, files: Mapping[str, Mapping[str, Any]]) -> Changed:
    kept, found = _taken(options, _TORCHS, {"standalone"})
    each = count(found.get("nproc_per_node", "1"), -1)
    was = each * count(found.get("nnodes"), 1) if each > 0 else -1
    ranks = RANKS if was < 0 else min(RANKS, was)
    return ["--standalone", "--nnodes=1", f"--nproc_per_node={ranks}", *kept], was, ranks


def _deepspeed(options: list[str], port: int, files: Mapping[str, Mapping[str, Any]]) -> Changed:
    kept, found = _taken(options, _DEEPSPEEDS, {"force_multi", "no_ssh", "no_ssh_check", "bind_cores_to_rank"})
    each = count(found.get("num_gpus", found.get("num_accelerators")), -1)
    included = found.get("include", found.get("i", ""))
    if included and each < 0:
        each = sum(len(host.partition(":")[2].split(",")) for host in included.split("@") if ":" in host) or -1
    was = each * count(found.get("num_nodes"), 1) if each > 0 else -1
    ranks = RANKS if was < 0 else min(RANKS, was)
    # Without a file of that name it takes this machine; by default it looks for one of the whole cluster.
    return ["--hostfile=none", f"--num_gpus={ranks}", f"--master_port={port}", *kept], was, ranks


def _accelerate(options: list[str], port: int, files: Mapping[str, Mapping[str, Any]]) -> Changed:
    kept, found = _taken(options, _ACCELERATES, {"cpu", "multi_gpu", "same_network"})
    config = next((files[name] for name in _values(options, "config_file") if name in files), {})
    kinds = ("use_deepspeed", "use_fsdp", "use_megatron_lm")
    is_own_kind = any(f"--{kind}" in kept or f"--{kind.replace('_', '-')}" in kept for kind in kinds)
    kind = str(config.get("distributed_type", "NO")).upper().rpartition(".")[2]
    is_several = "multi_gpu" in found or is_own_kind or kind != "NO"
    was = count(found.get("num_processes", config.get("num_processes")), -1 if is_several else 1)
    ranks = RANKS if was < 0 else min(RANKS, was)
    if ranks == 1:
        single = ["--cpu"] if "cpu" in found else []
        return [*single, "--num_processes=1", "--num_machines=1", *kept], was, ranks
    several = [] if is_own_kind or kind in ("DEEPSPEED", "FSDP", "MEGATRON_LM") else ["--multi_gpu"]
    here = ["--machine_rank=0", "--main_process_ip=127.0.0.1", f"--main_process_port={port}", "--rdzv_backend=static"]
    return [*several, f"--num_processes={ranks}", "--num_machines=1", *here, *kept], was, ranks


def _taken(options: Sequence[str], names: Sequence[str], switches: set[str]) -> tuple[list[str], dict[str, str]]:
    """Options without some of them, and these with their values."""
    kept: list[str] = []
    found: dict[str, str] = {}
    at = 0
    while at < len(options):
        word = options[at]
        name, sign, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        at += 1
        if not word.startswith("-") or name not in names:
            kept.append(word)
        elif sign or name in switches:
            found[name] = value
        else:
            found[name] = options[at] if at < len(options) else ""
            at += 1
    return kept, found


def _values(options: Sequence[str], name: str) -> list[str]:
    found = _taken(options, (name,), set())[1]
    return [found[name]] if name in found else []


def without_srun(words: list[str]) -> tuple[list[str], int]:
    """The command that Slurm's ``srun`` starts on each machine, and how many it starts; here it is started once."""
    if not words or words[0].rpartition("/")[2] != "srun":
        return words, 0
    at, tasks = 1, 0
    while at < len(words) and words[at].startswith("-"):
        word = words[at]
        name, sign, value = word.lstrip("-").partition("=")
        takes_next = not sign and (
            word[1:] in _SRUNS_WITH_VALUE or (word.startswith("--") and _is_value(words, at + 1))
        )
        value = words[at + 1] if takes_next and len(words) > at + 1 else value
        tasks = count(value, tasks) if name in ("n", "ntasks") else tasks
        at += 2 if takes_next else 1
    return words[at:], tasks


def _is_value(words: Sequence[str], at: int) -> bool:
    """Whether a word after a long option of ``srun`` is its value, and not the command: a number, or ``none`` and the like."""
    return at < len(words) - 1 and (words[at].isdigit() or words[at] in ("none", "all", "verbose", "block", "cyclic"))
