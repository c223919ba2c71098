"""A model's family, where its configuration is not here: by what the job says beside it, in the order of how sure that is.

``families.json`` holds what transformers and LLaMA-Factory themselves say: which checkpoints are of which family, which class
belongs to which, which release came with which, and which models a template is for. ``tests/families/gather.py`` writes it
from their releases; no line of it is typed by hand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

_SIZE = re.compile(r"\d+(?:\.\d+)?[bmk]|\d+x\d+b|e\d+b|\d{4,}|v0\.\d+", re.ASCII)
"""Parts of a name that say how large a model is, or when it was made."""
_ACTIVE = re.compile(r"a\d+(?:\.\d+)?[bm]", re.ASCII)
"""How many parameters a token goes through: the mark of a mixture of experts."""
_NEUTRAL = frozenset(
    {"instruct", "chat", "base", "it", "pt", "hf", "thinking", "unsloth", "dynamic", "qat"}
    | {"bf16", "fp16", "fp8", "awq", "gptq", "bnb", "int4", "int8", "4bit", "8bit"}
)
"""Words of a name that say how a checkpoint was trained or stored, and nothing of its family."""


class Known(msgspec.Struct, frozen=True):
    """What transformers and the trainers say of families."""

    sources: Mapping[str, str]
    releases: Mapping[str, str]
    """The first release of transformers that was looked at and has a family; empty where the oldest has it already."""
    checkpoints: Mapping[str, str]
    """Families by name on the hub, in lower case and without its owner; empty for a model that has its own code."""
    classes: Mapping[str, str]
    """Families by the name of the class that trains them."""
    templates: Mapping[str, Mapping[str, tuple[str, ...]]]
    """By trainer and template, the families of the models that it is for; an empty one for models of none, or not known."""
    modules: Mapping[str, tuple[str, ...]]
    """By family, the names of the linear layers in its model."""


class Hints(NamedTuple):
    """What a job says of its model beside the name."""

    model_type: str = ""
    """A family, or the name of a class."""
    targets: tuple[str, ...] = ()
    """Names of modules that get an adapter."""
    trainer: str = ""
    template: str = ""


class Guess(NamedTuple):
    """A family, and how it is known."""

    family: str = ""
    how: str = ""
    """For a reader, in parentheses after the family: ``guessed from the name Qwen/Qwen3-8B``."""
    is_sure: bool = True
    """Whether transformers or the trainer says so itself; else it is only how the name is spelt."""
    doubt: str = ""
    """Then, why it is not sure, as the end of a sentence."""


@functools.cache
def known() -> Known:
    """What is known of families; it is read when it is first needed."""
    return msgspec.json.decode(Path(__file__).with_suffix(".json").read_bytes(), type=Known)


def first_release(family: str) -> str:
    """The first release of transformers that is known to have a family; empty where that is not known."""
    return known().releases.get(family, "")


def find(name: str, hints: Hints, families: Iterable[str]) -> Guess:
    """The family of a model whose configuration is not here.

    Args:
        name: What the job calls the model; empty where it may not be shown.
        hints: What the job says beside it.
        families: Families that the target has.
    """
    found = [one for one in _guesses(name, hints, {*families, *known().releases}) if one.family]
    if not found:
        return Guess()
    first = found[0]
    named = next((one for one in found if one.how.startswith("guessed from the name")), first)
    if first.is_sure and named.is_sure and named.family != first.family:
        how = named.how.removeprefix("guessed from ")
        return first._replace(is_sure=False, doubt=f"{how} says '{named.family}'")
    return next((one for one in found if one.is_sure), first)


def _guesses(name: str, hints: Hints, families: set[str]) -> Iterator[Guess]:
    """What each hint tells, in the order in which they count."""
    if hints.model_type:
        family = hints.model_type if hints.model_type in families else known().classes.get(hints.model_type, "")
        yield Guess(family, f"from the job's model type {hints.model_type}")
    for_template = known().templates.get(hints.trainer, {}).get(hints.template, ())
    by_name = of_checkpoint(name)
    if targeted := by_targets(hints.targets):
        how = f"guessed from the LoRA targets {', '.join(hints.targets)}"
        yield Guess(targeted, how, is_sure=False, doubt="other models may have such layers")
    if hints.template in families or len(for_template) == 1:
        # The list is whole: what is not known would be in it as an empty name.
        family = hints.template if hints.template in families else for_template[0]
        is_its_own = for_template == (hints.template,)
        doubt = "" if is_its_own else "other models may have such a template"
        yield Guess(family, f"guessed from the template {hints.template}", is_its_own, doubt)
    if by_name is not None:
        yield Guess(by_name, f"guessed from the name {name}")
    spelt = guess(name, families) if by_name is None else ""
    if spelt in for_template:
        yield Guess(spelt, f"guessed from the name {name} and the template {hints.template}")
    doubt = "neither transformers nor a trainer that was looked at names such a checkpoint"
    yield Guess(spelt, f"guessed from the name {name}", is_sure=False, doubt=doubt)


def of_checkpoint(name: str) -> str | None:
    """The family of a checkpoint that transformers or a trainer names, or that differs from one only in size, date or training.

    Returns:
        The family; empty for a model that has its own code; nothing where nobody names such a checkpoint.
    """
    short = name.rpartition("/")[2].lower()
    return known().checkpoints.get(short) if short in known().checkpoints else _by_stem().get(stem(name))


@functools.cache
def _by_stem() -> Mapping[str, str]:
    found: dict[str, set[str]] = {}
    for name, family in known().checkpoints.items():
        found.setdefault(stem(name), set()).add(family)
    return {one: next(iter(families)) for one, families in found.items() if len(families) == 1 and one}


def stem(name: str) -> str:
    """A model's name without its owner, its size, its date, and what tells only how it was trained or stored."""
    words = re.split(r"[^a-z0-9.]+", name.rpartition("/")[2].lower())
    experts = "+moe" if any(map(_ACTIVE.fullmatch, words)) else ""
    kept = [
        word for word in words if word not in _NEUTRAL and not _SIZE.fullmatch(word) and not _ACTIVE.fullmatch(word)
    ]
    return "".join(kept).replace(".", "") + experts if any(kept) else ""


def by_targets(targets: Iterable[str]) -> str:
    """The only family whose model has all of a job's LoRA targets; empty where several have, or none."""
    wanted = set(targets)
    if not wanted:
        return ""
    found = [family for family, modules in known().modules.items() if wanted <= set(modules)]
    return found[0] if len(found) == 1 else ""


def guess(name: str, families: Iterable[str]) -> str:
    """The family of those that a model's name spells, at any of its words; empty where there is none.

    The longest wins: ``Qwen/Qwen2.5-VL-7B`` is ``qwen2_5_vl`` where there is one, else ``qwen2``. Such a guess is often
    wrong: a GLM-4.5 is no ``glm4``.
    """
    by_letters = {re.sub(r"[^a-z0-9]", "", family): family for family in families}
    words = re.split(r"[^a-z0-9.]+", name.rpartition("/")[2].lower())
    kept = [
        word.replace(".", "") for word in words if word and not _SIZE.fullmatch(word) and not _ACTIVE.fullmatch(word)
    ]
    found = max(_matches(kept, by_letters), key=len, default="")
    family = by_letters.get(found, "")
    experts = f"{family}_moe"
    return experts if any(map(_ACTIVE.fullmatch, words)) and experts in by_letters.values() else family


def with_targets(targets: Iterable[str], families: Iterable[str]) -> str:
    """A family of the target with all of a job's LoRA targets, if the usual one lacks one; empty if there is none."""
    wanted, there = set(targets), set(families)
    if wanted <= USUAL:
        return ""
    return next((one for one in STAND_INS if wanted <= set(known().modules.get(one, ())) and one in there), "")


STAND_INS = ("llama", "phi3", "gpt_neox", "gpt2")
"""Families that may be run where a job's own is not known."""

USUAL = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"}
"""Linear layers of the family that is usually run then."""


def _matches(words: list[str], known: Iterable[str]) -> Iterator[str]:
    """Names of families that a run of words spells, or that a digit alone comes after: ``qwen2`` in ``qwen25``."""
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            spelt = "".join(words[start:end])
            yield from (one for one in known if re.fullmatch(rf"{re.escape(one)}\d*", spelt) and len(one) > 2)
