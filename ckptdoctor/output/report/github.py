"""For GitHub Actions: annotations on the run and on the files of the project."""

from __future__ import annotations

from collections.abc import Iterator

from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.report import Report
from ckptdoctor.output import Style
from ckptdoctor.output.sentences import stale_text
from ckptdoctor.output.views import published
from ckptdoctor.output.views.published import Published
from ckptdoctor.words.escape import one_line

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def render(report: Report, style: Style) -> str:
    """Prints annotations, a line each, the verdict last; ``style`` is ignored.

    What does not count is a notice. A file is named only where it is the project's own, since GitHub has no other.
    """
    return "".join(f"{line}\n" for line in _commands(report))


def _commands(report: Report) -> Iterator[str]:
    for found in published.findings(report):
        yield _finding(found)
    shown = published.clean(report)
    if shown.gate is not None:
        for entry in shown.gate.stale:
            yield _command("warning", "ckptdoctor: baseline out of date", stale_text(entry))
    yield _verdict(shown)


def _finding(found: Published) -> str:
    finding = found.finding
    level = "notice" if finding.accepted else _LEVELS[finding.severity]
    title = f"{finding.rule} {found.title}"
    place = (
        {"file": published.in_repository(found.at.file), "line": str(found.at.line)}
        if found.at and found.at.own
        else {}
    )
    return _command(level, title, "\n".join([found.title, *found.lines()]), **place)


def _verdict(report: Report) -> str:
    level = "notice" if report.status is ExitStatus.OK else "error"
    gate = f"\n{report.gate.summary}" if report.gate else ""
    return _command(level, "ckptdoctor", one_line(report.summary) + gate)


def _command(level: str, title: str, message: str, **place: str) -> str:
    properties = ",".join(f"{name}={_property(text)}" for name, text in {**place, "title": title}.items())
    return f"::{level} {properties}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
