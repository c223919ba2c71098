"""Answers "does this work together?" out of what was measured; nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ckptdoctor import catalog, knowledge
from ckptdoctor.errors import UsageFault
from ckptdoctor.knowledge import answering, families, pairs
from ckptdoctor.knowledge.pairs import MODEL_LIBRARY
from ckptdoctor.model.answer import Answer
from ckptdoctor.words.wording import counted, listed

_SEPARATORS = re.compile(r"[-_.]+")
"""People write LLaMA-Factory, llama_factory and llamafactory."""

_RELEASE = re.compile(r"v?\d+(?:\.\w+)*")
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_SHORT = re.compile(r"^([A-Za-z][\w.-]*)\s*(?:@|=|:|\s)\s*(v?\d+(?:\.\w+)*)$")

_NAMED = 6
"""Pairs and releases that a sentence names."""


def requirements_in(lines: Iterable[str]) -> tuple[list[Requirement], list[str]]:
    """The requirements in the lines of a file or of `pip freeze`, and the lines that are none."""
    found, others = [], []
    for line in lines:
        text = line.split(" #")[0].split(";")[0].split(" --hash")[0].rstrip("\\").strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            found.append(Requirement(text))
        except InvalidRequirement:
            others.append(text)
    return found, others


def spelled_out(words: Sequence[str]) -> list[str]:
    """Words of a command line as requirements: `llamafactory 0.9.4` and `llamafactory@0.9.4` mean `llamafactory==0.9.4`."""
    found: list[str] = []
    for word in words:
        text = _SHORT.sub(r"\1==\2", word.strip())
        if found and _RELEASE.fullmatch(text) and _NAME.fullmatch(found[-1]):
            found[-1] = f"{found[-1]}=={text}"
        else:
            found.append(text)
    return found


def ask(requirements: Sequence[Requirement], family: str = "", unread: Sequence[str] = ()) -> Answer:
    """What is known of these releases together.

    Args:
        requirements: Of any packages: what was not measured is left out.
        family: A model family; without one, all that were measured must agree.
        unread: Lines that could not be read as requirements, for a note.

    Raises:
        UsageFault: Neither transformers nor a trainer that was measured is among them.
    """
    known = knowledge.load()
    named = wanted(requirements)
    if not named:
        names = listed(sorted(known.axes))
        raise UsageFault(f"None of these packages was measured; measured were {names}.", "name one of them")
    if family and family not in known.models() and not any(map(catalog.is_trainer, named)):
        releases = _releases(named[MODEL_LIBRARY], families.load().axes[MODEL_LIBRARY])
        return families.answered(family, families.told(family, releases))
    asked = {name: _releases(spec, known.axes[name]) for name, spec in named.items()}
    exact = _exact(named)
    said = answering.of_releases(pairs.known(), asked, exact, family)
    notes = [*_notes(requirements, asked, named, unread), *of_torch(family, exact.get(MODEL_LIBRARY, ""))]
    return msgspec.structs.replace(said, notes=tuple(notes))


def of_torch(family: str, release: str) -> list[str]:
    """What is known of a release of transformers beside trainers: of the family, or of those that fail."""
    if not release:
        return []
    found = [one.sentence for one in families.told(family, [release]) if one.verdict == "fail"] if family else []
    return found if family else [text for text in (families.remark(release),) if text]


def _name(requirement: Requirement, axes: Iterable[str]) -> str:
    """The measured package that a requirement names, in whatever spelling; empty for any other."""
    bare = _SEPARATORS.sub("", requirement.name.lower())
    return next((name for name in axes if _SEPARATORS.sub("", name) == bare), "")


def wanted(requirements: Sequence[Requirement]) -> dict[str, SpecifierSet]:
    """The releases that requirements admit of the packages that were measured, by our spelling of their names."""
    axes = knowledge.load().axes
    found: dict[str, SpecifierSet] = {}
    for one in requirements:
        name = _name(one, axes)
        if name and one.url is None:
            found[name] = found.get(name, SpecifierSet()) & one.specifier
    return found


def _releases(specifier: SpecifierSet, known: Sequence[str]) -> list[str]:
    return sorted(specifier.filter(known, prereleases=True), key=Version)


def _exact(wanted: Mapping[str, SpecifierSet]) -> dict[str, str]:
    """Releases that are named exactly, measured or not."""
    found = {}
    for name, specifier in wanted.items():
        versions = [one.version for one in specifier if one.operator in ("==", "===") and not one.version.endswith("*")]
        if versions:
            found[name] = versions[0]
    return found


def _notes(
    requirements: Sequence[Requirement],
    asked: Mapping[str, Sequence[str]],
    wanted: Mapping[str, SpecifierSet],
    unread: Sequence[str],
) -> Iterator[str]:
    known = knowledge.load()
    for name, releases in asked.items():
        if not releases:
            oldest, newest = known.axes[name][0], known.axes[name][-1]
            yield f"{name}{wanted[name]} was not measured; measured were {oldest} to {newest}."
    for one in requirements:
        if one.url is not None and _name(one, known.axes):
            yield f"{one.name} comes from a URL or a folder, so its release is not known: it was left out."
    if unread:
        yield f"{counted(len(unread), 'line')} could not be read: {listed([repr(one) for one in unread], limit=_NAMED)}."
