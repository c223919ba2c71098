"""Trying a remedy before it is offered: all that was run, run again with it, beside the target and never in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ckptdoctor import catalog
from ckptdoctor.environment import overlay
from ckptdoctor.environment.fork_server import ForkServer
from ckptdoctor.environment.session import Session
from ckptdoctor.errors import TargetError, UnobtainableError
from ckptdoctor.model import pins
from ckptdoctor.model.evidence import Environment, Evidence, Spec
from ckptdoctor.model.lanes import FULL_STACK, WITHOUT_DEEPSPEED, Lane
from ckptdoctor.model.report import Finding
from ckptdoctor.planning.plan import Plan, Planned, first_of_all
from ckptdoctor.planning.request import Request
from ckptdoctor.remedies import released
from ckptdoctor.remedies.versions import Candidate
from ckptdoctor.rules.common.case import IN_WORDS
from ckptdoctor.store import locations
from ckptdoctor.verdict import findings
from ckptdoctor.words.wording import engines_in_words, listed

Progress = Callable[[str], None]

VARIED = ("transformers", "deepspeed", *catalog.with_functions())
"""Packages of which other releases may help."""

ROLES = ("subject", "control")
"""Probes that are run again: what concerns this stack."""


@dataclass(frozen=True)
class Ground:
    """What remedies are tried on, and what was found there.

    Attributes:
        python: The target's interpreter.
        laid: The overlay that the diagnosis was made with.
        request: What was asked.
        environment: The target.
        plan: What was run.
        found: What came of it.
        session: The target, still at hand.
        closing: Ends what is started here, once the remedies are found.
        progress: Told what is going on.
    """

    python: Path
    laid: Path | None
    request: Request
    environment: Environment
    plan: Plan
    found: findings.Found
    session: Session
    closing: ExitStack
    progress: Progress = lambda _: None

    @property
    def probes(self) -> list[Planned]:
        """What is run again."""
        return [planned for planned in self.plan.probes if planned.role in ROLES]

    def specs(self) -> dict[Lane, list[Spec]]:
        """The same by lane."""
        plan = Plan(self.probes)
        return {lane: plan.specs(lane) for lane in (WITHOUT_DEEPSPEED, FULL_STACK)}

    @functools.cached_property
    def edited(self) -> dict[str, str]:
        """Packages whose releases are tried and that are not as released, each with the reason."""
        return released.edited(self.environment, VARIED, self.session.files)

    @functools.cached_property
    def before(self) -> Environment:
        """The target with what was added to it, and all that each package requires."""
        return self.look(self.laid)

    @functools.cached_property
    def installed(self) -> dict[str, str]:
        """What the target itself has installed, name to version."""
        return {package.name: package.version for package in self.look(None).packages}

    @functools.cached_property
    def fork_server(self) -> ForkServer:
        """Where what is tried in an overlay is started from: torch is imported once for all."""
        return self.closing.enter_context(ForkServer(self.python, locations.cache()))

    def look(self, laid: Path | None) -> Environment:
        """The target with an overlay, and all that each package requires."""
        with self.another(laid, 1) as session:
            return session.look(every_requirement=True)

    def another(self, laid: Path | None, workers: int) -> Session:
        """The target with another overlay, to be examined."""
        fork_server = self.fork_server if laid is not None else None
        return Session(self.python, laid, workers, locations.cache(), self.progress, fork_server)


@dataclass(frozen=True)
class Trial:
    """What came of running all again with a remedy.

    Attributes:
        fixed: Probes that had failed with the finding, and were ok.
        failing: Those that were not. A variant that this machine cannot run with it says neither.
        kept: Probes that had been ok, and were again.
        lost: Those that were not.
        now: The rules that each of the failing now trips.
        stood_in: Functions that were tried with the CPU in the place of the GPU in backward.
        changes: Releases that came to be installed, by package.
        breaks: Declared requirements that these break.
        passed: All probes that were ok.
        open: What is still wrong with the whole stack, or newly so: the rules of errors that are found with it.
    """

    fixed: tuple[str, ...]
    failing: tuple[str, ...]
    kept: tuple[str, ...]
    lost: tuple[str, ...]
    now: Mapping[str, list[str]]
    stood_in: tuple[str, ...] = ()
    changes: Mapping[str, str] | None = None
    breaks: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    def helps(self, finding: Finding, ground: Ground) -> bool:
        """Whether a finding is gone, but for mere variants of a function, and nothing that worked is lost.

        Variants of the step may show what the fault had hidden, and what is another rule's: dropout that is not repeated,
        for one. They hinder nothing, and are named.
        """
        functions = {one.spec.function for one in ground.probes if one.spec.id in finding.probes}
        must = first_of_all(functions)
        left = [one.spec for one in ground.probes if one.spec.id in self.failing and one.spec.function in must]
        hidden = [one for one in left if one.variant and self.now[one.id] and finding.rule not in self.now[one.id]]
        return bool(self.fixed) and not self.lost and len(hidden) == len(left)

    def left(self, ground: Ground) -> list[str]:
        """What it does not fix: ``llamafactory:unsloth with dropout (CKPT005)``."""
        specs = [one.spec for one in ground.probes if one.spec.id in self.failing]
        return list(
            dict.fromkeys(f"{one.function}{_when(one)} ({listed(self.now[one.id]) or 'fails'})" for one in specs)
        )

    @property
    def tried(self) -> list[str]:
        """Ids of the probes that were ok with it."""
        return list(dict.fromkeys([*self.fixed, *self.kept, *self.passed]))


def _when(spec: Spec) -> str:
    """Under what a probe was run, where that is not the usual step."""
    return IN_WORDS[spec.variant] or (f" under {engines_in_words([spec.engine])}" if spec.engine != "none" else "")


class Untried(Exception):  # noqa: N818 - nothing is wrong with the remedy
    """A remedy could not be tried, for a reason that says nothing about it: no network, no room."""


class LacksModel(Exception):  # noqa: N818 - nothing is wrong
    """A release of transformers does not have the model that is probed."""


def with_releases(candidate: Candidate, finding: Finding, ground: Ground) -> Trial | None:
    """Try other releases, in an overlay.

    What another release of a trainer requires and nobody has installed is laid as well, if that does no harm; what is left
    of it counts among the requirements that the change breaks.

    Returns:
        What came of it; nothing where the releases cannot be had for this target, together or at all.

    Raises:
        LacksModel: The release of transformers does not have the model.
        Untried: They cannot be had just now.
    """
    try:
        after = ground.look(laid := _overlay(candidate, ground))
        if _lacks_model(after, ground):
            raise LacksModel
        lacking = _lacking(candidate.requirements, ground.before, after)
        if lacking:
            whole = _with_lacking(candidate, lacking, finding, ground)
            if whole is not None:
                return whole
        return _tried(laid, after, candidate, finding, ground)
    except UnobtainableError:
        return None
    except TargetError as error:
        raise Untried(error.message) from error


def _lacks_model(after: Environment, ground: Ground) -> bool:
    before = set(ground.environment.families)
    return any(one.spec.model in before and one.spec.model not in after.families for one in ground.probes)


def _with_lacking(candidate: Candidate, lacking: Sequence[str], finding: Finding, ground: Ground) -> Trial | None:
    """The same with what is lacking laid too; nothing where that cannot be had or spoils it."""
    try:
        laid = _overlay(candidate, ground, lacking)
    except UnobtainableError:
        return None
    trial = _tried(laid, ground.look(laid), candidate, finding, ground)
    return trial if trial.helps(finding, ground) else None


def _tried(laid: Path, after: Environment, candidate: Candidate, finding: Finding, ground: Ground) -> Trial:
    with ground.another(laid, ground.session.workers) as session:
        evidence = session.examine(ground.specs())
    before = ground.before
    changes = {one.name: one.version for one in after.packages if before.version(one.name) != one.version}
    changes |= {name: candidate.changes[name] for name in candidate.anew}
    lacking = [
        f"{name} {after.version(name)} requires {requirement}, which is not installed"
        for name in sorted(changes.keys() & catalog.trainers().keys())
        for requirement in pins.missing(name, before, after)
    ]
    return _judged(evidence, finding, ground, after, changes, (*pins.broken(before, after), *lacking))


def _lacking(requirements: Sequence[str], before: Environment, after: Environment) -> list[str]:
    """What trainers newly require and can be laid; what belongs to torch comes in its own builds and is left alone.

    Where the installed release lacks something already, only its function is there to be looked at, and no training.
    """
    named = set(map(_name, requirements))
    whole = [name for name in sorted(named & catalog.trainers().keys()) if pins.is_whole(name, before)]
    found = [one for name in whole for one in pins.missing(name, before, after)]
    return [one for one in found if not overlay.is_held(_name(one))]


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def with_file(file: str, replacement: Path, finding: Finding, ground: Ground) -> Trial:
    """Try a patched file in the place of an installed one."""
    named = {
        case.spec.function: str(replacement)
        for case in ground.found.cases
        if case.function is not None and case.function.file == file
    }
    return _judged(ground.session.examine(ground.specs(), named), finding, ground, ground.environment)


def with_adapter(finding: Finding, ground: Ground) -> Trial:
    """Try the way in which ``ckptdoctor run`` starts a job."""
    cache = locations.cache()
    with Session(ground.python, ground.laid, ground.session.workers, cache, ground.progress, adapted=True) as session:
        return _judged(session.examine(ground.specs()), finding, ground, ground.environment)


def _overlay(candidate: Candidate, ground: Ground, more: Sequence[str] = ()) -> Path:
    """The diagnosis's own overlay, with other releases."""
    requirements = [*candidate.requirements, *more]
    named = set(map(_name, requirements))
    others = [one for one in ground.request.requirements if _name(one) not in named]
    return overlay.lay(
        ground.python,
        [*others, *requirements],
        with_dependencies=ground.request.with_dependencies,
        environment_packages=ground.installed,
        cache=locations.cache(),
        progress=ground.progress,
        anew=candidate.anew,
    )


def _judged(
    evidence: Iterable[Evidence],
    finding: Finding,
    ground: Ground,
    after: Environment,
    changes: Mapping[str, str] | None = None,
    breaks: tuple[str, ...] = (),
) -> Trial:
    """What the evidence says by the very rules that found the fault."""
    found = findings.find(after, Plan(ground.probes), evidence)
    now = {one.id: one for one in found.probes}
    passed = {one.id for one in found.probes if one.outcome == "ok"}
    failed = [one.spec.id for one in ground.probes if one.spec.id in finding.probes]
    unjudged = {one.id for one in found.probes if findings.is_impossible_variant(one)}
    again = {one.spec.id for one in ground.probes}
    had_passed = [one.id for one in ground.found.probes if one.outcome == "ok" and one.id in again]
    return Trial(
        fixed=tuple(one for one in failed if one in passed),
        failing=tuple(one for one in failed if one not in passed | unjudged),
        kept=tuple(one for one in had_passed if one in passed),
        lost=tuple(one for one in had_passed if one not in passed),
        now={one: now[one].rules if one in now else [] for one in failed},
        stood_in=tuple(sorted({now[one].checkpoint_function for one in passed if now[one].evidence.forward_only})),
        changes=changes,
        breaks=breaks,
        passed=tuple(one.spec.id for one in ground.probes if one.spec.id in passed),
        open=tuple(sorted({one.rule for one in found.findings if one.severity == "error"})),
    )
