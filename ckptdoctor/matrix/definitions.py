"""The definitions of a package's modules, and which of them a piece of code uses, however far away they stand.

Nothing is imported or run. A definition is a statement at the top of a module. It uses the names that it reads; a name is
another definition of the module, or what the module imports from the package.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ckptdoctor.matrix import python_source


class Definition(NamedTuple):
    """A statement at the top of a module."""

    digest: str
    """Of its code; comments, docstrings and layout left out."""
    names: frozenset[str]
    """Names that it reads, and that its functions import."""


class Module(NamedTuple):
    """What stands at the top of a module."""

    definitions: dict[str, Definition]
    """By each name that it binds; statements that bind none under their digests."""
    imports: dict[str, tuple[str, str]]
    """By each imported name, in functions too: the module's path without an ending, and the name there."""


class Definitions:
    """Reads modules of one release; what was read of the same text in another release is not read again."""

    def __init__(self, read: Callable[[str], str], known: Mapping[str, Module] | None = None) -> None:
        """Read nothing yet.

        Args:
            read: The source of a file of the release; empty where there is none.
            known: ``read`` of another release.
        """
        self._source = read
        self._known = known or {}
        self.read: dict[str, Module] = {}
        """The modules that were read of this release, to be given to the next."""
        self._modules: dict[str, tuple[str, Module] | None] = {}

    def module(self, path: str) -> tuple[str, Module] | None:
        """The file of a module and what stands in it; nothing where the release has no such module.

        Args:
            path: Without an ending: ``transformers/models/llama/modeling_llama``.
        """
        if path not in self._modules:
            self._modules[path] = self._found(path)
        return self._modules[path]

    def _found(self, path: str) -> tuple[str, Module] | None:
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if text := self._source(file):
                key = python_source.digest_of([file, text])
                self.read[key] = self._known[key] if key in self._known else read_module(text, file)
                return file, self.read[key]
        return None

    def used(
        self, roots: Iterable[tuple[str, str]], is_followed: Callable[[str, str], bool]
    ) -> Iterator[tuple[str, str, str]]:
        """Some definitions, and each that they use in turn.

        Args:
            roots: Paths of modules without an ending, and names.
            is_followed: Whether a name of a module is looked at; if not, changes in it do not count.

        Yields:
            Path of the module, name and digest, each once.
        """
        waiting = [one for one in dict.fromkeys(roots) if is_followed(*one)]
        seen = set(waiting)
        while waiting:
            path, name = waiting.pop()
            found = self.module(path)
            if found is None:
                continue
            module = found[1]
            if name in module.definitions:
                yield path, name, module.definitions[name].digest
                more = [(path, other) for other in module.definitions[name].names if other in module.definitions]
                more += [module.imports[other] for other in module.definitions[name].names if other in module.imports]
            else:
                more = [module.imports[name]] if name in module.imports else []
            for one in more:
                if one not in seen and is_followed(*one):
                    seen.add(one)
                    waiting.append(one)


def read_module(text: str, file: str) -> Module:
    """What stands at the top of a module; one definition with all of its text where it does not parse."""
    tree = python_source.parsed(text)
    if tree is None:
        return Module({"": Definition(python_source.digest_of([text]), frozenset())}, {})
    definitions: dict[str, Definition] = {}
    for statement in tree.body:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)):
            made = _definition(statement)
            for name in python_source.bound(statement) or {made.digest}:
                # A name that is bound twice, as under a condition, stands for both.
                before = definitions.get(name)
                definitions[name] = made if before is None else _both(before, made)
    return Module(definitions, dict(_imports(tree, file)))


def _definition(statement: ast.stmt) -> Definition:
    names = {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
    imported = (one for one in ast.walk(statement) if isinstance(one, ast.ImportFrom))
    names |= {alias.asname or alias.name for one in imported for alias in one.names}
    return Definition(python_source.digest_of([python_source.code(statement)]), frozenset(names))


def _both(one: Definition, other: Definition) -> Definition:
    return Definition(python_source.digest_of([one.digest, other.digest]), one.names | other.names)


def _imports(tree: ast.Module, file: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (path := python_source.module_path(node, file)):
            for alias in node.names:
                yield alias.asname or alias.name, (path, alias.name)
