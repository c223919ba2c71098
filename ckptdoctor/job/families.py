"""A model's family, guessed from its name if there is no configuration."""

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


TARGETS = {
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "phi3": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
    "gpt_neox": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
    "gpt2": {"c_attn", "c_proj", "c_fc"},
}
"""Linear layers of families that may be used instead of an unknown one."""

USUAL = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"}
"""Linear layers of the family that is usually used instead."""


def with_targets(targets: Iterable[str], families: Iterable[str]) -> str:
    """A family with all of a job's LoRA targets, if the usual family lacks one; empty if there is none."""
    wanted, known = set(targets), set(families)
    if wanted <= USUAL:
        return ""
    return next((family for family, layers in TARGETS.items() if wanted <= layers and family in known), "")


def _matches(words: list[str], known: Iterable[str]) -> Iterator[str]:
    """Names of families that a run of words spells, or that a digit alone comes after: ``qwen2`` in ``qwen25``."""
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            spelt = "".join(words[start:end])
            yield from (one for one in known if re.fullmatch(rf"{re.escape(one)}\d*", spelt) and len(one) > 2)
