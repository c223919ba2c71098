"""The words of a shell command, with the variables put in that the script sets.

What the script leaves open stands in a word as a mark, which ``open_in`` reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

_OPEN = re.compile("\ue000([\ue100-\ue17f]*)")
"""A mark is written in characters for private use, which no shell takes for its own."""

Value = str | list[str] | None
"""Of a variable: a text, an array, or nothing where the script does not say."""

_DEFAULTS = (":-", "-", ":=", "=")

_EXPANSIONS = ("simple_expansion", "expansion", "command_substitution", "arithmetic_expansion")


def open_in(word: str) -> str:
    """The first variable that a word leaves open, as it stands in the script; empty where all is known."""
    found = _OPEN.search(word)
    return _decoded(found[1]) if found else ""


def is_open(word: str) -> bool:
    """Whether a word is nothing but a variable that is left open."""
    return bool(_OPEN.fullmatch(word))


def shown(word: str) -> str:
    """A word with what is open written as in a script."""
    return _OPEN.sub(lambda found: _decoded(found[1]), word)


def _mark(written: str) -> str:
    return "\ue000" + "".join(chr(0xE100 + ord(one)) for one in written if one.isascii())


def _decoded(mark: str) -> str:
    return "".join(chr(ord(one) - 0xE100) for one in mark)


class Words:
    """Puts variables into words."""

    def __init__(self, variables: Mapping[str, Value]) -> None:
        self._variables = variables

    def words(self, node: Node) -> list[str]:
        """The words that a node comes to: an unquoted variable may be none or several."""
        if node.type == "comment":
            return []
        if (several := self._several(node)) is not None:
            return several
        words: list[str] = []
        is_in_word = False
        for text, may_split in self._pieces(node):
            parts = re.split(r"(\s+)", text) if may_split else [text]
            for part in parts:
                if may_split and (not part or part.isspace()):
                    is_in_word = is_in_word and not part.isspace()
                    continue
                if is_in_word:
                    words[-1] += part
                else:
                    words.append(part)
                is_in_word = True
        return words

    def _several(self, node: Node) -> list[str] | None:
        """The words of ``"$@"`` and ``"${ARRAY[@]}"``, each of which stays whole; nothing for any other node."""
        if node.type != "string" or len(node.children) != 3:
            return None
        inner = node.children[1]
        found = re.fullmatch(r"\$\{?(@|\*|\w+\[@\])\}?", text_of(inner))
        if found is None or inner.type not in _EXPANSIONS:
            return None
        value = [] if found[1] in "@*" else self._variables.get(found[1].partition("[")[0])
        return [*value] if isinstance(value, list) else None

    def text(self, node: Node) -> str:
        """What a value comes to that is not split."""
        return "".join(text for text, _ in self._pieces(node))

    def filled(self, node: Node) -> str:
        """A here-document with its variables put in."""
        return "".join(text for text, _ in self._filled(node)).replace("\\\n", " ")

    def _pieces(self, node: Node, is_quoted: bool = False) -> Iterator[tuple[str, bool]]:
        """What a word is made of, each piece with whether it is split at blanks."""
        kind = node.type
        if kind in ("raw_string", "ansi_c_string"):
            yield text_of(node).removeprefix("$")[1:-1], False
        elif kind in ("concatenation", "command_name"):
            for child in node.children:
                yield from self._pieces(child, is_quoted)
        elif kind in ("string", "translated_string"):
            yield "", False
            yield from self._filled(node, 1)
        elif kind == "simple_expansion":
            before, _, name = text_of(node).partition("$")
            if before:
                yield before, False
            yield from self._variable(name, f"${name}", is_quoted)
        elif kind == "expansion":
            yield from self._expansion(node, is_quoted)
        elif kind in ("command_substitution", "process_substitution"):
            yield _mark("$(...)"), False
        elif kind == "arithmetic_expansion":
            yield _mark("$((...))"), False
        else:
            yield re.sub(r"\\(\n|.)", lambda found: "" if found[1] == "\n" else found[1], text_of(node)), False

    def _filled(self, node: Node, margin: int = 0) -> Iterator[tuple[str, bool]]:
        """A text in which variables stand: what is between them too."""
        at, end = node.start_byte + margin, node.end_byte - margin
        source = node.text or b""
        for child in node.children:
            if child.type not in _EXPANSIONS:
                continue
            yield _unescaped(source[at - node.start_byte : child.start_byte - node.start_byte]), False
            yield from ((text, False) for text, _ in self._pieces(child, is_quoted=True))
            at = child.end_byte
        yield _unescaped(source[at - node.start_byte : end - node.start_byte]), False

    def _expansion(self, node: Node, is_quoted: bool) -> Iterator[tuple[str, bool]]:
        written = text_of(node)
        operators = [child.type for child in node.children if not child.is_named][1:-1]
        subscript = next(of_type(node, "subscript"), None)
        named = subscript.named_children[0] if subscript else next(iter(node.named_children), None)
        name = text_of(named) if named is not None else ""
        if operators and operators[0] in _DEFAULTS:
            if self._variables.get(name, "") == "" and not (name in self._variables and operators[0] in ("-", "=")):
                for child in node.named_children[1:]:
                    yield from self._pieces(child, is_quoted)
                return
        elif operators or not re.fullmatch(r"\$\{\w+(\[[@*]\])?\}|\$\{[@*]\}", written):
            yield _mark(f"${{{name}}}"), False
            return
        yield from self._variable(
            name, f"${{{name}}}" if subscript or not name.isidentifier() else f"${name}", is_quoted
        )

    def _variable(self, name: str, written: str, is_quoted: bool) -> Iterator[tuple[str, bool]]:
        if name in ("@", "*"):  # the script is started without arguments
            return
        value = self._variables.get(name, None)
        if isinstance(value, list):
            for at, one in enumerate(value):
                if at:
                    yield " ", not is_quoted
                yield one, not is_quoted
        elif value is None:
            yield _mark(written), False
        else:
            yield value, not is_quoted


def _unescaped(source: bytes) -> str:
    text = source.decode("utf-8", "replace")
    return re.sub(r"\\([\"\\$`\n])", lambda found: "" if found[1] == "\n" else found[1], text)


def text_of(node: Node) -> str:
    """The source of a node."""
    return (node.text or b"").decode("utf-8", "replace")


def of_type(node: Node, kind: str) -> Iterator[Node]:
    """The children of a node that are of a kind."""
    return (child for child in node.children if child.type == kind)
