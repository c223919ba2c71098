"""What a scan found, for code scanning: SARIF 2.1.0, with fingerprints that last when lines move."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ckptdoctor.model.scan import Scan, ScanFinding
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented
from ckptdoctor.output.sentences import scan_verdict
from ckptdoctor.output.views import sarif_log
from ckptdoctor.output.views.published import in_repository
from ckptdoctor.verdict import identity
from ckptdoctor.words.escape import escaped, one_line


def render(found: Scan, style: Style) -> str:
    """Prints a SARIF log with one run; ``style`` is ignored."""
    found = escaped(found)
    codes = sorted({one.rule for one in found.findings})
    names = {one.rule: one.name for one in found.findings}
    met: Counter[str] = Counter()
    run = {
        "tool": {"driver": sarif_log.driver(found.version, [_rule(code, names[code]) for code in codes])},
        "invocations": [_invocation(found)],
        "originalUriBaseIds": sarif_log.bases(),
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": "ckptdoctor-scan/"},
        "results": [_result(one, codes.index(one.rule), met) for one in found.findings],
    }
    return indented(sarif_log.log(run))


def _rule(code: str, name: str) -> dict[str, Any]:
    title = "".join(word.capitalize() for word in name.split("-"))
    text = f"`ckptdoctor rule {code}` explains it."
    return {"id": code, "name": title, "shortDescription": {"text": name}, "help": {"text": text}}


def _invocation(found: Scan) -> dict[str, Any]:
    notices = [("note", note) for note in (scan_verdict(found), *found.notes)]
    notices += [("warning", f"not scanned: {identity.portable(one.file)}: {one.why}") for one in found.not_scanned]
    return sarif_log.invocation(found.status, notices)


def _result(one: ScanFinding, index: int, met: Counter[str]) -> dict[str, Any]:
    own = identity.in_project(one.place.file)
    file = in_repository(own) if own else identity.portable(one.place.file)
    key = hashlib.sha256("\0".join([one.rule, file, one.place.function, one.place.code]).encode()).hexdigest()[:32]
    met[key] += 1
    made: dict[str, Any] = {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": one.severity,
        "message": {"text": "\n".join(_lines(one))},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {
                        "uri": quote(Path(file).as_posix()),
                        "uriBaseId": sarif_log.PROJECT if own else sarif_log.PACKAGES,
                    },
                    "region": {"startLine": max(one.place.line, 1), "snippet": {"text": one_line(one.place.code)}},
                }
            }
        ],
        "partialFingerprints": {"ckptdoctor/v1": key, "primaryLocationLineHash": f"{key[:16]}:{met[key]}"},
        "properties": {"certainty": one.certainty, "command": one.command},
    }
    if one.ignored:
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": one_line(one.ignored)}]
    return made


def _lines(one: ScanFinding) -> list[str]:
    breaks = [f"breaks with transformers {each.releases}: {each.consequence}" for each in one.breaks]
    tried = [f"tried: {one.trial.verdict}: {one.trial.summary}"] if one.trial else []
    return [
        one_line(text)
        for text in (one.title, f"assumes: {one.assumes}", *breaks, f"{one.certainty}: {one.reason}", *tried)
    ]
