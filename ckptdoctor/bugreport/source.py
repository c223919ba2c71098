"""Python source without what is private: string literals, comments and names change, all else stays, and so do its lines.

It is read as a syntax tree, so that what comes out is a program again, and so that a literal is judged by the name that it
is given to: an argument, a key, a variable, or what it is compared with.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, cast

import libcst as cst

from ckptdoctor.bugreport import noise, secret_names
from ckptdoctor.bugreport.placeholders import HOST, TOKEN
from ckptdoctor.bugreport.redact import Redactor

_TAKES_NAMES = re.compile(
    r"(?:^|\.)(?:getenv|get|pop|open|getpass|input|field|Field|option|argument|add_argument|load|read|join)$"
)
"""Functions whose literals are no values of what their result is given to."""


def clean(text: str, redactor: Redactor) -> tuple[str, list[str]]:
    """Take out what is private.

    Args:
        text: A file of the user's own.
        redactor: Knows the machine.

    Returns:
        The file, and the secrets that stood in it, which messages may repeat.
    """
    try:
        tree = cst.parse_module(text)
    except (cst.ParserSyntaxError, RecursionError):
        # No program that could be run: lines are all that there is to keep.
        return "\n".join(noise.hide_noise(redactor.clean(line)) for line in text.split("\n")), []
    visitor = _Cleaner(redactor)
    return tree.visit(visitor).code, visitor.found


def learn(name: str, text: str, redactor: Redactor) -> None:
    """Make a redactor know the secrets in a file of the user's own, which messages and other files may repeat."""
    if name.endswith(".py"):
        redactor.learn(clean(text, redactor)[1], f"a string in {name}")


class _Cleaner(cst.CSTTransformer):
    """Cleans literals, comments and names; knows what each literal is given to."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor
        self._names: list[str] = []
        self.found: list[str] = []

    # What literals are given to

    def on_visit(self, node: cst.CSTNode) -> bool:
        name = _name_given(node)
        if name is not None:
            self._names.append(name)
        return super().on_visit(node)

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> object:  # type: ignore[override]
        result = super().on_leave(original_node, updated_node)
        if _name_given(original_node) is not None:
            self._names.pop()
        if isinstance(result, (cst.ConcatenatedString, cst.BinaryOperation)):
            return self._whole(original_node, result)
        return result

    def visit_DictElement_key(self, node: cst.DictElement) -> None:  # noqa: N802
        self._names.append("")  # a key is no value

    def leave_DictElement_key(self, node: cst.DictElement) -> None:  # noqa: N802
        self._names.pop()

    # What changes

    def leave_SimpleString(self, original_node: cst.SimpleString, updated_node: cst.SimpleString) -> cst.SimpleString:  # noqa: N802
        value = _value(updated_node)
        cleaned = self._cleaned(value)
        if cleaned == value:
            return updated_node
        quote, raw = updated_node.quote, updated_node.raw_value
        with_its_escapes = f"{updated_node.prefix}{quote}{self._text(raw)}{quote}"
        if with_its_escapes.count("\n") == updated_node.value.count("\n") and _means(with_its_escapes, cleaned):
            return updated_node.with_changes(value=with_its_escapes)
        return updated_node.with_changes(value=_literal(updated_node, cleaned))

    def leave_FormattedStringText(  # noqa: N802
        self, original_node: cst.FormattedStringText, updated_node: cst.FormattedStringText
    ) -> cst.FormattedStringText:
        value = updated_node.value
        cleaned = self._cleaned(value)
        lines = value.count("\n")
        if cleaned != value and (cleaned.count("\n") != lines or re.search(r"[{}\"'\\]", cleaned)):
            cleaned = TOKEN + "\n" * lines
        return updated_node.with_changes(value=cleaned)

    def leave_Comment(self, original_node: cst.Comment, updated_node: cst.Comment) -> cst.Comment:  # noqa: N802
        return updated_node.with_changes(value="#" + self._text(updated_node.value[1:]).replace("\n", " "))

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:  # noqa: N802
        cleaned = self._redactor.identifier(updated_node.value)
        return updated_node.with_changes(value=cleaned) if cleaned.isidentifier() else updated_node

    def leave_Integer(self, original_node: cst.Integer, updated_node: cst.Integer) -> cst.Integer:  # noqa: N802
        is_private = any(secret_names.names_a_secret(name) in ("strong", "phone") for name in self._names[-1:])
        return updated_node.with_changes(value="0") if is_private and len(updated_node.value) >= 6 else updated_node

    def _whole(self, original: cst.CSTNode, node: Any) -> cst.CSTNode:
        """A secret that is written in pieces, which by themselves are none."""
        before, after = list(_pieces(original)), list(_pieces(node))
        if len(before) < 2 or not all(isinstance(piece, cst.SimpleString) for piece in (*before, *after)):
            return cast("cst.CSTNode", node)
        value = "".join(map(_value, before))
        cleaned = self._cleaned(value)
        if cleaned == value or TOKEN not in cleaned:
            return cast("cst.CSTNode", node)
        return _refilled(node, iter([cleaned] + [""] * (len(after) - 1)))

    def _cleaned(self, value: str) -> str:
        """A literal's value, by the name that it is given to and by itself."""
        for depth, name in enumerate(reversed(self._names[-3:])):
            if not name or (depth and " " in value):  # a sentence further in is a label
                break
            if value != TOKEN and secret_names.is_secret(name, value):
                self.found.append(value)
                return TOKEN
            if secret_names.is_host(name, value):
                self.found.append(value)
                return HOST
        return self._text(value)

    def _text(self, text: str) -> str:
        cleaned = noise.hide_noise(self._redactor.clean(text))
        if cleaned.count(TOKEN) > text.count(TOKEN):
            self.found += _taken_out(text, cleaned)
        return cleaned


def _name_given(node: cst.CSTNode) -> str | None:
    """The name that what is inside of a node is given to; empty where names from further out do not count."""
    if isinstance(node, cst.Assign):
        return _dotted(node.targets[0].target)
    if isinstance(node, (cst.AnnAssign, cst.AugAssign, cst.NamedExpr)):
        return _dotted(node.target)
    if isinstance(node, cst.Arg):
        return node.keyword.value if node.keyword else None
    if isinstance(node, cst.Param):
        return node.name.value
    if isinstance(node, cst.DictElement):
        return _dotted(node.key)
    if isinstance(node, cst.Comparison):
        return _dotted(node.left)
    if isinstance(node, cst.Call):
        return _of_call(node)
    if isinstance(node, (cst.SubscriptElement, cst.Lambda, cst.FunctionDef, cst.ClassDef)):
        return ""
    return None


def _of_call(node: cst.Call) -> str | None:
    """For ``setdefault("X_TOKEN", "...")``, the first argument; what a function is asked for by name is no value."""
    first = node.args[0].value if node.args else None
    if len(node.args) > 1 and isinstance(first, cst.SimpleString):
        return _value(first) if secret_names.names_a_secret(_value(first)) else ""
    function = _dotted(node.func)
    return "" if _TAKES_NAMES.search(function) else None


def _dotted(node: cst.CSTNode) -> str:
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        return f"{_dotted(node.value)}.{node.attr.value}"
    if isinstance(node, cst.SimpleString):
        return _value(node)
    if isinstance(node, cst.Subscript):
        inner = node.slice[0].slice
        return _dotted(inner.value) if isinstance(inner, cst.Index) else ""
    return ""


def _pieces(node: Any) -> Iterator[Any]:
    is_sum = isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add)
    if isinstance(node, cst.ConcatenatedString) or is_sum:
        yield from _pieces(node.left)
        yield from _pieces(node.right)
    else:
        yield node


def _refilled(node: Any, values: Iterator[str]) -> cst.CSTNode:
    """A literal in pieces with other values in them."""
    if isinstance(node, cst.SimpleString):
        return node.with_changes(value=_literal(node, next(values)))
    left = _refilled(node.left, values)
    return cast("cst.CSTNode", node.with_changes(left=left, right=_refilled(node.right, values)))


def _value(node: cst.SimpleString) -> str:
    """What a literal means; bytes one character each."""
    value = ast.literal_eval(node.value)
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _literal(node: cst.SimpleString, cleaned: str) -> str:
    """A literal of the same kind, with the same quotes and as many lines, for another value."""
    prefix = "b" if "b" in node.prefix.lower() else ""
    quote, lines = node.quote, node.value.count("\n")
    as_it_is = f"{node.prefix}{quote}{cleaned}{quote}"
    if node.raw_value == _value(node) and cleaned.count("\n") == lines and _means(as_it_is, cleaned):
        return as_it_is
    if prefix:
        cleaned = cleaned.encode("latin-1", "replace").decode("latin-1")
    text = cleaned.replace("\\", "\\\\").replace(quote[0], f"\\{quote[0]}")
    text = "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )
    if prefix:
        text = "".join(char if ord(char) < 128 else f"\\x{ord(char):02x}" for char in text)
    whole = text.split("\n")
    if len(quote) == 1:
        return prefix + quote + "\\n".join(whole) + "\\\n" * lines + quote
    kept = "\n".join(whole[: lines + 1]) + "".join(f"\\n{line}" for line in whole[lines + 1 :])
    return prefix + quote + kept + "\n" * (lines - kept.count("\n")) + quote


def _means(literal: str, value: str) -> bool:
    try:
        return bool(ast.literal_eval(literal) in (value, value.encode("utf-8", "replace")))
    except (SyntaxError, ValueError):
        return False


def _taken_out(text: str, cleaned: str) -> Iterator[str]:
    """What stood where a token is hidden now, as far as what is around it tells."""
    parts = re.split(r"(<[a-z]+>)", cleaned)
    found = re.fullmatch(
        "".join("(.*?)" if part == TOKEN else ".*?" if at % 2 else re.escape(part) for at, part in enumerate(parts)),
        text,
        re.DOTALL,
    )
    yield from (part for part in (found.groups() if found else ()) if len(part) >= 8 and not re.search(r"\s", part))
