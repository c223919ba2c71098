"""Evaluates expressions as far as they concern a callable; see ``interpreter``."""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from ckptdoctor.scan.known_calls import KNOWN_CALLS
from ckptdoctor.scan.module import Module
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.stand_ins import REACHING, UNKNOWN, attribute, is_callable_made_of_layer
from ckptdoctor.scan.values import (
    FUNCTIONS,
    Broke,
    Closure,
    Left,
    Raised,
    Reference,
    Returned,
    Seen,
    arguments_of,
    is_layer,
    is_vague,
    shown,
    truth,
)

DEEPEST = 6
"""Calls within calls that are followed."""

_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


@dataclass
class Expressions:
    """Evaluates expressions for one release of transformers.

    Attributes:
        project: Where functions are looked up.
        release: The release, for code that compares it.
        seen: Reads of what a callable is made of, as far as they were met.
    """

    project: Project
    release: str
    seen: list[Seen] = field(default_factory=list)
    _unsure: int = 0
    _catching: int = 0
    _depth: int = 0

    def run(self, module: Module, function: ast.AST, given: dict[str, Any]) -> Any:
        """Follow a function with some of its parameters known; its result, as far as it is known."""
        raise NotImplementedError

    def is_reached(self, module: Module, node: ast.AST) -> bool:
        """Whether code is run with this release: not if a condition around it says no."""
        inner = node
        for outer in module.around(node):
            if isinstance(outer, ast.If):
                test = truth(self.value(module, outer.test, {}))
                if test is not None and (inner in outer.body) is not test:
                    return False
            inner = outer
        return True

    def either(self, ways: Sequence[Callable[[], None]]) -> list[bool]:
        """Follow several ways of which one is taken, and tell which go on; if none does, the function is left."""
        self._unsure += 1
        ended: list[BaseException | None] = []
        try:
            for way in ways:
                try:
                    way()
                    ended.append(None)
                except (Returned, Left, Broke, Raised) as end:
                    ended.append(end)
        finally:
            self._unsure -= 1
        if None not in ended:
            if any(isinstance(end, Broke) for end in ended):
                raise Broke
            values = [end.value for end in ended if isinstance(end, Returned)]
            raise Returned(values[0] if values and all(one is values[0] for one in values) else UNKNOWN)
        return [end is None for end in ended]

    def value(self, module: Module, node: ast.AST | None, names: dict[str, Any]) -> Any:
        """What an expression comes to, ``UNKNOWN`` where that cannot be told."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return names[node.id] if node.id in names else self._global(module, node)
        if isinstance(node, ast.Attribute):
            return self.attribute_of(module, node, self.value(module, node.value, names), node.attr)
        if isinstance(node, ast.Call):
            return self._call(module, node, names)
        if isinstance(node, ast.IfExp):
            return self._choice(module, node, names)
        if isinstance(node, ast.BoolOp):
            return self._logic(module, node, names)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            holds = truth(self.value(module, node.operand, names))
            return UNKNOWN if holds is None else not holds
        if isinstance(node, ast.Compare):
            return self._compare(module, node, names)
        if isinstance(node, ast.NamedExpr):
            names[node.target.id] = value = self.value(module, node.value, names)
            return value
        if isinstance(node, ast.Lambda):
            return Closure(module, node)
        if isinstance(node, ast.Tuple):
            return tuple(self.value(module, one, names) for one in node.elts)
        if isinstance(node, ast.Subscript):
            return self._item(self.value(module, node.value, names), self.value(module, node.slice, names))
        if isinstance(node, ast.Starred):
            self.value(module, node.value, names)
            return UNKNOWN
        for child in (
            ast.iter_child_nodes(node) if isinstance(node, (ast.List, ast.Dict, ast.BinOp, ast.JoinedStr)) else ()
        ):
            self.value(module, child, names) if isinstance(child, ast.expr) else None
        return UNKNOWN

    def _global(self, module: Module, node: ast.Name) -> Any:
        defined = [one for one in module.definitions.get(node.id, ()) if self.is_reached(module, one)]
        if defined and node.id not in module.imported:
            return Closure(module, defined[-1]) if len(defined) == 1 else tuple(Closure(module, one) for one in defined)
        if dotted := module.dotted(node):
            return Reference(dotted)
        assigned = [
            one.value
            for one in module.tree.body
            if isinstance(one, ast.Assign) and any(isinstance(to, ast.Name) and to.id == node.id for to in one.targets)
        ]
        if len(assigned) == 1 and self._depth < DEEPEST:
            self._depth += 1
            try:
                return self.value(module, assigned[0], {})
            finally:
                self._depth -= 1
        return Reference(f"builtins.{node.id}") if hasattr(builtins, node.id) else UNKNOWN

    def attribute_of(self, module: Module, node: ast.AST, value: Any, name: str) -> Any:
        """An attribute of a value; a read of what the callable is made of is noted."""
        if isinstance(value, Reference):
            return (
                self.release
                if (value.dotted, name) == ("transformers", "__version__")
                else Reference(f"{value.dotted}.{name}")
            )
        if not is_callable_made_of_layer(value) or name not in REACHING:
            return UNKNOWN
        try:
            found = attribute(value, name)
        except AttributeError as error:
            self.note(module, node, f"AttributeError: {shown(error)}", found=False)
            raise Raised(str(error)) from None
        self.note(module, node, "", found=is_layer(found))
        return found

    def note(self, module: Module, node: ast.AST, error: str, found: bool) -> None:
        """Note a read of what the callable is made of."""
        self.seen.append(Seen(module, node, error, found, not self._unsure, bool(self._catching)))

    def _choice(self, module: Module, node: ast.IfExp, names: dict[str, Any]) -> Any:
        test = truth(self.value(module, node.test, names))
        if test is not None:
            return self.value(module, node.body if test else node.orelse, names)
        found: list[Any] = []
        self.either(
            [
                lambda: found.append(self.value(module, node.body, names)),
                lambda: found.append(self.value(module, node.orelse, names)),
            ]
        )
        return found[0] if len(found) == 1 or (found and found[0] is found[1]) else UNKNOWN

    def _logic(self, module: Module, node: ast.BoolOp, names: dict[str, Any]) -> Any:
        stops_at = isinstance(node.op, ast.Or)
        value: Any = UNKNOWN
        unsure = 0
        try:
            for part in node.values:
                value = self.value(module, part, names)
                holds = truth(value)
                if holds is stops_at:
                    return value if not unsure else UNKNOWN
                if holds is None:
                    unsure += 1
                    self._unsure += 1
        finally:
            self._unsure -= unsure
        return UNKNOWN if unsure else value

    def _compare(self, module: Module, node: ast.Compare, names: dict[str, Any]) -> Any:
        left, right = self.value(module, node.left, names), self.value(module, node.comparators[0], names)
        if len(node.ops) > 1 or is_vague(left) or is_vague(right) or type(node.ops[0]) not in _COMPARE:
            return UNKNOWN
        try:
            return bool(_COMPARE[type(node.ops[0])](left, right))
        except TypeError:
            return UNKNOWN

    @staticmethod
    def _item(value: Any, index: Any) -> Any:
        if isinstance(value, (tuple, dict)) and isinstance(index, (int, str)):
            try:
                return value[index]  # type: ignore[index]
            except (LookupError, TypeError):
                return UNKNOWN
        return UNKNOWN

    # -- calls ----------------------------------------------------------------------------------------------------------

    def _call(self, module: Module, node: ast.Call, names: dict[str, Any]) -> Any:
        function = self.value(module, node.func, names)
        if isinstance(function, Reference) and function.dotted in KNOWN_CALLS:
            return KNOWN_CALLS[function.dotted](self, module, node, names)
        arguments = [self.value(module, one, names) for one in node.args]
        keywords = {one.arg: self.value(module, one.value, names) for one in node.keywords}
        if not any(map(is_callable_made_of_layer, [*arguments, *keywords.values()])):
            return self._plain_call(function, arguments)
        results = [
            self.run(found, target, arguments_of(target, arguments, keywords, skip))
            for found, target, skip in self._targets(module, node, function)
        ]
        return results[0] if len(results) == 1 else UNKNOWN

    def _plain_call(self, function: Any, arguments: list[Any]) -> Any:
        """Calls that have nothing to do with the callable, but say which release this is."""
        if not isinstance(function, Reference) or not arguments:
            return UNKNOWN
        last = function.dotted.rpartition(".")[2]
        if function.dotted in ("importlib.metadata.version", "importlib_metadata.version"):
            return self.release if arguments[0] == "transformers" else UNKNOWN
        if function.dotted.startswith("packaging.") and last in ("parse", "Version") and isinstance(arguments[0], str):
            try:
                return Version(arguments[0])
            except InvalidVersion:
                return UNKNOWN
        return UNKNOWN

    def _targets(self, module: Module, node: ast.Call, function: Any) -> list[tuple[Module, ast.AST, int]]:
        """The functions that a call runs, each with the number of parameters that it fills itself."""
        if isinstance(function, tuple):
            return [one for each in function for one in self._targets(module, node, each)]
        if isinstance(function, Closure):
            return [(function.module, function.node, 0)]
        if isinstance(node.func, ast.Attribute):
            if node.func.attr == "apply":  # of an autograd function
                base = module.dotted(node.func.value)
                return [(found, one, 1) for found, one in self.project.functions(f"{base}.forward")] if base else []
            if isinstance(node.func.value, ast.Name) and node.func.value.id in ("self", "cls"):
                return self._methods(module, node, node.func.attr)
        if isinstance(function, Reference):
            return [(found, one, 0) for found, one in self.project.functions(function.dotted)]
        return []

    def _methods(self, module: Module, node: ast.Call, name: str) -> list[tuple[Module, ast.AST, int]]:
        around = next((one for one in module.around(node) if isinstance(one, ast.ClassDef)), None)
        methods = [one for one in around.body if isinstance(one, FUNCTIONS) and one.name == name] if around else []
        static = [any(ast.unparse(one) == "staticmethod" for one in method.decorator_list) for method in methods]
        return [(module, method, 0 if is_static else 1) for method, is_static in zip(methods, static, strict=True)]
