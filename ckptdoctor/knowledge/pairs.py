"""What is known of a trainer's release with a release of transformers, and the nearest that work together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from packaging.version import InvalidVersion, Version

from ckptdoctor import catalog, knowledge
from ckptdoctor.model.compatibility import Cell, How, Run
from ckptdoctor.model.explanation import Combination
from ckptdoctor.model.report import DECIDED
from ckptdoctor.words.wording import listed


def combinations(package: str, releases: dict[str, str], family: str, rule: str) -> list[Combination]:
    """Measurements of a trainer's release with a release of transformers, both exact, and the releases that work with either.

    Args:
        package: The trainer.
        releases: Releases that the log names, one a package.
        family: The model family of the log; if it was not measured, all measured families must agree.
        rule: The rule of the error.
    """
    if not catalog.is_trainer(package):
        return []
    models = models_for(family)
    stack = {name: releases[name] for name in (package, "transformers") if releases.get(name)}
    found = list(_this_stack(package, stack, models, family, rule)) if len(stack) == 2 else []
    for kept, varied in (("transformers", package), (package, "transformers")):
        if kept in stack:
            found += _nearest(package, {kept: stack[kept]}, varied, stack.get(varied, ""), models, family)
    return found


def models_for(family: str) -> list[str]:
    """The families that must agree: the one that is asked for if it was measured, else all."""
    known = knowledge.load().models()
    return [family] if family in known else known


def _this_stack(
    package: str, stack: dict[str, str], models: list[str], family: str, rule: str
) -> Iterator[Combination]:
    cells = [cell for model in models for cell in knowledge.load().matching(stack, model) if cell.verdict in DECIDED]
    for works in (False, True):
        those = [cell for cell in cells if _is_sound(cell, package) == works]
        if those:
            codes = {fault.rule for cell in those for fault in _run(cell).faults}
            fails = f"fails with {'the same rule' if rule in codes else listed(sorted(codes)) or 'another result'}"
            sentence = f"{_names(stack)} {'works' if works else fails}, for {_with(those, family)}; {_how(those)}."
            yield Combination(sentence, _least(those), works)


def _nearest(
    package: str, kept: dict[str, str], varied: str, current: str, models: list[str], family: str
) -> list[Combination]:
    """The release of one package that works with the installed other: the next one up, else the next down."""
    sound: dict[str, list[Cell]] = {}
    for model in models:
        for cell in knowledge.load().matching(kept, model):
            if package in cell.stack and _is_sound(cell, package):
                sound.setdefault(cell.stack[varied], []).append(cell)
    enough = {release: cells for release, cells in sound.items() if len(cells) == len(models)}
    chosen = _closest(enough, current)
    if not chosen or chosen == current:
        return []
    cells = enough[chosen]
    (name, release), *_ = kept.items()
    alone = "--no-deps " if catalog.is_trainer(varied) else ""
    nearest = "" if current else ", the newest that works"
    return [
        Combination(
            f"{varied} {chosen} works with {name} {release}{nearest}, for {_with(cells, family)}; {_how(cells)}.",
            _least(cells),
            works=True,
            command=f"pip install {alone}'{varied}=={chosen}'",
        )
    ]


def _is_sound(cell: Cell, package: str) -> bool:
    """Whether all of the trainer's own functions trained, without an engine."""
    own = [one for one in _run(cell).functions if one.function.split(":")[0] == package and one.engine == "none"]
    return cell.verdict == "ok" and bool(own) and all(one.verdict == "ok" for one in own)


def _closest(releases: Iterable[str], current: str) -> str:
    ordered = sorted(releases, key=Version)
    if current in ordered:
        return current
    try:
        here = Version(current)
    except InvalidVersion:
        return ordered[-1] if ordered else ""
    up = [release for release in ordered if Version(release) > here]
    return up[0] if up else ordered[-1] if ordered else ""


def _run(cell: Cell) -> Run:
    return knowledge.load().run_of(cell)


def _names(stack: dict[str, str]) -> str:
    return " with ".join(f"{name} {release}" for name, release in stack.items())


def _with(cells: list[Cell], family: str) -> str:
    models = list(dict.fromkeys(cell.model for cell in cells))
    if not family or family in models:
        return listed(models)
    return f"{listed(models)} ({family} was not measured)"


def _least(cells: list[Cell]) -> How:
    return "measured" if all(cell.how == "measured" for cell in cells) else "inferred"


def _how(cells: list[Cell]) -> str:
    """When it was measured, or from which run it was inferred."""
    known = knowledge.load()
    stood_in = any(one.forward_only for cell in cells for one in _run(cell).functions)
    gpu = ", with backward simulated on the CPU for functions that need a GPU" if stood_in else ""
    inferred = next((cell for cell in cells if cell.how == "inferred"), None)
    run = _run(inferred or cells[0])
    how = (
        f"inferred from {' and '.join(f'{name} {release}' for name, release in run.stack.items())}, "
        "which has the same code where it matters, "
        if inferred
        else ""
    )
    return f"{how}{knowledge.measured(run, known)}, without an engine{gpu}"
