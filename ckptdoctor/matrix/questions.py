"""From a combination to the probes that judge it: the usual step of ``check``, with or without a trainer added."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from ckptdoctor import catalog
from ckptdoctor.errors import TargetError
from ckptdoctor.matrix import checkpoint_functions
from ckptdoctor.matrix.combination import Combination
from ckptdoctor.model.evidence import Environment, Package, Spec
from ckptdoctor.planning.choosing import choose_engines, choose_functions, choose_models
from ckptdoctor.planning.options import TORCH, Options
from ckptdoctor.planning.plan import Plan, Planned, as_installed, usual_step, worker_of


class Trainer(msgspec.Struct):
    """A trainer's release as it was added to a base."""

    name: str
    version: str
    functions: list[str] = []
    """Checkpoint functions of its own."""
    requires: list[str] = []
    """``Requires-Dist``, as far as it names a package of the stack."""


def trainer_in(folder: Path, requirement: str, facts: Environment) -> Trainer:
    """The trainer's release that a combination adds to its base.

    Args:
        folder: The overlay of the release; empty where the base has that very release installed.
        requirement: The release that was added, ``name==version``.
        facts: What is installed in the base.

    Raises:
        TargetError: Neither the overlay nor the base has it.
    """
    name = requirement.partition("==")[0]
    found = next(iter(importlib.metadata.distributions(name=name, path=[str(folder)])), None)
    if found is not None:
        functions = list(checkpoint_functions.installed(folder, name))
        return Trainer(name, found.version, functions, of_the_stack(found.requires or []))
    own = next((package for package in facts.packages if package.name == name), None)
    if own is None:
        raise TargetError(f"{requirement} was added, but is not there.", "try it with pip to see more")
    functions = [function for function in facts.trainers if function.partition(":")[0] == name]
    return Trainer(name, own.version, functions, list(own.requires))


def of_the_stack(requirements: Iterable[str]) -> list[str]:
    """Those requirements that name a package of the stack."""
    return [text for text in requirements if _name(text) in catalog.stack()]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return canonicalize_name(found.group()) if found else ""


def plan(combination: Combination, facts: Environment, trainer: Trainer | None, options: Options) -> Plan:
    """The probes that judge a combination, in the workers they belong to.

    Args:
        combination: What is to be judged.
        facts: What is installed in its base.
        trainer: The trainer that it adds to the base.
        options: What to try; without engines, none wraps the model.

    Raises:
        TargetError: The base lacks a model, a function or an engine of the request.
        UsageFault: There is no such model or function.
    """
    made = Plan()
    environment = with_trainer(facts, trainer)
    asked = replace(
        options, models=[combination.model] if combination.model else [], engines=options.engines or ["none"]
    )
    functions = choose_functions(environment, asked)
    engines = choose_engines(environment, asked)
    models, made.notes = choose_models(environment, asked)
    for model in models:
        steps = (
            *usual_step(model, functions, engines, asked),
            *as_installed(model, functions, engines, asked, environment),
            *(_packed(model, functions, asked) if asked.packed else ()),
        )
        made.probes += [_with_added(planned, combination.trainer_requirement, trainer) for planned in steps]
    return made


def _packed(model: str, functions: Sequence[str], options: Options) -> Iterator[Planned]:
    """The step with packed sequences: what one of torch's functions loses on the way to the layers, all lose."""
    for function in [name for name in functions if name == TORCH[0]]:
        usual = Spec(model, function, timeout=options.timeout, setup=options.setup)
        spec = msgspec.structs.replace(usual, variant="packed")
        yield Planned(spec, "subject", worker_of(function, "none"), usual)


def _with_added(planned: Planned, requirement: str, trainer: Trainer | None) -> Planned:
    """The same probe; if it tries the trainer's function, the trainer's release is added for it."""
    if trainer is None or planned.spec.function not in trainer.functions:
        return planned
    return replace(planned, spec=msgspec.structs.replace(planned.spec, added=requirement))


def with_trainer(facts: Environment, trainer: Trainer | None) -> Environment:
    """The environment as it is with a trainer's release added to it."""
    if trainer is None:
        return facts
    others = [package for package in facts.packages if package.name != trainer.name]
    added = Package(trainer.name, trainer.version, requires=tuple(trainer.requires))
    return msgspec.structs.replace(
        facts,
        packages=(*others, added),
        stack=(*(name for name in facts.stack if name != trainer.name), trainer.name),
        trainers=tuple(trainer.functions),
    )
