"""Rewrites how a trainer's checkpoint function finds the layer in the callable it is given.

Such functions read ``func.__self__`` or ``func.func.__self__``, which only fits the callables of the transformers
version they were written against. The patch calls a small helper instead, which knows every kind of callable that models
have used.
"""

from __future__ import annotations

import difflib
import io
import itertools
from typing import TYPE_CHECKING

import libcst as cst
import libcst.matchers as m
from libcst.metadata import (
    ExpressionContext,
    ExpressionContextProvider,
    MetadataWrapper,
    PositionProvider,
    ScopeProvider,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STEPS = ("func", "__func__", "__wrapped__")
"""Attributes that lead from a callable to a callable; ``ctx.function.__self__`` is not about ``ctx`` and stays."""

_DOCSTRING = m.SimpleStatementLine([m.Expr(m.SimpleString() | m.ConcatenatedString())])

_HELPER = '''\
def _layer_of(func):
    """Return the layer that a callable handed to a checkpoint function runs.

    Models pass a method of the layer, or a partial, a wrapper or a closure that holds the layer or its method.
    """
    import functools

    import torch

    pending, closures, seen = [func], [], {}
    while pending or closures:
        item = (pending or closures).pop(0)  # closures last: they may hold other modules besides the layer
        if isinstance(item, torch.nn.Module):
            return item
        if id(item) in seen:
            continue
        seen[id(item)] = item
        held = [item.func, *item.args] if isinstance(item, functools.partial) else []
        pending = [getattr(item, "__self__", None), *held, getattr(item, "__wrapped__", None), *pending]
        for cell in getattr(item, "__closure__", None) or ():
            try:
                closures.append(cell.cell_contents)
            except ValueError:  # not assigned yet
                pass
    raise TypeError(f"no torch.nn.Module found in the callable to checkpoint: {func!r}")
'''


def patch(source: str, line: int) -> str | None:
    """Fix the reads of the layer that fail on other kinds of callable.

    The read at ``line`` tells which parameter holds the callable. Reads through parameters of that name are fixed in
    the whole module; other parameters may hold things that are no layer's callable and are left alone.

    Args:
        source: The module's text, with the line endings it has on disk.
        line: Where the read failed, counted from 1.

    Returns:
        The patched text, or None when no read through a parameter stands at that line.
    """
    try:
        wrapper = MetadataWrapper(cst.parse_module(source))
    except cst.ParserSyntaxError:
        return None
    found = _Reads(line)
    wrapper.visit(found)
    if not found.failing:
        return None
    reads = {node: name for node, name in found.reads.items() if name in found.failing}
    helper = _free_name("_layer_of", source)
    patched = wrapper.module.visit(_Mend(reads, helper))
    # A callable that is only passed on needs no helper.
    return _with_helper(patched, helper).code if helper in patched.code else patched.code


def diff(source: str, patched: str, path_label: str) -> str:
    """Say what a patch changes, in the form ``patch -p1`` takes.

    Args:
        source: The text before.
        patched: The text after.
        path_label: The file's path below ``site-packages``, where the diff is to be applied.

    Returns:
        A unified diff; empty when the texts are the same.
    """
    lines = difflib.unified_diff(_lines(source), _lines(patched), f"a/{path_label}", f"b/{path_label}")
    return "".join(text if text.endswith("\n") else f"{text}\n\\ No newline at end of file\n" for text in lines)


def _lines(text: str) -> list[str]:
    # Unlike str.splitlines, only at "\n", as patch(1) does; a form feed or "\r" stays inside its line.
    return list(io.StringIO(text, newline="\n"))


def _free_name(wanted: str, source: str) -> str:
    names = itertools.chain([wanted], (f"{wanted}_{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in source)


class _Reads(cst.CSTVisitor):
    """Collects the reads of ``__self__`` through a parameter, and the parameters so read at the failing line."""

    METADATA_DEPENDENCIES = (ExpressionContextProvider, PositionProvider, ScopeProvider)

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.reads: dict[cst.CSTNode, str] = {}
        self.failing: set[str] = set()

    def visit_Attribute(self, node: cst.Attribute) -> None:  # noqa: N802
        root = _root(node)
        if root is None or not self._is_parameter(root):
            return
        if self.get_metadata(ExpressionContextProvider, node) is not ExpressionContext.LOAD:
            return
        self.reads[node] = root.value
        span = self.get_metadata(PositionProvider, node)
        if span.start.line <= self.line <= span.end.line:
            self.failing.add(root.value)

    def _is_parameter(self, name: cst.Name) -> bool:
        scope = self.get_metadata(ScopeProvider, name, None)
        return scope is not None and any(
            isinstance(getattr(assignment, "node", None), cst.Param) for assignment in scope[name.value]
        )


def _root(node: cst.Attribute) -> cst.Name | None:
    """The ``func`` of ``func.__self__`` or ``func.func.__self__``."""
    if node.attr.value != "__self__":
        return None
    value = node.value
    while isinstance(value, cst.Attribute) and value.attr.value in _STEPS:
        value = value.value
    return value if isinstance(value, cst.Name) else None


class _Mend(cst.CSTTransformer):
    """Replaces the reads by a call of the helper, and keeps the callable itself where it is run."""

    def __init__(self, reads: Mapping[cst.CSTNode, str], helper: str) -> None:
        super().__init__()
        self.reads = reads
        self.helper = helper

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:  # noqa: N802
        name = self.reads.get(original_node)
        if name is None:
            return updated_node
        argument = cst.Arg(cst.Name(name))
        return cst.Call(cst.Name(self.helper), [argument], lpar=updated_node.lpar, rpar=updated_node.rpar)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:  # noqa: N802
        # Running the layer instead of the callable would lose the keywords that a partial binds.
        called = self._read_in(original_node.func)
        if called is not None:
            updated_node = updated_node.with_changes(func=cst.Name(called))
        handed_on = self._read_in(original_node.args[0].value) if _hands_on(original_node.args) else None
        if handed_on is None:
            return updated_node
        first, *others = updated_node.args
        return updated_node.with_changes(args=[first.with_changes(value=cst.Name(handed_on)), *others])

    def _read_in(self, node: cst.BaseExpression) -> str | None:
        """The parameter through which an expression gets the layer, if that is all it does."""
        if isinstance(node, cst.IfExp):
            name = self._read_in(node.body)
            return name if name == self._read_in(node.orelse) else None
        return self.reads.get(node)


def _hands_on(arguments: Sequence[cst.Arg]) -> bool:
    """Whether a call passes a function and what to run it with, as in ``checkpoint(function, *args)``."""
    return any(argument.star == "*" for argument in arguments[1:]) and not (arguments[0].star or arguments[0].keyword)


def _with_helper(module: cst.Module, name: str) -> cst.Module:
    text = _HELPER.replace("_layer_of", name).replace("    ", module.default_indent)
    config = module.config_for_parsing
    helper = cst.parse_statement(text.replace("\n", module.default_newline), config)
    after = _end_of_imports(module.body)
    before, rest = list(module.body[:after]), list(module.body[after:])
    return module.with_changes(body=[*before, *(_spaced([helper]) if before else [helper]), *_spaced(rest)])


def _end_of_imports(body: Sequence[cst.CSTNode]) -> int:
    """Where the imports at the top end, those under ``if TYPE_CHECKING`` or ``try`` included."""
    end = 0
    for index, statement in enumerate(body):
        if m.findall(statement, m.FunctionDef() | m.ClassDef()):
            break
        if m.findall(statement, m.Import() | m.ImportFrom()) or (index == 0 and m.matches(statement, _DOCSTRING)):
            end = index + 1
    return end


def _spaced(statements: Sequence[cst.CSTNode]) -> list[cst.CSTNode]:
    """Have two empty lines before the first statement, as is usual around a function."""
    if not statements:
        return []
    first, *others = statements
    lines = list(getattr(first, "leading_lines", ()))
    blank = sum(1 for _ in itertools.takewhile(lambda line: line.comment is None, lines))
    return [first.with_changes(leading_lines=[*[cst.EmptyLine(indent=False)] * (2 - blank), *lines]), *others]
