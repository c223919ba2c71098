"""For GitLab, Jenkins and others: a test case for each probe that counts, as JUnit's XML."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import junitparser
from junitparser.junitparser import FinalResult

from ckptdoctor.model.report import Finding, ProbeResult, Report
from ckptdoctor.output import Style
from ckptdoctor.output.sentences import notes, stale_text, verdict
from ckptdoctor.output.views import published
from ckptdoctor.output.views.published import Published
from ckptdoctor.rules import NOT_DIAGNOSED
from ckptdoctor.words.escape import LONGEST_LINE, one_line

_SUITE = "ckptdoctor"
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, not even as references."""


def render(report: Report, style: Style) -> str:
    """Prints test cases; ``style`` is ignored.

    A finding fails its probes at severity ``error``, and a warning does where warnings fail the run. What does not count is
    skipped, and what could not be diagnosed is an error.
    """
    shown, found = published.clean(report), published.findings(report)
    suite = junitparser.TestSuite(_SUITE)
    for name, value in _properties(shown):
        suite.add_property(_legal(name), _legal(value))
    pairs = [pair for pair in zip(report.probes, shown.probes, strict=True) if pair[0].role == "subject"]
    suite.add_testcases([_case(probe, clean, found, report) for probe, clean in pairs])
    suite.add_testcases(list(_others(report, shown, found)))
    suites = junitparser.JUnitXml(_SUITE)
    suites.add_testsuite(suite)
    # Not by its own counting: the schema knows no count of skipped cases out here.
    suites.tests, suites.failures, suites.errors, suites.time = suite.tests, suite.failures, suite.errors, suite.time
    buffer = io.BytesIO()
    suites.write(buffer, pretty=True)
    return buffer.getvalue().decode("utf-8").rstrip("\n") + "\n"


def _properties(report: Report) -> Iterator[tuple[str, str]]:
    environment = report.environment
    yield "ckptdoctor", report.version
    yield "python", environment.python
    yield from ((name, environment.version(name)) for name in environment.stack)
    yield "verdict", f"{report.verdict}: {one_line(verdict(report))}"
    if report.gate is not None:
        yield "gate", report.gate.summary
    yield from ((f"not tried {number}", one_line(one)) for number, one in enumerate(report.not_tried, 1))
    yield from ((f"note {number}", one_line(note, 2 * LONGEST_LINE)) for number, note in enumerate(notes(report), 1))


def _case(probe: ProbeResult, clean: ProbeResult, found: list[Published], report: Report) -> junitparser.TestCase:
    name = published.name_of(probe)
    case = _empty(name, name.partition("/")[0], probe.evidence.seconds)
    mine = [one for one in found if probe.id in one.probes]
    results = [result for one in mine if (result := _result(one, report)) is not None]
    if not mine and probe.outcome != "ok":
        happened = one_line(clean.error or clean.evidence.why or "")
        kind = junitparser.Skipped if probe.outcome == "skipped" else junitparser.Error
        results = [kind(_legal(f"{probe.outcome}: {happened}"), probe.outcome)]
    # Readers count a case once: what is skipped says nothing beside what failed.
    case.result = [one for one in results if not isinstance(one, junitparser.Skipped)] or results[:1]
    _tell(case, [_whole(one) for one in mine])
    return case


def _result(one: Published, report: Report) -> FinalResult | None:
    finding = one.finding
    message, kind = _legal(f"{finding.rule} {one.title}"), f"{finding.rule} {finding.name}"
    if finding.accepted:
        return junitparser.Skipped(_legal(f"{finding.rule} {one.accepted}"), kind)
    if not _fails(finding, report):
        return junitparser.Skipped(message, kind) if finding.rule == NOT_DIAGNOSED else None
    made = junitparser.Error(message, kind) if finding.rule == NOT_DIAGNOSED else junitparser.Failure(message, kind)
    made.text = _legal(_whole(one))
    return made


def _fails(finding: Finding, report: Report) -> bool:
    warnings_too = report.gate is not None and report.gate.fail_on == "warning"
    return finding.severity == "error" or (finding.severity == "warning" and warnings_too)


def _others(report: Report, shown: Report, found: list[Published]) -> Iterator[junitparser.TestCase]:
    """What belongs to no probe that counts: entries of the baseline, and a target in which nothing could be judged."""
    for number, entry in enumerate(shown.gate.stale if shown.gate else [], 1):
        case = _empty(f"baseline {number}: {entry.rule}", "baseline", 0.0)
        kind = junitparser.Failure if shown.gate and shown.gate.fail_on == "warning" else junitparser.Skipped
        case.result = [kind(_legal(one_line(stale_text(entry))), "stale")]
        yield case
    counted = {probe.id for probe in report.probes if probe.role == "subject"}
    for one in found:
        if not one.probes & counted:
            case = _empty(f"{one.finding.rule} {one.key}", "environment", 0.0)
            case.result = [result] if (result := _result(one, report)) is not None else []
            _tell(case, [_whole(one)])
            yield case
    if report.verdict == "error" and not any(one.finding.rule == NOT_DIAGNOSED for one in found):
        case = _empty("diagnosis", "environment", 0.0)
        case.result = [junitparser.Error(_legal(one_line(shown.summary)), "not-diagnosed")]
        yield case


def _empty(name: str, group: str, seconds: float) -> junitparser.TestCase:
    return junitparser.TestCase(_legal(name), _legal(f"{_SUITE}.{group}"), round(seconds, 3))


def _whole(one: Published) -> str:
    return "\n".join([f"{one.finding.rule} {one.finding.severity}: {one.title}", *one.lines()])


def _tell(case: junitparser.TestCase, texts: list[str]) -> None:
    if texts:
        case.system_out = _legal("\n\n".join(texts))


def _legal(text: str) -> str:
    """Text that XML can hold; what is escaped already holds little else, but for what Unicode leaves undefined."""
    return _ILLEGAL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)
