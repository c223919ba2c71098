"""All files of a scan together: finds a definition by its dotted name, wherever it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ckptdoctor.scan import releases
from ckptdoctor.scan.module import FunctionNode, Module, UnparsedError


class Definition(NamedTuple):
    """A function or class, and the file that it stands in."""

    module: Module
    node: ast.AST


class Project:
    """The files of a scan, and those that they import."""

    def __init__(self, modules: Sequence[Module], roots: Sequence[Path]) -> None:
        """Take the parsed files.

        Args:
            modules: The files with anything of checkpointing in them.
            roots: Folders to look for imported modules in.
        """
        self.modules = modules
        self._roots = roots
        self._by_name: dict[str, Module | None] = {module.name: module for module in modules}
        for module in modules:
            self._with_stars(module)

    def module(self, name: str) -> Module | None:
        """A module by its dotted name, read if it is not among the files of the scan."""
        if name not in self._by_name:
            self._by_name[name] = self._read(name)
        return self._by_name[name]

    def _with_stars(self, module: Module, depth: int = 3) -> None:
        """Add what ``from other import *`` brings to a module's imported names."""
        starred, module.star_imports = module.star_imports, []
        for name in starred if depth else ():
            other = self.module(name)
            if other is not None and other is not module:
                self._with_stars(other, depth - 1)
                for one in [*other.imported, *other.definitions]:
                    if not one.startswith("_") and "." not in one and one not in module.definitions:
                        module.imported.setdefault(one, other.imported.get(one, f"{name}.{one}"))
                        vars(module).pop("names", None)

    def _read(self, name: str) -> Module | None:
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts):
            return None
        for root in self._roots:
            place = root.joinpath(*parts)
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                try:
                    return Module(file, name, file.read_bytes())
                except (OSError, UnparsedError):
                    continue
        return None

    def find(self, dotted: str, depth: int = 5) -> list[Definition]:
        """The functions or classes of a dotted name, through imports; several where it is defined under conditions.

        Args:
            dotted: ``package.module.name`` or ``package.module.Class.name``.
            depth: How many imports to follow.
        """
        parts = dotted.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            module = self.module(".".join(parts[:cut]))
            if module is not None:
                name, rest = ".".join(parts[cut:]), parts[cut + 1 :]
                if found := module.definitions.get(name):
                    return [Definition(module, node) for node in found]
                leads_to = module.names.get(parts[cut], "")
                return self.find(".".join([leads_to, *rest]), depth - 1) if leads_to and depth else []
        return []

    def functions(self, dotted: str) -> Iterator[tuple[Module, FunctionNode]]:
        """The functions of a dotted name."""
        for module, node in self.find(dotted):
            if isinstance(node, FunctionNode):
                yield module, node

    # -- classes of layers ----------------------------------------------------------------------------------------------

    @cached_property
    def _shipped_layers(self) -> Mapping[str, set[str]]:
        return {module: set(names) for module, names in releases.known().layers.items()}

    def is_layer(self, dotted: str, asked_by: Module, depth: int = 8) -> bool:
        """Whether a class derives from ``GradientCheckpointingLayer``.

        A package's own source says so of its own classes. For others a class counts that does so in the newest known
        transformers, too: it may not yet in the installed one.

        Args:
            dotted: The class.
            asked_by: The file that uses it.
            depth: How many bases to follow.
        """
        if not dotted or not depth:
            return False
        module, _, name = dotted.rpartition(".")
        is_own = module.partition(".")[0] == asked_by.name.partition(".")[0]
        if name == releases.LAYER or (not is_own and name in self._shipped_layers.get(module, ())):
            return True
        if module.startswith("transformers.") and not self.module(module):
            return False
        return any(
            self.is_layer(found.dotted(base), asked_by, depth - 1)
            for found, node in self.find(dotted)
            if isinstance(node, ast.ClassDef)
            for base in node.bases
        )

    def derives_from(self, module: Module, node: ast.ClassDef, names: Sequence[str], depth: int = 6) -> bool:
        """Whether a class derives from one of some classes.

        Args:
            module: Where it stands.
            node: The class.
            names: Dotted names, or last parts of names.
            depth: How many bases to follow.
        """
        for base in node.bases:
            dotted = module.dotted(base) or ast.unparse(base)
            if dotted in names or dotted.rpartition(".")[2] in names:
                return True
            for found, one in self.find(dotted) if depth else ():
                if isinstance(one, ast.ClassDef) and self.derives_from(found, one, names, depth - 1):
                    return True
        return False
