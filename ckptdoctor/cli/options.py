"""Options that several commands share, in groups; a command gets each group as one value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from ckptdoctor import catalog
from ckptdoctor.cli.grouping import Command, grouped

REQUEST = "ckptdoctor.planning.request:build"
MATRIX_REQUEST = "ckptdoctor.matrix.request:build"


def _named(_context: click.Context, _option: click.Parameter, requirements: tuple[str, ...]) -> tuple[str, ...]:
    if not requirements:
        return ()
    from ckptdoctor.environment.named import named

    return tuple(map(named, requirements))


def _known_conventions(_context: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    if names:
        for name in names:
            if name not in catalog.conventions():
                raise click.BadParameter(f"'{name}' is not one of {', '.join(catalog.conventions())}.")
    return names


PYTHON = click.option(
    "--python",
    metavar="PATH",
    help="Use this Python or environment folder. Default: the active environment, else the Python that runs ckptdoctor.",
)


def _with(callback: Callable[..., tuple[str, ...]] | None) -> Callable[[Command], Command]:
    text = (
        "Test with this package: NAME==RELEASE, a folder, a wheel, a URL. The environment is not modified. Repeatable."
    )
    return click.option("--with", "requirements", metavar="REQUIREMENT", multiple=True, callback=callback, help=text)


WITH = _with(_named)
WITH_DEPS = click.option(
    "--with-deps", is_flag=True, help="Install the dependencies of trainers named by --with as well."
)
JOB = click.option(
    "--job",
    metavar="FILE|KEY=VALUE",
    multiple=True,
    help="Probe this job: a trainer's file or a DeepSpeed configuration. "
    "Repeatable: add accelerate's configuration, or settings.",
)
MODEL = click.option(
    "--model",
    "models",
    metavar="FAMILY|FOLDER",
    multiple=True,
    help="Probe this transformers family (glm4, llama, ...), folder with a config.json, or tiny-glm4. "
    "Default: glm4 if there is one. Repeatable.",
)
CHECKPOINT_FN = click.option(
    "--checkpoint-fn",
    "functions",
    metavar="NAME|FILE.py:FUNCTION|MODULE:FUNCTION",
    multiple=True,
    help=f"Judge this function: torch, deepspeed, {', '.join(catalog.with_functions())}, or your own. "
    "Default: torch and installed trainers. Repeatable.",
)
CONVENTION = click.option(
    "--convention",
    "conventions",
    metavar="NAME",
    multiple=True,
    callback=_known_conventions,
    help="Try this calling convention with tiny-glm4. Default: those that transformers uses or used. Repeatable.",
)
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=60,
    show_default=True,
    help="Stop a probe after this many seconds. The time that it waits for a processor does not count.",
)
NPROC = click.option(
    "--nproc",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Run each probe under DeepSpeed, DDP and FSDP in this many processes. DDP and FSDP always have two or more.",
)
THOROUGH = click.option(
    "--thorough",
    is_flag=True,
    help="Run the long test on trainers' functions too, and try every function under every engine.",
)
JOBS = click.option(
    "--jobs", type=click.IntRange(min=1), help="Run this many probes at a time. Default: one for each core."
)
NO_CACHE = click.option(
    "--no-cache",
    "use_cache",
    is_flag=True,
    callback=lambda _context, _option, given: not given,
    help="Run the probes even if nothing has changed since the last run.",
)
ENGINES = click.Choice([*catalog.engines(), "all"])


def _engine(default: str) -> Callable[[Command], Command]:
    text = f"Wrap the model in this engine. Default: {default}. Repeatable."
    return click.option("--engine", "engines", type=ENGINES, multiple=True, help=text)


def target_options(command: Callable[..., Any]) -> Any:
    """The options that name an environment; the command gets them as ``request``."""
    return grouped(PYTHON, WITH, WITH_DEPS)(_with_request(command, REQUEST))


def request_options(command: Callable[..., Any]) -> Any:
    """The options that say what to diagnose; the command gets them as ``request``."""
    engine = _engine("those that are quick, ZeRO only if DeepSpeed is installed")
    what = (JOB, MODEL, CHECKPOINT_FN, engine, CONVENTION, TIMEOUT, NPROC, THOROUGH, JOBS, NO_CACHE)
    return grouped(PYTHON, WITH, WITH_DEPS, *what)(_with_request(command, REQUEST))


def matrix_options(command: Callable[..., Any]) -> Any:
    """The options that matrix and bisect share; the command gets them, and its own of a matrix request, as ``request``."""
    jobs = click.option(
        "--jobs",
        type=click.IntRange(min=1),
        help="Use this many environments at a time. Default: as many as cores and memory allow.",
    )
    store = click.option(
        "--store", metavar="FILE", help="Keep results in this file. Default: a file in the cache, shared by all runs."
    )
    refresh = click.option("--refresh", is_flag=True, help="Run again what an earlier run measured.")
    what = (MODEL, CHECKPOINT_FN, _engine("none"), TIMEOUT, jobs, store, refresh)
    return grouped(PYTHON, _with(None), *what)(_with_request(command, MATRIX_REQUEST))


def _with_request(command: Callable[..., Any], builder: str) -> Callable[..., Any]:
    """A command that gets the options which a builder takes as one ``request``.

    Args:
        command: The command.
        builder: ``module:function``, which is imported when the command runs: help needs none of it.
    """

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        module, _, name = builder.partition(":")
        build = getattr(import_module(module), name)
        taken = {name: given.pop(name) for name in inspect.signature(build).parameters if name in given}
        return command(request=build(**taken), **given)

    return run
