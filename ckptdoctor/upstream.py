"""Breaks in transformers before they are released: which issues to open and to close, ``python -m ckptdoctor.upstream``.

It reads the report of a check of the main branch, in which the findings of the newest release are accepted by a baseline, and
the open issues as ``gh issue list --json number,body`` prints them. It runs nothing and asks nobody: for each issue to open it
writes a file with the title in its first line and the body after it, and it prints the numbers of those to close.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import msgspec

from ckptdoctor.model.encoding import encode
from ckptdoctor.model.report import DECIDED, Finding, Report
from ckptdoctor.output import Style
from ckptdoctor.output.report import markdown
from ckptdoctor.verdict import identity
from ckptdoctor.words.escape import one_line

LONGEST_TITLE, LONGEST_BODY = 200, 60_000
"""Characters; GitHub takes 256 and 65,536."""

_INTRODUCTION = (
    "The main branch of transformers breaks this; its newest release does not. The issue is closed when it is gone."
)

_MARK = re.compile(r"<!-- ckptdoctor-break (\{[^\n]*\}) -->")


class Break(msgspec.Struct, frozen=True):
    """What an issue is about, as its body has it in a comment that nobody sees."""

    key: str
    """The finding's identity, which is the same in every run."""
    functions: tuple[str, ...]
    """Checkpoint functions that it was found with."""


class Issue(msgspec.Struct, frozen=True):
    """An issue, as ``gh`` prints it."""

    number: int
    body: str = ""

    @property
    def about(self) -> Break | None:
        """The break that it was opened for."""
        found = _MARK.search(self.body)
        try:
            return msgspec.json.decode(found[1], type=Break) if found else None
        except msgspec.MsgspecError:
            return None


def breaks(report: Report) -> dict[Break, Finding]:
    """What the main branch breaks that the newest release does not."""
    found = {}
    for finding in report.findings:
        if finding.severity == "error" and not finding.accepted:
            functions = {probe.checkpoint_function for probe in identity.subjects(finding, report.probes)}
            found[Break(identity.Key.of(finding).digest, tuple(sorted(functions)))] = finding
    return found


def to_open(report: Report, issues: Iterable[Issue]) -> list[tuple[str, str]]:
    """Title and body of an issue for each break that has none."""
    known = {issue.about.key for issue in issues if issue.about}
    return [
        (_title(finding), _body(broken, finding, report))
        for broken, finding in breaks(report).items()
        if broken.key not in known and report.verdict in DECIDED
    ]


def to_close(report: Report, issues: Iterable[Issue]) -> list[int]:
    """Issues whose break is gone: all its functions were judged, and are ok."""
    ok = {probe.checkpoint_function for probe in report.probes if probe.role == "subject"}
    ok -= {one for broken in breaks(report) for one in broken.functions}
    ok -= {probe.checkpoint_function for probe in report.probes if probe.role == "subject" and probe.outcome != "ok"}
    return [issue.number for issue in issues if issue.about and set(issue.about.functions) <= ok != set()]


def _title(finding: Finding) -> str:
    return one_line(f"transformers main: {finding.title}", LONGEST_TITLE)


def _body(broken: Break, finding: Finding, report: Report) -> str:
    """The finding as a report in Markdown has it, patch and all."""
    inside = encode(broken).decode().replace("<", r"\u003c").replace(">", r"\u003e")  # nothing ends the comment
    mark = f"<!-- ckptdoctor-break {inside} -->"
    probes = identity.subjects(finding, report.probes)
    only = msgspec.structs.replace(report, findings=[finding], probes=probes, notes=[])
    text = markdown.render(only, Style(color=False, width=100, verbose=False, unicode=True))
    return f"{mark}\n{_INTRODUCTION}\n\n{_cut(text)}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_BODY else f"{text[:LONGEST_BODY]}\n\n(cut here)\n"


def write(folder: Path, opened: Sequence[tuple[str, str]]) -> None:
    """A file for each issue to open."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (title, body) in enumerate(opened, 1):
        (folder / f"open-{number:02}.md").write_text(f"{title}\n\n{body}", encoding="utf-8")


@click.command()
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("issues", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(report: Path, issues: Path, folder: Path) -> None:
    """Say what to open, as files in a folder, and what to close, as numbers."""
    judged = msgspec.json.decode(report.read_bytes(), type=Report)
    known = msgspec.json.decode(issues.read_bytes(), type=list[Issue])
    write(folder, to_open(judged, known))
    for number in to_close(judged, known):
        click.echo(number)


if __name__ == "__main__":
    main()
