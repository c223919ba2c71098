"""Code that replaces the method of Trainer in which it switches checkpointing on."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ckptdoctor.scan import telling
from ckptdoctor.scan.module import FunctionNode, Module
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import Facts
from ckptdoctor.scan.replacing import Substitute, delegates, is_restored, replaced, substitutes
from ckptdoctor.scan.rule import ScanHit, ScanRule, breaks_where

METHODS = frozenset({"train", "_inner_training_loop"})
TRAINERS = (
    "transformers.Trainer",
    "transformers.trainer.Trainer",
    "transformers.Seq2SeqTrainer",
    "transformers.trainer_seq2seq.Seq2SeqTrainer",
)
OFF = "Trainer does not switch checkpointing on: the method that does so is replaced"
STEPS = ("training_step", "backward", "compute_loss")
SWITCHES = ("gradient_checkpointing_enable", "activation_checkpointing_enable")


def find(module: Module, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    """Assignments to the method, and subclasses that override it without calling it."""
    for one in replaced(module, METHODS):
        if module.dotted(one.owner) in TRAINERS and not is_restored(module, one.value, one.name, one.node):
            found = substitutes(project, module, one.value, one.node, True)
            if found and not delegates(module, one.value, found, one.name, one.node):
                yield from _hits(module, project, releases, one.node, one.name, found, "Trainer")
    for function in [node for node in module.nodes if isinstance(node, FunctionNode) and node.name in METHODS]:
        owner = module.class_of(function)
        if owner is not None and project.derives_from(module, owner, TRAINERS) and not _calls_super(function):
            found = [Substitute(module, function, frozenset(), True)]
            yield from _hits(module, project, releases, function, function.name, found, owner.name)


def _hits(
    module: Module,
    project: Project,
    releases: Mapping[str, Facts],
    node: ast.AST,
    method: str,
    found: list[Substitute],
    owner: str,
) -> Iterator[ScanHit]:
    if any(
        isinstance(inner, ast.Attribute) and inner.attr in SWITCHES for one in found for inner in ast.walk(one.node)
    ):
        return

    def consequence(facts: Facts) -> str:
        return OFF if any(call.within == method for call in facts.switch) else ""

    breaks = breaks_where(module, project, node, releases, consequence)
    if breaks:
        trains = any(_trains(one.node) for one in found)
        yield ScanHit(
            node,
            f"replaces {method} of {owner} without calling it",
            f"Trainer switches on elsewhere than in `{method}`",
            breaks,
            "likely" if trains else "possible",
            f"{owner}.{method} trains and calls no switch" if trains else f"{owner}.{method} may train elsewhere",
        )


def _trains(function: ast.AST) -> bool:
    """Whether a function takes a training step itself."""
    return any(isinstance(node, ast.Attribute) and node.attr in STEPS for node in ast.walk(function))


def _calls_super(function: FunctionNode) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr in METHODS for node in ast.walk(function))


RULE = ScanRule(
    code="SCAN008",
    name="replaces-trainer",
    meaning="The method in which Trainer switches checkpointing on is replaced.",
    explanation=(
        "Trainer switches checkpointing on at the start of training, in a method that is not the same in all releases. A "
        "replacement that neither calls it nor switches on by itself trains without checkpointing. No error is raised."
    ),
    telling=telling.both(
        telling.names("Trainer"),
        telling.names("transformers"),
        telling.either(telling.assigns(*sorted(METHODS)), telling.defines(*sorted(METHODS))),
    ),
    find=find,
    watched=("switch",),
)
