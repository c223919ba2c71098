"""The training job that a shell script starts: one command of it, whose trainer is told by its program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import shell
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.programs import PROGRAMS, Program, program_of
from ckptdoctor.job.shell import Command
from ckptdoctor.job.shell_words import is_open, open_in, shown
from ckptdoctor.job.starting import Started, started
from ckptdoctor.job.telling import BY_HAND, ForeignFault, NoJobFault
from ckptdoctor.words.wording import listed

HINT = "give the YAML or JSON file that it passes to the trainer, or write its arguments into one"


class Read(NamedTuple):
    """A job as a script starts it.

    Attributes:
        values: Its settings.
        unresolved: Settings that the script leaves open, with the variable.
        launch: What starts its processes.
        format: The kind of job, as ``formats()`` names it; empty where its keys tell.
        untried: A sentence for each thing that could not be read.
    """

    values: Mapping[str, Any]
    unresolved: Mapping[str, str]
    launch: Launch
    format: str = ""
    untried: tuple[str, ...] = ()


def read(
    text: str, source: str, load: Callable[[str], Mapping[str, Any]], loads: Callable[[str, str], Mapping[str, Any]]
) -> Read:
    """The job that a script starts.

    Args:
        text: The script.
        source: Its path, for messages.
        load: Loads the settings in a file that it names.
        loads: The same from the text of such a file, and its name.

    Raises:
        UsageFault: It starts no job that can be read, or several.
    """
    script = shell.read(text)

    def file(path: str) -> Mapping[str, Any]:
        if variable := open_in(path):
            raise _open_file(source, variable)
        if path in script.files:
            return loads(script.files[path], path)
        if path in script.written:
            raise UsageFault(f"{source} changes {path} before it uses it.", "give the file as it then is with --job")
        return load(path)

    found: dict[tuple[str, ...], tuple[Command, Started, Program]] = {}
    for command in script.commands:
        run = started(command.words, file, PROGRAMS)
        program = program_of(run) if run else None
        if run and program:
            found.setdefault(command.words, (command, run, program))
    jobs = _best([*found.values()])
    if len(jobs) > 1:
        lines = listed([f"line {command.line}" for command, _, _ in jobs], 9)
        raise UsageFault(f"{source} starts several jobs ({lines}).", "give one job: its own file, or a script with one")
    if not jobs and (variable := _open_command(script)):
        raise UsageFault(f"{source} does not say what it runs: `{variable}` is not set in it.", HINT)
    if not jobs:
        raise NoJobFault(f"{source} starts no training job that can be read.", HINT)
    found_job = _read(*jobs[0], file, source)
    lines = listed([f"line {line}" for line in script.sourced], 3)
    sourced = f"{source} runs another script ({lines}), which may set variables that are taken as they stand here."
    return found_job._replace(untried=(*found_job.untried, *([sourced] if script.sourced else [])))


def _open_file(source: str, variable: str) -> UsageFault:
    what = f"{source} does not say which file it starts: `{variable}` is not set in it"
    return UsageFault(f"{what}.", "give that file with --job")


def _open_command(script: shell.Script) -> str:
    """The variable of a command of which the script does not say what it is."""
    return next((open_in(one.words[0]) for one in script.commands if one.words and is_open(one.words[0])), "")


def _best(jobs: list[tuple[Command, Started, Program]]) -> list[tuple[Command, Started, Program]]:
    """Jobs of trainers that are known by their program; without any, scripts in Python."""
    return [one for one in jobs if one[2].is_trainers] or jobs


def _read(
    command: Command, run: Started, program: Program, file: Callable[[str], Mapping[str, Any]], source: str
) -> Read:
    where = f"line {command.line}"
    if not command.is_whole:
        raise UsageFault(f"{source} has a command that cannot be parsed ({where}).", HINT)
    if program.refused:
        raise ForeignFault(f"{source} starts {program.refused} ({where}).", BY_HAND)
    words = run.words
    base: Mapping[str, Any] = {}
    if words and program.takes_file and _is_file(words[0]):
        base, words = file(words[0]), words[1:]
    elif words and program.takes_file and program.is_trainers and not words[0].startswith("-") and "=" not in words[0]:
        raise UsageFault(f"{source} starts a job with a file that is neither YAML nor JSON ({where}).", HINT)
    found = program.read(words)
    named = found.values.pop("config", None) if program.takes_config else None
    if program.takes_config and (variable := found.unresolved.get("config")):
        raise _open_file(source, variable)
    if isinstance(named, str):
        base = file(named)
    values = _over(found.values, base)
    launch = _launch(run, command, program, values)
    open_words = [open_in(one) for one in found.rest if open_in(one)]
    untried = [
        f"`{one}`: {source} does not set it; the arguments in it are not read." for one in dict.fromkeys(open_words)
    ]
    return Read(values, found.unresolved, launch, program.format, tuple(untried))


def _is_file(word: str) -> bool:
    """Whether a first argument is a file of settings; one that is left open is none that can be read."""
    return shown(word).endswith((".yaml", ".yml", ".json")) or bool(open_in(word) and not word.startswith("-"))


def _over(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over those of a file, sections within sections."""
    made = dict(base)
    for key, value in values.items():
        inner = made.get(key)
        is_section = isinstance(inner, Mapping) and isinstance(value, Mapping)
        made[key] = _over(value, inner) if is_section else value  # type: ignore[arg-type]
    return made


def _launch(run: Started, command: Command, program: Program, values: Mapping[str, Any]) -> Launch:
    """What starts the processes: a launcher, or a program that launches by itself."""
    launch = dataclasses.replace(run.launch, variables=command.variables)
    if launch.kind or launch.unjudged:
        return launch
    own = program.launch(values, command.variables)
    return launch.over(own) if own else launch
