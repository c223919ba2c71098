"""Says of a log or an issue text, without running anything, which rule it is: what the text bears out, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ckptdoctor import catalog
from ckptdoctor.explain import fixes, judging, known, lines, places, tracebacks, usage, versions, wordings
from ckptdoctor.explain.judging import Context, Judged
from ckptdoctor.explain.tracebacks import Raised
from ckptdoctor.model.explanation import SCHEMA, Combination, ExplainedError, Explanation, Seen, Verdict
from ckptdoctor.words.wording import first_line, listed

_MOST_ERRORS = 20
_MOST_JUDGED = 400
_LONGEST_MESSAGE = 2000
_WEIGHT = {"ours": 0, "suspected": 1, "not ours": 2}

_SILENT = (
    "Some faults raise nothing: checkpointing that is off, layers recomputed twice, keyword arguments or gradients lost. No "
    "log shows them; `ckptdoctor check` does."
)


def explain(text: str) -> Explanation:
    """Say what a log or an issue text shows; nothing is run, and nothing in the text is obeyed."""
    found = lines.split(text)
    seen = versions.find(found)
    releases = {name: version for name, each in seen.items() if (version := versions.only(each))}
    context = Context(
        any(wordings.warns_of_lost_gradients(line.text) for line in found),
        usage.is_checkpointing(found),
        any("multiple reentrant backward passes" in line.text for line in found),
        usage.runs_without(found),
    )
    errors = [_owned(one, releases) for one in _bounded(tracebacks.find(found))]
    judged = [(one, judging.judge(one, context)) for one in errors]
    main = min(judged, key=lambda pair: _WEIGHT[pair[1].verdict], default=None)
    verdict, rule, summary = _verdict(judged, main, context, is_empty=not text.strip())
    combinations = _known(main, releases) if verdict in ("ours", "suspected") else []
    return Explanation(
        SCHEMA,
        verdict,
        rule,
        summary,
        _shown(judged, main),
        seen,
        combinations,
        _fixes(main, rule, combinations),
        _doubts(judged, main, seen, verdict, context, _left_out(found)),
    )


def _bounded(errors: list[Raised]) -> list[Raised]:
    """The first and the last of very many; the one between is never the cause of the first nor the end of the job."""
    half = _MOST_JUDGED // 2
    return errors if len(errors) <= _MOST_JUDGED else errors[:half] + errors[-half:]


def _owned(error: Raised, releases: dict[str, str]) -> Raised:
    return replace(error, frames=[places.owned(frame, releases) for frame in error.frames])


def _verdict(
    judged: Sequence[tuple[Raised, Judged]], main: tuple[Raised, Judged] | None, context: Context, is_empty: bool
) -> tuple[Verdict, str, str]:
    if is_empty:
        return "nothing found", "", "There is nothing to explain: the text is empty."
    if main and main[1].verdict != "not ours":
        return main[1].verdict, main[1].rule, main[1].summary
    if context.warns_of_lost_gradients and not judged:
        summary = (
            "It looks like CKPT004: torch warns that nothing that enters a checkpoint requires grad; whether anything in "
            "there is to be trained is not in the text."
        )
        return "suspected", "CKPT004", summary
    if judged:
        return "not ours", "", f"It is not one of ours. The last error: {judged[-1][1].summary}"
    return "nothing found", "", "No error was found in the text."


def _shown(judged: list[tuple[Raised, Judged]], main: tuple[Raised, Judged] | None) -> list[ExplainedError]:
    """The last errors, and the one that matters."""
    kept = [pair for pair in judged if pair is main or pair in judged[-_MOST_ERRORS:]]
    return [
        ExplainedError(
            one.type,
            one.message[:_LONGEST_MESSAGE],
            one.line,
            found.verdict,
            found.rule,
            found.summary,
            one.frames,
            found.culprit,
            found.passed_by,
            one.labels,
            one.follows,
        )
        for one, found in kept
    ]


def _known(main: tuple[Raised, Judged] | None, releases: dict[str, str]) -> list[Combination]:
    if main is None:
        return []
    error, judged = main
    trainers = [place.package for place in error.frames if catalog.is_trainer(place.package)]
    package = judged.culprit.package if judged.culprit else ""
    if not catalog.is_trainer(package):
        # An error without its reader still says something of the trainer whose code is above it.
        package = trainers[-1] if trainers and judged.rule == "CKPT001" and not judged.culprit else ""
    return known.combinations(package, releases, places.family(error.frames), judged.rule)


def _fixes(main: tuple[Raised, Judged] | None, rule: str, combinations: list[Combination]) -> list[str]:
    if not rule:
        return []
    error, judged = main if main else (Raised("", ""), Judged("suspected", "", rule))
    return fixes.fixes(error, judged, any(one.command for one in combinations))


def _doubts(
    judged: list[tuple[Raised, Judged]],
    main: tuple[Raised, Judged] | None,
    seen: dict[str, list[Seen]],
    verdict: Verdict,
    context: Context,
    left_out: str,
) -> list[str]:
    doubts = list(main[1].doubts) if main else []
    doubts += [_several(name, each) for name, each in seen.items() if not versions.only(each)]
    if verdict in ("ours", "suspected") and main:
        doubts += _others(judged, main)
        doubts += _unnamed(main[1], seen)
    if verdict == "not ours" and context.warns_of_lost_gradients:
        doubts.append(
            "torch warns that nothing that enters a checkpoint requires grad (CKPT004); what is frozen on purpose makes it "
            "warn as well."
        )
    if verdict == "nothing found":
        doubts.append(_SILENT)
    if left_out:
        doubts.append(left_out)
    return doubts


def _left_out(found: list[lines.Line]) -> str:
    return (
        f"It has very many lines: only {lines.MOST} of them, the first and the last, were looked at."
        if (len(found) > lines.MOST)
        else ""
    )


def _several(name: str, each: list[Seen]) -> str:
    named = listed([f"{one.version} ({one.where[0].partition(':')[0]})" for one in each])
    return f"The text names several releases of {name}: {named}. Nothing is claimed that needs one of them."


def _others(judged: list[tuple[Raised, Judged]], main: tuple[Raised, Judged]) -> list[str]:
    """Errors that the same text shows beside the one that matters."""
    rules = {found.rule for _, found in judged if found.verdict == "ours"} - {main[1].rule}
    doubts = [f"The text shows another fault as well: {listed(sorted(rules))}."] if rules else []
    last, found = [pair for pair in judged if pair is main or not judging.is_launcher(pair[0])][-1]
    if last is not main[0] and found.verdict == "not ours":
        how = f", raised {last.follows}" if last.follows else ""
        doubts.append(f"The last error is another one{how}: {last.name}: {first_line(last.message)[:200]}")
    return doubts


def _unnamed(judged: Judged, seen: dict[str, list[Seen]]) -> list[str]:
    """Packages whose part is clear and whose release is not in the text."""
    parts = [place.package for place in (judged.culprit, judged.passed_by) if place and place.package != "python"]
    missing = [name for name in dict.fromkeys(parts) if name and name not in seen]
    return [f"Which release of {listed(missing)} it was could not be read from the text."] if missing else []
