"""Some definitions of a module, with what they use and without the rest.

A checkpoint function may be a method of a trainer's largest class, in a module that imports half of the trainer: seconds, and
packages that are not installed. What runs is the trainer's own code, with the lines that it has in its file.
"""

from __future__ import annotations

import ast
import copy
import importlib.machinery
from collections.abc import Iterable, Mapping
from typing import Any


class Loader(importlib.machinery.SourceFileLoader):
    """Loads only some functions, methods or classes of a file, and the statements of the file that they use.

    A method becomes a function of the module. Annotations are left out: they name more than is needed.
    """

    def __init__(self, fullname: str, path: str, names: Iterable[str], given: Mapping[str, Any]) -> None:
        """Prepare to load them.

        Args:
            fullname: The module's name.
            path: The file.
            names: What to load.
            given: Values of names of the file that are not taken from it.
        """
        super().__init__(fullname, path)
        self.names, self.given = set(names), given

    def exec_module(self, module: Any) -> None:
        """Run them in a module."""
        vars(module).update(self.given)
        super().exec_module(module)

    def get_code(self, fullname: str) -> Any:
        """The code of these alone, with the lines that it has in the file.

        Raises:
            ImportError: The file has none of them.
        """
        tree = ast.parse(self.get_data(self.path), self.path)
        owners = [one for one in tree.body if isinstance(one, ast.ClassDef)]
        everything = [*tree.body, *(inner for owner in owners for inner in owner.body)]
        chosen = [_WithoutAnnotations().visit(one) for one in everything if _name(one) in self.names]
        if not chosen:
            raise ImportError(f"{self.path} defines none of {', '.join(sorted(self.names))}")
        return compile(ast.Module([*_used(tree, chosen, set(self.given)), *chosen], type_ignores=[]), self.path, "exec")


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Drop what it returns."""
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Drop what it is."""
        node.annotation = None
        return node


def _used(tree: ast.Module, chosen: list[Any], given: set[str]) -> list[Any]:
    """The statements at the top of a file that bind what the chosen definitions use, in the order of the file."""
    used: set[str] = set()
    kept: list[Any] = []
    more = _read(chosen) - given
    while more:
        used |= more
        kept = [_only(one, used) for one in tree.body if one not in chosen and _bound(one) & used]
        more = _read(kept) - used - given
    return kept


def _only(statement: Any, used: set[str]) -> Any:
    """An import without the names that are not used; a function without annotations; any other statement as it is."""
    if isinstance(statement, ast.ImportFrom):
        slim = copy.copy(statement)
        slim.names = [alias for alias in statement.names if _imported_as(alias) in used]
        return slim
    return _WithoutAnnotations().visit(statement) if isinstance(statement, ast.FunctionDef) else statement


def _name(statement: Any) -> str:
    return str(statement.name) if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) else ""


def _bound(statement: Any) -> set[str]:
    """Names that a statement at the top of a file binds."""
    if name := _name(statement):
        return {name}
    bound: set[str] = set()
    for one in ast.walk(statement):
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            bound |= set(map(_imported_as, one.names))
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            bound.add(one.id)
        elif isinstance(one, (ast.FunctionDef, ast.ClassDef)):
            bound.add(one.name)
    return bound


def _read(statements: Iterable[Any]) -> set[str]:
    """Names of variables that are read in statements."""
    found = (one for statement in statements for one in ast.walk(statement) if isinstance(one, ast.Name))
    return {one.id for one in found if isinstance(one.ctx, ast.Load)}


def _imported_as(alias: ast.alias) -> str:
    return (alias.asname or alias.name).split(".")[0]
