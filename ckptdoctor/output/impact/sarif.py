"""For code scanning: SARIF 2.1.0, a result for each change and each contract, at the line of the head."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.impact import KINDS, Change, ContractChange, Impact, Kind
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented
from ckptdoctor.output.views import changed, sarif_log
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import located

_CONTRACT = "CONTRACT"
_LEVELS: dict[Kind, str] = {
    "broken": "error",
    "warned": "warning",
    "otherwise": "note",
    "working": "none",
    "cleared": "none",
}


def render(found: Impact, style: Style) -> str:
    """Prints a SARIF log with one run; ``style`` is ignored."""
    found = changed.clean(found)
    changes = [one for kind in KINDS for one in found.of_kind(kind)]
    codes = sorted({_code(one) for one in changes} | ({_CONTRACT} if found.contracts else set()))
    results = [_change(one, codes, found) for one in changes] + [
        _contract(one, codes, found) for one in found.contracts
    ]
    run = {
        "tool": {"driver": sarif_log.driver(found.version, [_rule(one) for one in codes])},
        "invocations": [_invocation(found)],
        "originalUriBaseIds": sarif_log.bases(),
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": "ckptdoctor-impact/"},
        "results": results,
    }
    return indented(sarif_log.log(run))


def _code(one: Change) -> str:
    return one.rules[0] if one.rules else "CHANGED"


def _rule(code: str) -> dict[str, Any]:
    words = (
        "A contract that trainers rely on changed." if code == _CONTRACT else f"`ckptdoctor rule {code}` explains it."
    )
    return {"id": code, "shortDescription": {"text": words}, "help": {"text": words}}


def _invocation(found: Impact) -> dict[str, Any]:
    notices = [("note", text) for text in (changed.head(found), changed.verdict(found), *found.notes)]
    notices += [("warning", f"not compared: {changed.unknown(one)}") for one in found.not_compared]
    return sarif_log.invocation(found.status, notices)


def _change(one: Change, codes: list[str], found: Impact) -> dict[str, Any]:
    head = one.head.faults or one.base.faults
    spots = [place for fault in head for place in (fault.passed_by, fault.culprit) if place]
    # The line of the package that was changed tells its maintainers most.
    spots.sort(key=lambda place: place.package != found.package)
    lines = [
        f"{changed.TITLES[one.kind]}: {changed.title(one)}, {changed.models(one.models)}",
        *filter(None, [changed.rules(one), changed.pins(one)]),
        *(fault.error or fault.title for fault in head),
        *(f"{label} {located(place)}" for fault in head for label, place in changed.lines(fault)),
        *(f"fix [{remedy.label}]: {remedy.title}" for remedy in one.remedies),
    ]
    key = _digest(one.kind, *one.functions, *one.stack, *one.rules)
    made = _result(_code(one), codes, _LEVELS[one.kind], lines, spots[:1], key)
    if len(spots) > 1:
        made["relatedLocations"] = [{"id": at, **_location(place)} for at, place in enumerate(spots[1:], 1)]
    return made


def _contract(one: ContractChange, codes: list[str], found: Impact) -> dict[str, Any]:
    lines = [changed.contract(one), f"in {changed.models(one.models)}", *changed.breaking(one)]
    level = "warning" if changed.breaking(one) else "note"
    key = _digest(found.package, one.watched, one.base, one.head)
    return _result(_CONTRACT, codes, level, lines, [each.place for each in one.relied[:1]], key)


def _result(code: str, codes: list[str], level: str, lines: list[str], spots: list[Place], key: str) -> dict[str, Any]:
    return {
        "ruleId": code,
        "ruleIndex": codes.index(code),
        "level": level,
        "kind": "informational" if level == "none" else "fail",
        "message": {"text": "\n".join(map(one_line, lines))},
        "locations": [_location(place) for place in spots] or [_project()],
        "partialFingerprints": {"ckptdoctor/v1": key, "primaryLocationLineHash": f"{key[:16]}:1"},
    }


def _location(place: Place) -> dict[str, Any]:
    region: dict[str, Any] = {"startLine": max(place.line, 1)}
    if place.code:
        region["snippet"] = {"text": one_line(place.code)}
    artifact = {"uri": quote(place.file), "uriBaseId": sarif_log.PACKAGES}
    return {"physicalLocation": {"artifactLocation": artifact, "region": region}}


def _project() -> dict[str, Any]:
    artifact = {"uri": "pyproject.toml", "uriBaseId": sarif_log.PROJECT}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": 1}}}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
