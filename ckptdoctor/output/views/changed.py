"""What the formats of an impact share: its sentences, and each change in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from msgspec import structs

from ckptdoctor.model.compatibility import Fault
from ckptdoctor.model.evidence import Place
from ckptdoctor.model.impact import Change, ContractChange, Impact, Kind, NotCompared, Outcome, Watched
from ckptdoctor.output.views import source_names
from ckptdoctor.rules import RULES, label_of
from ckptdoctor.words.escape import escaped
from ckptdoctor.words.wording import counted, listed, located

TITLES: dict[Kind, str] = {
    "broken": "Newly broken",
    "warned": "Newly warned",
    "otherwise": "Fails on both sides, by other rules",
    "working": "Newly working",
    "cleared": "No longer warned",
}

_COUNTED: dict[Kind, str] = {
    "broken": "newly broken",
    "warned": "newly warned",
    "otherwise": "failing by other rules than before",
    "working": "newly working",
    "cleared": "no longer warned",
}

WATCHED: dict[Watched, str] = {
    "callable": "The callable that is passed to the checkpoint function",
    "keywords": "Keyword arguments that layers get",
    "forward": "The owner of a layer's forward",
    "hooks": "A layer's own forward hooks",
    "returns": "What layers return",
    "switch": "How checkpointing is switched on",
}


def head(found: Impact) -> str:
    """What is compared, in one line."""
    return f"{found.package} {found.base.label} -> {found.head.label}"


def clean(found: Impact, ascii_only: bool = False) -> Impact:
    """A copy that acts on nothing where it is shown, with code that is from no index called as people call it."""
    sides = (found.base, found.head)
    sources = {found.package: {side.release: side.source for side in sides if side.source}}
    named = structs.replace(source_names.renamed(found, sources), base=found.base, head=found.head)
    return cast("Impact", escaped(named, ascii_only))


def commits(found: Impact) -> str:
    """Which commits sources are at; empty where there are none."""
    told = [
        f"{name} is at commit {side.source.commit[: source_names.DIGITS]}"
        + (", with changes that are not committed" if side.source.edited else "")
        for name, side in (("base", found.base), ("head", found.head))
        if side.source and side.source.commit
    ]
    return f"The {listed(told)}." if told else ""


def verdict(found: Impact) -> str:
    """The whole in a sentence or two."""
    if found.base.release == found.head.release:
        return "Base and head are the same code. Nothing was run."
    counts = [f"{len(one)} {_COUNTED[kind]}" for kind in TITLES if (one := found.of_kind(kind))]
    admitted = sum(one.admitted for one in found.of_kind("broken"))
    of_these = ""
    if found.of_kind("broken"):
        of_these = f" The releases' own requirements admit {admitted or 'none'} of the newly broken."
    missed = sum(len(one.what) for one in found.not_compared)
    unknown = f" {counted(missed, 'combination')} could not be compared: nothing is known of them." if missed else ""
    if not found.compared and not missed:
        return "No code that decides how checkpointing goes differs. Nothing was run."
    watched = f" {counted(len(found.contracts), 'contract')} changed." if found.contracts else ""
    read = sum(len(breaking(one)) for one in found.contracts)
    watched += f" {counted(read, 'line')} of trainers' code {_break(read)} by that (read, not run)." if read else ""
    return f"{listed(counts, 5) or 'Nothing changed'}.{of_these}{watched}{unknown}"


def _break(count: int) -> str:
    return "breaks" if count == 1 else "break"


def tried(found: Impact) -> str:
    """What was run on both sides; empty where nothing was."""
    if not found.compared:
        return ""
    others = [f"{name} {', '.join(releases)}" for name, releases in found.tried.items()]
    families = f"{counted(len(found.families), 'model family')}"
    what = listed([families if len(found.families) > 4 else listed(found.families), *others], 12)
    return f"{counted(found.compared, 'checkpointed step')} judged on both sides, with {what}."


def code(found: Impact) -> str:
    """Which code differs, as far as that is known file by file."""
    if not found.files:
        return ""
    families = ""
    if found.package == "transformers":
        families = f", the code of {counted(len(found.families), 'model family')}" if found.families else ""
    return f"Code differs in {listed(found.files, 6)}{families}."


def title(change: Change) -> str:
    """What changed, in one line."""
    stack = ", ".join(f"{name} {release}" for name, release in change.stack.items())
    with_ = f" with {stack}" if stack else ""
    engine = f" under {change.engine}" if change.engine != "none" else ""
    call = ", with Trainer's own call" if change.trainer_switches_on else ""
    return f"{listed(change.functions)}{with_}{engine}{call}"


def rules(change: Change) -> str:
    """The rules and their meanings."""
    meanings = (f"{rule} {RULES[rule].meaning.rstrip('.')}" if rule in RULES else rule for rule in change.rules)
    return "; ".join(filter(None, [*meanings, how(change)]))


def how(change: Change) -> str:
    """Whether it raises an error, or is silent."""
    if change.kind in ("working", "cleared"):
        return ""
    return "" if change.kind == "warned" else "raises an error" if change.head.error else "silent: no error is raised"


def models(names: list[str]) -> str:
    """Model families."""
    return listed(names, 8)


def sides(change: Change) -> Iterator[tuple[str, str, Outcome]]:
    """Both sides: name, what it came to in words, and the outcome."""
    words = {"ok": "works", "fail": "fails"}
    for name, side in (("base", change.base), ("head", change.head)):
        inferred = " (inferred from the same code)" if side.how == "inferred" else ""
        yield name, f"{words.get(side.verdict, side.verdict)}{inferred}", side


def lines(fault: Fault) -> Iterator[tuple[str, Place]]:
    """The lines of a fault with their labels."""
    if fault.culprit:
        yield label_of(fault.rule, fault.culprit), fault.culprit
    if fault.passed_by:
        yield "passed by", fault.passed_by


def pins(change: Change) -> str:
    """Whether the releases' own requirements admit the combination."""
    if change.unmet:
        return f"not admitted: {listed(change.unmet)}"
    if not change.stack or not change.required:
        return "" if not change.stack else "the releases declare no requirement that excludes it"
    return "admitted by the releases' own requirements"


def contract(one: ContractChange) -> str:
    """The line of a contract: what changed, and who relies on it."""
    return f"{WATCHED[one.watched]} changed from {one.base} to {one.head}; {relied(one)}"


def relied(one: ContractChange) -> str:
    """How many trainers rely on a contract."""
    if one.watched == "hooks":
        return "which trainers rely on it is not read from their code"
    count = len(one.trainers)
    return f"{counted(count, 'trainer')} {'relies' if count == 1 else 'rely'} on it"


def breaking(one: ContractChange) -> list[str]:
    """Lines that rely on it and break, as the code says."""
    return [f"{located(each.place)}: {each.breaks}" for each in one.relied if each.breaks]


def unknown(one: NotCompared) -> str:
    """What could not be run."""
    return f"{listed(one.what, 8)}, on {one.side}: {one.why}"
