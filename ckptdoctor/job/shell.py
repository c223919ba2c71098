"""A shell script as far as its text alone says what it runs; nothing of it is ever executed.

Variables that the script sets are put in. A variable that is set in a branch, a loop or a function counts as open after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckptdoctor.job.shell_words import Value, Words, of_type, text_of

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_INSIDE = ("program", "pipeline", "compound_statement", "negated_command", "do_group", "subshell")
_BRANCHES = (
    "if_statement",
    "elif_clause",
    "else_clause",
    "while_statement",
    "for_statement",
    "c_style_for_statement",
    "case_statement",
    "case_item",
    "function_definition",
    "subshell",
)
"""What may run, or may not, or several times."""

_DEEPEST = 5
_LONGEST = 200_000
_SHELLS = ("bash", "sh", "zsh")
_SETTERS = ("read", "mapfile", "readarray", "getopts", "unset", "printf")
"""Commands that set, or unset, variables that are named in their words."""


@dataclass(frozen=True)
class Command:
    """A command of a script.

    Attributes:
        words: Its words with variables put in.
        variables: The environment that the script gives it.
        line: Its first line.
        is_whole: Whether its text could be parsed.
    """

    words: tuple[str, ...]
    variables: dict[str, str]
    line: int
    is_whole: bool = True


@dataclass
class Script:
    """What a script runs, and the files that it writes by here-documents."""

    commands: list[Command] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    """Files that it writes in any other way."""
    sourced: list[int] = field(default_factory=list)
    """Lines on which it runs another script that may set variables."""


def read(text: str) -> Script:
    """The commands of a script in Bash, in the order in which they stand there."""
    import tree_sitter_bash
    from tree_sitter import Language, Parser

    parser = Parser(Language(tree_sitter_bash.language()))
    reader = _Reader(parser)
    reader.run(text, {}, 0)
    return reader.script


class _Reader:
    """Walks along a script's syntax tree."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self.script = Script()
        self.exported: set[str] = set()

    def run(self, text: str, variables: dict[str, Value], depth: int, line: int = 1) -> None:
        """Read a script, or a text that a script passes to ``bash -c``."""
        if depth > _DEEPEST or len(text) > _LONGEST:
            return
        tree = self._parser.parse(text.encode())
        _Walk(self, variables, depth, line).statement(tree.root_node)


class _Walk:
    """Part of a script with the variables that are set there."""

    def __init__(self, reader: _Reader, variables: dict[str, Value], depth: int, line: int) -> None:
        self._reader, self._variables, self._depth, self._line = reader, variables, depth, line
        self._words = Words(variables)

    def statement(self, node: Node) -> None:
        """Read a statement: follow it, or note the command that it is."""
        kind = node.type
        if kind in _BRANCHES:
            self._branch(node)
        elif kind == "redirected_statement":
            self._redirected(node)
        elif kind == "command":
            self._command(node)
        elif kind == "unset_command":
            self._forget([text_of(one) for one in of_type(node, "variable_name")])
        elif kind == "list":
            self._list(node)
        elif kind == "declaration_command":
            for one in of_type(node, "variable_assignment"):
                self._reader.exported.add(self._assign(one))
            self._reader.exported |= {text_of(one) for one in of_type(node, "variable_name")}
        elif kind == "variable_assignment":
            self._assign(node)
        elif kind in (*_INSIDE, "variable_assignments", "ERROR"):
            for child in node.named_children:
                self.statement(child)

    def _list(self, node: Node) -> None:
        """``a && b`` and ``a || b``: what ``b`` sets may not be set, unless ``a`` cannot fail."""
        first, *rest = node.named_children
        self.statement(first)
        is_sure = first.type in ("variable_assignment", "declaration_command", "list")
        for child in rest:
            if is_sure and any(one.type == "&&" for one in node.children):
                self.statement(child)
            else:
                self._branch(child)

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._variables:
                self._variables[name] = None

    def _branch(self, node: Node) -> None:
        """A part that may not run: what it sets is known within, and open after it."""
        within = dict(self._variables)
        walk = _Walk(self._reader, within, self._depth, self._line)
        if node.type == "for_statement" and (name := node.child_by_field_name("variable")) is not None:
            within[text_of(name)] = None
        for child in node.named_children if node.type in _BRANCHES else (node,):
            walk.statement(child)
        if node.type != "subshell":
            for key in [*within]:
                if within[key] != self._variables.get(key, ""):
                    self._variables[key] = None

    def _assign(self, node: Node) -> str:
        name_node, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name_node is None or name_node.type != "variable_name":
            return ""
        name = text_of(name_node)
        made: Value = ""
        if value is not None and value.type == "array":
            made = [word for child in value.named_children for word in self._words.words(child)]
        elif value is not None:
            made = self._words.text(value)
        if any(child.type == "+=" for child in node.children):
            made = _added(self._variables.get(name, ""), made)
        self._variables[name] = made
        return name

    def _redirected(self, node: Node) -> None:
        body = node.child_by_field_name("body") or (node.named_children[0] if node.named_children else None)
        heredocs = list(_within(node, "heredoc_redirect"))
        if heredocs and body is not None and body.type == "command":
            text = self._heredoc(heredocs[0])
            words = [word for child in _arguments(body) for word in self._words.words(child)]
            if words[:1] == ["read"] and words[-1].isidentifier():
                self._variables[words[-1]] = text
                return
            if words[:1] in (["cat"], ["tee"]):
                for target in self._targets(node) or words[1:2]:
                    self._reader.script.files[target] = text
                return
        self._reader.script.written |= set(self._targets(node))
        if body is not None:
            self.statement(body)

    def _targets(self, node: Node) -> list[str]:
        """The files that a statement writes."""
        found = []
        for redirect in _within(node, "file_redirect"):
            if any(child.type in (">", ">>") for child in redirect.children):
                found += [word for child in redirect.named_children for word in self._words.words(child)][-1:]
        return found

    def _heredoc(self, node: Node) -> str:
        start = next(of_type(node, "heredoc_start"), None)
        body = next(of_type(node, "heredoc_body"), None)
        if body is None:
            return ""
        if start is not None and text_of(start)[:1] in "'\"\\":
            return text_of(body)
        return self._words.filled(body)

    def _command(self, node: Node) -> None:
        own = dict[str, str]()
        for one in of_type(node, "variable_assignment"):
            before = dict(self._variables)
            name = self._assign(one)
            own[name] = _as_text(self._variables.get(name))
            self._variables.clear()
            self._variables.update(before)
        words = [word for child in _arguments(node) for word in self._words.words(child)]
        line = self._line + node.start_point[0]
        if words[:1] == ["eval"] or words[:1] in ([one] for one in _SETTERS):
            self._forget(self._variables if words[0] == "eval" else [one.partition("=")[0] for one in words[1:]])
        if words[:1] in (["source"], ["."]):
            self._reader.script.sourced.append(line)
        if words[:1] == ["sed"] and any(one.startswith("-i") for one in words):
            self._reader.script.written.add(words[-1])
        for at, word in enumerate(words[:-2]):
            if word.rpartition("/")[2] in _SHELLS and words[at + 1] in ("-c", "-lc"):
                self._reader.run(words[at + 2], dict(self._variables), self._depth + 1, line)
                return
        exported = {name: _as_text(self._variables.get(name)) for name in self._reader.exported if name}
        self._reader.script.commands.append(Command(tuple(words), {**exported, **own}, line, _is_whole(node)))


def _added(before: Value, more: Value) -> Value:
    if before is None or more is None:
        return None
    if isinstance(more, list):
        return [*(before if isinstance(before, list) else [before] if before else []), *more]
    return [*before, more] if isinstance(before, list) else before + more


def _as_text(value: Value) -> str:
    return " ".join(value) if isinstance(value, list) else value or ""


def _within(node: Node, kind: str) -> Iterator[Node]:
    for child in node.children:
        if child.type == kind:
            yield child
        elif child.type in ("redirected_statement", "heredoc_redirect", "pipeline"):
            yield from _within(child, kind)


def _is_whole(node: Node) -> bool:
    """Whether a command could be parsed: neither in it nor right after it is there anything that could not."""
    place: Node | None = node
    while place is not None and place.type in ("command", "redirected_statement"):
        after = place.next_sibling
        # A line that goes on at the end of the file is no harm.
        if place.has_error or (after is not None and after.type == "ERROR" and text_of(after).strip(" \\\n")):
            return False
        place = place.parent
    return True


def _arguments(node: Node) -> Iterator[Node]:
    """The name of a command and its arguments."""
    skipped = ("variable_assignment", "file_redirect", "heredoc_redirect", "herestring_redirect", "comment")
    return (child for child in node.named_children if child.type not in skipped)
