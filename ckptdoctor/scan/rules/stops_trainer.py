"""Code that keeps Trainer from switching checkpointing on, by the training argument's old name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ckptdoctor.model.scan import Certainty
from ckptdoctor.scan import telling
from ckptdoctor.scan.module import FunctionNode, Module, words
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import Facts
from ckptdoctor.scan.replacing import Replaced, replaced
from ckptdoctor.scan.rule import ScanHit, ScanRule, breaks_where

OLD = "gradient_checkpointing"
ARGUMENTS = {"args", "arguments", "targs"}
ON_ANYWAY = "Trainer reads `activation_checkpointing` and switches checkpointing on all the same"


def find(module: Module, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    """The assignments of ``False`` to the old name alone."""
    for one in replaced(module, frozenset({OLD})):
        if not (isinstance(one.value, ast.Constant) and one.value.value is False and _is_arguments(one.owner)):
            continue
        around = module.functions_around(one.node)
        scope: ast.AST = around[0] if around else module.tree
        if _repeats(scope, one):
            continue
        certainty, reason = _sure(module, one)
        if _sets_new_name(scope, one):
            continue
        yield ScanHit(
            one.node,
            f"sets {ast.unparse(one.owner)}.{OLD} = False to keep Trainer from switching checkpointing on",
            f"Trainer reads `{OLD}`",
            breaks_where(
                module, project, one.node, releases, lambda facts: ON_ANYWAY if facts.argument not in ("", OLD) else ""
            ),
            certainty,
            reason,
        )


def _is_arguments(owner: ast.expr) -> bool:
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    return bool(ARGUMENTS & words(name))


def _sure(module: Module, one: Replaced) -> tuple[Certainty, str]:
    annotated = {
        argument.arg: ast.unparse(argument.annotation)
        for function in module.functions_around(one.node)
        for argument in ast.walk(function.args)
        if isinstance(argument, ast.arg) and argument.annotation
    }
    name = ast.unparse(one.owner)
    if "TrainingArguments" in annotated.get(name, "") or "training" in words(name):
        return "likely", f"{name} holds training arguments"
    if any("Trainer" in outer.name for outer in module.around(one.node) if isinstance(outer, ast.ClassDef)):
        return "likely", f"{name} belongs to a trainer"
    return "possible", f"{name} may hold training arguments"


def _sets_new_name(scope: ast.AST, one: Replaced) -> bool:
    owner, new = ast.unparse(one.owner), "activation_checkpointing"
    return any(
        (isinstance(node, ast.Attribute) and node.attr == new and ast.unparse(node.value) == owner)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and new in ast.unparse(node))
        for node in ast.walk(scope)
    )


def _repeats(scope: ast.AST, one: Replaced) -> bool:
    """Whether the function switches on by the same arguments, and off nowhere: what Trainer does then changes nothing."""
    owner = ast.unparse(one.owner)
    switches_on = switches_off = False
    for node in ast.walk(scope) if isinstance(scope, FunctionNode) else ():
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            switches_off = switches_off or "checkpointing_disable" in name
            given = {ast.unparse(keyword.value) for keyword in node.keywords} | {
                ast.unparse(value) for value in node.args
            }
            passes = any(text.startswith(f"{owner}.{OLD}") for text in given)
            switches_on = switches_on or (passes and ("prepare" in name or "enable" in name))
    return switches_on and not switches_off


RULE = ScanRule(
    code="SCAN006",
    name="stops-trainer",
    meaning="Trainer is kept from switching checkpointing on by a training argument that was renamed.",
    explanation=(
        "Code that has switched checkpointing on by itself, or wants none, sets `args.gradient_checkpointing = False`. Trainer "
        "reads `activation_checkpointing` in later releases, so it switches on all the same, with its own settings. Set both "
        "names."
    ),
    telling=telling.both(
        telling.names("False"),
        telling.names(*(f"{name}.{OLD}" for name in sorted(ARGUMENTS)), f'"{OLD}"', f"'{OLD}'"),
    ),
    find=find,
    watched=("switch",),
)
