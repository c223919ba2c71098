"""What a module's source says, read without importing it: imports, decorators, definitions, and the code without its layout."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import textwrap
import threading
from collections.abc import Iterable, Iterator

_remembered = functools.lru_cache(maxsize=256)
"""For what is asked of one source again and again: releases and commits share most of their files."""


@_remembered
def imports(source: str, file: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Modules of its own package that a file imports from at its top, as paths without an ending, and the names."""
    tree = parsed(source)
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)] if tree else []
    return tuple(
        (folder, tuple(sorted(alias.name for alias in node.names)))
        for node in nodes
        if (folder := module_path(node, file))
    )


def module_path(node: ast.ImportFrom, file: str) -> str:
    """The path of the imported module, without its ending; empty outside of the file's own package."""
    module = (node.module or "").split(".")
    if node.level:
        return "/".join([*file.split("/")[: -node.level], *filter(None, module)])
    return "/".join(module) if module[0] == file.split("/")[0] else ""


@_remembered
def decorating(source: str) -> frozenset[str]:
    """The names in all decorators of a module."""
    tree = parsed(source)
    return frozenset(name for node in ast.walk(tree) for name in decorators(node)) if tree else frozenset()


def decorators(node: ast.AST) -> Iterator[str]:
    """The names in the decorators of a function or class, without those of their arguments."""
    for decorator in getattr(node, "decorator_list", ()):
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        yield from (part.id for part in ast.walk(called) if isinstance(part, ast.Name))


@_remembered
def definition(source: str, name: str) -> str:
    """A top-level definition, found by its indentation: parsing a module of thousands of lines takes long."""
    found = re.search(rf"^(?:(?:async )?def |class )?{name}\b.*?(?=^[^\s#)\]}}]|\Z)", source, re.MULTILINE | re.DOTALL)
    return found.group() if found else ""


@_remembered
def methods(source: str, mentioning: re.Pattern[str]) -> list[str]:
    """Functions and methods that mention something, found by their indentation."""
    blocks = re.split(r"^(?=[ ]*(?:async )?def )", source, flags=re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks[1:] if mentioning.search(block)]


def part(source: str, names: Iterable[str]) -> str:
    """Functions, methods and classes of those names, with the statements at the top of the file that they use, as code."""
    tree = parsed(source)
    if tree is None:
        return source
    owners = [one for one in tree.body if isinstance(one, ast.ClassDef)]
    chosen = [one for one in [*tree.body, *(inner for owner in owners for inner in owner.body)] if _name(one) in names]
    used, more, kept = set[str](), _read_in(chosen), list[ast.stmt]()
    while more:
        used |= more
        kept = [_only(one, used) for one in tree.body if one not in chosen and bound(one) & used]
        more = _read_in(kept) - used
    return "\n".join(map(ast.unparse, [*kept, *chosen]))


def _name(statement: ast.stmt) -> str:
    return statement.name if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) else ""


def _read_in(statements: Iterable[ast.stmt]) -> set[str]:
    """Names of variables that are read in statements."""
    found = (one for statement in statements for one in ast.walk(statement) if isinstance(one, ast.Name))
    return {one.id for one in found if isinstance(one.ctx, ast.Load)}


def bound(statement: ast.stmt) -> set[str]:
    """Names that a statement at the top of a file binds."""
    if name := _name(statement):
        return {name}
    bound = set[str]()
    for one in ast.walk(statement):
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            bound |= set(map(_imported_as, one.names))
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            bound.add(one.id)
        elif isinstance(one, (ast.FunctionDef, ast.ClassDef)):
            bound.add(one.name)
    return bound


def _only(statement: ast.stmt, used: set[str]) -> ast.stmt:
    """An import without the names that are not used; any other statement as it is."""
    if isinstance(statement, ast.ImportFrom):
        names = [alias for alias in statement.names if _imported_as(alias) in used]
        return ast.ImportFrom(statement.module, names, statement.level)
    return statement


def _imported_as(alias: ast.alias) -> str:
    return (alias.asname or alias.name).split(".")[0]


class _Bones(ast.NodeTransformer):
    """Leaves out docstrings."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


_PARSING = threading.Lock()
"""Python 3.11's parser fails at random when several threads use it at once."""


def parsed(source: str) -> ast.Module | None:
    """The syntax tree; None where the source does not parse."""
    try:
        with _PARSING:
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def code(statement: ast.stmt) -> str:
    """What a statement does, as text, without docstrings; the statement loses them."""
    left = _Bones().visit(statement)
    return ast.dump(left) if left is not None else ""


@_remembered
def normalised(source: str) -> str:
    """What some code does, as text: comments, docstrings and layout left out; the code itself where it does not parse."""
    tree = parsed(source)
    return ast.dump(_Bones().visit(tree)) if tree else source


def digest_of(words: Iterable[str]) -> str:
    """One digest of several texts."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    return digest.hexdigest()[:32]
