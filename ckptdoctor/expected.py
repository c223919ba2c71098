"""Where what was run here differs from what was measured of the same files: a finding about ckptdoctor's own knowledge.

Only what was measured is compared: the usual step without an engine, of the families in the map, with releases that are told by
their files. The releases of torch may differ, and a difference may come from that; so both are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import msgspec

from ckptdoctor import catalog, knowledge
from ckptdoctor.knowledge import files
from ckptdoctor.model.compatibility import Cell, Judged, Map
from ckptdoctor.model.report import DECIDED, ProbeResult, Report, Unexpected, Verdict
from ckptdoctor.rules import NOT_DIAGNOSED


def compare(report: Report) -> Report:
    """A report with what differs from the knowledge, if anything does, and a note on each."""
    if report.job or report.verdict not in DECIDED:
        return report
    found = tuple(_unexpected(report, knowledge.load()))
    torch = report.environment.version("torch")
    return msgspec.structs.replace(report, unexpected=found).with_notes(_sentence(one, torch) for one in found)


def _unexpected(report: Report, known: Map) -> Iterator[Unexpected]:
    probes = {probe.id: probe for probe in report.probes if probe.role == "subject"}
    models = [model for model in known.models() if any(probe.model == model for probe in probes.values())]
    releases = _releases(report, known, models) if models else {}
    trainers = [name for name in releases if name != files.LIBRARY]
    for trainer, model in product(trainers if files.LIBRARY in releases else [], models):
        stack = {files.LIBRARY: releases[files.LIBRARY], trainer: releases[trainer]}
        for cell in known.matching(stack, model):
            for judged in known.run_of(cell).functions:
                probe = probes.get(f"{model}/{judged.function}/none")
                if probe is not None and catalog.package_of(judged.function) == trainer:
                    yield from _differs(probe, judged, cell, known, report)


def _releases(report: Report, known: Map, models: list[str]) -> dict[str, str]:
    """The installed packages that were measured, each with the release that its files are of."""
    found = {}
    for package in report.environment.packages:
        if package.name in known.axes and package.location:
            release = files.release_of(package.name, package.version, Path(package.location), known, models)
            if release:
                found[package.name] = release
    return found


def _differs(probe: ProbeResult, judged: Judged, cell: Cell, known: Map, report: Report) -> Iterator[Unexpected]:
    here = _verdict(probe, report)
    comparable = here in DECIDED and judged.verdict in DECIDED and judged.forward_only == probe.evidence.forward_only
    if comparable and here != judged.verdict:
        rules = judged.rules if judged.verdict == "fail" else probe.rules
        when = knowledge.measured(known.run_of(cell), known)
        how = "" if cell.how == "measured" else "inferred from a release with the same code where it matters, "
        yield Unexpected(
            probe.checkpoint_function, probe.model, cell.stack, judged.verdict, here, tuple(rules), f"{how}{when}"
        )


def _verdict(probe: ProbeResult, report: Report) -> Verdict:
    """As a map has it: a warning is no failure, and what the machine broke off is no result."""
    errors = {one.rule for one in report.findings if one.severity == "error" and probe.id in one.probes}
    if probe.outcome not in ("ok", "triggered", "failed") or probe.evidence.unfit:
        return "error"
    if errors - {NOT_DIAGNOSED}:
        return "fail"
    return "error" if errors or probe.outcome == "failed" else "ok"


def _sentence(one: Unexpected, torch: str) -> str:
    words: Mapping[Verdict, str] = {"ok": "works", "fail": "fails"}
    stack = " with ".join(f"{name} {release}" for name, release in reversed(list(one.stack.items())))
    rules = f" ({', '.join(one.rules)})" if one.rules else ""
    here = f"{words[one.here]} here{rules if one.here == 'fail' else ''}, with torch {torch}"
    there = f"{words[one.known]}{rules if one.known == 'fail' else ''} by what is known, {one.measured}"
    return (
        f"This differs from what ckptdoctor knows: {one.function} of {stack} ({one.model}) {here}. It {there}. Please report "
        "it, with the output of --format json."
    )
