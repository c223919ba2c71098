"""A model's family, guessed from its name where its configuration is not at hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SIZE = re.compile(r"\d+(?:\.\d+)?[bmk]|\d+x\d+b|e\d+b|\d{4,}", re.ASCII)
"""Parts of a name that say how large a model is, or when it was made."""
_ACTIVE = re.compile(r"a\d+(?:\.\d+)?b", re.ASCII)
"""How many parameters a token goes through: the mark of a mixture of experts."""


def guess(name: str, families: Iterable[str]) -> str:
    """The family of those that a model's name begins with, at any of its words; empty where there is none.

    The longest wins: ``Qwen/Qwen2.5-VL-7B`` is ``qwen2_5_vl`` where there is one, else ``qwen2``.
    """
    known = {re.sub(r"[^a-z0-9]", "", family): family for family in families}
    words = re.split(r"[^a-z0-9.]+", name.rpartition("/")[2].lower())
    kept = [
        word.replace(".", "") for word in words if word and not _SIZE.fullmatch(word) and not _ACTIVE.fullmatch(word)
    ]
    found = max(_matches(kept, known), key=len, default="")
    family = known.get(found, "")
    experts = f"{family}_moe"
    return experts if any(map(_ACTIVE.fullmatch, words)) and experts in known.values() else family


def _matches(words: list[str], known: Iterable[str]) -> Iterator[str]:
    """Names of families that a run of words spells, or that a digit alone comes after: ``qwen2`` in ``qwen25``."""
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            spelt = "".join(words[start:end])
            yield from (one for one in known if re.fullmatch(rf"{re.escape(one)}\d*", spelt) and len(one) > 2)
