"""Code that reads the layer out of the callable that a model passes to its checkpoint function."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ckptdoctor.model.scan import Certainty
from ckptdoctor.scan import telling
from ckptdoctor.scan.functions import CheckpointFunction, checkpoint_functions
from ckptdoctor.scan.interpreter import Interpreter
from ckptdoctor.scan.module import Module
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import Facts
from ckptdoctor.scan.rule import ScanHit, ScanRule
from ckptdoctor.scan.stand_ins import UNKNOWN, made_by
from ckptdoctor.scan.values import Seen

LOST = "the layer is not found in the callable, and nothing says so"


def find(module: Module, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    """Follows the callables of every convention through the file's checkpoint functions."""
    met: set[ast.AST] = set()
    for function in checkpoint_functions(project, module):
        for hit in _in(function, project, releases):
            if hit.node not in met:
                met.add(hit.node)
                yield hit


def _in(function: CheckpointFunction, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    known: dict[object, list[Seen]] = {}
    seen = {}
    for release, facts in releases.items():
        alike = release if function.module.compares_versions else facts.convention
        if alike not in known:
            known[alike] = _seen(function, project, release, facts)
        seen[release] = known[alike]
    every = {one.node: one for reads in seen.values() for one in reads}
    if not every:
        return
    failing: dict[ast.AST, dict[str, Seen]] = {}
    lost: dict[str, str] = {}
    for release, reads in seen.items():
        errors = [one for one in reads if one.error and not one.caught]
        for one in errors[:1]:
            failing.setdefault(one.node, {})[release] = one
        if reads and not errors and not any(one.found for one in reads):
            lost[release] = LOST
    if not any(one.found for reads in seen.values() for one in reads):
        lost = {}  # it looks for something else
    for node, errors_by_release in failing.items():
        yield _hit(
            function, every[node], {release: one.error for release, one in errors_by_release.items()}, errors_by_release
        )
    if not failing or lost:
        node = next(iter(every))
        if node not in failing:
            yield _hit(function, every[node], lost, {})


def _seen(function: CheckpointFunction, project: Project, release: str, facts: Facts) -> list[Seen]:
    run = Interpreter(project, release)
    callable_ = made_by(facts.convention)
    given = {one.arg: UNKNOWN for one in ast.walk(function.node.args) if isinstance(one, ast.arg)}
    if callable_ is not UNKNOWN and run.is_reached(function.module, function.node):
        run.run(function.module, function.node, {**given, function.parameter: callable_})
    return run.seen


def _hit(function: CheckpointFunction, one: Seen, breaks: Mapping[str, str], errors: Mapping[str, Seen]) -> ScanHit:
    node = one.node
    certainty: Certainty = function.certainty
    reason = f"{function.node.name}: {function.reason}"
    if errors and not all(error.sure for error in errors.values()):
        certainty, reason = "likely", f"{reason}; whether this line is reached depends on a condition that is not known"
    elif breaks and not errors:
        certainty, reason = "possible", f"{reason}; what follows when nothing is found was not judged"
    return ScanHit(
        node,
        f"reads the layer out of the callable: {ast.unparse(node)}",
        _assumption(node),
        breaks,
        certainty,
        reason,
        (function.module, function.node),
        one.module,
    )


def _assumption(node: ast.AST) -> str:
    chain = ast.unparse(node)
    if ".func.__self__" in chain or ".func.func" in chain:
        return "the callable is a partial of a bound method of the layer"
    if "__self__" in chain:
        return "the callable is a bound method of the layer"
    if ".args" in chain or ".keywords" in chain:
        return "the callable is a partial that holds the layer among its arguments"
    return "the callable is made as some releases of transformers make it"


RULE = ScanRule(
    code="SCAN001",
    name="reads-callable",
    meaning="A checkpoint function reads the layer out of the callable that it is given.",
    explanation=(
        "A model passes its layer to the checkpoint function as some callable, and nothing says which kind. transformers "
        "changed it without notice: a bound method, a partial of a bound method, a partial of a plain function. Code that "
        "reads `__self__`, `func` or `args` of it works with some releases only. Search the callable for a torch.nn.Module "
        "instead, or do not look into it."
    ),
    telling=telling.both(
        telling.names("checkpoint"),
        telling.either(
            telling.names("__self__", "__func__", "__wrapped__", "checkpointing_func", '"func"', "'func'"),
            telling.reads("func", "args", "keywords"),
        ),
    ),
    find=find,
    watched=("callable",),
)
