"""A model's ``config.json`` reduced to what its class reads: fields of one's own stay at home."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WORDS = re.compile(
    r"(?:_act|_activation|act_fn|activation_function|_type|_types|dtype|_implementation|_norm|_method|_mode|_scheme)$|^type$"
)
"""Fields that are given one of a few words."""
_WORD = re.compile(r"[a-z0-9_]{1,32}")
_FREE = frozenset(
    {"id2label", "label2id", "task_specific_params", "auto_map", "custom_pipelines", "_name_or_path", "prefix"}
)
_DEEPEST = 8


def reduced(text: str, package: str) -> str:
    """The configuration without fields and values that its class in transformers knows nothing of.

    Args:
        text: ``config.json``.
        package: Where transformers lies, the folder of packages; without it numbers are kept alone.
    """
    try:
        config = json.loads(text)
    except ValueError:
        return "{}\n"
    if not isinstance(config, dict):
        return "{}\n"
    known = _known(Path(package) / "transformers", _types(config))
    return json.dumps(_fields(config, known, 0), indent=2) + "\n"


def _types(value: Any) -> Iterable[str]:
    """The types of the model and of its parts."""
    if isinstance(value, dict):
        own = value.get("model_type")
        yield from [own] if isinstance(own, str) and _WORD.fullmatch(own) else []
        for one in value.values():
            yield from _types(one)


def _known(transformers: Path, types: Iterable[str]) -> frozenset[str]:
    """Words that the source of the configurations has, and so what they could read."""
    texts = []
    folders = [transformers / "models" / name for name in sorted({*types})]
    for file in [
        transformers / "configuration_utils.py",
        transformers / "modeling_rope_utils.py",
        *(file for folder in folders for file in sorted(folder.glob("configuration_*.py"))),
    ]:
        try:
            texts.append(file.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return frozenset(re.findall(r"\w+", "\n".join(texts)))


def _fields(config: dict[str, Any], known: frozenset[str], depth: int) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in config.items():
        if name == "model_type" and isinstance(value, str) and (value in known or _WORD.fullmatch(value)):
            kept[name] = value
        elif name in known and name not in _FREE and depth < _DEEPEST:
            told = _of(name, value, known, depth)
            kept |= {} if told is None else {name: told}
    return kept


def _of(name: str, value: Any, known: frozenset[str], depth: int) -> Any:
    """A field's value as far as it may be told, or nothing."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if _WORDS.search(name) and _WORD.fullmatch(value) else None
    if isinstance(value, dict):
        return _fields(value, known, depth + 1)
    if isinstance(value, list):
        items = [_of(name, one, known, depth + 1) for one in value]
        return items if None not in items else None
    return None
