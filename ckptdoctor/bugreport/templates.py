"""The Markdown of a bug report: short enough to paste, in the order of the form that it goes into.

What only a person can say is left open: nothing is ticked that nobody did, and no name is called.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import Protocol

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Place
from ckptdoctor.model.proof import IN_WORDS
from ckptdoctor.model.report import Finding, Remedy, Report
from ckptdoctor.output.markup import code, fenced, prose
from ckptdoctor.output.sentences import devices, summary
from ckptdoctor.rules import label_of
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import error_line, relative

LONGEST = 20_000
"""Characters that a report should have at most, a third of what GitHub takes; what is longer is only attached."""

_FINDINGS = 4
_TAIL = 1500
_DIFF_LINES = 120
_VERDICTS = {"ok": "OK", "fail": "FAIL", "not judged": "NOT JUDGED", "error": "CANNOT BE DIAGNOSED"}


class Script(Protocol):
    """A script that was run, as the bundle has it."""

    @property
    def name(self) -> str:
        """Its file name."""

    @property
    def source(self) -> str:
        """The script."""

    @property
    def rule(self) -> str:
        """The finding that it is for."""

    @property
    def reproduced(self) -> bool:
        """Whether it ended as the finding says."""

    @property
    def words(self) -> str:
        """How it ended."""

    @property
    def tail(self) -> str:
        """The end of what it printed."""


def render(report: Report, scripts: Sequence[Script], template: str = "", reasons: Sequence[str] = ()) -> str:
    """Write the Markdown.

    Args:
        report: The diagnosis, redacted.
        scripts: What was run to reproduce it.
        template: Whose form it is for, a name of ``catalog.templates``, or empty.
        reasons: Why findings have no script, a sentence each.
    """
    form = catalog.template(template)
    whole = _filled(form, _Parts(report, scripts, template, reasons, inline=True))
    return whole if len(whole) <= LONGEST else _filled(form, _Parts(report, scripts, template, reasons, inline=False))


def _filled(form: str, parts: _Parts) -> str:
    """A form with its parts in their places; what has no body is left out, blocks and headings."""
    sections = [(head, _joined(*(_block(one, parts) for one in body.split("\n\n")))) for head, body in _sections(form)]
    return "\n\n".join(f"### {head}\n\n{body}" if head else body for head, body in sections if body) + "\n"


def _sections(form: str) -> Iterator[tuple[str, str]]:
    """The headings of a form with what is below each; one that has no words only ends the section before it."""
    for section in re.split(r"^###", form, flags=re.MULTILINE)[1:]:
        head, _, body = section.partition("\n")
        yield head.strip(), body.strip("\n")


def _block(text: str, parts: _Parts) -> str:
    """A block as it is, or the part for which it stands."""
    return str(getattr(parts, text[1:])) if text.startswith("$") else text


class _Parts:
    """The parts that every form has somewhere."""

    def __init__(
        self, report: Report, scripts: Sequence[Script], project: str, reasons: Sequence[str], inline: bool
    ) -> None:
        self.report, self.scripts, self.project, self.reasons, self.inline = report, scripts, project, reasons, inline

    @property
    def verdict(self) -> str:
        """The verdict in one sentence."""
        return f"**{_VERDICTS[self.report.verdict]}**: {prose(summary(self.report))}"

    @property
    def system(self) -> str:
        """The stack."""
        found = self.report.environment
        probed = devices(self.report.probes) or ["no device"]
        lines = [f"- {prose(f'{name} {found.version(name)}')}" for name in found.stack]
        return "\n".join(
            [
                f"- {prose(f'Python {found.python}, {found.platform}, probed on ' + ', '.join(probed))}",
                *lines,
                "- every package: `packages.txt`; `torch.utils.collect_env`: `collect_env.txt`, both attached",
            ]
        )

    @property
    def found(self) -> str:
        """What was found, and where; empty where nothing was."""
        return self.findings if self.report.findings else ""

    @property
    def findings(self) -> str:
        """What was found, and where."""
        shown = self.report.findings[:_FINDINGS]
        more = len(self.report.findings) - len(shown)
        texts = [_finding(one) for one in shown]
        return "\n\n".join([*texts, *([f"{more} more in `report.json`."] if more > 0 else [])]) or "Nothing was found."

    @property
    def reproduction(self) -> str:
        """How to see it oneself, and whether that was tried."""
        return "\n\n".join([*map(self._script, self.scripts), *map(prose, self.reasons)]) or (
            "There is no script: nothing was found that one could show."
            if self.report.verdict == "ok"
            else "There is no script for this; `report.json` has all that was observed."
        )

    def _script(self, script: Script) -> str:
        what = (
            "was run here in a fresh process, and reproduced it"
            if script.reproduced
            else ("was run here in a fresh process, and did **not** reproduce it")
        )
        lines = [
            f"{code(script.name)} (attached; torch and the libraries alone, for {prose(script.rule)}) {what}:",
            fenced(script.words, ""),
            *([fenced(steps, "bash")] if (steps := _steps(script.source)) else []),
        ]
        if self.inline:
            lines += [_folded(script.name, fenced(script.source, "python"))]
        return "\n\n".join(lines)

    @property
    def traceback(self) -> str:
        """The end of what the first script printed."""
        if not self.scripts or not self.scripts[0].tail.strip():
            return ""
        tail = self.scripts[0].tail.strip()
        limit = _TAIL // 2 if self.inline else _TAIL
        cut = "...\n" + tail[-limit:].partition("\n")[2] if len(tail) > limit else tail
        return _folded("The end of its output", fenced(cut, "text"))

    @property
    def expected(self) -> str:
        """What should happen."""
        return (
            "The training step runs with gradient checkpointing as it does without: the same loss, the same gradients, each "
            "layer recomputed once in backward, no keyword argument lost."
        )

    @property
    def evidence(self) -> str:
        """What is not to blame."""
        lines = [
            f"- not {prose(f'{one.package} {one.version}: {one.reason}')}"
            for finding in self.report.findings[:_FINDINGS]
            for one in finding.ruled_out
        ]
        return "\n".join([*dict.fromkeys(lines), *(f"- {prose(note)}" for note in self.report.notes)])

    @property
    def fixes(self) -> str:
        """What makes it go away, with a heading of its own."""
        return f"**Fixes**\n\n{self.remedies}" if self.remedies else ""

    @property
    def launcher(self) -> str:
        """How the scripts are started."""
        return "One process, started with `python`." if self.scripts else ""

    @property
    def configuration(self) -> str:
        """The trainer's own configuration, of which the scripts need none."""
        return "None is needed: the script has all of it." if self.scripts else "_No response_"

    @property
    def operating_systems(self) -> str:
        """A list to tick, with this machine's own ticked."""
        platform = self.report.environment.platform.lower()
        return "\n".join(f"- [{'x' if platform.startswith(start) else ' '}] {name}" for name, start in _SYSTEMS)

    @property
    def python(self) -> str:
        """The version of Python."""
        return prose(self.report.environment.python)

    @property
    def version(self) -> str:
        """The installed release of the project whose form it is."""
        return prose(self.report.environment.version(self.project)) or "not installed"

    @property
    def remedies(self) -> str:
        """What makes it go away."""
        remedies = [one for finding in self.report.findings[:_FINDINGS] for one in finding.remedies]
        return "\n\n".join(dict.fromkeys(_remedy(one, self.inline) for one in remedies))

    @property
    def made_by(self) -> str:
        """Where this comes from."""
        return (
            f"Made by `ckptdoctor report` {self.report.version}, which runs tiny real training steps in an environment. "
            "Private paths and names are replaced by `<...>`. The zip file with all of it is attached."
        )


def _remedy(remedy: Remedy, inline: bool) -> str:
    how = f" ({IN_WORDS[remedy.proven]})" if remedy.proven else ""
    blocks = [f"- {prose(remedy.title)}{how}"]
    blocks += [fenced("\n".join(remedy.commands), "bash")] if remedy.commands else []
    if remedy.diff:
        lines = remedy.diff.rstrip("\n").split("\n")
        if inline and len(lines) <= _DIFF_LINES:
            blocks.append(fenced(remedy.diff, "diff"))
        else:
            blocks.append(f"The diff has {len(lines)} lines and is in `report.json`.")
    return indent("\n\n".join(blocks), "  ").removeprefix("  ")


def _steps(source: str) -> str:
    """The commands at the head of a script, which make its stack and run it."""
    return "\n".join(re.findall(r"(?m)^#     ((?:pip|python) .*)$", source))


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>\n\n{body}\n\n</details>"


def _finding(finding: Finding) -> str:
    lines = [f"**{prose(finding.rule)}** ({finding.severity}): {prose(one_line(finding.title, 300))}", ""]
    if finding.error:
        lines += [fenced(one_line(error_line(finding.error), 400), ""), ""]
    lines += [f"- {prose(one_line(finding.detail, 500))}"] if finding.detail else []
    if finding.culprit:
        label = label_of(finding.rule, finding.culprit)
        lines.append(f"- {label}: {_place(finding.culprit)}{_code(finding.culprit.code)}")
    if finding.passed_by:
        made_of = finding.callable.text if finding.callable else finding.passed_by.code
        lines.append(f"- passed by: {_place(finding.passed_by)}{_code(made_of)}")
    count = len(finding.probes)
    if count:
        more = f" and {count - 2} more" if count > 2 else ""
        lines.append(f"- seen in {', '.join(code(one_line(one, 90)) for one in finding.probes[:2])}{more}")
    return "\n".join(lines)


def _place(place: Place) -> str:
    owner = f"{place.package} {place.version}".strip() or "own code"
    return f"{prose(owner)}, {code(f'{one_line(relative(place.file), 150)}:{place.line}')}"


def _code(text: str) -> str:
    return f"\n  {code(one_line(text, 150))}" if text.strip() else ""


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


_SYSTEMS = (("Linux", "linux"), ("macOS", "darwin"), ("Windows", "win"))
