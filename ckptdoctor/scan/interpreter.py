"""Follows a callable through the code of a checkpoint function, without running any of that code.

The function's statements are evaluated on a stand-in for the callable (``stand_ins``); all other values are unknown. Where a
condition is unknown, both branches are followed. So a read that a release breaks is told from one that a condition guards, or
that an ``except`` catches, by what the code does and not by how it is written.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from ckptdoctor.scan.expressions import DEEPEST, Expressions
from ckptdoctor.scan.module import Module
from ckptdoctor.scan.stand_ins import UNKNOWN
from ckptdoctor.scan.values import (
    FUNCTIONS,
    Broke,
    Closure,
    Left,
    Raised,
    Returned,
    bind,
    catches_attribute_errors,
    merge,
    truth,
)

LONGEST_LOOP = 8


class Interpreter(Expressions):
    """Evaluates functions for one release of transformers."""

    def run(self, module: Module, function: ast.AST, given: dict[str, Any]) -> Any:
        """Follow a function with some of its parameters known; its result, as far as it is known."""
        if not isinstance(function, (*FUNCTIONS, ast.Lambda)) or self._depth >= DEEPEST:
            return UNKNOWN
        self._depth += 1
        try:
            if isinstance(function, ast.Lambda):
                return self.value(module, function.body, dict(given))
            self.block(module, function.body, dict(given))
        except Returned as returned:
            return returned.value
        except (Left, Broke):
            return UNKNOWN
        except Raised:
            if self._depth > 1:
                raise
            return UNKNOWN
        finally:
            self._depth -= 1
        return None

    # -- statements -----------------------------------------------------------------------------------------------------

    def block(self, module: Module, statements: Sequence[ast.stmt], names: dict[str, Any]) -> None:
        """Follow statements; ``names`` is changed."""
        for statement in statements:
            self.statement(module, statement, names)

    def statement(self, module: Module, node: ast.stmt, names: dict[str, Any]) -> None:
        """Follow one statement."""
        if isinstance(node, ast.If):
            self._branch(module, node, names)
        elif isinstance(node, ast.Return):
            raise Returned(self.value(module, node.value, names) if node.value else None)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            self._assign(module, node, names)
        elif isinstance(node, (ast.For, ast.While, ast.AsyncFor)):
            self._loop(module, node, names)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                self.value(module, item.context_expr, names)
            self.block(module, node.body, names)
        elif isinstance(node, ast.Try):
            self._try(module, node, names)
        elif isinstance(node, FUNCTIONS):
            names[node.name] = Closure(module, node)
        elif isinstance(node, ast.Raise):
            raise Left
        elif isinstance(node, (ast.Break, ast.Continue)):
            raise Broke
        elif isinstance(node, (ast.Expr, ast.AugAssign)):
            self.value(module, node.value, names)
        elif isinstance(node, ast.Assert):
            self._assert(module, node, names)

    def _assert(self, module: Module, node: ast.Assert, names: dict[str, Any]) -> None:
        if self.value(module, node.test, names) is False:
            self.note(module, node.test, "AssertionError", found=False)
            raise Raised("AssertionError")

    def _branch(self, module: Module, node: ast.If, names: dict[str, Any]) -> None:
        test = truth(self.value(module, node.test, names))
        if test is not None:
            self.block(module, node.body if test else node.orelse, names)
            return
        left, right = dict(names), dict(names)
        went_on = self.either(
            [lambda: self.block(module, node.body, left), lambda: self.block(module, node.orelse, right)]
        )
        merge(names, *(way for way, goes_on in zip((left, right), went_on, strict=True) if goes_on))

    def _loop(self, module: Module, node: ast.For | ast.AsyncFor | ast.While, names: dict[str, Any]) -> None:
        if isinstance(node, ast.While):
            for _ in range(LONGEST_LOOP):
                test = truth(self.value(module, node.test, names))
                if test is False:
                    return
                if test is None:
                    break
                try:
                    self.block(module, node.body, names)
                except Broke:
                    return
        else:
            self.value(module, node.iter, names)
            bind(node.target, UNKNOWN, names)
        inner = dict(names)
        went_on, _ = self.either([lambda: self.block(module, node.body, inner), lambda: None])
        if went_on:
            merge(names, dict(names), inner)

    def _try(self, module: Module, node: ast.Try, names: dict[str, Any]) -> None:
        catches = any(catches_attribute_errors(handler) for handler in node.handlers)
        self._catching += catches
        try:
            self.block(module, node.body, names)
        except Raised:
            if not catches:
                raise
            self._catching -= catches
            catches = False
            for handler in node.handlers:
                if catches_attribute_errors(handler):
                    self.block(module, handler.body, names)
                    break
        finally:
            self._catching -= catches
        self.block(module, node.finalbody, names)

    def _assign(self, module: Module, node: ast.Assign | ast.AnnAssign, names: dict[str, Any]) -> None:
        if node.value is None:
            return
        value = self.value(module, node.value, names)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            bind(target, value, names)
