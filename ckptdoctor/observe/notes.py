"""What the reader of a report on a job has to know beside its findings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from ckptdoctor.model.evidence import Environment, Evidence
from ckptdoctor.observe.job import EVERYWHERE, Job, Observed, ranks
from ckptdoctor.rules import RULES
from ckptdoctor.verdict.findings import Found
from ckptdoctor.words.wording import counted, listed, located


def of(job: Job, observed: Observed) -> Iterator[str]:
    """The notes of a report on a job.

    Args:
        job: What its processes reported.
        observed: Its steps.
    """
    yield from job.small
    first = observed[0][1] if observed else None
    if first is not None and first.switched_on_by is not None:
        yield f"Checkpointing was switched on by {located(first.switched_on_by)}."
    fewer = [one for one in job.processes if one.ended == "exited" and len(one.steps) < job.steps]
    if fewer:
        yield f"The command ended after {counted(len(fewer[0].steps), 'step')}; {job.steps} were to be observed."
    yield from _end(job)
    if first is not None and first.layers_without and first.layers:
        of_all = len(first.layers) + first.layers_without
        yield f"{len(first.layers)} of {of_all} layers are to be checkpointed: the others were not asked to be."
    yield from _differing(observed)
    yield from _of_steps([evidence for _, evidence in observed])


def _end(job: Job) -> Iterator[str]:
    """How the command ended, where that is known."""
    if job.stopped == "steps" and any(one.error for one in job.processes):
        yield "ckptdoctor ended what was left of the command after its error (--exit-after)."
    elif job.stopped:
        yield f"ckptdoctor ended the command {_STOPPED[job.stopped]}."
    elif job.over_on and job.over_on != EVERYWHERE:
        yield f"The command ended by itself, with status {job.status}."


_STOPPED = {"finding": "because of a finding (--stop-on)", "steps": "after the observed steps"}


def next_command(found: Found, environment: Environment, observed: Observed) -> str:
    """The command that looks for what fixes a function that cannot work with the callable, since nothing was tried here."""
    if not environment.executable or not any(RULES[one.rule].reads_callable for one in found.findings):
        return ""
    family = next((evidence.family for _, evidence in observed if evidence.family), "")
    model = f" --model {shlex.quote(family)}" if family else ""
    return f"ckptdoctor fix --python {shlex.quote(environment.executable)}{model}"


def _differing(observed: Observed) -> Iterator[str]:
    """Ranks in which the layers ran otherwise than in most ranks."""
    seen: dict[tuple[Any, ...], list[int]] = {}
    for planned, evidence in observed:
        if evidence.ended == "returned" and planned.spec.observed.endswith(", step 1"):
            runs = tuple((layer.name, layer.in_forward, layer.forwards) for layer in evidence.layers)
            seen.setdefault((planned.spec.function, planned.spec.engine, runs), []).append(evidence.rank)
    if len(seen) > 1:
        most = max(seen.values(), key=len)
        others = sorted(rank for ranks in seen.values() if ranks is not most for rank in ranks)
        yield f"In {ranks(others)}, layers ran otherwise than in the other ranks."


_WORTH_TELLING = 100_000
"""Bytes of a layer's output; what smaller layers keep is mostly random states and the like."""


def _of_steps(evidence: Sequence[Evidence]) -> Iterator[str]:
    unused = sorted({name for one in evidence for name in one.unused})
    if unused:
        yield (
            f"{counted(len(unused), 'trained parameter')} got no gradient, and checkpointing is not the reason: "
            f"{listed(unused, limit=3)}."
        )
    wrong = sorted({name for one in evidence for name in one.not_finite})
    if wrong:
        yield f"Gradients that are NaN or infinite: {listed(wrong, limit=3)}."
    kept = next((one.kept for one in evidence if one.kept is not None and one.kept.output >= _WORTH_TELLING), None)
    if kept is not None:
        yield f"Each layer kept {_bytes(kept.each)} for backward; its output has {_bytes(kept.output)}."
    peak = max((one.peak_bytes for one in evidence), default=0)
    if peak:
        yield f"The most memory of the device in use: {_bytes(peak)}."


def _bytes(number: int) -> str:
    size, unit = float(number), "bytes"
    for larger in ("kB", "MB", "GB"):
        if abs(size) < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
