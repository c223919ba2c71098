"""Assignments that replace an attribute of something else, and the functions that take its place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from ckptdoctor.scan.module import FunctionNode, Module, parameters, text, words
from ckptdoctor.scan.project import Project

METHOD_WORDS = {"forward", "call", "fn", "func", "function", "method"}
SETTERS = ("setattr", "__setattr__")
SAVED = {"orig", "original", "originals", "old", "prev", "previous", "saved", "backup", "pristine", "real", "base"}
"""Words in the names under which code keeps what it replaces."""


class Replaced(NamedTuple):
    """``owner.name = value``, in whatever form."""

    node: ast.AST
    owner: ast.expr
    name: str
    value: ast.expr


class Substitute(NamedTuple):
    """A function that takes the place of another."""

    module: Module
    node: FunctionNode | ast.Lambda
    bound: frozenset[str]
    """Keywords that are bound by a partial."""
    takes_self: bool
    """Whether the first parameter is filled when the attribute is called."""


def replaced(module: Module, names: frozenset[str]) -> Iterator[Replaced]:
    """The assignments to attributes of some names, by ``=`` and by ``setattr``."""
    for node in module.assignments:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Attribute) and target.attr in names and node.value is not None:
                yield Replaced(node, target.value, target.attr, node.value)
    for call in module.calls:
        if len(call.args) == 3 and _last(call.func) in SETTERS and text(call.args[1]) in names:
            yield Replaced(call, call.args[0], text(call.args[1]), call.args[2])


def substitutes(
    project: Project, module: Module, value: ast.expr, at: ast.AST, on_class: bool = False, depth: int = 5
) -> list[Substitute]:
    """The functions that an assigned value is, through partials, methods and local names; none where that is not known.

    Args:
        project: Where functions are looked up.
        module: The file.
        value: The expression that is assigned.
        at: The assignment: names are looked up from there.
        on_class: Whether it is assigned to a class, so that a plain function becomes a method.
        depth: How many names to follow.
    """
    if not depth:
        return []
    if isinstance(value, ast.Lambda):
        return [Substitute(module, value, frozenset(), on_class)]
    if isinstance(value, ast.Call):
        return _called(project, module, value, at, on_class, depth)
    if isinstance(value, ast.IfExp):
        either = (value.body, value.orelse)
        return [one for part in either for one in substitutes(project, module, part, at, on_class, depth - 1)]
    if isinstance(value, ast.Name):
        local = _local(module, value.id, at)
        if local:
            return [
                one
                for found in local
                for one in (
                    [Substitute(module, found, frozenset(), on_class)]
                    if isinstance(found, (FunctionNode, ast.Lambda))
                    else substitutes(project, module, found, at, on_class, depth - 1)
                )
            ]
    dotted = module.dotted(value)
    return (
        [Substitute(found, node, frozenset(), on_class) for found, node in project.functions(dotted)] if dotted else []
    )


def _called(
    project: Project, module: Module, value: ast.Call, at: ast.AST, on_class: bool, depth: int
) -> list[Substitute]:
    """``MethodType(f, x)``, ``partial(f, ...)``, ``f.__get__(x)``, ``wrapper(f)`` and factories that return a function."""
    last = _last(value.func)
    if last in ("MethodType", "__get__"):
        inner = (
            value.func.value
            if last == "__get__" and isinstance(value.func, ast.Attribute)
            else next(iter(value.args), None)
        )
        found = substitutes(project, module, inner, at, on_class, depth - 1) if inner is not None else []
        return [one._replace(takes_self=True) for one in found]
    if last in ("partial", "partialmethod") and value.args:
        bound = frozenset(one.arg for one in value.keywords if one.arg)
        found = substitutes(project, module, value.args[0], at, on_class, depth - 1)
        return [one._replace(bound=one.bound | bound) for one in found]
    if last in ("staticmethod", "classmethod") and value.args:
        return substitutes(project, module, value.args[0], at, False, depth - 1)
    factories = substitutes(project, module, value.func, at, False, depth - 1)
    return [
        inner
        for factory in factories
        if isinstance(factory.node, FunctionNode)
        for node in ast.walk(factory.node)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Name)
        for found in _local(factory.module, node.value.id, node)
        if isinstance(found, (FunctionNode, ast.Lambda))
        for inner in [Substitute(factory.module, found, frozenset(), on_class)]
    ]


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _local(module: Module, name: str, at: ast.AST) -> list[FunctionNode | ast.expr]:
    """What a name is defined as or assigned in the functions around a place, the innermost that has it."""
    for function in [one for one in [at, *module.around(at)] if isinstance(one, (*_FUNCTIONS, ast.Module))]:
        found: list[FunctionNode | ast.expr] = []
        for node in _own(function):
            if isinstance(node, FunctionNode) and node.name == name:
                found.append(node)
            elif isinstance(node, ast.Assign) and any(
                isinstance(to, ast.Name) and to.id == name for to in node.targets
            ):
                found.append(node.value)
        if found:
            return found
    return []


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, nested functions themselves but not what is in them."""
    pending = list(ast.iter_child_nodes(scope))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (FunctionNode, ast.ClassDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))


def is_restored(module: Module, value: ast.expr, name: str, at: ast.AST) -> bool:
    """Whether the assigned value is what had been there before: kept under another name."""
    if isinstance(value, ast.Name) and any(
        _is_kept(one, name) for one in _local(module, value.id, at) if isinstance(one, ast.expr)
    ):
        return True
    return bool(SAVED & words(_last(value) if isinstance(value, (ast.Name, ast.Attribute)) else ast.unparse(value)))


def _is_kept(value: ast.AST, name: str) -> bool:
    """Whether an expression reads an attribute of that name."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.Constant) and node.value == name)
        for node in ast.walk(value)
    )


def delegates(module: Module, value: ast.expr, found: list[Substitute], name: str, at: ast.AST) -> bool:
    """Whether what takes the place of a method calls the method that was there.

    Args:
        module: The file.
        value: What is assigned.
        found: The functions that this is.
        name: The method's name.
        at: The assignment.
    """
    if isinstance(value, ast.Call) and any(
        _is_kept(one, name) for one in [*value.args, *(one.value for one in value.keywords)]
    ):
        return True  # f(x.forward)
    kept = {
        target.id
        for scope in [one for one in [at, *module.around(at)] if isinstance(one, (*_FUNCTIONS, ast.Module))]
        for node in _own(scope)
        if isinstance(node, ast.Assign) and _is_kept(node.value, name)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if isinstance(value, ast.Call) and any(isinstance(one, ast.Name) and one.id in kept for one in ast.walk(value)):
        return True  # partial(f, old_forward)
    return any(_calls_the_old(one, name, kept) for one in found)


def _calls_the_old(found: Substitute, name: str, kept: set[str]) -> bool:
    wrapped = {
        one
        for function in found.module.functions_around(found.node)
        for one in parameters(function)
        if METHOD_WORDS & words(one)
    }
    for node in ast.walk(found.node):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in kept | wrapped:
                return True
            if isinstance(called, ast.Attribute) and called.attr == name and not _is_on_part_of_self(called):
                return True
            if _is_named_as_kept(called):
                return True
    return False


def _is_named_as_kept(called: ast.expr) -> bool:
    """``original(...)``, ``self._old_forward(...)``, ``ORIGINALS["layer"](...)``; not ``self.has_previous_state(...)``."""
    if isinstance(called, ast.Subscript):
        return bool(SAVED & words(_last(called.value)))
    said = words(_last(called))
    return bool(SAVED & said) and (said <= SAVED or bool(METHOD_WORDS & said))


def _is_on_part_of_self(called: ast.Attribute) -> bool:
    """``self.mlp.forward(...)``, which is another module's."""
    return isinstance(called.value, ast.Attribute)
