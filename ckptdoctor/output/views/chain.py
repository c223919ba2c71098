"""The way of a step, as links: engine, model, layer, the callable and what it is made of, checkpoint function, what came of it.

Only what was observed is told: a link of which nothing is known is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ckptdoctor import catalog
from ckptdoctor.model.evidence import CallableInfo, Evidence, Layer, Place
from ckptdoctor.model.report import Finding, ProbeResult, Report, RuledOut
from ckptdoctor.output.sentences import error_text
from ckptdoctor.planning.options import NO_FUNCTION
from ckptdoctor.rules import label_of
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import counted, engines_in_words, function_name, listed, located, owner, relative

ENGINE, MODEL, LAYER, CALLABLE, FUNCTION, END = "engine", "model", "layer", "callable", "checkpoint function", "result"

_FUNCTIONS_NAMED = 6
_BEFORE_THE_STEP = ("load", "build", "plain", "enable", "engine")
"""Where a probe ended that called no checkpoint function: it shows no chain."""


@dataclass(frozen=True)
class Part:
    """What a callable is made of, at one depth.

    Attributes:
        kind: ``functools.partial``, ``bound method`` and so on.
        text: What it is, for the innermost part; its keywords otherwise.
        where: Where the function's code stands.
        lacks: The attribute that was looked up on it and that it does not have.
    """

    kind: str
    text: str
    where: str
    lacks: str


@dataclass(frozen=True)
class Link:
    """A link of the chain.

    Attributes:
        role: What it is in the chain.
        name: As code calls it.
        owner: Its package and release.
        where: Its line of code.
        facts: What else is to be said, sentences.
        parts: Of a callable: what it is made of, outermost first.
        leads: How the chain comes to the next link.
        is_fault: The line that fails, or the code to blame.
        ruled_out: Why it is not to blame; empty where nothing says so.
        beside: What was ruled out next to it, and is no link itself.
    """

    role: str
    name: str
    owner: str = ""
    where: str = ""
    facts: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    leads: str = ""
    is_fault: bool = False
    ruled_out: str = ""
    beside: tuple[RuledOut, ...] = ()


def of_finding(finding: Finding, report: Report) -> list[Link]:
    """The chain that a finding breaks; empty if no step came so far that there is one."""
    probes = [probe for probe in report.probes if probe.id in finding.probes]
    if all(probe.evidence.during in _BEFORE_THE_STEP for probe in probes):
        return []
    links = [*_to_the_function(probes, report, finding), *_fault(finding)]
    if len(links) < 3:
        return []
    return list(_with_ruled_out(links, finding, probes))


def of_what_works(report: Report) -> list[Link]:
    """The chain of the first usual step that is ok with a checkpoint function, and of the functions that went the same way."""
    usual = [
        probe
        for probe in report.probes
        if probe.role == "subject" and probe.outcome == "ok" and probe.evidence.handovers and not _is_variant(probe)
    ]
    alike = [one for one in usual if _way(one) == _way(usual[0])]
    return [*_to_the_function(alike, report), _soundness(alike)] if alike else []


def _is_variant(probe: ProbeResult) -> bool:
    """Whether it is another step than the usual one, or was not run whole."""
    return bool(probe.variant) or probe.evidence.forward_only


def _way(probe: ProbeResult) -> tuple[str, str, str]:
    return probe.model, probe.engine, probe.evidence.handovers[0].callable.text


def _to_the_function(probes: Sequence[ProbeResult], report: Report, finding: Finding | None = None) -> Iterator[Link]:
    """The links up to the checkpoint function, as far as a step came."""
    if not probes:
        return
    evidence = next((one.evidence for one in probes if one.evidence.handovers), probes[0].evidence)
    yield Link(ENGINE, _engines(probes), leads="trains")
    yield _model(probes[0], evidence)
    callable_ = (finding and finding.callable) or (evidence.handovers[0].callable if evidence.handovers else None)
    passed_by = (finding and finding.passed_by) or (evidence.handovers[0].by if evidence.handovers else None)
    if layer := _layer(probes[0].model, report):
        yield replace(layer, leads="is passed as" if callable_ else "is passed to")
    if callable_:
        yield _callable(callable_, passed_by, finding)
    yield from _function(probes)


def _engines(probes: Sequence[ProbeResult]) -> str:
    names = list(dict.fromkeys(probe.engine for probe in probes))
    return engines_in_words(names) if set(names) <= set(catalog.engines()) else listed(names, len(names))


def _model(probe: ProbeResult, evidence: Evidence) -> Link:
    place = evidence.model_place
    more = f"family {evidence.family}" if evidence.family and evidence.model_class else ""
    return Link(
        MODEL,
        evidence.model_class or probe.model,
        _owned(place),
        _line(place),
        (more,) if more else (),
        leads="runs",
    )


def _layer(model: str, report: Report) -> Link | None:
    """The layers of a model, from whichever of its steps told of them."""
    found: tuple[Layer, ...] = next(
        (one.evidence.layers for one in report.probes if one.model == model and one.evidence.layers), ()
    )
    types = list(dict.fromkeys(layer.type for layer in found))
    if not types:
        return None
    return Link(LAYER, listed(types), facts=(f"{counted(len(found), 'layer')} in this step",))


def _callable(info: CallableInfo, passed_by: Place | None, finding: Finding | None) -> Link:
    attribute = finding.error.attribute if finding and finding.error else None
    depth = attribute.in_callable.count(".") if attribute and attribute.in_callable else -1
    lacking = {depth: attribute.name} if attribute else {}
    parts = tuple(_part(one, lacking.get(at, "")) for at, one in enumerate(_nested(info)))
    told = (f"passed by {located(passed_by)}",) if passed_by else ()
    return Link(CALLABLE, one_line(info.text), facts=told, parts=parts, leads="goes to")


def _nested(info: CallableInfo | None) -> Iterator[CallableInfo]:
    while info is not None:
        yield info
        info = info.inner


def _part(info: CallableInfo, lacks: str) -> Part:
    bound = f"with {listed(info.keywords, 8)}" if info.keywords else ""
    return Part(info.kind, bound if info.inner else one_line(info.text), _line(info.defined), lacks)


def _function(probes: Sequence[ProbeResult]) -> Iterator[Link]:
    names = [name for name in dict.fromkeys(probe.checkpoint_function for probe in probes) if name != NO_FUNCTION]
    if not names:
        return
    loaded = next((one.evidence.loaded for one in probes if one.evidence.loaded), None)
    place = loaded.place if loaded else None
    is_one = len({catalog.package_of(name) for name in names}) == 1
    yield Link(
        FUNCTION,
        listed([function_name(name) for name in names], _FUNCTIONS_NAMED),
        _owned(place) if is_one else "",
        _line(place) if is_one else "",
        leads="ends in",
    )


def _fault(finding: Finding) -> Iterator[Link]:
    """The line to blame, or what went wrong where no line is to blame."""
    error = error_text(finding.error) if finding.error else ""
    place = finding.culprit
    if place is None:
        yield Link(END, error or finding.title, is_fault=True)
        return
    label = label_of(finding.rule, place, "line")
    yield Link(
        label,
        one_line(place.code) or place.function,
        _owned(place),
        _line(place),
        (error,) if error else (),
        is_fault=True,
    )


def _soundness(probes: Sequence[ProbeResult]) -> Link:
    """What all of these steps have shown."""
    facts = []
    layers = [layer for probe in probes for layer in probe.evidence.layers]
    if layers and all(layer.is_recomputed_once for layer in layers):
        facts.append("each layer runs once more in the backward pass")
    gradients = [probe.evidence.gradients for probe in probes]
    if all(
        one and one.compared and not (one.missing or one.wrong or one.hidden or one.unexpected) for one in gradients
    ):
        facts.append("all gradients are as without checkpointing")
    return Link(END, "ok", facts=tuple(facts))


def _with_ruled_out(links: Sequence[Link], finding: Finding, probes: Sequence[ProbeResult]) -> Iterator[Link]:
    """The chain with what was ruled out: on the link that a package owns, else beside the link that it comes nearest to."""
    owners = {
        ENGINE: {catalog.engines()[probe.engine].package for probe in probes if probe.engine in catalog.engines()},
        MODEL: {"transformers"},
        FUNCTION: {catalog.package_of(probe.checkpoint_function) for probe in probes},
    }
    present = [link.role for link in links]
    at = [(one, *_nearest(one.package, owners, present)) for one in finding.ruled_out]
    for link in links:
        reasons = [one.reason for one, role, is_link in at if is_link and role == link.role]
        beside = tuple(one for one, role, is_link in at if not is_link and role == link.role)
        yield replace(link, ruled_out="; ".join(reasons), beside=beside)


def _nearest(package: str, owners: Mapping[str, set[str]], present: Sequence[str]) -> tuple[str, bool]:
    """The role of the link that a package owns, or stands beside; whether it owns the link."""
    own = next((role for role, found in owners.items() if found == {package} and role in present), "")
    if own:
        return own, True
    near = ENGINE if any(engine.package == package for engine in catalog.engines().values()) else FUNCTION
    return (near if near in present else present[0]), False


def _owned(place: Place | None) -> str:
    """Package and release of a place; empty where no package owns it."""
    return owner(place, "") if place and place.package else ""


def _line(place: Place | None) -> str:
    """A line of code without its owner, which stands beside it."""
    return f"{relative(place.file)}:{place.line}" if place else ""
