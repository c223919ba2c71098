"""Code that replaces GradientCheckpointingLayer, or the method in which it checkpoints."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ckptdoctor.scan import telling
from ckptdoctor.scan.functions import is_checkpoint_call
from ckptdoctor.scan.module import Module
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import LAYER, Facts
from ckptdoctor.scan.replacing import Replaced, delegates, is_restored, replaced, substitutes
from ckptdoctor.scan.rule import ScanHit, ScanRule, breaks_where

METHODS = frozenset({"__call__", "forward", "__init_subclass__"})
TWICE = (
    "layers checkpoint in `forward` too; with reentrant checkpointing each layer's forward runs three times, not two"
)
NO_EFFECT = "the replacement has no effect on checkpointing: layers checkpoint in `forward`"


def find(module: Module, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    """The class itself, under the name by which a module of transformers knows it, and its methods."""
    for one in replaced(module, frozenset({LAYER})):
        if module.dotted(one.owner).startswith("transformers") and not is_restored(module, one.value, LAYER, one.node):
            yield ScanHit(
                one.node,
                f"replaces {LAYER} in {module.dotted(one.owner)}",
                "no class was derived from it yet",
                breaks_where(module, project, one.node, releases, lambda facts: _UNCHANGED if facts.layer else ""),
                "possible",
                "it depends on what is imported before this line",
            )
    for one in replaced(module, METHODS):
        if module.dotted(one.owner).rpartition(".")[2] == LAYER:
            yield from _method(module, project, releases, one)


_UNCHANGED = "layers that were defined before this line keep the class that they derive from"


def _method(module: Module, project: Project, releases: Mapping[str, Facts], one: Replaced) -> Iterator[ScanHit]:
    found = substitutes(project, module, one.value, one.node, True)
    if not found or is_restored(module, one.value, one.name, one.node):
        return
    checkpoints = any(
        isinstance(node, ast.Call) and is_checkpoint_call(each.module, node)
        for each in found
        for node in ast.walk(each.node)
    )
    if not checkpoints and delegates(module, one.value, found, one.name, one.node):
        return
    said = TWICE if checkpoints else NO_EFFECT
    yield ScanHit(
        one.node,
        f"replaces {one.name} of {LAYER}",
        f"{LAYER} checkpoints in `{one.name}`",
        breaks_where(
            module, project, one.node, releases, lambda facts: said if facts.layer not in ("", one.name) else ""
        ),
        "certain",
        f"{LAYER}.{one.name} is assigned",
    )


RULE = ScanRule(
    code="SCAN005",
    name="replaces-layer-class",
    meaning="GradientCheckpointingLayer, or the method in which it checkpoints, is replaced.",
    explanation=(
        "The class of transformers decides when and how layers are checkpointed. Which of its methods does so changed between "
        "releases, and a class that is replaced is still the base of all layers that were defined before."
    ),
    telling=telling.both(telling.names(LAYER), telling.assigns(LAYER, *sorted(METHODS))),
    find=find,
    watched=("forward", "callable"),
)
