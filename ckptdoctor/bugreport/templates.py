"""The Markdown of a bug report: short enough to paste, in the order of the form that it goes into.

What only a person can say is left open: nothing is ticked that nobody did, and no name is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ckptdoctor.evidence import Place
from ckptdoctor.output.escape import one_line
from ckptdoctor.report import Finding, Report
from ckptdoctor.wording import blames, error_line, relative

LONGEST = 6000
"""Characters that a report should have at most; scripts that do not fit in are left to the attachment."""

_FINDINGS = 4
_TAIL = 1500
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


def render(report: Report, scripts: Sequence[Script], template: str = "") -> str:
    """Write the Markdown.

    Args:
        report: The diagnosis, redacted.
        scripts: What was run to reproduce it.
        template: Whose form it is for, a key of ``TEMPLATES``, or empty.
    """
    order = TEMPLATES[template] if template else _own
    whole = _text(order(_Parts(report, scripts, inline=True)))
    return whole if len(whole) <= LONGEST else _text(order(_Parts(report, scripts, inline=False)))


class _Parts:
    """The parts that every form has somewhere."""

    def __init__(self, report: Report, scripts: Sequence[Script], inline: bool) -> None:
        self.report, self.scripts, self.inline = report, scripts, inline

    @property
    def verdict(self) -> str:
        """The verdict in one sentence."""
        return f"**{_VERDICTS[self.report.verdict]}**: {_line(self.report.summary)}"

    @property
    def system(self) -> str:
        """The stack."""
        found = self.report.environment
        devices = sorted({probe.evidence.device for probe in self.report.probes}) or ["?"]
        lines = [f"- {_line(name)} {_line(found.version(name))}" for name in found.stack]
        return "\n".join(
            [
                f"- Python {_line(found.python)}, {_line(found.platform)}, probed on {', '.join(devices)}",
                *lines,
                "- every package: `packages.txt`; `torch.utils.collect_env`: `collect_env.txt`, both attached",
            ]
        )

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
        return "\n\n".join(map(self._script, self.scripts)) or (
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
            f"`{script.name}` (attached; torch and the libraries alone, for {script.rule}) {what}:",
            _fenced(script.words, ""),
        ]
        if self.inline:
            lines += [f"<details><summary>{script.name}</summary>\n\n{_fenced(script.source, 'python')}\n\n</details>"]
        return "\n".join(lines)

    @property
    def traceback(self) -> str:
        """The end of what the first script printed."""
        if not self.scripts or not self.scripts[0].tail.strip():
            return ""
        tail = self.scripts[0].tail.strip()
        limit = _TAIL // 2 if self.inline else _TAIL
        cut = "...\n" + tail[-limit:].partition("\n")[2] if len(tail) > limit else tail
        return f"<details><summary>The end of its output</summary>\n\n{_fenced(cut, 'text')}\n\n</details>"

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
            f"- not {_line(one.package)} {_line(one.version)}: {_line(one.reason)}"
            for finding in self.report.findings[:_FINDINGS]
            for one in finding.innocent
        ]
        return "\n".join([*dict.fromkeys(lines), *(f"- {_line(note)}" for note in self.report.notes)])

    @property
    def helps(self) -> str:
        """What makes it go away."""
        lines = [
            f"- {_line(one.title)}{' (tried here)' if one.verified else ''}"
            + "".join(f"\n  `{_line(command)}`" for command in one.commands)
            + (f"\n  (the diff: `report.json`; {one.diff.count(chr(10))} lines)" if one.diff else "")
            for finding in self.report.findings[:_FINDINGS]
            for one in finding.remedies
        ]
        return "\n".join(dict.fromkeys(lines))

    @property
    def made_by(self) -> str:
        """Where this comes from."""
        return (
            f"Made by `ckptdoctor report` {self.report.version}, which runs tiny real training steps in an environment. "
            "Private paths and names are replaced by `<...>`. The zip file with all of it is attached."
        )


def _finding(finding: Finding) -> str:
    lines = [f"**{finding.rule}** ({finding.severity}): {_line(finding.title)}", ""]
    if finding.error:
        lines += [_fenced(one_line(error_line(finding.error), 400), ""), ""]
    lines += [f"- {_line(finding.detail, 500)}"] if finding.detail else []
    if finding.culprit:
        label = blames(finding.rule, finding.culprit)
        lines.append(f"- {label}: {_place(finding.culprit)}{_code(finding.culprit.code)}")
    if finding.handed_over_by:
        made_of = finding.callable.text if finding.callable else finding.handed_over_by.code
        lines.append(f"- handed over by: {_place(finding.handed_over_by)}{_code(made_of)}")
    count = len(finding.probes)
    lines.append(
        f"- seen in {', '.join(f'`{one_line(one, 90)}`' for one in finding.probes[:2])}"
        + (f" and {count - 2} more" if count > 2 else "")
    )
    return "\n".join(lines)


def _place(place: Place) -> str:
    owner = f"{place.package} {place.version}".strip() or "own code"
    return f"{_line(owner)}, `{one_line(relative(place.file), 150)}:{place.line}`"


def _code(text: str) -> str:
    shown = one_line(text, 150).replace("`", "'")
    return f"\n  `{shown}`" if shown else ""


def _line(text: str, limit: int = 300) -> str:
    """Text on one line that Markdown shows as it is: no tag, no mention of anybody, no picture."""
    shown = re.sub(r"<(?=[a-zA-Z/!])", "&lt;", one_line(text, limit)).replace("![", "!\\[")
    return re.sub(r"(?<![\w`])@(?=\w)", "@\u200b", shown)


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = text.rstrip("\n")
    return f"{fence}{language}\n{body}\n{fence}"


def _text(sections: Iterable[tuple[str, str]]) -> str:
    return "\n\n".join(f"### {head}\n\n{body}" if head else body for head, body in sections if body) + "\n"


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _own(parts: _Parts) -> list[tuple[str, str]]:
    return [
        ("Gradient checkpointing", parts.verdict),
        ("Stack", parts.system),
        ("Findings", parts.findings if parts.report.findings else ""),
        ("Reproduction", _joined(parts.reproduction, parts.traceback)),
        ("Evidence", parts.evidence),
        ("What helps", parts.helps),
        ("", parts.made_by),
    ]


def _llamafactory(parts: _Parts) -> list[tuple[str, str]]:
    return [
        ("Reminder", "- [ ] I have read the above rules and searched the existing issues."),
        ("System Info", parts.system),
        ("Reproduction", _joined(parts.verdict, parts.findings, parts.reproduction, parts.traceback)),
        ("Others", _joined(parts.evidence, _headed("What helps", parts.helps), parts.made_by)),
    ]


def _transformers(parts: _Parts) -> list[tuple[str, str]]:
    return [
        ("System Info", parts.system),
        ("Who can help?", "_No response_"),
        ("Information", "- [ ] The official example scripts\n- [ ] My own modified scripts"),
        (
            "Tasks",
            "- [ ] An officially supported task in the `examples` folder (such as GLUE/SQuAD, ...)\n"
            "- [ ] My own task or dataset (give details below)",
        ),
        ("Reproduction", _joined(parts.verdict, parts.findings, parts.reproduction, parts.traceback, parts.evidence)),
        ("Expected behavior", _joined(parts.expected, _headed("What helps", parts.helps), parts.made_by)),
    ]


def _deepspeed(parts: _Parts) -> list[tuple[str, str]]:
    return [
        ("Describe the bug", _joined(parts.verdict, parts.findings, parts.evidence)),
        ("To Reproduce", _joined(parts.reproduction, parts.traceback)),
        ("Expected behavior", parts.expected),
        ("ds_report output", "Not run; `collect_env.txt` and `packages.txt` are attached."),
        ("System info (please complete the following information):", parts.system),
        ("Launcher context", "None: one process, started with `python`."),
        ("Additional context", _joined(_headed("What helps", parts.helps), parts.made_by)),
    ]


def _axolotl(parts: _Parts) -> list[tuple[str, str]]:
    platform = parts.report.environment.platform.lower()
    ticks = [(name, platform.startswith(start)) for name, start in _SYSTEMS]
    return [
        (
            "Please check that this issue hasn't been reported before.",
            "- [ ] I searched previous Bug Reports didn't find any similar reports.",
        ),
        ("Expected Behavior", parts.expected),
        ("Current behaviour", _joined(parts.verdict, parts.findings, parts.evidence)),
        ("Steps to reproduce", _joined(parts.reproduction, parts.traceback)),
        ("Config yaml", "None is needed: the script has all of it."),
        ("Possible solution", _joined(parts.helps, parts.made_by)),
        ("Which Operating Systems are you using?", "\n".join(f"- [{'x' if on else ' '}] {name}" for name, on in ticks)),
        ("Python Version", _joined(_line(parts.report.environment.python), parts.system)),
        ("axolotl branch-commit", _line(parts.report.environment.version("axolotl")) or "not installed"),
        (
            "Acknowledgements",
            "- [ ] My issue title is concise, descriptive, and in title casing.\n"
            "- [ ] I have searched the existing issues to make sure this bug has not been reported yet.\n"
            "- [ ] I am using the latest version of axolotl.\n"
            "- [ ] I have provided enough information for the maintainers to reproduce and diagnose the issue.",
        ),
    ]


_SYSTEMS = (("Linux", "linux"), ("macOS", "darwin"), ("Windows", "win"))


def _headed(head: str, body: str) -> str:
    return f"**{head}**\n\n{body}" if body else ""


TEMPLATES: dict[str, Callable[[_Parts], list[tuple[str, str]]]] = {
    "llamafactory": _llamafactory,
    "transformers": _transformers,
    "deepspeed": _deepspeed,
    "axolotl": _axolotl,
}
"""Issue forms by project, each with its headings in their order."""
