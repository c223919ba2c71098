"""What ``--help`` says of each command, as data: man pages and the reference of the site are written from it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

import click

from ckptdoctor.cli import SUMMARIES, group

VERBATIM = "\b\n"
"""How a paragraph begins that click prints as it is."""

_EXIT_STATUS = "Exit status: "
"""How the paragraph begins that gets a section of its own."""


@dataclass(frozen=True)
class Command:
    """A command as its help describes it.

    Attributes:
        words: ``ckptdoctor cache clear``.
        usage: What follows these words.
        summary: What the command is for, in a line without a full stop.
        paragraphs: The description. One that begins with ``VERBATIM`` has lines that stay as they are.
        status: What the exit status means; empty where the description does not say.
        options: Each option as ``--help`` shows it, with its help.
        below: The commands of a group.
        above: The group's words; empty for ``ckptdoctor`` itself.
    """

    words: str
    usage: str
    summary: str
    paragraphs: tuple[str, ...]
    status: str
    options: tuple[tuple[str, str], ...]
    below: tuple[Command, ...]
    above: str = ""

    @property
    def name(self) -> str:
        """The words as the name of a page."""
        return self.words.replace(" ", "-")


def root() -> Command:
    """``ckptdoctor``, with all commands below it."""
    return _described(click.Context(group, info_name="ckptdoctor", **group.context_settings))


def every(command: Command) -> Iterator[Command]:
    """A command and all below it."""
    yield command
    for one in command.below:
        yield from every(one)


def _described(context: click.Context) -> Command:
    command = context.command
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    status = [one.removeprefix(_EXIT_STATUS) for one in paragraphs if one.startswith(_EXIT_STATUS)]
    records = [one.get_help_record(context) for one in command.get_params(context) if isinstance(one, click.Option)]
    return Command(
        context.command_path,
        " ".join(command.collect_usage_pieces(context)),
        _summary(context),
        tuple(one for one in paragraphs if not one.startswith(_EXIT_STATUS)),
        " ".join(status),
        tuple(one for one in records if one is not None),
        tuple(_described(click.Context(one, info_name=name, parent=context)) for name, one in _below(context)),
        context.parent.command_path if context.parent is not None else "",
    )


def _below(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield name, command


def _summary(context: click.Context) -> str:
    first = inspect.cleandoc(context.command.help or "").split("\n\n")[0].replace("\n", " ")
    is_of_root = context.parent is not None and context.parent.parent is None
    summary = SUMMARIES.get(context.info_name or "") if is_of_root else None
    return (summary or re.split(r"(?<=\.) |: ", first)[0]).rstrip(".")
