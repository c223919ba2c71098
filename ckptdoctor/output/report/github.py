"""For GitHub Actions: annotations on the run and on the files of the project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.report import Report
from ckptdoctor.output import Style
from ckptdoctor.output.sentences import stale_text, summary
from ckptdoctor.output.views import published
from ckptdoctor.output.views.published import Published
from ckptdoctor.words.escape import one_line

MOST = 10
"""Annotations of a level that GitHub shows of one step; it drops the rest and does not say so."""
_NEXT = "\n• "
"""Parts the lines of a message also where GitHub shows them all on one: on a run's page."""
_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def render(report: Report, style: Style) -> str:
    """Prints annotations, a line each, the verdict last; ``style`` is ignored.

    What does not count is a notice. A file is named only where it is the project's own, since GitHub has no other.
    """
    return "".join(f"{line}\n" for line in _commands(report))


def _commands(report: Report) -> Iterator[str]:
    shown = published.clean(report)
    stale = shown.gate.stale if shown.gate is not None else ()
    all_of_them = [_finding(found) for found in published.findings(report)]
    all_of_them += [_Annotation("warning", "ckptdoctor: baseline out of date", stale_text(one), {}) for one in stale]
    verdict = _verdict(shown)
    room = Counter(dict.fromkeys(_LEVELS.values(), MOST))
    room[verdict.level] -= 1
    left_out = 0
    for one in all_of_them:
        room[one.level] -= 1
        if room[one.level] >= 0:
            yield one.command()
        else:
            left_out += 1
    if left_out:
        why = f"{left_out} more not annotated, since GitHub shows {MOST} of a kind. The report has all findings."
        verdict = verdict._replace(message=f"{verdict.message}{_NEXT}{why}")
    yield verdict.command()


def _finding(found: Published) -> _Annotation:
    finding = found.finding
    level = "notice" if finding.accepted else _LEVELS[finding.severity]
    title = f"{finding.rule} {finding.name} (ckptdoctor)"
    place = (
        {"file": published.in_repository(found.at.file), "line": str(found.at.line)}
        if found.at and found.at.own
        else {}
    )
    return _Annotation(level, title, _NEXT.join([found.title, *_with_commands(found.lines())]), place)


def _with_commands(lines: Iterable[str]) -> list[str]:
    """The lines, with the commands of a remedy on its own line."""
    found: list[str] = []
    for line in lines:
        if line.startswith("  ") and found:
            found[-1] += f": `{line.strip()}`"
        else:
            found.append(line)
    return found


def _verdict(report: Report) -> _Annotation:
    level = "notice" if report.status is ExitStatus.OK else "error"
    gate = [report.gate.summary] if report.gate else []
    return _Annotation(level, "ckptdoctor", _NEXT.join([one_line(summary(report)), *gate]), {})


class _Annotation(NamedTuple):
    """What GitHub shows on the run, or beside a line of the project."""

    level: str
    title: str
    message: str
    place: Mapping[str, str]

    def command(self) -> str:
        """As the runner reads it."""
        properties = {**self.place, "title": self.title}.items()
        return f"::{self.level} {','.join(f'{name}={_property(text)}' for name, text in properties)}::{_data(self.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
