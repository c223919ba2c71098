"""Variants of the usual step that only some jobs have, and the functions and engines with which each is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import structs

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Environment, Setup, Spec, Variant
from ckptdoctor.planning.options import (
    NO_FUNCTION,
    OWN_MODEL,
    PERTURBED,
    TORCH,
    Options,
    is_torchs,
    shares_entry,
)
from ckptdoctor.words.wording import engines_in_words, listed

REENTRANT = "torch:reentrant"

ADAPTER = Setup(tuning="lora", inputs_require_grad=True)
"""An adapter on every linear layer, in a script or trainer that calls ``enable_input_require_grads()``."""

PLAIN_SCRIPT = Setup(tuning="lora")
"""The same in a script that leaves everything to transformers' Trainer."""

PREPARED = Setup(inputs_require_grad=True)

BF16 = Setup(precision="bf16")

WITH_ADAPTER = ("none", "zero3")
"""Engines under which an adapter is always tried; ``--thorough`` tries it under all."""

REPEATED: tuple[Variant, ...] = ("accumulated", "second")
"""Variants that ``--thorough`` tries under every engine: courses take such steps, and torch's own functions are known to."""

UNVARIED = ("partial", "compile")
"""Engines under which no variant is tried."""


class Wanted(NamedTuple):
    """A probe of a variant."""

    spec: Spec
    counts: bool = True
    """Whether it counts for the verdict, or serves for comparison."""


def variants(
    step: Spec, functions: Sequence[str], engines: Sequence[str], options: Options, environment: Environment
) -> Iterator[Wanted]:
    """All variants of the usual step on one model.

    Args:
        step: The usual step without an engine, in one process, and without checkpointing.
        functions: Those that count.
        engines: Those that count.
        options: What the user wants.
        environment: The target.
    """
    own = [name for name in functions if name != NO_FUNCTION and (options.functions or not shares_entry(name))]
    if "none" in engines:
        for function in own:
            for variant in _of(function, step.model, options):
                yield Wanted(structs.replace(step, function=function, variant=variant))
        if REENTRANT in own and _tries_prefix(step.model, options):
            yield from _comparisons(step, own)
        if step.model != OWN_MODEL:
            yield from _with_setup(step, BF16, [name for name in own if name in TORCH])
    for engine in engines if options.thorough else ():
        for function in (NO_FUNCTION, *own) if engine not in UNVARIED else ():
            for variant in REPEATED:  # an engine may scale what it accumulates: the step without checkpointing tells
                repeated = structs.replace(step, function=function, engine=engine, variant=variant)
                yield Wanted(repeated, counts=function != NO_FUNCTION)
    if step.model != OWN_MODEL and environment.version("peft"):
        for engine in dict.fromkeys((*engines, *options.beside)):
            if engine in WITH_ADAPTER or (options.thorough and engine not in UNVARIED):
                yield from _adapters(structs.replace(step, engine=engine), own, counts=engine in engines)


def untried(engines: Sequence[str], options: Options, environment: Environment) -> list[str]:
    """The variants that only ``--thorough`` tries; none where the user chose what to try."""
    if options.thorough or options.engines or options.functions or not options.setup.is_usual:
        return []
    left = ["gradient accumulation", "a second step"]
    without = [one for one in engines if one not in (*WITH_ADAPTER, *UNVARIED)]
    if environment.version("peft") and without:
        left.append(f"LoRA under {engines_in_words(without)}")
    if environment.version("transformers") and not options.models:
        left.append("frozen first layers with torch:reentrant")
    return [f"{listed(left)} (--thorough)"]


def perturbed(step: Spec, functions: Sequence[str], options: Options) -> Iterator[Spec]:
    """Layers and functions whose inputs are changed: on a model of the user's choice, and with functions of the user's own.

    Args:
        step: The usual step without an engine, without checkpointing and without a job's setup.
        functions: Those that count.
        options: What the user wants.
    """
    own = [name for name in functions if not (is_torchs(name) or name in (NO_FUNCTION, "deepspeed"))]
    tried = own if options.thorough else [name for name in own if name not in catalog.functions()]
    if options.models and not tried:
        tried = [name for name in functions if name != NO_FUNCTION][:1]  # the layers are the same with each
    for function in tried:
        yield structs.replace(step, function=function, variant=PERTURBED)


def _of(function: str, model: str, options: Options) -> Iterator[Variant]:
    """The variants without an engine that a function is tried with."""
    is_real = model != OWN_MODEL
    if is_real:
        yield "packed"
    if is_torchs(function) and is_real:
        yield "cache"  # the course of other functions has such a step
        if options.models:
            yield "shared-kv"
    if function == REENTRANT and _tries_prefix(model, options):
        yield "prefix"
    if is_torchs(function) or function == "deepspeed":
        return  # they keep the random state by default
    yield "dropout"
    if function in catalog.functions() and catalog.functions()[function].prepares_inputs:
        yield from ("frozen", "prefix")


def _tries_prefix(model: str, options: Options) -> bool:
    """Whether torch's reentrant function is tried with frozen first layers: older transformers all fail there."""
    return model != OWN_MODEL and bool(options.models or options.thorough)


def _comparisons(step: Spec, functions: Sequence[str]) -> Iterator[Wanted]:
    """What may fix a frozen prefix under reentrant checkpointing."""
    prefix = structs.replace(step, variant="prefix")
    yield Wanted(structs.replace(prefix, function=REENTRANT, setup=PREPARED), counts=False)
    yield Wanted(structs.replace(prefix, function="torch:non-reentrant"), counts="torch:non-reentrant" in functions)


def _with_setup(step: Spec, setup: Setup, functions: Sequence[str], counts: bool = True) -> Iterator[Wanted]:
    """A setup with each function, and without checkpointing and with torch's functions for comparison."""
    if functions:
        for function in dict.fromkeys((NO_FUNCTION, *TORCH, *functions)):
            yield Wanted(structs.replace(step, function=function, setup=setup), counts and function in functions)


def _adapters(step: Spec, functions: Sequence[str], counts: bool) -> Iterator[Wanted]:
    """An adapter; where torch's own functions count, in a plain script as well."""
    yield from _with_setup(step, ADAPTER, functions, counts)
    torchs = [name for name in TORCH if name in functions]
    if step.engine == "none" and REENTRANT in functions:
        for function in torchs:
            yield Wanted(structs.replace(step, function=function, setup=PLAIN_SCRIPT), counts)
