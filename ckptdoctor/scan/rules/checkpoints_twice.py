"""Code that checkpoints a layer which checkpoints itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ckptdoctor.model.scan import Certainty
from ckptdoctor.scan import telling
from ckptdoctor.scan.functions import is_checkpoint_call
from ckptdoctor.scan.module import FunctionNode, Module
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import LAYER, Facts
from ckptdoctor.scan.replacing import replaced, substitutes
from ckptdoctor.scan.rule import ScanHit, ScanRule, breaks_where

LISTS = frozenset({"layers", "blocks", "h", "block", "layer"})
TWICE = "the layer is checkpointed twice; with reentrant checkpointing its forward runs three times, not two"
WRAPPERS = frozenset({"checkpoint_wrapper", "apply_activation_checkpointing"})
SWITCHES = frozenset({"gradient_checkpointing_enable", "activation_checkpointing_enable"})


def find(module: Module, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    """Checkpoint calls around layers of a known class, and wrappers beside the switch."""
    for call in [call for call in module.calls if call.args]:
        if is_checkpoint_call(module, call):
            yield from _around_layer(module, project, releases, call)
    for function in module.functions:
        yield from _wrapped_too(module, project, releases, function)


def _around_layer(module: Module, project: Project, releases: Mapping[str, Facts], call: ast.Call) -> Iterator[ScanHit]:
    name = _layer_name(call.args[0])
    functions = module.functions_around(call)
    if not name or not functions or _asks_for_class(functions[-1]):
        return
    held = _held_by(functions, name)
    for layer, certainty in _classes(module, project, functions, held) if held else ():
        yield ScanHit(
            call,
            f"checkpoints {name}, a {layer}",
            f"{layer} does not checkpoint itself",
            breaks_where(module, project, call, releases, lambda facts: TWICE if facts.layer else ""),
            certainty,
            f"{held} holds layers of {layer}, which derives from {LAYER}",
        )
        return


def _layer_name(node: ast.expr) -> str:
    """The variable in ``layer``, ``layer.__call__``, ``layer.forward`` and in a partial of one of them."""
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ("partial", "functools.partial"):
        node = node.args[0]
    if isinstance(node, ast.Attribute) and node.attr in ("__call__", "forward"):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _asks_for_class(function: ast.AST) -> bool:
    return any(isinstance(node, ast.Name) and node.id == LAYER for node in ast.walk(function))


def _held_by(functions: list[FunctionNode], name: str) -> str:
    """The attribute of ``self`` over which the loop goes that the variable comes from."""
    for loop in (node for function in functions for node in ast.walk(function) if isinstance(node, ast.For)):
        if name in {node.id for node in ast.walk(loop.target) if isinstance(node, ast.Name)}:
            for node in ast.walk(loop.iter):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self" and node.attr in LISTS:
                    return f"self.{node.attr}"
    return ""


def _classes(
    module: Module, project: Project, functions: list[FunctionNode], held: str
) -> Iterator[tuple[str, Certainty]]:
    """The classes of layers that the attribute holds, in the class that the code belongs to."""
    owner = module.class_of(functions[-1])
    if owner is not None:
        yield from ((name, "certain") for name in _built(module, project, owner, held))
        return
    for one in replaced(module, frozenset({"forward"})):
        found = substitutes(project, module, one.value, one.node, True)
        if any(each.node is functions[-1] for each in found):
            for there, node in project.find(module.dotted(one.owner)):
                if isinstance(node, ast.ClassDef):
                    yield from ((name, "certain") for name in _built(there, project, node, held))


def _built(module: Module, project: Project, owner: ast.ClassDef, held: str) -> Iterator[str]:
    for node in ast.walk(owner):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == held for target in node.targets):
            for call in (one for one in ast.walk(node.value) if isinstance(one, ast.Call)):
                dotted = module.dotted(call.func)
                if dotted and project.is_layer(dotted, module):
                    yield dotted.rpartition(".")[2]


def _wrapped_too(
    module: Module, project: Project, releases: Mapping[str, Facts], function: FunctionNode
) -> Iterator[ScanHit]:
    """A wrapper around layers in a function that switches the model's own checkpointing on as well."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    switches = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in SWITCHES]
    for call in calls:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in WRAPPERS and any(_both_run(module, call, switch) for switch in switches):
            yield ScanHit(
                call,
                f"{name} beside {switches[0].func.attr}",  # type: ignore[attr-defined]
                "one of the two is not run",
                breaks_where(module, project, call, releases, lambda facts: TWICE if facts.layer else ""),
                "possible",
                f"{function.name} calls both",
            )


def _both_run(module: Module, one: ast.AST, other: ast.AST) -> bool:
    """Whether two places are in no two branches of which only one is taken."""
    outers = {id(outer) for outer in module.around(one)}
    inner: ast.AST = other
    for outer in module.around(other):
        if id(outer) in outers:
            if isinstance(outer, ast.If):
                return _branch(outer, inner) == _branch(outer, _child(module, outer, one))
            return not _ends(outer, inner)
        inner = outer
    return True


def _child(module: Module, outer: ast.AST, node: ast.AST) -> ast.AST:
    for around in module.around(node):
        if around is outer:
            break
        node = around
    return node


def _branch(outer: ast.If, inner: ast.AST) -> bool:
    return inner in outer.orelse


def _ends(outer: ast.AST, inner: ast.AST) -> bool:
    """Whether the function is left after a branch, so that what follows is not run."""
    return isinstance(inner, ast.If) and any(isinstance(node, ast.Return) for node in inner.body)


RULE = ScanRule(
    code="SCAN007",
    name="checkpoints-twice",
    meaning="A layer that checkpoints itself is checkpointed by its caller as well.",
    explanation=(
        "A GradientCheckpointingLayer runs itself through the model's checkpoint function. A caller that checkpoints it too "
        "makes it run three times under reentrant checkpointing: no error, the same loss, slower. Call the layer plainly."
    ),
    telling=telling.both(
        telling.calls("checkpoint"),
        telling.names("transformers", LAYER),
        telling.names(*(f".{name}" for name in sorted(LISTS)), *sorted(WRAPPERS)),
    ),
    find=find,
)
