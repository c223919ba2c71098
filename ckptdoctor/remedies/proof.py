"""Tries a remedy before it is offered: runs all probes again with it, without changing the target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ckptdoctor import catalog
from ckptdoctor.environment import resolving
from ckptdoctor.errors import TargetError, UnobtainableError
from ckptdoctor.model import pins
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import Finding
from ckptdoctor.planning.plan import Planned
from ckptdoctor.remedies.candidates import Candidate
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.remedies.trial import Trial, judge_all, judge_failing
from ckptdoctor.words.wording import listed


class Untried(Exception):  # noqa: N818 - nothing is wrong with the remedy
    """A remedy could not be tried for an outside reason, such as no network or no disk space."""


class LacksModel(Exception):  # noqa: N818 - nothing is wrong
    """A release of transformers does not have the model that is probed."""


def with_releases(candidate: Candidate, finding: Finding, context: RemedyContext) -> Trial | None:
    """Try other releases, in an overlay.

    Missing dependencies of a trainer's release are added as well, if they do no harm. Those that stay missing count as
    requirements that the change breaks.

    Returns:
        The trial; nothing if the releases cannot be installed for this target, together or at all, or if no job with what was
        asked for starts with them.

    Raises:
        LacksModel: The release of transformers does not have the model.
        Untried: They cannot be fetched now.
    """
    context.progress.part(f"trying {listed(candidate.requirements)}")
    try:
        overlay = _overlay(candidate, context)
        after = context.inspect(overlay).with_every_requirement()
        if _lacks_model(after, context):
            raise LacksModel
        if any(
            one.is_mandatory and one.requirement.name in context.plan.used
            for one in pins.newly_unmet(context.before, after)
        ):
            return None
        lacking = _lacking(candidate.requirements, context.before, after)
        if lacking:
            whole = _with_lacking(candidate, lacking, finding, context)
            if whole is not None:
                return whole
        return _tried(overlay, candidate, finding, context)
    except UnobtainableError:
        return None
    except TargetError as error:
        raise Untried(error.message) from error


def _lacks_model(after: Environment, context: RemedyContext) -> bool:
    before = set(context.environment.families)
    return any(one.spec.model in before and one.spec.model not in after.families for one in context.probes)


def _with_lacking(
    candidate: Candidate, lacking: Sequence[str], finding: Finding, context: RemedyContext
) -> Trial | None:
    """The same trial with missing dependencies added; nothing if they cannot be installed or break the step."""
    try:
        overlay = _overlay(candidate, context, lacking)
    except UnobtainableError:
        return None
    trial = _tried(overlay, candidate, finding, context)
    return trial if trial.helps(finding, context) else None


def _tried(overlay: Path, candidate: Candidate, finding: Finding, context: RemedyContext) -> Trial:
    after = context.inspect(overlay).with_every_requirement()
    with context.another(overlay) as session:
        evidence = session.examine(context.specs())
    before = context.before
    changes = {one.name: one.version for one in after.packages if before.version(one.name) != one.version}
    changes |= {name: candidate.changes[name] for name in candidate.anew}
    lacking = [
        f"{name} {after.version(name)} requires {requirement}, which is not installed"
        for name in sorted(changes.keys() & catalog.trainers().keys())
        for requirement in pins.missing(name, before, after)
    ]
    return judge_all(evidence, finding, context, after, changes, (*pins.broken(before, after), *lacking))


def _lacking(requirements: Sequence[str], before: Environment, after: Environment) -> list[str]:
    """New dependencies of trainers that can be added. Packages of torch have their own builds and are not added.

    If the installed release already lacks a dependency, only its function can be tried, not a whole training.
    """
    named = set(map(_name, requirements))
    whole = [name for name in sorted(named & catalog.trainers().keys()) if pins.is_whole(name, before)]
    found = [one for name in whole for one in pins.missing(name, before, after)]
    return [one for one in found if not resolving.is_held(_name(one))]


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def _overlay(candidate: Candidate, context: RemedyContext, more: Sequence[str] = ()) -> Path:
    """The diagnosis's own overlay, with other releases."""
    requirements = [*candidate.requirements, *more]
    named = set(map(_name, requirements))
    others = [one for one in context.request.requirements if _name(one) not in named]
    return context.target.overlay_with([*others, *requirements], candidate.anew)


def with_file(file: str, replacement: Path, finding: Finding, context: RemedyContext) -> Trial:
    """Try a patched file instead of an installed one, with every probe."""
    context.progress.part("trying a patch")
    evidence = context.session.examine(context.specs(), _replaced(file, replacement, context))
    return judge_all(evidence, finding, context, context.environment)


def on_failing(
    file: str, replacement: Path, finding: Finding, context: RemedyContext, again: Sequence[Planned]
) -> Trial:
    """Try a patched file instead of an installed one, with some of the probes that failed."""
    context.progress.part("trying a patch")
    evidence = context.session.examine(context.specs(again), _replaced(file, replacement, context))
    return judge_failing(evidence, finding, context, again)


def _replaced(file: str, replacement: Path, context: RemedyContext) -> dict[str, str]:
    """For each checkpoint function of a file: the file to load instead."""
    return {
        case.spec.function: str(replacement)
        for case in context.found.cases
        if case.function is not None and case.function.file == file
    }


def with_adapter(finding: Finding, context: RemedyContext) -> Trial:
    """Try the way in which ``ckptdoctor run`` starts a job."""
    context.progress.part("trying the no-touch way")
    target = context.target
    with target.session(target.overlay, context.session.at_once, adapted=True) as session:
        return judge_all(session.examine(context.specs()), finding, context, context.environment)
