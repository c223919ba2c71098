"""What transformers itself says of checkpointing, read from its source: per release, and of the installed one.

The facts of released versions are in ``transformers.json``, which ``python -m ckptdoctor.measure_sources`` writes with
the same reader. So nothing about a release is typed in, and an installed release newer than that file is known as well.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Literal

import msgspec

FILE = "transformers.json"
LAYERS, UTILS, TRAINER, MODEL = (
    f"transformers/{name}.py"
    for name in ("modeling_layers", "modeling_utils", "trainer", "models/llama/modeling_llama")
)
FILES = (LAYERS, UTILS, TRAINER, MODEL)
LAYER = "GradientCheckpointingLayer"

Read = Callable[[str], bytes]
"""Gives a file of a release by its path below the folder of packages; raises ``LookupError`` if there is none."""


class SwitchCall(msgspec.Struct, frozen=True):
    """A call by which Trainer switches checkpointing on."""

    method: str
    keywords: tuple[str, ...]
    within: str
    """The method of Trainer that it stands in."""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the source of a release says."""

    convention: str = ""
    """How Llama passes its layer to the checkpoint function: a calling convention of the catalog."""
    layer: Literal["", "__call__", "forward"] = ""
    """The method of ``GradientCheckpointingLayer`` that checkpoints; empty where there is no such class."""
    argument: str = ""
    """The training argument that Trainer reads to decide whether to switch on."""
    switch: tuple[SwitchCall, ...] = ()
    """The calls by which Trainer switches on; the first that the model has is made."""
    setter: tuple[str, ...] = ()
    """The keywords with which ``_set_gradient_checkpointing`` is called."""
    defers: bool = False
    """A model that overrides ``gradient_checkpointing_enable`` is switched on by that, whatever Trainer calls."""


class Known(msgspec.Struct, frozen=True):
    """The facts of all releases that were read."""

    date: str
    groups: tuple[Group, ...]
    """Releases that follow each other and have the same facts, oldest first."""
    layers: dict[str, tuple[str, ...]]
    """Subclasses of ``GradientCheckpointingLayer`` in the newest release, by module."""

    def facts(self) -> dict[str, Facts]:
        """By release, oldest first."""
        return {release: group.facts for group in self.groups for release in group.releases}


class Group(msgspec.Struct, frozen=True):
    """Releases with the same facts."""

    releases: tuple[str, ...]
    facts: Facts


@functools.cache
def known() -> Known:
    """The facts that are shipped."""
    return msgspec.json.decode(resources.files(__package__).joinpath(FILE).read_bytes(), type=Known)


# -- reading ----------------------------------------------------------------------------------------------------------


def read(source: Read) -> Facts:
    """The facts of one release.

    Args:
        source: Gives the files of the release.

    Raises:
        SyntaxError: A file is no Python.
    """
    layers, utils, trainer, model = (_parsed(source, file) for file in FILES)
    return Facts(
        convention=_convention(_class(layers, LAYER)) or _convention(model),
        layer=_checkpointing_method(_class(layers, LAYER)),
        argument=_argument(_class(trainer, "Trainer")),
        switch=tuple(_switch_calls(_class(trainer, "Trainer"))),
        setter=_setter(_class(utils, "PreTrainedModel")),
        defers=_defers(_class(utils, "PreTrainedModel")),
    )


def _parsed(source: Read, file: str) -> ast.Module:
    try:
        return ast.parse(source(file))
    except LookupError:
        return ast.Module([], [])


def _class(tree: ast.Module, name: str) -> ast.AST:
    found = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return next(found, ast.Module([], []))


def _methods(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in getattr(tree, "body", ()) if isinstance(node, ast.FunctionDef))


def _calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    """Calls of attributes of these names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node


def _convention(tree: ast.AST) -> str:
    """How the first argument of the checkpoint function is made."""
    for call in _calls(tree, "_gradient_checkpointing_func"):
        first = call.args[0] if call.args else None
        made_by = first.func if isinstance(first, ast.Call) else None
        inner = first.args[0] if isinstance(first, ast.Call) and first.args else None
        if isinstance(first, ast.Attribute) and first.attr == "__call__":
            return "bound-method"
        if made_by is not None and ast.unparse(made_by) in ("partial", "functools.partial"):
            return (
                "partial-bound" if isinstance(inner, ast.Attribute) and inner.attr == "__call__" else "partial-function"
            )
    return ""


def _checkpointing_method(layer: ast.AST) -> Literal["", "__call__", "forward"]:
    for method in _methods(layer):
        if any(_calls(method, "_gradient_checkpointing_func")):
            return "__call__" if method.name == "__call__" else "forward"
    return ""


def _switch_calls(trainer: ast.AST) -> Iterator[SwitchCall]:
    for method in _methods(trainer):
        for call in _calls(method, "activation_checkpointing_enable", "gradient_checkpointing_enable"):
            keywords = tuple(keyword.arg for keyword in call.keywords if keyword.arg)
            yield SwitchCall(call.func.attr, keywords, method.name)  # type: ignore[attr-defined]


def _argument(trainer: ast.AST) -> str:
    """The attribute of ``args`` in the condition under which Trainer switches on."""
    for node in ast.walk(trainer):
        if isinstance(node, ast.If) and any(_switch_calls(_as_class(node))) and isinstance(node.test, ast.Attribute):
            return node.test.attr
    return ""


def _as_class(branch: ast.If) -> ast.AST:
    method = ast.parse("def method(): pass").body[0]
    method.body = branch.body  # type: ignore[attr-defined]
    return ast.Module([method], [])


def _setter(model: ast.AST) -> tuple[str, ...]:
    calls = _calls(model, "_set_gradient_checkpointing")
    return max((tuple(one.arg for one in call.keywords if one.arg) for call in calls), key=len, default=())


def _defers(model: ast.AST) -> bool:
    enabling = (method for method in _methods(model) if method.name == "activation_checkpointing_enable")
    return any(any(_calls(method, "gradient_checkpointing_enable")) for method in enabling)


def subclasses(files: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    """The subclasses of ``GradientCheckpointingLayer`` in modelling files.

    Args:
        files: Sources by the dotted names of their modules.
    """
    found = {}
    for module, source in sorted(files.items()):
        if LAYER.encode() in source:
            names: list[str] = []
            for node in ast.parse(source).body:
                if isinstance(node, ast.ClassDef) and {LAYER, *names} & set(map(ast.unparse, node.bases)):
                    names.append(node.name)
            found.update({module: tuple(names)} if names else {})
    return found
