"""The models, checkpoint functions and engines to probe: the ones that the user names, or the ones that fit the environment."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from packaging.version import InvalidVersion, Version

from ckptdoctor import catalog
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.model.evidence import Environment
from ckptdoctor.planning.options import (
    ALL,
    FALLBACK_FAMILIES,
    NO_FUNCTION,
    OWN_MODEL,
    TORCH,
    Options,
    is_torchs,
    named_functions,
)
from ckptdoctor.words.wording import engines_in_words, listed


def choose_models(environment: Environment, options: Options) -> tuple[list[str], list[str]]:
    """The models to probe, and what the reader must know about the choice.

    Raises:
        TargetError: The environment has no such family.
        UsageFault: The folder has no configuration.
    """
    if options.models:
        return [_model(name, environment) for name in options.models], []
    installed = environment.version("transformers")
    for family in FALLBACK_FAMILIES if installed else ():
        if family in environment.families:
            is_usual = family == FALLBACK_FAMILIES[0]
            note = f"transformers {installed} has no GLM-4-0414 (glm4): probed with '{family}'."
            return [family], [] if is_usual else [note]
    reason = f"transformers {installed} has no model to probe with" if installed else "transformers is not installed"
    note = f"{reason}: probed with our own GLM-4, in each calling convention that transformers has used."
    return [OWN_MODEL], [note]


def _model(name: str, environment: Environment) -> str:
    if name == OWN_MODEL or name in environment.families:
        return name  # a folder with the name of a family is given as ./glm4
    if "/" in name or Path(name).is_dir():
        folder = Path(name).expanduser().resolve()
        if not (folder / "config.json").is_file():
            raise UsageFault(f"{folder} has no config.json.", "give --model a model's folder, or a family such as glm4")
        return str(folder)
    if not environment.version("transformers"):
        raise TargetError(
            f"'{name}' needs transformers, which is not installed in the target.", f"use --model {OWN_MODEL}, our own"
        )
    if name not in environment.families:
        near = get_close_matches(name, environment.families, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see transformers' documentation for its families"
        raise TargetError(f"transformers {environment.version('transformers')} has no model family '{name}'.", hint)
    return name


def choose_functions(environment: Environment, options: Options) -> list[str]:
    """The checkpoint functions that the user names, or torch's and those of the installed trainers.

    Raises:
        TargetError: The environment does not have one of them.
        UsageFault: There is no such function or file.
    """
    if not options.functions:
        return [*TORCH, *(name for name in environment.trainers if not catalog.is_optional(name))]
    chosen: list[str] = []
    for name in options.functions:
        named = _function(name, environment)
        exact = [found for found in named if found == name] if not options.variants else []
        chosen += [found for found in exact or named if found not in chosen]
    return chosen


def _function(name: str, environment: Environment) -> list[str]:
    if name == NO_FUNCTION:
        return [name]  # a job that switches checkpointing off
    if name == "torch":
        return list(TORCH)
    if is_torchs(name):
        return [name]
    if name == "deepspeed":
        _require(environment, "deepspeed", name)
        return [name]
    family = [function for function in catalog.functions() if name in (function, catalog.package_of(function))]
    if family:
        package = catalog.package_of(name)
        _require(environment, package, name)
        found = [function for function in family if function in environment.trainers]
        if not found:
            raise TargetError(
                f"{package} {environment.version(package)} has no such checkpoint function.",
                "it uses transformers' own: --checkpoint-fn torch",
            )
        return found
    return [_users_own(name)]


def _users_own(name: str) -> str:
    where, _, function = name.rpartition(":")
    if not where or not function:
        near = get_close_matches(name, named_functions(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageFault(
            f"There is no checkpoint function '{name}'.",
            f"{hint}Give one of {', '.join(named_functions())}, or your own as file.py:function or package.module:function",
        )
    if not where.endswith(".py"):
        return name
    path = Path(where).expanduser().absolute()
    if not path.is_file():
        raise UsageFault(f"There is no file {path}.", "give --checkpoint-fn as file.py:function")
    return f"{path}:{function}"


def choose_engines(environment: Environment, options: Options) -> list[str]:
    """The engines that the user names, or those of which a check is quick here.

    Raises:
        TargetError: A package is needed for one, and not installed.
    """
    if not options.engines:
        return [one.name for one in _fitting(environment) if _is_quick(one, environment)]
    if ALL in options.engines:
        return [one.name for one in _fitting(environment)]
    for name in options.engines:
        if package := catalog.engines()[name].package:
            _require(environment, package, name)
    return list(dict.fromkeys(options.engines))


def engines_left_out(environment: Environment, options: Options) -> list[str]:
    """Engines that the environment can run and that are not tried unless the user names them."""
    if options.engines:
        return []
    return [one.name for one in _fitting(environment) if not _is_quick(one, environment)]


def lacking(environment: Environment, options: Options) -> list[str]:
    """What needs a package that is not installed, where nobody chose what to try: a job may use it."""
    if options.engines or not options.setup.is_usual:
        return []
    by_package: dict[str, list[str]] = {}
    for one in catalog.engines().values():
        if one.package and one.package not in environment.stack:
            by_package.setdefault(one.package, []).append(one.name)
    left = [f"{engines_in_words(names)} ({package} is not installed)" for package, names in by_package.items()]
    left += [] if environment.version("peft") else ["LoRA (peft is not installed)"]
    return [listed(left)] if left else []


def _fitting(environment: Environment) -> list[catalog.Engine]:
    """The engines for which the environment has the package, and a release of torch that has them."""
    return [
        one
        for one in catalog.engines().values()
        if (not one.package or one.package in environment.stack)
        and (not one.record.torch or _is_at_least(environment.version("torch"), one.record.torch))
    ]


def _is_at_least(installed: str, release: str) -> bool:
    try:
        return Version(installed) >= Version(release)
    except InvalidVersion:
        return True  # some build of its own: the probe tells


def _is_quick(engine: catalog.Engine, environment: Environment) -> bool:
    """Whether an engine is tried without being named. On macOS nothing is forked, so that each rank imports the stack again."""
    return not engine.is_on_demand and not (engine.record.least_ranks > 1 and environment.platform.startswith("darwin"))


def _require(environment: Environment, package: str, wanted: str) -> None:
    if not environment.version(package):
        raise TargetError(
            f"'{wanted}' needs {package}, which is not installed in {environment.executable}.",
            f"install it there, or try it with --with {package}",
        )
