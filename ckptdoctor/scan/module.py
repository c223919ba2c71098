"""One source file: its tree, what its names stand for, its functions and classes."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Scope: TypeAlias = ast.Module | ast.ClassDef | FunctionNode | ast.Lambda

IMPORTERS = ("importlib.import_module", "import_module", "__import__")

ALIASES_OF_ALIASES = 3
"""How often a name may stand for another that was assigned."""


class UnparsedError(Exception):
    """A file that is no Python of this version."""


class Module:
    """A parsed file.

    Attributes:
        path: Where it lies.
        name: Its dotted name, as far as the folders around it tell.
        tree: Its syntax tree.
        lines: Its lines, without their ends.
        compares_versions: Whether it may do different things with different releases.
        names_trainer: Whether it has to do with some Trainer.
    """

    def __init__(self, path: Path, name: str, source: bytes) -> None:
        """Parse a file.

        Raises:
            UnparsedError: It cannot be parsed.
        """
        self.path, self.name = path, name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the file's own strings
                self.tree = ast.parse(source)
        except SyntaxError as error:
            raise UnparsedError(f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise UnparsedError(str(error) or "too deeply nested") from None
        self.lines = source.decode("utf-8", "replace").splitlines()
        self.compares_versions = b"version" in source
        self.names_trainer = b"Trainer" in source

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes, in the order of the source as far as statements go."""
        return list(ast.walk(self.tree))

    @cached_property
    def calls(self) -> list[ast.Call]:
        """All calls."""
        return [node for node in self.nodes if isinstance(node, ast.Call)]

    @cached_property
    def assignments(self) -> list[ast.Assign | ast.AnnAssign]:
        """All assignments by ``=``."""
        return [node for node in self.nodes if isinstance(node, (ast.Assign, ast.AnnAssign))]

    @cached_property
    def functions(self) -> list[FunctionNode]:
        """All functions."""
        return [node for node in self.nodes if isinstance(node, FunctionNode)]

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node around each node."""
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, the nearest first."""
        while (outer := self.parents.get(node)) is not None:
            yield outer
            node = outer

    def functions_around(self, node: ast.AST) -> list[FunctionNode]:
        """The functions around a node, the nearest first."""
        return [one for one in self.around(node) if isinstance(one, FunctionNode)]

    def class_of(self, function: ast.AST) -> ast.ClassDef | None:
        """The class whose method a function is."""
        outer = next((one for one in self.around(function) if isinstance(one, Scope)), None)
        return outer if isinstance(outer, ast.ClassDef) else None

    def qualified(self, node: ast.AST) -> str:
        """The names of the definitions around a node and its own, joined by dots."""
        named = [one.name for one in [node, *self.around(node)] if isinstance(one, (ast.ClassDef, FunctionNode))]
        return ".".join(reversed(named))

    @cached_property
    def definitions(self) -> dict[str, list[ast.AST]]:
        """Functions and classes by their qualified names; several where a name is defined under conditions."""
        found: dict[str, list[ast.AST]] = {}
        for node in self.nodes:
            if isinstance(node, (ast.ClassDef, FunctionNode)):
                found.setdefault(self.qualified(node), []).append(node)
        return found

    # -- what names stand for -------------------------------------------------------------------------------------------

    @cached_property
    def imported(self) -> dict[str, str]:
        """What each imported name stands for, as a dotted name, wherever in the file it is imported."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                named = [alias for alias in node.names if alias.name != "*"]
                found.update({alias.asname or alias.name: f"{base}.{alias.name}" for alias in named})
        return found

    @cached_property
    def star_imports(self) -> list[str]:
        """Modules of which all names are imported."""
        return [
            self._base(node)
            for node in self.nodes
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
        ]

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        package = parts if self.path.name == "__init__.py" else parts[:-1]
        above = package[: len(package) - node.level + 1]
        return ".".join([*above, *([node.module] if node.module else [])])

    @cached_property
    def texts(self) -> dict[str, str]:
        """The strings that names of the module are assigned."""
        return {
            target.id: _text(node.value)
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and _text(node.value)
        }

    @cached_property
    def aliases(self) -> dict[str, str]:
        """What names that are assigned stand for: ``layers = importlib.import_module("a.layers")``; one thing each."""
        assigned: dict[str, list[ast.expr]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id not in self.imported:
                        assigned.setdefault(target.id, []).append(node.value)
        found: dict[str, str] = {}
        for _ in range(ALIASES_OF_ALIASES):
            for name, values in assigned.items():
                meant = {self._stands_for(value, {**found, **self.imported}) for value in values}
                if len(meant) == 1 and (dotted := meant.pop()):
                    found[name] = dotted
        return found

    def _stands_for(self, value: ast.expr, names: dict[str, str]) -> str:
        if isinstance(value, ast.Call) and ast.unparse(value.func) in IMPORTERS and value.args:
            named = value.args[0]
            return self.texts.get(named.id, "") if isinstance(named, ast.Name) else _text(named)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and not value.args:
            returned = {self._stands_for(one, names) for one in self._returned_by(value.func.id)}
            return returned.pop() if len(returned) == 1 else ""
        if isinstance(value, (ast.Attribute, ast.Subscript, ast.Call)):
            return self._dotted(value, names)
        return ""

    def _returned_by(self, function: str) -> Iterator[ast.expr]:
        """What a function of this file returns, beside ``None``."""
        for definition in self.definitions.get(function, ()):
            for node in ast.walk(definition) if isinstance(definition, FunctionNode) else ():
                if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
                    # Not a call: two functions that return each other's results would never end.
                    is_import = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in IMPORTERS
                    yield node.value if is_import or not isinstance(node.value, ast.Call) else ast.Constant(None)

    def dotted(self, node: ast.AST | None) -> str:
        """The dotted name that an expression stands for, from imports; empty where that is not known."""
        return self._dotted(node, self.names)

    @cached_property
    def names(self) -> dict[str, str]:
        """What names stand for, imported and assigned ones."""
        return {**self.aliases, **self.imported}

    def _dotted(self, node: ast.AST | None, names: dict[str, str]) -> str:
        if isinstance(node, ast.Name):
            return names.get(node.id, f"{self.name}.{node.id}" if node.id in self.definitions else "")
        if isinstance(node, ast.Attribute):
            base = self._dotted(node.value, names)
            return f"{base}.{node.attr}" if base else ""
        if isinstance(node, ast.Subscript) and self._dotted(node.value, names) == "sys.modules":
            return _text(node.slice)
        if isinstance(node, ast.Call) and len(node.args) >= 2 and ast.unparse(node.func) == "getattr":
            base, name = self._dotted(node.args[0], names), _text(node.args[1])
            return f"{base}.{name}" if base and name else ""
        return ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def text(node: ast.AST | None) -> str:
    """The string that an expression is; empty for any other expression."""
    return _text(node) if isinstance(node, ast.expr) else ""


def words(name: str) -> set[str]:
    """The words of an identifier in lower case: ``grad_checkpointFn`` has ``grad``, ``checkpoint`` and ``fn``."""
    spaced = "".join(
        f" {char}" if char.isupper() and before.islower() else char
        for before, char in zip(f" {name}", name, strict=False)
    )
    return set(spaced.replace("_", " ").lower().split())


def parameters(function: FunctionNode | ast.Lambda) -> list[str]:
    """The names of positional parameters, in their order."""
    return [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
