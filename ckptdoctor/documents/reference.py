"""The reference of the site: a page for each command, with every option, as ``--help`` says it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptdoctor.documents.commands import VERBATIM, Command, every, root
from ckptdoctor.documents.markdown import code, fenced, prose

FOLDER = "reference"

_LONGEST_HEADING = 40
"""Some options list thirty choices, which go below their heading."""


def pages() -> dict[str, str]:
    """The pages, by file."""
    whole = root()
    return {
        f"{FOLDER}/index.md": _index(whole),
        **{f"{FOLDER}/{command.name}.md": _page(command) for command in every(whole) if command is not whole},
    }


def _index(whole: Command) -> str:
    rows = [
        f"| [{code(one.words)}]({one.name}.md) | {prose(one.summary)}. |" for one in every(whole) if one is not whole
    ]
    parts = [
        "# Commands",
        "Every command and every option, as `--help` and the man pages have them.",
        "\n".join(["| command | what it does |", "|---|---|", *rows]),
        "## ckptdoctor",
        *_body(whole),
    ]
    return "\n\n".join(parts) + "\n"


def _page(command: Command) -> str:
    return "\n\n".join([f"# {command.words}", *_body(command)]) + "\n"


def _body(command: Command) -> Iterator[str]:
    yield fenced(f"{command.words} {command.usage}", "text")
    for one in command.paragraphs:
        yield _paragraph(one)
    if command.status:
        yield f"**Exit status**: {prose(command.status)}"
    if command.below and command.above:
        yield "\n".join(f"- [{code(one.words)}]({one.name}.md): {prose(one.summary)}." for one in command.below)
    if command.options:
        yield "## Options"
    for names, text in command.options:
        yield _option(names, text)


def _paragraph(text: str) -> str:
    if text.startswith(VERBATIM):
        return fenced(text.removeprefix(VERBATIM), "text")
    return prose(text.replace("\n", " "))


def _option(names: str, text: str) -> str:
    """An option with an address of its own, such as ``#fail-on``."""
    switches, value = _parts(names)
    longest = max(re.findall(r"-{1,2}\w[\w-]*", switches), key=len)
    is_short = len(names) <= _LONGEST_HEADING
    heading = code(names if is_short else switches)
    parts = [f'### {heading} {{ #{longest.lstrip("-")} data-toc-label="{longest}" }}', prose(text)]
    return "\n\n".join(parts if is_short else [parts[0], code(value), parts[1]])


def _parts(names: str) -> tuple[str, str]:
    """The switches of an option, and what it takes: ``-o, --output FILE`` has two, and takes a file."""
    found = re.match(r"(?P<switches>-{1,2}\w[\w-]*(?:(?:, | / )-{1,2}\w[\w-]*)*) ?(?P<value>.*)$", names)
    return (found["switches"], found["value"]) if found else (names, "")
