"""Code that replaces ``forward`` or ``__call__`` of a layer that checkpoints itself."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping

from ckptdoctor.model.scan import Certainty
from ckptdoctor.scan import telling
from ckptdoctor.scan.functions import is_checkpoint_call
from ckptdoctor.scan.module import Module
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import LAYER, Facts
from ckptdoctor.scan.replacing import Replaced, Substitute, delegates, is_restored, replaced, substitutes
from ckptdoctor.scan.rule import ScanHit, ScanRule, breaks_where

METHODS = frozenset({"forward", "__call__"})
LISTS = frozenset({"layers", "blocks", "h"})
"""Attributes that hold a model's layers."""
OFF = "checkpointing of this layer is silently off: the layer runs once, the loss is equal, memory is not saved"
TWICE = "the layer is checkpointed twice; with reentrant checkpointing its forward runs three times, not two"


def find(module: Module, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    """The replaced methods of layers, unless the replacement calls what was there."""
    for one in replaced(module, METHODS):
        known = _as_layer(module, project, one)
        if known is None or is_restored(module, one.value, one.name, one.node):
            continue
        what, certainty, reason, on_class = known
        found = substitutes(project, module, one.value, one.node, on_class)
        if not found or delegates(module, one.value, found, one.name, one.node):
            continue
        checkpoints = any(map(_checkpoints, found))
        if not checkpoints and certainty == "certain" and _caller_checkpoints(module, project):
            certainty, reason = "likely", f"{reason}; this file replaces a forward by one that checkpoints, too"
        yield ScanHit(
            one.node,
            f"replaces {one.name} of {what}",
            f"{LAYER} {'checkpoints' if checkpoints else 'does not checkpoint'} in `{one.name}`",
            breaks_where(module, project, one.node, releases, consequence(one.name, checkpoints)),
            certainty,
            reason,
        )


def _checkpoints(one: Substitute) -> bool:
    """Whether a function calls a checkpoint function."""
    return any(isinstance(node, ast.Call) and is_checkpoint_call(one.module, node) for node in ast.walk(one.node))


def _caller_checkpoints(module: Module, project: Project) -> bool:
    """Whether a file replaces some ``forward``, as the model's, by one that checkpoints what it calls."""
    return any(
        _checkpoints(found)
        for one in replaced(module, frozenset({"forward"}))
        for found in substitutes(project, module, one.value, one.node, True)
    )


def consequence(name: str, checkpoints: bool) -> Callable[[Facts], str]:
    """What goes wrong with a release if a method of a layer is replaced.

    Args:
        name: The method.
        checkpoints: Whether the replacement checkpoints.
    """

    def of_release(facts: Facts) -> str:
        if not facts.layer:
            return ""
        if checkpoints:
            return TWICE if facts.layer != name else ""
        return OFF if facts.layer == name else ""

    return of_release


def _as_layer(module: Module, project: Project, one: Replaced) -> tuple[str, Certainty, str, bool] | None:
    """What is replaced, if it is a layer: its name, how sure that is and why, and whether it is a class."""
    dotted = module.dotted(one.owner)
    if dotted:
        name = dotted.rpartition(".")[2]
        is_layer = name != LAYER and project.is_layer(dotted, module)
        return (name, "certain", f"{name} derives from {LAYER}", True) if is_layer else None
    if not isinstance(one.owner, ast.Name):
        return None
    name = one.owner.id
    for outer in module.around(one.node):
        if isinstance(outer, ast.If):
            for layer in _tested(module, project, outer.test, name):
                return layer, "certain", f"{name} is an instance of {layer}, which derives from {LAYER}", False
        if isinstance(outer, (ast.For, ast.AsyncFor)) and name in _names(outer.target):
            source = ast.unparse(outer.iter)
            if LISTS & {node.attr for node in ast.walk(outer.iter) if isinstance(node, ast.Attribute)}:
                return f"each of {source}", "possible", f"{name} comes from {source}; its class is not known", False
    return None


def _tested(module: Module, project: Project, test: ast.expr, name: str) -> Iterator[str]:
    """The classes of layers of which a condition says that a name is an instance."""
    for node in ast.walk(test):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "isinstance" or len(node.args) != 2:
            continue
        if ast.unparse(node.args[0]) == name:
            kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
            yield from (ast.unparse(kind) for kind in kinds if project.is_layer(module.dotted(kind), module))


def _names(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


RULE = ScanRule(
    code="SCAN003",
    name="replaces-forward",
    meaning="A method of a layer in which transformers checkpoints is replaced.",
    explanation=(
        "GradientCheckpointingLayer checkpoints in a method of its own: in `__call__`, in later releases in a wrapper around "
        "each subclass's `forward`. Whoever replaces that method removes checkpointing with it. No error is raised. Replace "
        "a method further inside, such as the attention's forward, or call the original method."
    ),
    telling=telling.both(
        telling.assigns(*sorted(METHODS)), telling.names("transformers", LAYER, *(f".{name}" for name in sorted(LISTS)))
    ),
    find=find,
    watched=("forward", "returns", "keywords"),
)
