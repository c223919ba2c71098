"""What a probe observed, as labelled facts for people: all of it, the usual first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ckptdoctor.model.evidence import Error, Evidence, Gradients, Layer
from ckptdoctor.model.report import ProbeResult
from ckptdoctor.output.sentences import error_text
from ckptdoctor.output.views.sizes import size
from ckptdoctor.words.escape import LONGEST_LINE, one_line
from ckptdoctor.words.wording import counted, listed, located

_LAYERS_SHOWN = 8
_NAMES_SHOWN = 8
_ROLES = {
    "subject": "counts for the verdict",
    "control": "for comparison: does not count for the verdict",
    "convention": "a calling convention tried with our own model: does not count for the verdict",
    "advisory": "advisory: does not count for the verdict",
}
_LONGEST = 4000
"""Characters of a fact that is shown as it was reported."""


@dataclass(frozen=True)
class Fact:
    """A fact.

    Attributes:
        label: What it is about.
        lines: It, a line each.
        is_code: Whether the lines are code, paths or output, to be shown as they are.
    """

    label: str
    lines: tuple[str, ...]
    is_code: bool = False


def facts(probe: ProbeResult) -> list[Fact]:
    """Every fact of a probe; what has no words of its own comes last, as it was reported."""
    evidence = probe.evidence
    told = [
        Fact("role", (_ROLES.get(probe.role, probe.role),)),
        Fact("ended", tuple(filter(None, [_ended(evidence), evidence.why]))),
        *(found for tell in _TELLERS for found in tell(evidence)),
        Fact("run with", (_run_with(evidence),)),
        *_steps(evidence),
        *_rest(evidence),
    ]
    return [one for one in told if any(one.lines)]


def _ended(evidence: Evidence) -> str:
    during = f" during {evidence.during}" if evidence.during and evidence.ended != "returned" else ""
    simulated = "; its backward pass was simulated on the CPU" if evidence.forward_only else ""
    return f"{evidence.ended}{during}{simulated}"


def _error(evidence: Evidence) -> Iterator[Fact]:
    if evidence.error:
        yield Fact("error", tuple(_traceback(evidence.error)), is_code=True)


def _traceback(error: Error) -> Iterator[str]:
    for frame in error.frames:
        yield f"{located(frame)} in {frame.function or '?'}"
        if frame.code:
            yield f"    {one_line(frame.code)}"
    yield error_text(error, 4 * LONGEST_LINE)


def _passed(evidence: Evidence) -> Iterator[Fact]:
    for one in evidence.handovers:
        beside = f", with {listed(one.keywords, _NAMES_SHOWN)}" if one.keywords else ""
        lines = (one_line(one.callable.text), f"by {located(one.by)}, {counted(one.calls, 'call')}{beside}")
        yield Fact("passed", lines, is_code=True)


def _layers(evidence: Evidence) -> Iterator[Fact]:
    lines = [_layer(one) for one in evidence.layers[:_LAYERS_SHOWN]]
    if len(evidence.layers) > _LAYERS_SHOWN:
        lines.append(f"and {len(evidence.layers) - _LAYERS_SHOWN} more")
    yield Fact("layers", tuple(lines))


def _layer(layer: Layer) -> str:
    again = layer.forwards - layer.in_forward
    kept = (
        "" if layer.reached and layer.trained else ", frozen" if not layer.trained else ", before all that is trained"
    )
    return f"{layer.name} ({layer.type}{kept}): {_runs(layer.in_forward)} in forward, {_runs(again)} more in backward"


def _runs(count: int) -> str:
    return counted(count, "run") if count else "no run"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _loss(evidence: Evidence) -> Iterator[Fact]:
    values = [("with", evidence.loss), ("without", evidence.plain_loss)]
    told = [f"{value:.9g} {how} checkpointing" for how, value in values if value is not None]
    yield Fact("loss", (listed(told),) if told else ())


def _gradients(evidence: Evidence) -> Iterator[Fact]:
    for label, one in (("gradients", evidence.gradients), ("gradients of two steps", evidence.accumulated)):
        if one is not None:
            yield Fact(label, tuple(_compared(one)))


def _compared(one: Gradients) -> Iterator[str]:
    yield f"{one.compared} compared with those of the step without checkpointing"
    for what, names in (("missing", one.missing), ("hidden", one.hidden), ("unexpected", one.unexpected)):
        if names:
            yield f"{len(names)} {what}: {listed(names, _NAMES_SHOWN)}"
    if one.wrong:
        worst = [f"{each.parameter} by {each.difference:.2g}" for each in one.wrong]
        yield f"{len(one.wrong)} different: {listed(worst, _NAMES_SHOWN)}"
    if one.confirmed:
        yield f"the slope of the loss confirms: {one.confirmed}"
    if not (one.missing or one.hidden or one.unexpected or one.wrong):
        yield "none differs by more than rounding explains"


def _memory(evidence: Evidence) -> Iterator[Fact]:
    for label, one in (("kept for backward", evidence.saved_bytes), ("memory grew by", evidence.held_bytes)):
        if one is not None:
            text = f"{size(one.checkpointed)} with checkpointing, {size(one.plain)} without"
            yield Fact(label, (text,))


def _function(evidence: Evidence) -> Iterator[Fact]:
    if evidence.loaded:
        stubbed = f"; stood in for: {listed(evidence.loaded.stubbed, _NAMES_SHOWN)}" if evidence.loaded.stubbed else ""
        where = f"{located(evidence.loaded.place)}, loaded as {evidence.loaded.how}{stubbed}"
        yield Fact("checkpoint function", (where, f"called {_times(evidence.function_called)}"))
    elif evidence.function_called:
        yield Fact("checkpoint function", (f"called {_times(evidence.function_called)}",))


def _output(evidence: Evidence) -> Iterator[Fact]:
    yield Fact("output", tuple(evidence.output.rstrip("\n").split("\n")), is_code=True)


_TELLERS: Sequence[Callable[[Evidence], Iterator[Fact]]] = (
    *(_error, _passed, _function, _layers, _loss, _gradients, _memory),
    _output,
)

_TOLD = {
    *(
        "id",
        "ended",
        "why",
        "during",
        "forward_only",
        "error",
        "handovers",
        "loaded",
        "function_called",
        "layers",
        "loss",
    ),
    *(
        "plain_loss",
        "gradients",
        "accumulated",
        "saved_bytes",
        "held_bytes",
        "output",
        "modules",
        "device",
        "precision",
    ),
    *("seconds", "steps", "stand_in"),
}
"""Fields that have words of their own; ``stand_in`` and ``steps`` are evidence themselves."""


def _run_with(evidence: Evidence) -> str:
    packages = [f"{name} {version}" for name, version in evidence.modules.items()]
    where = f"{evidence.precision} on {evidence.device}, {evidence.seconds:.1f} s"
    return f"{where}; imported: {listed(packages, 12)}" if packages else where


def _steps(evidence: Evidence) -> Iterator[Fact]:
    """The steps of a course, and the one that stood in for a GPU's."""
    lines = [
        f"step {number}{f', {step.when}' if step.when else ''}: {_ended(step)}"
        for number, step in enumerate(evidence.steps, 1)
    ]
    yield Fact("steps", tuple(lines))
    if evidence.stand_in:
        yield Fact("simulated on the CPU", (_ended(evidence.stand_in),))


def _rest(evidence: Evidence) -> Iterator[Fact]:
    values: dict[str, Any] = msgspec.to_builtins(evidence)
    for name, value in values.items():
        if name not in _TOLD:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield Fact(name.replace("_", " "), (one_line(text, _LONGEST),), is_code=True)
