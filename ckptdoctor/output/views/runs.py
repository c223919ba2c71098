"""What was run, for a terminal: a line for each checkpoint function, or tables of all probes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ckptdoctor.model.report import ProbeResult, Report
from ckptdoctor.output.layout import Layout, cells
from ckptdoctor.output.sentences import error_text, happened, outcome
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import counted, listed, located, relative

_OUTCOMES = {"ok": "green", "triggered": "red", "failed": "red", "crashed": "red", "timeout": "red"}
_OWN_CONVENTIONS = ("", "model")
_ERROR_LIMITS = range(90, 22, -4)
"""Widths tried for the table's column of errors; below the last one a list says more than a table."""
_ADVISORY = "*"
_SHARED = " / "
"""Between the outcomes of probes that share a cell."""
_NOT_CHECKPOINTED = "none"
_FEW = 2
"""Models that are named beside the number of probes."""
_TRIED = "tried"

_Cells = dict[str, dict[str, list[str]]]
"""What is shown in a grid, by row and column."""


def amount(report: Report) -> str:
    """How many probes were run, on which models if these are few, and how long it took."""
    models = list(dict.fromkeys(one_line(relative(one.model)) for one in report.probes if one.role != "convention"))
    on = f" on {listed(models)}" if 0 < len(models) <= _FEW and models != ["model"] else ""
    took = "from the cache" if report.cached else f"{report.seconds:.1f} s"
    return f"{counted(len(report.probes), 'probe')}{on}, {took}"


# -- a line for each function -----------------------------------------------------------------------------------------


def folded(report: Report, layout: Layout) -> list[str]:
    """How each checkpoint function fared, in a line each; functions that fared alike share one, those that failed come last.

    A step without checkpointing is what the others are compared with: such steps have a line only if they did not work. An
    advisory step does not count, and a reader would take its rule for a fault: the tables have it.
    """
    fared: dict[tuple[str, tuple[_Step, ...]], list[str]] = {}
    for (model, function), steps in _by_function(report.probes).items():
        if function != _NOT_CHECKPOINTED or any(one.ended != "ok" for one in steps):
            name = "no checkpointing" if function == _NOT_CHECKPOINTED else function
            fared.setdefault((model, tuple(steps)), []).append(name)
    models = {model for model, _ in fared}
    lines: list[str] = []
    for (model, shown), names in sorted(fared.items(), key=lambda one: _color(one[0][1]) != "green"):
        where = f" on {one_line(relative(model))}" if len(models) > 1 else ""
        width = layout.style.width
        texts = [_fitting(f"{_together(names)}{where}", shown, " each", width)] if len(names) > 1 else []
        if not texts or cells(f"{_TRIED} {texts[0]}") > width:
            texts = [_fitting(f"{name}{where}", shown, "", width) for name in names]
        for text in texts:
            lines += layout.wrap(text, f"{_TRIED} ", "  ", _color(shown))
    return lines


class _Step(NamedTuple):
    """A step of a function: in which situation, and how it ended."""

    situation: str
    ended: str


def _color(steps: Iterable[_Step]) -> str | None:
    endings = {step.ended for step in steps}
    return "green" if endings == {"ok"} else None if any(one.startswith("ok") for one in endings) else "red"


def _by_function(probes: Iterable[ProbeResult]) -> dict[tuple[str, str], list[_Step]]:
    """The steps of each function on each model, without advisory ones."""
    found: dict[tuple[str, str], list[_Step]] = {}
    of_models = [probe for probe in probes if probe.role not in ("convention", "advisory")]
    turned = {probe.model: _reentrance(probe) for probe in reversed(of_models) if probe.role == "subject"}
    names = _names({probe.checkpoint_function for probe in of_models})
    for probe in of_models:
        step = _Step(_situation(probe, turned.get(probe.model, "")), one_line(_ended(probe)))
        found.setdefault((probe.model, names[probe.checkpoint_function]), []).append(step)
    return found


def _names(functions: set[str]) -> dict[str, str]:
    """What functions are called in a list: those of files without their folders, where that tells them apart."""
    short = {one: one_line(one.rpartition("/")[2] or one) for one in functions}
    is_clear = len(set(short.values())) == len(functions)
    return short if is_clear else {one: one_line(one) for one in functions}


def _ended(probe: ProbeResult) -> str:
    if probe.rules:
        return f"trigger {listed(probe.rules)}"
    return "ok, backward simulated on CPU" if probe.evidence.forward_only and probe.outcome == "ok" else probe.outcome


def _situation(probe: ProbeResult, usual: str) -> str:
    """The engine, and what is particular about the step: ``zero3 packed``; an engine alone where that is all."""
    particular = [
        probe.calling_convention if probe.calling_convention in probe.id.split("/") else "",
        probe.variant,
        _reentrance(probe) if _reentrance(probe) != usual else "",
        "as installed" if "as installed" in probe.id.split("/") else "",
    ]
    engine = "" if probe.engine == "none" and any(particular) else probe.engine.replace("none", "no engine")
    return one_line(" ".join(filter(None, [engine, *particular])))


def _fitting(name: str, steps: tuple[_Step, ...], each: str, width: int) -> str:
    """How often a function's steps ended how, with as many of their situations as a line holds: first of those not ok."""
    named: dict[str, list[str]] = {}
    for step in sorted(steps, key=lambda step: step.ended == "ok"):
        named.setdefault(step.ended, []).append(step.situation)
    longest = max(map(len, named.values()))
    limits = [(longest, ok) for ok in range(longest, -1, -1)] + [(others, 0) for others in range(longest - 1, -1, -1)]
    text = ""
    for others, ok in limits:
        parts = [
            f"{len(names)} {_conjugated(ended, len(names))}{each}{_some(names, ok if ended == 'ok' else others)}"
            for ended, names in named.items()
        ]
        text = f"{name}: {'; '.join(parts)}"
        if cells(f"{_TRIED} {text}") <= width:
            break
    return text


def _conjugated(ended: str, count: int) -> str:
    return ended.replace("trigger ", "triggers ", 1) if count == 1 else ended


def _together(names: list[str]) -> str:
    """Several functions, those of one module behind its name: ``torch:non-reentrant/reentrant``."""
    modules: dict[str, list[str]] = {}
    for name in names:
        module, colon, function = name.rpartition(":")
        modules.setdefault(f"{module}{colon}", []).append(function)
    return ", ".join(
        f"{module}{'/'.join(functions)}" if module else ", ".join(functions) for module, functions in modules.items()
    )


def _some(names: list[str], most: int) -> str:
    """Names, or the first few and how many more there are; nothing for none."""
    left = len(names) - most
    shown = _joined(names) if left < 2 else [*_joined(names[:most]), f"{left} more"]
    return f" ({', '.join(shown)})" if most else ""


def _joined(names: list[str]) -> list[str]:
    """Names of which neighbours differ in a number that counts up, in one: ``zero0-3``."""
    joined: list[str] = []
    for name in dict.fromkeys(names):
        last = re.fullmatch(r"(\D+)(\d+)(?:-(\d+))?", joined[-1]) if joined else None
        this = re.fullmatch(r"(\D+)(\d+)", name)
        if last and this and last[1] == this[1] and int(last[3] or last[2]) + 1 == int(this[2]):
            joined[-1] = f"{last[1]}{last[2]}-{this[2]}"
        else:
            joined.append(name)
    return joined


# -- tables -----------------------------------------------------------------------------------------------------------


def tables(report: Report, layout: Layout) -> Iterator[list[str]]:
    """All probes: how each function fared, with each calling convention too, and all there is to say of what went wrong."""
    yield _what_ran(report, layout)
    yield _conventions(report, layout)
    yield from (_failure(probe, layout) for probe in report.probes)


def _what_ran(report: Report, layout: Layout) -> list[str]:
    probes = [probe for probe in report.probes if probe.role != "convention"]
    if not probes:
        return []
    lines = layout.wrap(f"({amount(report)})", "what was run ", "  ")
    lines += _probe_table(probes, layout) or _probe_list(probes, layout)
    if any(probe.role == "advisory" for probe in probes):
        lines += layout.wrap(f"{_ADVISORY} advisory: does not count for the verdict", "  ", "  ")
    return lines


def _probe_table(probes: list[ProbeResult], layout: Layout) -> list[str]:
    """The widest table that the terminal holds; empty if it holds none."""
    convention = any(probe.calling_convention not in _OWN_CONVENTIONS for probe in probes)
    headers = ["model", "checkpoint function", "engine", *(["convention"] if convention else [])]
    headers += ["outcome", "what happened", "s"]
    for limit in _ERROR_LIMITS:
        rows = [_probe_row(probe, convention, limit, layout) for probe in probes]
        if lines := layout.table(headers, rows):
            return lines
    return []


def _probe_row(probe: ProbeResult, convention: bool, limit: int, layout: Layout) -> list[str]:
    names = [probe.model, probe.checkpoint_function, probe.engine, *([probe.calling_convention] if convention else [])]
    ended = layout.paint(probe.outcome, fg=_OUTCOMES.get(probe.outcome)) + _mark(probe)
    return [*map(one_line, names), ended, one_line(_happened(probe), limit), f"{probe.evidence.seconds:.1f}"]


def _mark(probe: ProbeResult) -> str:
    return _ADVISORY if probe.role == "advisory" else ""


def _happened(probe: ProbeResult) -> str:
    return " ".join([*probe.rules, happened(probe)])


def _probe_list(probes: list[ProbeResult], layout: Layout) -> list[str]:
    lines: list[str] = []
    for probe in probes:
        names = [probe.model, probe.checkpoint_function, probe.engine]
        names += [probe.calling_convention] if probe.calling_convention not in _OWN_CONVENTIONS else []
        lines += layout.wrap(f"{' / '.join(names)}: {probe.outcome}{_mark(probe)}", "- ", "  ")
        what = one_line(_happened(probe))
        lines += layout.wrap(what, "    ", "    ") if what else []
    return lines


def _reentrance(probe: ProbeResult) -> str:
    """What a job's setup sets of reentrant checkpointing, as the probe's id has it; empty if it sets nothing."""
    setup = [word for part in probe.id.split("/") for word in part.split("+")]
    return next((word for word in ("non-reentrant", "reentrant") if word in setup), "")


def _conventions(report: Report, layout: Layout) -> list[str]:
    """How each checkpoint function fares with each calling convention."""
    cells: _Cells = {}
    for probe in (probe for probe in report.probes if probe.role == "convention"):
        _put(cells, probe.checkpoint_function, probe.calling_convention, probe)
    if not cells:
        return []
    title = layout.wrap("tried with tiny-glm4, whether or not this stack uses them", "calling conventions ", "  ")
    return [*title, *_grid(cells, "convention", layout)]


def _put(cells: _Cells, row: str, column: str, probe: ProbeResult) -> None:
    """Add a probe to a grid; where several share a cell, it shows how each of them ended."""
    shown = cells.setdefault(one_line(row), {}).setdefault(one_line(column), [])
    if (cell := one_line(",".join(probe.rules) or outcome(probe)) + _mark(probe)) not in shown:
        shown.append(f"{cell} as installed" if "as installed" in probe.id.split("/") else cell)


def _grid(cells: _Cells, columns: str, layout: Layout) -> list[str]:
    """A table of cells by row and column, or a list where it is wider than the terminal."""
    across = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = [(name, [_SHARED.join(row.get(column, [])) for column in across]) for name, row in cells.items()]
    return layout.grid(("checkpoint function", columns), across, rows) or _grid_as_list(across, rows, layout)


def _grid_as_list(across: list[str], rows: list[tuple[str, list[str]]], layout: Layout) -> list[str]:
    lines: list[str] = []
    for name, row in rows:
        pairs = [f"{column} {cell}".replace(" ", "\xa0") for column, cell in zip(across, row, strict=True) if cell]
        lines += layout.wrap(f"{name}: {', '.join(pairs)}", "- ", "  ")
    return lines


def _failure(probe: ProbeResult, layout: Layout) -> list[str]:
    """The traceback and the output of a probe that went wrong."""
    error, output = probe.evidence.error, probe.evidence.output
    if probe.outcome == "ok" or not (error or output):
        return []
    lines = [layout.paint(one_line(probe.id), bold=True)]
    for frame in error.frames if error else []:
        lines += layout.wrap(f"{located(frame)} in {frame.function or '?'}", "  ", "    ")
        lines += layout.wrap(one_line(frame.code), "      ", "      ") if frame.code else []
    lines += layout.wrap(error_text(error), "  ", "    ") if error else []
    lines += [layout.paint("  output", bold=True), *(f"    {line}" for line in output.splitlines())] if output else []
    return lines
