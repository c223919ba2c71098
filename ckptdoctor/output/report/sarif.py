"""For code scanning: SARIF 2.1.0, with the rules, the places and fingerprints that last when lines move."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.report import Report
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented
from ckptdoctor.output.sentences import notes, stale_text, verdict
from ckptdoctor.output.views import published, sarif_log
from ckptdoctor.output.views.published import Published, Spot
from ckptdoctor.rules import RULES, Rule
from ckptdoctor.words.escape import one_line


def render(report: Report, style: Style) -> str:
    """Prints a SARIF log with one run; ``style`` is ignored."""
    return indented(log(report))


def log(report: Report) -> dict[str, Any]:
    """The log as plain data."""
    shown = published.clean(report)
    return sarif_log.log(
        {
            "tool": {"driver": sarif_log.driver(shown.version, [_rule(rule) for rule in RULES.values()])},
            "invocations": [_invocation(shown)],
            "originalUriBaseIds": sarif_log.bases("The folder of packages of the environment under diagnosis."),
            "columnKind": "unicodeCodePoints",
            "automationDetails": {"id": "ckptdoctor/"},
            "properties": {
                "verdict": shown.verdict,
                "summary": verdict(shown),
                "stack": _stack(shown),
            },
            "results": [_result(one) for one in published.findings(report)],
        }
    )


def _stack(report: Report) -> dict[str, str]:
    environment = report.environment
    return {"python": environment.python, **{name: environment.version(name) for name in environment.stack}}


# -- the tool ---------------------------------------------------------------------------------------------------------


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.meaning},
        "fullDescription": {"text": rule.meaning},
        "help": {"text": rule.explanation, "markdown": rule.explanation},
        "helpUri": next(iter(rule.links), sarif_log.DOCUMENTATION),
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["gradient-checkpointing"]},
    }


def _invocation(report: Report) -> dict[str, Any]:
    counts = " that counts" if report.status is ExitStatus.OK else ""
    stale = report.gate.stale if report.gate else ()
    notices = [("note", f"Not tried: {one}") for one in report.not_tried]
    notices += [("note", note) for note in notes(report)]
    notices += [("note", report.gate.summary)] if report.gate else []
    notices += [("warning", stale_text(entry)) for entry in stale]
    return {
        "executionSuccessful": report.status is not ExitStatus.UNDIAGNOSED,
        "exitCode": int(report.status),
        "exitCodeDescription": f"{report.status.meaning}{counts}",
        "toolExecutionNotifications": [{"level": level, "message": {"text": text}} for level, text in notices],
    }


# -- results ----------------------------------------------------------------------------------------------------------


def _result(one: Published) -> dict[str, Any]:
    finding = one.finding
    made = {
        "ruleId": finding.rule,
        **({"ruleIndex": list(RULES).index(finding.rule)} if finding.rule in RULES else {}),
        "level": finding.severity,
        "message": {"text": "\n".join([one.title, *one.lines()])},
        "locations": [_location(one.at) if one.at else _environment()],
        # GitHub goes by the second one where it has no source to make its own from.
        "partialFingerprints": {"ckptdoctor/v1": one.key, "primaryLocationLineHash": f"{one.key[:16]}:1"},
        "properties": {"probes": one.names, "accepted": finding.accepted},
    }
    if one.passed_by is not None:
        text = "passed here"
        made["relatedLocations"] = [{"id": 1, **_location(one.passed_by), "message": {"text": text}}]
    if finding.accepted:
        reason = one_line(one.accepted)
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": reason}]
    return made


def _location(spot: Spot) -> dict[str, Any]:
    region: dict[str, Any] = {"startLine": spot.line}
    if spot.code:
        region["snippet"] = {"text": spot.code}
    file = published.in_repository(spot.file) if spot.own else spot.file
    artifact = {"uri": _uri(file), "uriBaseId": sarif_log.PROJECT if spot.own else sarif_log.PACKAGES}
    return {"physicalLocation": {"artifactLocation": artifact, "region": region}}


def _environment() -> dict[str, Any]:
    """Where there is no line to blame: code scanning wants a place, and the environment is declared in the project."""
    artifact = {"uri": _uri(published.in_repository("pyproject.toml")), "uriBaseId": sarif_log.PROJECT}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": 1}}}


def _uri(file: str) -> str:
    return quote(file)
