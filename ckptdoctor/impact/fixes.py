"""What fixes what is newly broken: the remedies of ``check`` for the same step on the head."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from ckptdoctor import catalog
from ckptdoctor.diagnose import diagnose
from ckptdoctor.errors import DoctorError
from ckptdoctor.model.evidence import Setup
from ckptdoctor.model.impact import Change
from ckptdoctor.model.progress import Progress
from ckptdoctor.model.report import Finding, Remedy, Report
from ckptdoctor.planning.options import OWN_MODEL, Options
from ckptdoctor.planning.request import Request

MOST = 4
"""Stacks of which remedies are looked for; the others most often break by the same fault."""


@dataclass(frozen=True)
class Head:
    """What the head's side is made of.

    Attributes:
        python: The target, as ``--python`` takes it.
        package: The package that is compared.
        release: Its head.
        source: The head as it was named.
        requirements: What is added to both sides.
        located: A requirement as it is installed: a source's release by the place of its copy.
        timeout: Seconds for each probe.
    """

    python: str | None
    package: str
    release: str
    source: str
    requirements: Sequence[str]
    located: Callable[[str], str]
    timeout: float


def found(changes: Sequence[Change], head: Head, progress: Progress) -> list[Change]:
    """The same changes, those that are newly broken with what fixes them.

    Args:
        changes: What differs.
        head: The head's side.
        progress: Told how it goes on.
    """
    reports: dict[tuple[object, ...], Report | str] = {}
    found: dict[int, Change] = {}
    # The newest releases come last; of one fault in several releases of a trainer, the first here speaks for all.
    for at, one in sorted(enumerate(changes), key=lambda pair: (not pair[1].admitted, -pair[0])):
        if one.kind in ("broken", "warned") and one.models[0] not in catalog.conventions():
            stack = tuple(one.stack.items())
            alike = (tuple(one.stack), tuple(one.rules), one.trainer_switches_on)
            told = (known for known, report in reports.items() if known[1:] == alike and isinstance(report, Report))
            speaker = next(told, None)
            if speaker is None and len(reports) < MOST:
                speaker = (stack, *alike)
                functions = [name for each in changes if _is_beside(each, one) for name in each.functions]
                progress.part(f"looking for fixes: {', '.join(functions)}")
                reports[speaker] = _report(one, functions, head, progress)
            one = _with(one, reports[speaker], stack == speaker[0]) if speaker else _unsearched(one)
        found[at] = _with_command(one, head)
    return [found[at] for at in range(len(changes))]


def _is_beside(one: Change, other: Change) -> bool:
    """Whether a change is one of the same stack, model and engine, so that one diagnosis tells of both."""
    same = one.stack == other.stack and one.engine == other.engine and other.models[0] in one.models
    same = same and one.trainer_switches_on == other.trainer_switches_on
    return same and one.kind in ("broken", "warned")


def _report(change: Change, functions: Sequence[str], head: Head, progress: Progress) -> Report | str:
    setup = Setup(trainer_switches_on=change.trainer_switches_on)
    request = Request(
        python=head.python,
        requirements=[head.located(one) for one in _requirements(change.stack, head)],
        options=Options(change.models[:1], functions, [change.engine], timeout=head.timeout, setup=setup),
    )
    try:
        return diagnose(request, progress)
    except DoctorError as error:
        return error.message


def _requirements(stack: Mapping[str, str], head: Head) -> list[str]:
    pins = [f"{name}=={release}" for name, release in stack.items() if name not in ("torch", "python")]
    return [f"{head.package}=={head.release}", *pins, *head.requirements]


def _with(change: Change, report: Report | str, is_own: bool) -> Change:
    if isinstance(report, str):
        return structs.replace(change, unsearched=f"Fixes could not be looked for: {report}")
    if not is_own:
        releases = ", ".join(f"{name} {report.environment.version(name)}" for name in change.stack)
        return structs.replace(
            change, unsearched=f"Fixes were looked for with {releases}, which breaks by the same rule."
        )
    findings = [one for one in report.findings if one.rule in change.rules]
    if not findings:
        return structs.replace(change, unsearched=f"Fixes could not be looked for: {report.summary}")
    remedies = list(_remedies(findings, report))
    return structs.replace(change, remedies=remedies, unsearched="" if remedies else "No fix was found.")


def _unsearched(change: Change) -> Change:
    return structs.replace(change, unsearched=f"Fixes were looked for with {MOST} other stacks.")


def _remedies(findings: Iterable[Finding], report: Report) -> Iterator[Remedy]:
    executable = shlex.quote(report.environment.executable)
    for finding in findings:
        for one in finding.remedies:
            commands = tuple(line.replace(executable, "python") for line in one.commands)
            yield structs.replace(one, commands=commands, file="", sha256="", edits=())


def _with_command(change: Change, head: Head) -> Change:
    """The change with a command that tries it again; Trainer's own call needs a job for that."""
    if change.trainer_switches_on:
        return change
    if change.models[0] in catalog.conventions():
        model = ["--model", OWN_MODEL, "--convention", change.models[0]]
    else:
        model = ["--model", change.models[0]]
    added = [f"{name}=={release}" for name, release in change.stack.items() if name not in ("torch", "python")]
    options = [option for one in (head.source, *added, *head.requirements) for option in ("--with", one)]
    functions = [option for one in change.functions for option in ("--checkpoint-fn", one)]
    words = ["ckptdoctor", "check", *options, *model, *functions, "--engine", change.engine]
    return structs.replace(change, command=shlex.join(words))
