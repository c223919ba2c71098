"""Says which rule a log or an issue text shows. Nothing is run, and nothing is claimed beyond the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ckptdoctor import catalog
from ckptdoctor.explain import judging, lines, places, splitting, tracebacks, usage, versions, wordings
from ckptdoctor.explain.lines import Line
from ckptdoctor.knowledge import pairs
from ckptdoctor.model.explanation import SCHEMA, Combination, ExplainedError, Explanation, Seen, Verdict
from ckptdoctor.rules import RULES, in_log
from ckptdoctor.rules.common.log import LogContext, LogError, LogVerdict
from ckptdoctor.words.wording import first_line, listed

Pair = tuple[LogError, LogVerdict]

_MOST_ERRORS = 20
_MOST_JUDGED = 400
_LONGEST_MESSAGE = 2000
_WEIGHT = {"ours": 0, "suspected": 1, "not ours": 2}

_SILENT = (
    "Some faults raise no error: checkpointing is off, layers are recomputed twice, keyword arguments or gradients are lost. "
    "Logs do not show them; `ckptdoctor check` does."
)


def explain(text: str) -> Explanation:
    """Say what a log or an issue text shows. Nothing is run, and no instruction in the text is followed."""
    found = splitting.split(text)
    seen = versions.find(found)
    releases = {name: version for name, each in seen.items() if (version := versions.only(each))}
    context = _context(found)
    errors = [_owned(one, releases) for one in _bounded(tracebacks.find(found))]
    judged = [(one, judging.judge(one, context)) for one in errors]
    main = min(judged, key=lambda pair: _WEIGHT[pair[1].verdict], default=None)
    told = main[1] if main else _by_a_warning(context)
    verdict, summary = _verdict(judged, told, is_empty=not text.strip())
    is_told = verdict in ("ours", "suspected")
    combinations = _known(main, releases) if is_told else []
    return Explanation(
        SCHEMA,
        verdict,
        told.rule if told else "",
        summary,
        _shown(judged, main),
        seen,
        combinations,
        _fixes(told, combinations) if told and is_told else [],
        _doubts(judged, main, seen, verdict, context, _left_out(found)),
    )


def _context(found: list[Line]) -> LogContext:
    readers = [reader for _, reader in in_log()]
    warnings = {reader.warning.text for reader in readers if reader.warning}
    signs = {sign for reader in readers for sign in reader.signs}
    return LogContext(
        frozenset(text for text in warnings if any(wordings.warns(line.text, text) for line in found)),
        frozenset(sign for sign in signs if any(sign in line.text for line in found)),
        usage.is_checkpointing(found),
        usage.runs_without(found),
    )


def _bounded(errors: list[LogError]) -> list[LogError]:
    """The first and the last errors if there are very many: the cause and the end of the job are among them."""
    half = _MOST_JUDGED // 2
    return errors if len(errors) <= _MOST_JUDGED else errors[:half] + errors[-half:]


def _owned(error: LogError, releases: dict[str, str]) -> LogError:
    """The error with the package and the role of each line."""
    return replace(error, frames=[places.frame(places.owned(frame.place, releases)) for frame in error.frames])


def _by_a_warning(context: LogContext) -> LogVerdict | None:
    """The verdict on a log that has a warning and no error."""
    for rule, reader in in_log():
        if reader.warning and reader.warning.text in context.warnings:
            return replace(reader.warning.alone, rule=rule.code)
    return None


def _verdict(judged: Sequence[Pair], told: LogVerdict | None, is_empty: bool) -> tuple[Verdict, str]:
    if is_empty:
        return "nothing found", "There is nothing to explain: the text is empty."
    if told and told.verdict != "not ours":
        return told.verdict, told.summary
    if judged:
        return "not ours", f"No rule matches. The last error: {judged[-1][1].summary}"
    return "nothing found", "No error was found in the text."


def _shown(judged: list[Pair], main: Pair | None) -> list[ExplainedError]:
    """The last errors, and the error that matters."""
    kept = [pair for pair in judged if pair is main or pair in judged[-_MOST_ERRORS:]]
    return [
        ExplainedError(
            one.type,
            one.message[:_LONGEST_MESSAGE],
            one.line,
            found.verdict,
            found.rule,
            found.summary,
            [frame.place for frame in one.frames],
            found.culprit,
            found.passed_by,
            one.labels,
            one.follows,
        )
        for one, found in kept
    ]


def _known(main: Pair | None, releases: dict[str, str]) -> list[Combination]:
    if main is None:
        return []
    error, told = main
    frames = [frame.place for frame in error.frames]
    trainers = [place.package for place in frames if catalog.is_trainer(place.package)]
    package = told.culprit.package if told.culprit else ""
    if not catalog.is_trainer(package):
        # If the line that reads the attribute is missing, the trainer whose code is above it still counts.
        package = trainers[-1] if trainers and RULES[told.rule].reads_callable and not told.culprit else ""
    return pairs.combinations(package, releases, places.family(frames), told.rule)


def _fixes(told: LogVerdict, combinations: list[Combination]) -> list[str]:
    """The fixes of the rule; none if releases that fix the fault are offered."""
    has_releases = any(one.command for one in combinations)
    return [] if has_releases and RULES[told.rule].reads_callable else told.fixes


def _doubts(
    judged: list[Pair],
    main: Pair | None,
    seen: dict[str, list[Seen]],
    verdict: Verdict,
    context: LogContext,
    left_out: str,
) -> list[str]:
    doubts = list(main[1].doubts) if main else []
    doubts += [_several(name, each) for name, each in seen.items() if not versions.only(each)]
    if verdict in ("ours", "suspected") and main:
        doubts += _others(judged, main)
        doubts += _unnamed(main[1], seen)
    if verdict == "not ours":
        warnings = [reader.warning for _, reader in in_log() if reader.warning]
        doubts += [warning.beside for warning in warnings if warning.text in context.warnings]
    if verdict == "nothing found":
        doubts.append(_SILENT)
    if left_out:
        doubts.append(left_out)
    return doubts


def _left_out(found: list[Line]) -> str:
    return (
        f"The text has very many lines. Only {lines.MOST} of them, the first and the last, were read."
        if (len(found) > lines.MOST)
        else ""
    )


def _several(name: str, each: list[Seen]) -> str:
    named = listed([f"{one.version} ({one.where[0].partition(':')[0]})" for one in each])
    return f"The text names several releases of {name}: {named}. No claim depends on one of them."


def _others(judged: list[Pair], main: Pair) -> list[str]:
    """Other errors in the same text."""
    rules = {found.rule for _, found in judged if found.verdict == "ours"} - {main[1].rule}
    doubts = [f"The text also shows another fault: {listed(sorted(rules))}."] if rules else []
    last, found = [pair for pair in judged if pair is main or not judging.is_launcher(pair[0])][-1]
    if last is not main[0] and found.verdict == "not ours":
        how = f", raised {last.follows}" if last.follows else ""
        doubts.append(f"The last error is a different one{how}: {last.name}: {first_line(last.message)[:200]}")
    return doubts


def _unnamed(told: LogVerdict, seen: dict[str, list[Seen]]) -> list[str]:
    """Packages that are involved and whose release is not in the text."""
    parts = [place.package for place in (told.culprit, told.passed_by) if place and place.package != "python"]
    missing = [name for name in dict.fromkeys(parts) if name and name not in seen]
    return [f"The text does not say which release of {listed(missing)} was used."] if missing else []
