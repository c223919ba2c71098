"""Which functions of the code are checkpoint functions, and which of their parameters is the callable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from ckptdoctor.model.scan import Certainty
from ckptdoctor.scan.module import FunctionNode, Module, parameters, words
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.replacing import Replaced, is_restored, replaced, substitutes

TORCH = ("torch.utils.checkpoint.checkpoint", "torch.utils.checkpoint.CheckpointFunction")
REPLACEABLE = (
    *TORCH,
    "transformers.modeling_utils.checkpoint",
    "transformers.modeling_utils.torch.utils.checkpoint.checkpoint",
    "deepspeed.checkpointing.checkpoint",
    "deepspeed.runtime.activation_checkpointing.checkpointing.checkpoint",
)
ATTRIBUTE = "_gradient_checkpointing_func"
KEYWORD = "gradient_checkpointing_func"
NAMES = frozenset({"checkpoint", "CheckpointFunction", ATTRIBUTE})
_FUNCTION_WORDS = {"func", "fn", "function"}


class CheckpointFunction(NamedTuple):
    """A function that is called in the place of torch's."""

    module: Module
    node: FunctionNode
    parameter: str
    """That which holds the callable."""
    certainty: Certainty
    reason: str


def is_checkpoint_call(module: Module, call: ast.Call) -> bool:
    """Whether a call runs its first argument with recomputation, by what its name stands for or by its name."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if "checkpoint" not in name.lower():
        return module.names.get(name, "") in REPLACEABLE
    dotted = module.dotted(call.func)
    if dotted in REPLACEABLE or dotted.startswith("torch.utils.checkpoint.checkpoint"):
        return True
    said = words(name)
    return bool(
        {"checkpoint", "checkpointing"} & said and (_FUNCTION_WORDS & said or name in ("checkpoint", "_checkpoint"))
    )


def replacements(module: Module) -> Iterator[Replaced]:
    """Where a checkpoint function is replaced by another: not where the one that was there is put back."""
    for one in replaced(module, NAMES):
        owner = module.dotted(one.owner)
        named = f"{owner}.{one.name}" if owner else one.name
        if (named in REPLACEABLE or one.name == ATTRIBUTE) and not is_restored(module, one.value, one.name, one.node):
            yield one


def passed_on(module: Module) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Calls that pass a checkpoint function by its keyword, as those of ``_set_gradient_checkpointing``."""
    for node in module.calls:
        for keyword in node.keywords:
            if keyword.arg == KEYWORD:
                yield node, keyword.value


def checkpoint_functions(project: Project, module: Module) -> list[CheckpointFunction]:
    """The checkpoint functions that a file defines, each with the parameter that holds the callable."""
    found: dict[tuple[ast.AST, str], CheckpointFunction] = {}
    for one in [*_installed(project).get(module.name, []), *_by_body(module)]:
        found.setdefault((one.node, one.parameter), one)
    return list(found.values())


def _installed(project: Project) -> dict[str, list[CheckpointFunction]]:
    """Those that some file of the scan installs, by the module that defines them."""
    if not hasattr(project, "installed_functions"):
        found: dict[str, list[CheckpointFunction]] = {}
        for module in project.modules:
            for one in _installed_by(project, module):
                found.setdefault(one.module.name, []).append(one)
        project.installed_functions = found  # type: ignore[attr-defined]
    known: dict[str, list[CheckpointFunction]] = project.installed_functions  # type: ignore[attr-defined]
    return known


def _installed_by(project: Project, module: Module) -> Iterator[CheckpointFunction]:
    sites = [(one.node, one.value) for one in replacements(module)]
    for node, value in [*sites, *passed_on(module)]:
        for one in substitutes(project, module, value, node):
            parameter = first_parameter(one.module, one.node)
            if isinstance(one.node, FunctionNode) and parameter:
                reason = f"{module.path.name}:{getattr(node, 'lineno', 0)} installs it as the checkpoint function"
                yield CheckpointFunction(one.module, one.node, parameter, "certain", reason)


def first_parameter(module: Module, function: ast.AST) -> str:
    """The first parameter that the caller fills: neither ``self`` nor an autograd function's context."""
    if not isinstance(function, (FunctionNode, ast.Lambda)):
        return ""
    names = [name for name in parameters(function) if name not in ("self", "cls", "ctx")]
    return names[0] if names else ""


def _by_body(module: Module) -> Iterator[CheckpointFunction]:
    """Those that pass a parameter to another checkpoint function, or that are called as such functions are."""
    for call in module.calls:
        first = call.args[0] if call.args else None
        if isinstance(first, ast.Name) and is_checkpoint_call(module, call):
            for function in module.functions_around(call):
                if first.id in parameters(function):
                    reason = f"line {call.lineno} passes the callable on to a checkpoint function"
                    yield CheckpointFunction(module, function, first.id, "certain", reason)
    for function in module.functions:
        parameter = first_parameter(module, function)
        around = ".".join([module.name.rpartition(".")[2], module.qualified(function)])
        if (
            parameter
            and function.args.vararg
            and {"checkpoint", "checkpointing", "checkpointer"} & words(around.replace(".", "_"))
        ):
            reason = "it takes a callable and what to call it with, and is named after checkpointing"
            yield CheckpointFunction(module, function, parameter, "likely", reason)
