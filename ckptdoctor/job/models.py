"""Finds a job's model on this machine as the trainers do, without loading the model."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ckptdoctor.job import families, files
from ckptdoctor.job.families import Guess, Hints

_HUB_ID = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*", re.ASCII)
_SHOWN = re.compile(r"[\w./\\~ +=@-]{1,200}")
"""Paths and names on the hub; not addresses, which may hold a password."""


class Found(NamedTuple):
    """A model's folder, and what of its configuration matters here."""

    folder: str = ""
    kind: str = ""
    """``model_type``; guessed from the model's name where there is no folder."""
    untried: tuple[str, ...] = ()
    name: str = ""
    """What the job calls the model, where that may be shown."""
    how: str = ""
    """How the family is known, for a reader: ``from the job's config.json``."""
    doubt: str = ""
    """Why the family may not be the job's own, a whole sentence; empty where it is."""


NO_HINTS = Hints()


class Choice(NamedTuple):
    """What decides on the model, in addition to the job."""

    model: str = ""
    """The model that the user gives instead of the job's: a family, or a folder with a ``config.json``."""
    families: tuple[str, ...] = ()
    """Families that the target has, for a guess."""


def find(
    choice: Choice,
    name: str,
    revision: str = "",
    cache: str = "",
    is_modelscope: bool = False,
    key: str = "model",
    hints: Hints = NO_HINTS,
) -> Found:
    """Find the folder of a model, or the family that it is of by what else the job says.

    Args:
        choice: What decides beside the job.
        name: A folder, from the current one on, or a name on the hub.
        revision: A branch, a tag or a commit; empty for the usual one.
        cache: Where the job keeps what it gets from the hub; empty for the usual folder.
        is_modelscope: The hub is ModelScope.
        key: What the job calls it, for a sentence.
        hints: What the job says of the model beside its name.
    """
    if choice.model:
        return _chosen(choice)
    if not name:
        found = families.find("", hints, choice.families)
        return _by_guess(found, "", "The job names no model: give --model.")
    if "${" in name:
        why = "holds an interpolation that no trainer resolves"
        return Found(untried=(f"`{key}`: it {why}, so that there is no architecture to try: give --model.",))
    folder = next(
        (place for place in _places(name, revision, cache, is_modelscope) if _has(place, "config.json")), None
    )
    if folder is not None:
        where = "from the job's config.json" if _is_folder(name) else "from the config.json in the hub's cache"
        return _in_folder(folder, where)
    shown = name if _SHOWN.fullmatch(name) else "the job's model"
    why = "a folder without a config.json" if _is_folder(name) else "whose config.json is not on this machine"
    found = families.find(shown if shown == name else "", hints, choice.families)
    return _by_guess(found, shown, f"The architecture of {shown}, {why}: give --model.")


def _by_guess(found: Guess, name: str, untried: str) -> Found:
    doubt = ""
    if found.family and not found.is_sure:
        doubt = f"Its family is only {found.how}: {found.doubt}."
    return Found("", found.family, (untried,), name, found.how, doubt)


def _chosen(choice: Choice) -> Found:
    """What the user gives: a family before a folder of the same name."""
    folder = Path(choice.model).expanduser()
    is_folder = choice.model not in choice.families and _has(folder, "config.json")
    given = "given with --model"
    return _in_folder(folder, given) if is_folder else Found(kind=choice.model, how=given)


def _in_folder(folder: Path, how: str) -> Found:
    config = _configuration(folder / "config.json")
    kind = str(config.get("model_type", ""))
    doubt = ""
    if config.get("auto_map"):
        doubt = "The model has its own code (`auto_map`), which is never run."
    return Found(str(folder.absolute()), kind, tuple(_untried(config)), how=how, doubt=doubt)


class Adapter(NamedTuple):
    """What an adapter that is there already says of itself."""

    targets: tuple[str, ...] | None = None
    """Names of the modules that it adapts, empty for every linear layer; nothing where that is not known."""
    untried: tuple[str, ...] = ()


def find_adapter(name: str, key: str, revision: str = "", cache: str = "", subfolder: str = "") -> Adapter:
    """Read the configuration of an adapter that a job goes on with; ``key`` is what the job calls it."""
    places = (place / subfolder for place in _places(name, revision, cache, is_modelscope=False))
    folder = next((place for place in places if _has(place, "adapter_config.json")), None)
    if folder is None:
        why = "the adapter's configuration is not on this machine; a new adapter with the job's settings is tried"
        return Adapter(untried=(f"`{key}`: {why}.",))
    config = _configuration(folder / "adapter_config.json")
    untried = [
        f"`{key}`: {reason}." for name, reason in ADAPTER_UNTRIED.items() if config.get(name) and config[name] != "LORA"
    ]
    targets = config.get("target_modules")
    if isinstance(targets, list) and all(isinstance(one, str) for one in targets):
        return Adapter(tuple(sorted(targets)), tuple(untried))
    if targets != "all-linear":
        untried.append(f"`{key}`: the adapter's pattern of modules; every linear layer gets one.")
    return Adapter((), tuple(untried))


ADAPTER_UNTRIED = {
    "peft_type": "an adapter of another kind than LoRA; LoRA is tried",
    "use_dora": "the adapter is DoRA; plain LoRA is tried",
    "modules_to_save": "the adapter also trains whole modules; they stay frozen",
    "target_parameters": "the adapter also covers bare parameters; they get no adapter",
    "layers_to_transform": "the adapter covers only some layers; all layers get one",
}
"""Settings of an adapter, and what of them is not tried."""


def _places(name: str, revision: str, cache: str, is_modelscope: bool) -> Iterator[Path]:
    """Folders where a model may lie, in the order in which trainers look."""
    if _is_folder(name):
        yield Path(name)
        return
    if not _HUB_ID.fullmatch(name):
        return
    if is_modelscope:
        yield from _in_modelscope(name, cache)
        return
    for root in _hub_caches(cache):
        yield from _snapshots(root / f"models--{name.replace('/', '--')}", revision or "main")


def _hub_caches(cache: str) -> Iterator[Path]:
    """Where huggingface_hub keeps what it got, newest setting first; transformers 4 had one of its own."""
    if cache:
        yield Path(cache)
        return
    environ = os.environ
    for name in ("TRANSFORMERS_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(name):
            yield Path(os.path.expandvars(environ[name])).expanduser()
    general = environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = environ.get("HF_HOME") or f"{general}/huggingface"
    yield Path(os.path.expandvars(home)).expanduser() / "hub"


def _snapshots(repository: Path, revision: str) -> Iterator[Path]:
    if not _REVISION.fullmatch(revision):
        return
    try:
        commit = (repository / "refs" / revision).read_text(encoding="utf-8")[:64].strip()
    except (OSError, ValueError):
        commit = revision
    if _HUB_ID.fullmatch(commit):
        yield repository / "snapshots" / commit


def _in_modelscope(name: str, cache: str) -> Iterator[Path]:
    """ModelScope's folders, of which its releases have had several; it writes a dot in a name as three underscores."""
    root = Path(cache or os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope/hub").expanduser()
    owner, _, short = name.rpartition("/")
    for base in (root / "models", root, root / "hub" / "models", root / "hub"):
        for written in (short.replace(".", "___"), short):
            yield base / owner / written


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def _has(folder: Path, file: str) -> bool:
    try:
        return (folder / file).is_file()
    except (OSError, ValueError):
        return False


def _configuration(file: Path) -> dict[str, Any]:
    """A configuration, or nothing where it cannot be read: the target's own packages will say why."""
    try:
        with file.open("rb") as handle:
            config = json.loads(handle.read(files.LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _untried(config: dict[str, Any]) -> Iterator[str]:
    if config.get("quantization_config"):
        yield "The model's weights are quantized (`quantization_config`): plain ones are tried."
    if config.get("auto_map"):
        yield "The model has its own code (`auto_map`), which is never run: transformers' own class is tried."
