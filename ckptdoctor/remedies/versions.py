"""Another version of one package, from what was measured over many releases."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from ckptdoctor import knowledge
from ckptdoctor.compatibility import TRAINERS, Map
from ckptdoctor.evidence import Environment
from ckptdoctor.knowledge import Worked
from ckptdoctor.plan import first_of_all
from ckptdoctor.report import Finding, Remedy
from ckptdoctor.rules import Case
from ckptdoctor.wording import listed


def find(finding: Finding, cases: list[Case], environment: Environment) -> list[Remedy]:
    """Version changes that are known to work with the rest of this stack, the nearest release of each package.

    Only exact matches count: the installed release of the one package with a release of the other, for the same checkpoint
    function and model family; run, or inferred from a run with the very same code, and said to be the one or the other.
    What was run is the usual step without an engine, so nothing is claimed for a fault that does not show there.
    """
    if not any(case.shows_in_the_usual_step() for case in cases):
        return []
    functions = sorted({case.spec.function for case in cases})
    models = {case.evidence.family or case.spec.model for case in cases}
    packages = {name.split(":")[0] for name in functions}
    if len(packages) != 1 or len(models) != 1:
        return []
    package, model = packages.pop(), models.pop()
    trainer, transformers = environment.version(package), environment.version("transformers")
    if not trainer or not transformers:
        return []
    known = knowledge.load()
    by_trainer = _nearest(
        _common(knowledge.works(package, model, transformers=transformers), functions, "version"), trainer
    )
    by_model = _nearest(
        _common(knowledge.works(package, model, **{package: trainer}), functions, "transformers"), transformers
    )
    found = []
    if by_trainer:
        found.append(_remedy(package, by_trainer, functions, "transformers", transformers, environment, known))
    if by_model:
        found.append(_remedy("transformers", by_model, functions, package, trainer, environment, known))
    return sorted(found, key=lambda one: len(one.breaks))


def _common(works: list[Worked], functions: list[str], axis: str) -> dict[str, list[Worked]]:
    """Releases along an axis with which all the functions that matter were ok."""
    by_release: dict[str, list[Worked]] = {}
    for one in works:
        by_release.setdefault(getattr(one, axis), []).append(one)
    return {
        release: found
        for release, found in by_release.items()
        if {one.judged.function for one in found} >= first_of_all(functions)
    }


def _nearest(releases: dict[str, list[Worked]], installed: str) -> tuple[str, list[Worked]] | None:
    """The smallest step: the next release up, else the next one down."""
    here = Version(installed)
    up = sorted((Version(release), release) for release in releases if Version(release) > here)
    down = sorted(((Version(release), release) for release in releases if Version(release) < here), reverse=True)
    for _, release in (*up[:1], *down[:1]):
        return release, releases[release]
    return None


def _remedy(
    package: str,
    chosen: tuple[str, list[Worked]],
    functions: list[str],
    fixed: str,
    fixed_version: str,
    environment: Environment,
    known: Map,
) -> Remedy:
    release, measured = chosen
    step = "up" if Version(release) > Version(environment.version(package)) else "down"
    is_trainer = package in TRAINERS
    left = sorted(set(functions) - {one.judged.function for one in measured})
    not_mended = f"; {listed(left)} is not mended by it" if left else ""
    follow = "all others stay" if is_trainer else "what it requires itself may follow"
    return Remedy(
        kind="version",
        title=f"{package} {release} ({step} from {environment.version(package)})",
        cost=f"one package changes; {fixed} {fixed_version} stays, {follow}{not_mended}",
        evidence=_evidence(measured, f"{fixed} {fixed_version}", known),
        # As it was measured: a trainer alone, anything else with what it requires.
        commands=[f"pip install {'--no-deps ' if is_trainer else ''}'{package}=={release}'"],
        breaks=[*_pins_on(package, release, environment), *_pins_of(package, release, environment, known)],
    )


def _evidence(found: list[Worked], with_what: str, known: Map) -> str:
    """What was run, and how far it reaches: functions that need a GPU in backward had the CPU in its place."""
    run = found[0].run
    stood_in = sorted({one.judged.function for one in found if one.judged.forward_only})
    ok = f"ok ({listed(stood_in)} with the CPU in the place of the GPU in backward)" if stood_in else "ok"
    if found[0].how == "measured":
        return f"measured on {run.date} with {with_what} and torch {known.torch}: {ok}"
    stack = " and ".join(f"{name} {release}" for name, release in run.stack.items())
    return f"inferred from {stack}, whose code that matters is the same, measured on {run.date} with torch {known.torch}: {ok}"


def _pins_on(package: str, release: str, environment: Environment) -> list[str]:
    """Declared requirements of installed packages that a release does not meet."""
    return [
        f"{installed.name} {installed.version} requires {requirement.name}{requirement.specifier}"
        for installed in environment.packages
        if installed.name != package
        for requirement in _parse(installed.requires)
        if requirement.name == package and not _allows(requirement, release, environment)
    ]


def _pins_of(package: str, release: str, environment: Environment, known: Map) -> list[str]:
    """Declared requirements of the release itself that the installed packages do not meet."""
    return [
        f"{package} {release} requires {requirement.name}{requirement.specifier}"
        for requirement in _parse(known.requires.get(package, {}).get(release, []))
        if (installed := environment.version(requirement.name)) and not _allows(requirement, installed, environment)
    ]


def _parse(requirements: Iterable[str]) -> Iterable[Requirement]:
    for text in requirements:
        try:
            yield Requirement(text)
        except InvalidRequirement:
            continue


def _allows(requirement: Requirement, release: str, environment: Environment) -> bool:
    """Whether a release meets a requirement, or the requirement does not apply to this target (extras included)."""
    python = ".".join(environment.python.split(".")[:2])
    marker = requirement.marker
    if marker is not None and not marker.evaluate(
        {"extra": "", "python_version": python, "python_full_version": environment.python}
    ):
        return True
    try:
        return requirement.specifier.contains(Version(release), prereleases=True)
    except InvalidVersion:
        return True


def unmet(environment: Environment) -> list[str]:
    """Declared requirements between packages of the stack that the installed versions do not meet."""
    return [
        f"{package.name} {package.version} requires {requirement.name}{requirement.specifier}, {installed} is installed"
        for package in environment.packages
        for requirement in _parse(package.requires)
        if (installed := environment.version(requirement.name)) and not _allows(requirement, installed, environment)
    ]
