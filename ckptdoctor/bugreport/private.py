"""Names that only their owners know: packages of a company's own, the repository that one works in, who works there."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from packaging.utils import canonicalize_name

from ckptdoctor import catalog
from ckptdoctor.bugreport import vocabulary
from ckptdoctor.model.evidence import Environment, Package

PACKAGE, REPOSITORY = "<package>", "<repository>"

_PUBLIC_PACKAGES = frozenset(
    vocabulary.COMMON
    | {
        "accelerate", "apex", "bitsandbytes", "causal-conv1d", "ckptdoctor", "datasets", "flash-attn", "flash-attn-3",
        "liger-kernel", "llama-factory", "lm-eval", "mamba-ssm", "megatron-core", "modelscope", "numpy",
        "open-instruct", "openrlhf", "sglang", "swift", "tokenizers", "torchao", "torchaudio", "torchtune", "torchvision",
        "transformer-engine", "triton", "verl", "vllm", "xformers", "xtuner",
    }
)  # fmt: skip
"""Packages that everybody knows, however they are installed."""

_PUBLIC_OWNERS = frozenset(
    {
        "dao-ailab", "deepspeedai", "facebookresearch", "huggingface", "linkedin", "microsoft",
        "modelscope", "nvidia", "openrlhf", "pytorch", "verl-project", "vllm-project", "volcengine",
        *(owner for trainer in catalog.trainers().values() for owner in trainer.owners),
    }
)  # fmt: skip
_REMOTE = re.compile(r"^\s*(?:url|pushurl)\s*=\s*(\S+)", re.MULTILINE)
_PERSON = re.compile(r"^\s*(?:name|email)\s*=\s*(.+?)\s*$", re.MULTILINE)
_LARGEST = 1_000_000


def packages(environment: Environment) -> dict[str, list[str]]:
    """Packages that are in no public index, as far as how they were installed tells: from a folder, a file, a repository.

    Returns:
        Their names, each with further names that give it away, such as its repository's.
    """
    found: dict[str, list[str]] = {}
    for folder in {one.location for one in environment.packages if one.location}:
        origins = dict(_origins(Path(folder)))
        for one in environment.packages:
            name = str(canonicalize_name(one.name))
            if one.location != folder or name in _PUBLIC_PACKAGES or name in environment.stack:
                continue
            url = origins.get(name, "")
            if url or not re.search(
                r"[/\\](?:site|dist)-packages$|[/\\]overlays[/\\][0-9a-f]{32}$", folder.rstrip("/\\")
            ):
                found[one.name] = list(_of_url(url))
    return found


def _origins(folder: Path) -> Iterator[tuple[str, str]]:
    """What was installed from elsewhere than an index, by name, with its URL (PEP 610)."""
    with suppress(OSError):
        for file in folder.glob("*.dist-info/direct_url.json"):
            with suppress(OSError, ValueError, AttributeError):
                url = str(json.loads(file.read_text(encoding="utf-8")).get("url", ""))
                yield str(canonicalize_name(file.parent.name.split("-")[0])), url or "file:"


def without(environment: Environment, private: Collection[str]) -> list[Package]:
    """The packages that may be named."""
    return [one for one in environment.packages if one.name not in private]


def repositories(folder: Path) -> tuple[dict[str, str], set[str], list[str]]:
    """What the repository around a folder tells of its owners.

    Returns:
        Names by what stands for them, names of people, and URLs whose hosts may be private.
    """
    names: dict[str, str] = {}
    urls: list[str] = []
    people: set[str] = set()
    for parent in (folder, *folder.parents):
        text = _read(parent / ".git" / "config")
        for url in _REMOTE.findall(text):
            urls.append(url if "://" in url else re.sub(r"^(?:\S+@)?([\w.-]+):", r"ssh://\1/", url))
            names |= dict.fromkeys(_of_url(urls[-1]), REPOSITORY)
        people |= {*_PERSON.findall(text)}
    people |= {*_PERSON.findall(_read(Path("~/.gitconfig").expanduser()))}
    return names, {one for one in people if len(one) >= 4}, urls


def _read(file: Path) -> str:
    with suppress(OSError, RuntimeError):
        if file.is_file() and file.stat().st_size < _LARGEST:
            return file.read_text(encoding="utf-8", errors="replace")
    return ""


def _of_url(url: str) -> Iterator[str]:
    """The owner and the name of a repository; the last folder of a path."""
    path = re.sub(r"^[\w+]+:/{0,3}(?:[^/@\s]*@)?", "", url)
    is_folder = url.startswith("file:")
    parts = [re.sub(r"\.git$", "", part.split("@")[0]) for part in path.split("/") if part]
    named = parts[-1:] if is_folder else parts[1:4]
    if not is_folder and named and named[0].lower() in _PUBLIC_OWNERS:
        return
    yield from (part for part in named if part and str(canonicalize_name(part)) not in _PUBLIC_PACKAGES)
