"""The lines of source around a place, and the range of the expression that is meant there.

Nothing here may disturb a step or a job that is observed: a source that is missing, or that does not parse, comes to nothing.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import linecache
import re
from types import CodeType, FrameType
from typing import Any, NamedTuple

AROUND = 2
"""Lines that are kept before and after."""
MOST = 12
"""Lines that are kept of one place."""
LONGEST = 1000
"""Characters of a line that are kept."""


class Region(NamedTuple):
    """From a character to a character: lines and columns count from 1, and the end is the column behind the last character."""

    line: int
    column: int
    end_line: int
    end_column: int


class Call(NamedTuple):
    """A call of a checkpoint function."""

    lines: dict[str, Any] | None = None
    built_at: int = 0
    """The number of the line that builds what is passed; 0 where it is not known."""
    built: dict[str, Any] | None = None
    """The lines around that one."""


_calls: dict[tuple[str, int, int, int], Call] = {}


def of_frame(frame: FrameType, line: int, lasti: int, attribute: str = "") -> dict[str, Any] | None:
    """The lines where a frame stands, with the expression that it evaluates.

    Args:
        frame: The frame.
        line: Its line, or that of its traceback.
        lasti: The instruction, likewise.
        attribute: The attribute that is read there, if one is known: it tells the expression where instructions do not.
    """
    with contextlib.suppress(Exception):
        code = frame.f_code
        lines = linecache.getlines(code.co_filename, frame.f_globals)
        found = _by_instruction(code, lasti, lines) or _by_syntax(_nodes(code, lines), line, lines, attribute)
        return kept(lines, line, found)
    return None


def of_call(frame: FrameType) -> Call:
    """The lines where a frame calls a checkpoint function, with what it passes first, and where that is built.

    What is passed is built where the source has the call, the lambda or the function that makes it, by that name alone.
    """
    code = frame.f_code
    key = (code.co_filename, code.co_firstlineno, frame.f_lineno, frame.f_lasti)
    if key not in _calls:  # an observed job makes the same call for each layer
        _calls[key] = Call()
        with contextlib.suppress(Exception):
            _calls[key] = _call(
                code, frame.f_lineno, frame.f_lasti, linecache.getlines(code.co_filename, frame.f_globals)
            )
    return _calls[key]


def of_code(code: CodeType) -> dict[str, Any] | None:
    """The lines where a function begins, with its name: decorators come first."""
    with contextlib.suppress(Exception):
        lines = linecache.getlines(code.co_filename)
        header = re.compile(rf"\s*(?:async\s+)?(?:def|class)\s+({re.escape(code.co_name)})\b")
        first = code.co_firstlineno
        for number in range(first, min(first + MOST - 1, len(lines)) + 1):
            if found := header.match(lines[number - 1]):
                region = Region(number, found.start(1) + 1, number, found.end(1) + 1)
                return kept(lines, first, region, around=0)
        return kept(lines, first, None, around=0)
    return None


def kept(lines: list[str], line: int, region: Region | None, around: int = AROUND) -> dict[str, Any] | None:
    """Lines of a file as evidence: those of the region, the line that the place names, and some around them."""
    if not 1 <= line <= len(lines):
        return None
    is_near = region is not None and abs(region.line - line) < MOST
    begin, end = (min(line, region.line), max(line, region.end_line)) if region and is_near else (line, line)
    first = max(begin - around, 1)
    last = min(end + around, len(lines), first + MOST - 1)
    texts = [text.rstrip("\r\n")[:LONGEST] for text in lines[first - 1 : last]]
    return {"first": first, "lines": texts, "region": region._asdict() if region and is_near else None}


def _by_instruction(code: CodeType, lasti: int, lines: list[str]) -> Region | None:
    """What Python 3.11 notes of each instruction."""
    positions = getattr(code, "co_positions", None)
    if positions is None or lasti < 0:
        return None
    line, end_line, column, end_column = next(itertools.islice(positions(), lasti // 2, None), (None,) * 4)
    if line is None or end_line is None or column is None or end_column is None:
        return None
    return _in_characters(lines, line, column, end_line, end_column)


def _in_characters(lines: list[str], line: int, column: int, end_line: int, end_column: int) -> Region | None:
    """A range that Python gives in bytes of UTF-8 that count from 0; nothing where the file has other lines by now."""
    if not 1 <= line <= end_line <= len(lines):
        return None
    begin, end = (
        len(lines[number - 1].encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "ignore")) + 1
        for number, offset in ((line, column), (end_line, end_column))
    )
    return Region(line, begin, end_line, end)


# -- the syntax tree ---------------------------------------------------------------------------------------------------

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _nodes(code: CodeType, lines: list[str]) -> list[Any]:
    """The nodes of the syntax tree of a function, or of a whole file, by the lines of the file; none if it does not parse."""
    is_module = code.co_name == "<module>"
    first = 1 if is_module else code.co_firstlineno
    try:
        block = lines if is_module else inspect.getblock(lines[first - 1 :])
        is_indented = bool(block) and block[0][:1].isspace()
        tree = ast.parse("".join(["if 1:\n", *block] if is_indented else block))
    except (SyntaxError, ValueError, RecursionError):
        return []
    ast.increment_lineno(tree, first - 1 - is_indented)
    return [node for node in ast.walk(tree) if hasattr(node, "lineno")]


def _region(node: Any, lines: list[str]) -> Region | None:
    return _in_characters(lines, node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


def _name_of(function: Any, lines: list[str]) -> Region | None:
    """The name in a function's own line, which stands below its decorators."""
    found = re.compile(r"\s*(?:async\s+)?def\s+(\w+)").match(lines[function.lineno - 1])
    return Region(function.lineno, found.start(1) + 1, function.lineno, found.end(1) + 1) if found else None


def _by_syntax(nodes: list[Any], line: int, lines: list[str], attribute: str) -> Region | None:
    """What stands in a line, where instructions have no columns: the attribute, else the first call, else the statement."""
    here = [node for node in nodes if node.lineno == line]
    read = [node for node in here if isinstance(node, ast.Attribute) and node.attr == attribute]
    raised = [node for node in here if isinstance(node, ast.Raise)]
    calls = [node for node in here if isinstance(node, ast.Call)]
    whole = [node for node in here if isinstance(node, ast.stmt) and not hasattr(node, "body")]
    chosen = next(iter([*read, *raised, *calls, *whole]), None)
    return _region(chosen, lines) if chosen is not None else None


def _call(code: CodeType, line: int, lasti: int, lines: list[str]) -> Call:
    whole = _by_instruction(code, lasti, lines)
    nodes = _nodes(code, lines)
    passed = _first_argument(nodes, line, whole, lines)
    if passed is None:
        return Call(kept(lines, line, whole))
    shown = kept(lines, line, _region(passed, lines))
    built = passed if isinstance(passed, (ast.Call, ast.Lambda)) else _bound(passed, nodes)
    region = _name_of(built, lines) if isinstance(built, _FUNCTIONS) else _region(built, lines) if built else None
    around = kept(lines, region.line, region) if region else None
    return Call(shown, region.line, around) if region and around else Call(shown)


def _first_argument(nodes: list[Any], line: int, whole: Region | None, lines: list[str]) -> Any:
    """What the call passes first; nothing where that could be anything."""
    calls = [node for node in nodes if isinstance(node, ast.Call) and node.args]
    if whole is not None:
        calls = [node for node in calls if (found := _region(node, lines)) and found[2:] == whole[2:]]
    else:
        calls = [node for node in calls if node.lineno == line]
    if not calls or (whole is None and len(calls) > 1 and not _is_outermost(calls[0], calls)):
        return None
    first = calls[0].args[0]
    return first if isinstance(first, (ast.Call, ast.Lambda, ast.Name, ast.Attribute, ast.Subscript)) else None


def _is_outermost(call: Any, calls: list[Any]) -> bool:
    """Whether all other calls are inside of this one's arguments."""
    inside = {id(node) for argument in [*call.args, *call.keywords] for node in ast.walk(argument)}
    return all(other is call or id(other) in inside for other in calls)


def _bound(passed: Any, nodes: list[Any]) -> Any:
    """What a name stands for in a function that binds it once: the function, or the value."""
    if not isinstance(passed, ast.Name):
        return None
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS) and node.name == passed.id]
    names = [node for node in nodes if isinstance(node, ast.Name) and node.id == passed.id]
    stores = [node for node in names if not isinstance(node.ctx, ast.Load)]
    parameters = [node for node in nodes if isinstance(node, ast.arg) and node.arg == passed.id]
    if len(functions) + len(stores) != 1 or parameters:
        return None
    if functions:
        return functions[0]
    assigned = [node for node in nodes if isinstance(node, ast.Assign) and node.targets == stores]
    return assigned[0].value if assigned else None
