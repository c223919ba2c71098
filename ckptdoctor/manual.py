"""Man pages, made from what ``--help`` says: ``python -m ckptdoctor.manual FOLDER``. The build adds them to the wheel."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from ckptdoctor.documents.commands import VERBATIM, Command, every, root
from ckptdoctor.model.version import __version__


def pages() -> dict[str, str]:
    """A page for ckptdoctor and for each of its commands, in roff, by the file's name."""
    return {f"{command.name}.1": _page(command) for command in every(root())}


def _page(command: Command) -> str:
    related = command.above.replace(" ", "-") or "ckptdoctor-rule"
    lines = [
        f'.TH "{command.name.upper()}" 1 "" "ckptdoctor {__version__}" "ckptdoctor"',
        ".nh",  # no word is broken: what is printed can be copied
        ".ad l",
        *_section("NAME", [f"{_escaped(command.name)} \\- {_escaped(command.summary)}"]),
        *_section("SYNOPSIS", [f"\\fB{_escaped(command.words)}\\fR {_escaped(command.usage)}"]),
        *_section("DESCRIPTION", _text(command.paragraphs)),
        *_section("OPTIONS", _options(command)),
        *_section("COMMANDS", _below(command)),
        *_section("EXIT STATUS", _text([command.status] if command.status else [])),
        *_section("SEE ALSO", [f"\\fB{_escaped(related)}\\fR(1)"]),
    ]
    return "\n".join([*lines, ""])


def _section(title: str, lines: list[str]) -> list[str]:
    return [f'.SH "{title}"', *lines] if any(lines) else []


def _text(paragraphs: Iterable[str]) -> list[str]:
    """Paragraphs; what click prints as it is stays as it is."""
    lines: list[str] = []
    for one in paragraphs:
        if one.startswith(VERBATIM):
            kept = one.removeprefix(VERBATIM).splitlines()
            lines += [".PP", ".nf", ".RS 4", *map(_escaped, kept), ".RE", ".fi"]
        else:
            lines += [".PP", _escaped(one.replace("\n", " "))]
    return lines


def _options(command: Command) -> list[str]:
    """Each option as ``--help`` shows it."""
    lines: list[str] = []
    for names, text in command.options:
        lines += [".TP", re.sub(r"(?<![\w-])(\\-[\w\\-]+)", r"\\fB\1\\fR", _escaped(names)), _escaped(text)]
    return lines


def _below(command: Command) -> list[str]:
    lines: list[str] = []
    for one in command.below:
        lines += [".TP", f"\\fB{_escaped(one.name)}\\fR(1)", _escaped(one.summary) + "."]
    return lines


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
