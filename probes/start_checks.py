"""What a trainer's command requires when it starts, read from its code without importing it.

LLaMA-Factory compares installed releases with those that it was tested with, and ends with an ``ImportError`` where they
differ: ``check_version("transformers>=4.55.0,<=5.6.0")``.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from . import catalog, reads, stack

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*[<>=!~]")
"""The beginning of a requirement that does not admit every release."""


def of(package: str) -> list[dict[str, str]]:
    """The checks of an installed package on packages of the stack, without those that are switched off in this process.

    See ``StartCheck`` on the doctor's side for the fields.
    """
    found = [check for one in catalog.START_CHECKS.get(package, []) for check in _read(one)]
    return [check for check in found if not (check["unless"] and _is_on(check["unless"]))]


def _is_on(variable: str) -> bool:
    reads.VARIABLES.add(variable)
    return os.environ.get(variable, "").lower() in ("1", "true", "y")


def _read(record: dict[str, str]) -> Iterator[dict[str, str]]:
    top, *parts = record["module"].split(".")
    root = stack.root_of(top)
    if not root:
        return
    file = os.path.abspath(os.path.join(root, *parts) + ".py")
    reads.FILES.add(file)
    with contextlib.suppress(OSError, SyntaxError, ValueError, RecursionError), open(file, encoding="utf-8") as text:
        for node in ast.walk(ast.parse(text.read())):
            if isinstance(node, ast.FunctionDef) and node.name == record["function"]:
                yield from _checks(node, record["unless"])


def _checks(function: ast.FunctionDef, unless: str) -> Iterator[dict[str, str]]:
    """Calls with a requirement on a package of the stack as their first argument."""
    for node in ast.walk(function):
        first: Any = node.args[0] if isinstance(node, ast.Call) and node.args else None
        requirement = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
        named = _REQUIREMENT.match(requirement)
        if named and isinstance(node, ast.Call) and stack.normalise(named.group(1)) in catalog.STACK:
            yield {"requirement": requirement, "unless": "" if _is_mandatory(node) else unless}


def _is_mandatory(call: ast.Call) -> bool:
    return any(
        one.arg == "mandatory" and isinstance(one.value, ast.Constant) and one.value.value is True
        for one in call.keywords
    )
