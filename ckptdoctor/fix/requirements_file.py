"""Pins releases in a requirements file, as pip reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ckptdoctor.errors import UsageFault
from ckptdoctor.fix.pins import Changes, Pin, pin_in, pins, refuse_direct

_ANEW = "Generate the file again with pip-compile or `uv pip compile`, with the constraints."
_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
_OPTION = re.compile(r"(?:^|\s)-")
_EDITABLE = re.compile(r"\s*(?:-e|--editable)(?:[\s=]+|(?=[^-\s]))(.+)", re.DOTALL)
_INCLUDE = re.compile(r"\s*(?:-r|--requirement)(?:[\s=]+|(?=[^-\s]))(.+)", re.DOTALL)
_HASHED = re.compile(r"(?:^|\s)--(?:hash[\s=]|require-hashes)")


class _Line(NamedTuple):
    """A line as pip sees it, continuations joined, and the place of each of its characters in the file."""

    number: int
    text: str
    places: list[int]


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def edit_text(text: str, changes: Changes, path: Path) -> str:
    """The text with the changed packages pinned.

    Raises:
        UsageFault: It cannot be edited with certainty.
    """
    lines = list(_lines(text))
    missing, edits = dict(changes), []
    for line in lines:
        pin = _line_pin(line, changes, f"{path}, line {line.number},")
        if pin is None:
            continue
        missing.pop(pin.name, None)
        # The end is the place of the last character, since a continuation may follow it.
        start = line.places[pin.start] if pin.end > pin.start else line.places[pin.start - 1] + 1
        end = line.places[pin.end - 1] + 1
        edits.append(_Edit(start, end, pin.specifier))
    if missing:
        _refuse_to_append(lines, missing, path)
    for change in reversed(edits):
        text = text[: change.start] + change.text + text[change.end :]
    return _appended(text, missing)


def _lines(text: str) -> Iterator[_Line]:
    """Join lines as pip does; a comment line ends a requirement and is never continued."""
    joined, places, first, offset = "", list[int](), 1, 0
    for number, raw in enumerate(text.splitlines(keepends=True), 1):
        bare = raw.splitlines()[0]
        if number == 1 and bare.startswith("\ufeff"):
            bare = " " + bare[1:]
        comment = bare.lstrip().startswith("#")
        if comment:  # set off from what it follows
            joined, places = f"{joined} ", [*places, offset]
        goes_on = bare.endswith("\\") and not comment
        bare = bare.rstrip("\\") if goes_on else bare
        joined += bare
        places += range(offset, offset + len(bare))
        offset += len(raw)
        if not goes_on:
            yield _Line(first, joined, places)
            joined, places, first = "", [], number + 1
    if joined:
        yield _Line(first, joined, places)


def _line_pin(line: _Line, changes: Changes, where: str) -> Pin | None:
    body = _COMMENT.sub("", line.text)
    editable = _EDITABLE.match(body)
    if editable:
        direct_fault = re.match(r"\s*([\w.-]+)\s*@", editable[1])  # -e name @ URL
        refuse_direct(f"#egg={direct_fault[1]}" if direct_fault else editable[1], changes, where)
        return None
    option = _OPTION.search(body)
    text = body[: option.start()] if option else body
    pin = pin_in(text, changes, where) if text.strip() else None
    if pin and _HASHED.search(body) and pin.specifier != text[pin.start : pin.end]:
        raise UsageFault(f"{where} pins {pin.name} by hashes, and its hashes would no longer fit.", _ANEW)
    return pin


def _refuse_to_append(lines: list[_Line], missing: Changes, path: Path) -> None:
    bodies = [_COMMENT.sub("", line.text) for line in lines]
    names = ", ".join(missing)
    includes = [found[1].strip().strip("\"'") for found in map(_INCLUDE.match, bodies) if found]
    if includes:
        message = f"{path} does not name {names}, but includes {', '.join(includes)}, which may."
        raise UsageFault(message, f"Give that file: {includes[0]}.")
    if any(map(_HASHED.search, bodies)):  # with one hash in the file, pip requires one for every package
        raise UsageFault(f"{path} does not name {names}, and needs hashes for all that it names.", _ANEW)


def _appended(text: str, missing: Changes) -> str:
    if not missing:
        return text
    lines = text.splitlines(keepends=True)
    last = lines[-1] if lines else ""
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    ended = not text or last != last.splitlines()[0]
    bare = last.splitlines()[0] if last else ""
    if not ended:
        text += ending
    if bare.endswith("\\") and not bare.lstrip().startswith("#"):
        text += ending  # an empty line ends a continuation
    return text + ending.join(pins(missing)) + (ending if ended else "")
