"""Which findings fail a run, which are ignored, and which a baseline accepts for now.

The gate comes after the diagnosis and does not change it. Every finding stays in the report; a finding that does not count
is marked. The verdict is the same with and without the gate. CKPT900, a target that could not be diagnosed, always counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import msgspec

from ckptdoctor.errors import UsageFault
from ckptdoctor.model.encoding import encode
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.report import DECIDED, Accepted, FailOn, Finding, Gate, ProbeResult, Report
from ckptdoctor.rules import NOT_DIAGNOSED, RULES
from ckptdoctor.store import writing
from ckptdoctor.verdict.findings import is_impossible_variant
from ckptdoctor.verdict.identity import Key, portable_function, subjects
from ckptdoctor.words.wording import counted, listed


class Baseline(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Accepted findings, as stored in a file."""

    schema: Literal["ckptdoctor/baseline/1"] = "ckptdoctor/baseline/1"
    accepted: list[Accepted]


@dataclass(frozen=True)
class Policy:
    """Which findings count.

    Attributes:
        fail_on: Findings of this severity or higher fail a run.
        select: Codes or prefixes of codes; empty for all.
        ignore: Codes or prefixes of codes. If ``select`` and ``ignore`` both match, the longer prefix wins.
        accepted: What the baseline accepts.
    """

    fail_on: FailOn = "error"
    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    accepted: Sequence[Accepted] = ()


# -- options ----------------------------------------------------------------------------------------------------


def codes(given: Iterable[str], option: str) -> tuple[str, ...]:
    """Codes or prefixes of codes from an option; commas separate several.

    Raises:
        UsageFault: No rule has such a code, or a rule cannot be ignored.
    """
    found = tuple(part.strip().upper() for text in given for part in text.split(",") if part.strip())
    for code in found:
        meant = [rule for rule in RULES if rule.startswith(code)]
        if not meant:
            raise UsageFault(f"{option}: there is no rule '{code}'.", _near(code))
        if option == "--ignore" and meant == [NOT_DIAGNOSED]:
            raise UsageFault(
                f"{NOT_DIAGNOSED} cannot be ignored: a stack that was not diagnosed would count as working.",
                "leave out what cannot be diagnosed, e.g. with --engine none or --checkpoint-fn torch",
            )
    return found


def _near(code: str) -> str:
    names = {rule.name.upper(): rule.code for rule in RULES.values()}
    near = get_close_matches(code, [*RULES, *names], 3, 0.7)
    meant = list(dict.fromkeys(names.get(one, one) for one in near))
    return f"did you mean {' or '.join(meant)}?" if meant else "`ckptdoctor rule` lists them"


def _ignored_by(rule: str, policy: Policy) -> str:
    """The option that ignores a rule, or empty."""
    if rule == NOT_DIAGNOSED:
        return ""
    ignored = max((len(code) for code in policy.ignore if rule.startswith(code)), default=-1)
    selected = max((len(code) for code in policy.select if rule.startswith(code)), default=-1)
    if policy.select and selected < 0:
        return f"--select {','.join(policy.select)}"
    if ignored >= 0 and ignored >= selected:
        return f"--ignore {next(code for code in policy.ignore if len(code) == ignored and rule.startswith(code))}"
    return ""


def with_baseline(policy: Policy, accepted: Sequence[Accepted]) -> Policy:
    """The same with another baseline."""
    return replace(policy, accepted=accepted)


# -- the gate -------------------------------------------------------------------------------------------------


def apply(report: Report, policy: Policy) -> Report:
    """The report with marks on findings that do not count, and with the resulting ``Report.gate``."""
    marked = msgspec.structs.replace(
        report, findings=tuple(_marked(one, report.probes, policy) for one in report.findings)
    )
    stale = tuple(entry for entry in policy.accepted if _is_gone(entry, report))
    return msgspec.structs.replace(marked, gate=_outcome(marked, policy.fail_on, stale))


def _marked(finding: Finding, probes: Sequence[ProbeResult], policy: Policy) -> Finding:
    if option := _ignored_by(finding.rule, policy):
        return msgspec.structs.replace(finding, accepted="ignored", reason=option)
    if (entry := _entry_for(finding, probes, policy.accepted)) is not None:
        return msgspec.structs.replace(finding, accepted="baseline", reason=entry.reason)
    return finding


def counts(finding: Finding, fail_on: FailOn) -> bool:
    """Whether a finding fails a run at a level; ``NOT_DIAGNOSED`` does not count as a finding here."""
    failing = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[fail_on]
    return finding.rule != NOT_DIAGNOSED and not finding.accepted and finding.severity in failing


def _outcome(report: Report, fail_on: FailOn, stale: tuple[Accepted, ...]) -> Gate:
    failing = [finding for finding in report.findings if counts(finding, fail_on)]
    gone = len(stale) if fail_on == "warning" else 0
    if failing or gone:
        parts = [counted(len(failing), "finding")] if failing else []
        parts += [f"{counted(gone, 'entry')} of the baseline that no longer match"] if gone else []
        why = f"Fails: {' and '.join(parts)} at --fail-on {fail_on}{_passed_over(report)}."
        return Gate(fail_on, ExitStatus.FOUND, why, stale)
    if report.verdict not in DECIDED or any(one.rule == NOT_DIAGNOSED for one in report.findings):
        why = f"Fails: part or all of the environment could not be diagnosed{_passed_over(report)}."
        return Gate(fail_on, ExitStatus.UNDIAGNOSED, why, stale)
    why = f"Passes: no finding counts at --fail-on {fail_on}{_passed_over(report)}."
    return Gate(fail_on, ExitStatus.OK, why, stale)


def _passed_over(report: Report) -> str:
    ignored = sum(finding.accepted == "ignored" for finding in report.findings)
    accepted = sum(finding.accepted == "baseline" for finding in report.findings)
    parts = [f"{ignored} ignored"] if ignored else []
    parts += [f"{accepted} accepted by the baseline"] if accepted else []
    return f"; {listed(parts)}" if parts else ""


# -- the baseline -----------------------------------------------------------------------------------------------------


def read(file: str, may_be_missing: bool = False) -> list[Accepted]:
    """The entries of a baseline.

    Raises:
        UsageFault: The file does not exist, or is not a baseline.
    """
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=Baseline).accepted
    except FileNotFoundError:
        if may_be_missing:
            return []
        raise UsageFault(f"There is no baseline {file}.", "create it with --update-baseline") from None
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}.", "choose another --baseline") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageFault(f"{file} is not a baseline: {error}.", "fix it, or remove it and --update-baseline") from error


def write(file: str, entries: Iterable[Accepted]) -> None:
    """Write a baseline: sorted, one field per line, so that its history is easy to read.

    Raises:
        UsageFault: The file cannot be written.
    """
    baseline = Baseline(accepted=sorted(entries, key=lambda one: (_key(one), one.checkpoint_functions)))
    text = msgspec.json.format(encode(baseline), indent=2) + b"\n"
    writing.write(file, text, "--baseline")


def updated(report: Report, policy: Policy) -> list[Accepted]:
    """The baseline that accepts all current findings.

    Reasons are kept, and so are entries that this run did not look at. Ignored findings and notes need no entry.
    ``NOT_DIAGNOSED`` cannot be accepted.
    """
    made: dict[Key, Accepted] = {}
    for finding in report.findings:
        if finding.rule != NOT_DIAGNOSED and finding.severity != "note" and not _ignored_by(finding.rule, policy):
            entry = _entry_of(finding, report.probes)
            made[_key(entry)] = _joined(made.get(_key(entry)), entry)
    for known in policy.accepted:
        if _key(known) in made:
            made[_key(known)] = _kept(known, made[_key(known)], report.probes)
        elif not _is_gone(known, report):
            made[_key(known)] = known
    return list(made.values())


def _entry_of(finding: Finding, probes: Sequence[ProbeResult]) -> Accepted:
    seen = subjects(finding, probes)
    return Accepted(
        *Key.of(finding),
        checkpoint_functions=tuple(sorted({portable_function(probe.checkpoint_function) for probe in seen})),
        engines=tuple(sorted({probe.engine for probe in seen})),
    )


def _key(entry: Accepted) -> Key:
    return Key(entry.rule, entry.package, entry.file, entry.function, entry.code)


def _joined(one: Accepted | None, other: Accepted) -> Accepted:
    """Two entries for the same fault in one."""
    if one is None:
        return other
    return msgspec.structs.replace(
        other,
        checkpoint_functions=tuple(sorted({*one.checkpoint_functions, *other.checkpoint_functions})),
        engines=tuple(sorted({*one.engines, *other.engines})),
        reason=one.reason or other.reason,
    )


def _kept(known: Accepted, found: Accepted, probes: Sequence[ProbeResult]) -> Accepted:
    """An updated entry: its reason stays, and so do functions and engines that this run did not look at."""
    functions = {portable_function(probe.checkpoint_function) for probe in probes if probe.role == "subject"}
    engines = {probe.engine for probe in probes if probe.role == "subject"}
    return msgspec.structs.replace(
        found,
        checkpoint_functions=tuple(
            sorted({*found.checkpoint_functions, *(set(known.checkpoint_functions) - functions)})
        ),
        engines=tuple(sorted({*found.engines, *(set(known.engines) - engines)})),
        reason=known.reason,
    )


def _entry_for(finding: Finding, probes: Sequence[ProbeResult], entries: Sequence[Accepted]) -> Accepted | None:
    """The entry that accepts a finding with every checkpoint function that it was found with."""
    if finding.rule == NOT_DIAGNOSED:
        return None
    entry = _entry_of(finding, probes)
    fitting = [one for one in entries if _key(one) == _key(entry)]
    known = {name for one in fitting for name in one.checkpoint_functions}
    return fitting[0] if fitting and known.issuperset(entry.checkpoint_functions) else None


def _is_gone(entry: Accepted, report: Report) -> bool:
    """Whether this run probed and judged everything that an entry covers, and did not find the finding again."""
    looked = [
        probe
        for probe in report.probes
        if probe.role == "subject"
        and portable_function(probe.checkpoint_function) in entry.checkpoint_functions
        and probe.engine in entry.engines
    ]
    if {portable_function(probe.checkpoint_function) for probe in looked} != set(entry.checkpoint_functions):
        return False
    if {probe.engine for probe in looked} != set(entry.engines) or not all(map(_was_judged, looked)):
        return False
    return all(Key.of(finding) != _key(entry) for finding in report.findings)


def _was_judged(probe: ProbeResult) -> bool:
    """Whether a probe was judged; a variant that this stack cannot run counts as judged by the usual step."""
    tried = probe.evidence.stand_in
    if probe.evidence.forward_only and (tried is None or tried.ended != "returned"):
        return False
    return probe.outcome in ("ok", "triggered") or is_impossible_variant(probe)
