"""Man pages, made from what ``--help`` says: ``python -m ckptdoctor.manual FOLDER``. The build adds them to the wheel."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ckptdoctor.cli import SUMMARIES, group
from ckptdoctor.model.version import __version__

EXIT_STATUS = "Exit status: "
"""How the paragraph of a help text begins that gets a section of its own."""


def pages() -> dict[str, str]:
    """A page for ckptdoctor and for each of its commands, in roff, by the file's name."""
    root = click.Context(group, info_name="ckptdoctor", **group.context_settings)
    return {f"{_name(context)}.1": _page(context) for context in _contexts(root)}


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """A command and those below it."""
    yield context
    for name, command in _commands(context):
        yield from _contexts(click.Context(command, info_name=name, parent=context))


def _commands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield name, command


def _name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _page(context: click.Context) -> str:
    command = context.command
    name = _name(context)
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    status = [one.removeprefix(EXIT_STATUS) for one in paragraphs if one.startswith(EXIT_STATUS)]
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{name.upper()}" 1 "" "ckptdoctor {__version__}" "ckptdoctor"',
        ".nh",  # no word is broken: what is printed can be copied
        ".ad l",
        *_section("NAME", [f"{_escaped(name)} \\- {_escaped(_summary(context))}"]),
        *_section("SYNOPSIS", [f"\\fB{_escaped(context.command_path)}\\fR {_escaped(usage)}"]),
        *_section("DESCRIPTION", _text(one for one in paragraphs if not one.startswith(EXIT_STATUS))),
        *_section("OPTIONS", _options(context)),
        *_section("COMMANDS", _below(context)),
        *_section("EXIT STATUS", _text(status)),
        *_section("SEE ALSO", [", ".join(f"\\fB{_escaped(one)}\\fR(1)" for one in _related(context))]),
    ]
    return "\n".join([*lines, ""])


def _summary(context: click.Context) -> str:
    """What a command is for, in a line."""
    first = inspect.cleandoc(context.command.help or "").split("\n\n")[0].replace("\n", " ")
    name = context.info_name or ""
    summary = SUMMARIES.get(name) if context.parent is not None and context.parent.parent is None else None
    return (summary or re.split(r"(?<=\.) |: ", first)[0]).rstrip(".")


def _section(title: str, lines: list[str]) -> list[str]:
    return [f'.SH "{title}"', *lines] if any(lines) else []


def _text(paragraphs: Iterator[str] | list[str]) -> list[str]:
    """Paragraphs; what click is told to leave as it is, by a backspace, stays as it is."""
    lines: list[str] = []
    for one in paragraphs:
        if one.startswith("\b\n"):
            lines += [".PP", ".nf", ".RS 4", *map(_escaped, one[2:].splitlines()), ".RE", ".fi"]
        else:
            lines += [".PP", _escaped(one.replace("\n", " "))]
    return lines


def _options(context: click.Context) -> list[str]:
    """Each option as ``--help`` shows it."""
    lines: list[str] = []
    for one in context.command.get_params(context):
        record = one.get_help_record(context)
        if record is not None and isinstance(one, click.Option):
            lines += [
                ".TP",
                re.sub(r"(?<![\w-])(\\-[\w\\-]+)", r"\\fB\1\\fR", _escaped(record[0])),
                _escaped(record[1]),
            ]
    return lines


def _below(context: click.Context) -> list[str]:
    lines: list[str] = []
    for name, command in _commands(context):
        below = click.Context(command, info_name=name, parent=context)
        lines += [".TP", f"\\fB{_escaped(_name(below))}\\fR(1)", _escaped(_summary(below)) + "."]
    return lines


def _related(context: click.Context) -> list[str]:
    """The command above; for ckptdoctor itself, where help on a rule is."""
    return [_name(context.parent)] if context.parent is not None else ["ckptdoctor-rule"]


def _escaped(text: str) -> str:
    """Text in which roff sees no command, every hyphen can be copied as one, and a list of choices can be broken."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("|", "|\\:")
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", text)
    return re.sub(r"^(?=[.'])", r"\\&", text)


def main() -> None:
    """Write the pages into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
