"""Code that puts a function of its own in the place of torch's checkpoint function."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ckptdoctor.scan import telling
from ckptdoctor.scan.functions import ATTRIBUTE, KEYWORD, NAMES, TORCH, first_parameter, passed_on, replacements
from ckptdoctor.scan.module import FunctionNode, Module
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import Facts
from ckptdoctor.scan.replacing import Replaced, substitutes
from ckptdoctor.scan.rule import ScanHit, ScanRule


def find(module: Module, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    """The assignments to a checkpoint function, except where a class sets its own."""
    for one in replacements(module):
        if one.name == ATTRIBUTE and _is_switch_itself(module, one.node, one.value):
            continue
        functions = _functions(module, project, one.node, one.value)
        what = f"{ast.unparse(one.owner)}.{one.name}"
        yield ScanHit(
            one.node,
            f"replaces the checkpoint function: {what}",
            _assumption(module, one),
            {},
            "certain",
            f"{what} is assigned",
            functions[0] if functions else None,
        )

    for call, value in passed_on(module):
        functions = _functions(module, project, call, value)
        if functions and not _is_switch_itself(module, call, value):
            yield ScanHit(
                call,
                f"passes a checkpoint function of its own: {ast.unparse(value)}",
                "nothing sets another one afterwards",
                {},
                "certain",
                f"{getattr(functions[0][1], 'name', 'it')} is passed as {KEYWORD}",
                functions[0],
            )


def _functions(module: Module, project: Project, node: ast.AST, value: ast.expr) -> list[tuple[Module, ast.AST]]:
    """The functions that an expression is, as far as they take a callable."""
    return [
        (found.module, found.node)
        for found in substitutes(project, module, value, node)
        if isinstance(found.node, FunctionNode) and first_parameter(found.module, found.node)
    ]


def _is_switch_itself(module: Module, node: ast.AST, value: ast.expr) -> bool:
    """Whether this is the method of a model class that switches checkpointing on, or an attribute without a value yet."""
    if isinstance(value, ast.Constant):
        return True
    functions = module.functions_around(node)
    return any(
        module.class_of(function) is not None
        and ("gradient_checkpointing" in function.name or "activation_checkpointing" in function.name)
        for function in functions
    )


def _assumption(module: Module, one: Replaced) -> str:
    if one.name == ATTRIBUTE:
        return "the model calls its checkpoint function through this attribute, and nothing sets it again afterwards"
    if f"{module.dotted(one.owner)}.{one.name}" in TORCH:
        return (
            "callers look the function up when they call it; transformers.modeling_utils imports it by name, so nothing "
            "changes for a transformers that is imported already"
        )
    return "transformers takes the function from this name when checkpointing is switched on"


RULE = ScanRule(
    code="SCAN002",
    name="replaces-checkpoint",
    meaning="A checkpoint function is replaced for the whole process or for a model.",
    explanation=(
        "The new function gets every callable that a model passes, with the arguments of every release. Nothing breaks by "
        "the replacement itself. Try the function: `ckptdoctor check --checkpoint-fn`."
    ),
    telling=telling.either(telling.assigns(*sorted(NAMES)), telling.passes(KEYWORD)),
    find=find,
)
