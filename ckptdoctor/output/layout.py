"""Text for a terminal: wrapped, indented, labelled, coloured, in tables.

Whatever is laid out here is escaped before, and once, by the format that calls.
"""

from __future__ import annotations

import platform
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote

import click

from ckptdoctor.output import Style
from ckptdoctor.words.escape import one_line

COLORS = {"ok": "green", "fail": "red", "not judged": "yellow", "error": "yellow"}
"""Of verdicts."""
SEVERITIES = {"error": "red", "warning": "yellow", "note": "cyan"}
LABEL_COLUMN = 15
NARROW = 60
"""Below this many columns labels get lines of their own."""


@dataclass(frozen=True)
class Layout:
    """Lays out lines within a style."""

    style: Style

    def paint(self, text: str, fg: str | None = None, bold: bool | None = None) -> str:
        """Text in a colour or bold, if colours may be used."""
        return click.style(text, fg=fg, bold=bold) if self.style.color else text

    # -- lines ----------------------------------------------------------------------------------------------------------

    def wrap(self, text: str, head: str = "", rest: str = "", fg: str | None = None) -> list[str]:
        """Wraps text behind a head that stands out, later lines behind ``rest``.

        Words, and so paths and versions, are never broken; a no-break space holds words together.
        """
        head = head.replace("\n", " ").replace("\t", " ")
        lines = textwrap.wrap(
            text,
            self.style.width,
            initial_indent=head,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        first, *others = [line.replace("\xa0", " ") for line in lines] or [head.rstrip()]
        stands_out = self.paint(first[: len(head)], fg=fg, bold=True) if head.strip() else head[: len(first)]
        return [stands_out + first[len(head) :], *others]

    def sentence(self, text: str, head: str = "", fg: str | None = None, bold: bool | None = None) -> list[str]:
        """Text of which every line is painted."""
        return [self.paint(line, fg=fg, bold=bold) for line in self.wrap(f"{head}{text}", rest="  ")]

    def flow(self, items: Iterable[str]) -> list[str]:
        """Joins items with dots and wraps between them only."""
        dot = "\xa0· " if self.style.unicode else "\xa0| "
        return self.wrap(dot.join(item.replace(" ", "\xa0") for item in items), rest="  ")

    def field(self, label: str, text: str) -> list[str]:
        """Text behind a label, or under it in a narrow terminal; without a label it goes on where the last one was."""
        if self.style.width >= NARROW:
            return self.wrap(text, f"  {label}".ljust(LABEL_COLUMN), " " * LABEL_COLUMN)
        return [*([self.paint(f"  {label}", bold=True)] if label else []), *self.wrap(text, "    ", "    ")]

    def fields(self, label: str, texts: Iterable[str]) -> list[str]:
        """Texts behind one label, each on lines of its own."""
        return [line for at, text in enumerate(texts) for line in self.field("" if at else label, text)]

    def labelled(self, label: str, text: str, fg: str | None = None) -> list[str]:
        """Text behind ``label:``, its further lines indented."""
        return self.wrap(text, f"{label}: ", "  ", fg)

    def link(self, line: str, text: str, file: str) -> str:
        """A line in which a text opens a file, where the terminal can do that.

        Args:
            line: A line as it is printed.
            text: What is shown of the link; the line stays as it is where it does not have it in one piece.
            file: An absolute path, as it is.
        """
        if not self.style.links or not PurePath(file).is_absolute():
            return line
        # The host's name tells a terminal that shows another machine's output not to look for the file on its own.
        address = f"file://{quote(platform.node())}{quote(PurePath(file).as_posix(), errors='surrogateescape')}"
        return line.replace(text, f"\x1b]8;;{address}\x1b\\{text}\x1b]8;;\x1b\\", 1)

    def code(self, text: str) -> list[str]:
        """A source line under a field."""
        return self.wrap(one_line(text), self._under_a_field, self._under_a_field) if text else []

    def command(self, text: str) -> str:
        """A command under a field, in one piece, to be copied."""
        return f"{self._under_a_field}{self.paint(text, fg='cyan')}"

    @property
    def _under_a_field(self) -> str:
        return " " * (LABEL_COLUMN + 2 if self.style.width >= NARROW else 6)

    def notes(self, notes: Sequence[str]) -> list[str]:
        """A list under the heading ``notes``; nothing if there is none."""
        lines = [line for note in notes for line in self.wrap(note, "- ", "  ")]
        return [self.paint("notes", bold=True), *lines] if lines else []

    # -- tables ---------------------------------------------------------------------------------------------------------

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
        """A table, or nothing where it is wider than the terminal."""
        # Headers go in as rows, since tabulate pads real ones.
        head = [[self.paint(header, bold=True) for header in headers], ["-" * len(header) for header in headers]]
        lines = [f"  {line}" for line in columns([*head, *rows])]
        return lines if max(len(click.unstyle(line)) for line in lines) <= self.style.width else []

    def grid(
        self, names: tuple[str, str], across: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]
    ) -> list[str]:
        """A table of cells by row and column, turned round where only that fits; nothing where neither does.

        Args:
            names: What the rows are, and what the columns are.
            across: The names of the columns.
            rows: The name of each row, with its cells.
        """
        upright = [[name, *cells] for name, cells in rows]
        turned = [[column, *cells] for column, *cells in zip(across, *(cells for _, cells in rows), strict=True)]
        return self.table([names[0], *across], upright) or self.table([names[1], *(name for name, _ in rows)], turned)


def cells(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def columns(rows: Iterable[Sequence[str]], align: Sequence[str] | None = None) -> list[str]:
    """Cells under each other, without a head.

    Args:
        rows: The cells of each line.
        align: ``left`` or ``right`` for each column; all are left without it.
    """
    from tabulate import tabulate

    # Numbers stay text: a version may look like one.
    return [
        line.rstrip() for line in tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align).splitlines()
    ]


def page(sections: Iterable[Sequence[str]]) -> str:
    """Sections with an empty line between them, ending in a newline; those without lines are left out."""
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"
