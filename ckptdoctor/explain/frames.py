"""Reads the lines of tracebacks: Python's, pytest's, IPython's, and those in rich's boxes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ckptdoctor.model.evidence import Place
from ckptdoctor.rules.common.log import Frame

_FRAME = re.compile(r'^\s*File "(?P<file>[^"\n]{1,1000})", line (?P<line>\d{1,9})(?:, in (?P<function>\S.{0,300}))?')
_RICH_FRAME = re.compile(r"^(?P<file>\S.{0,1000}):(?P<line>\d{1,9}) in (?P<function>\S{1,300})$")
_PYTEST_FRAME = re.compile(r"^(?P<file>[^\s:][^:\n]{0,1000}\.py):(?P<line>\d{1,9}): in (?P<function>[\w.<>]{1,300})$")
_IPYTHON_FRAME = re.compile(
    r"^(?:File )?(?P<file>(?:[/~<]|[A-Za-z]:[\\/])[^:\n]{1,1000}):(?P<line>\d{1,9}), in (?P<function>[\w.<>]{1,300})"
    r"|^\[?(?P<old>(?:[/~<]|[A-Za-z]:[\\/])[^\s\])]{1,1000})(?:\]\([^)\n]{1,200}\))? in (?P<name>[\w.<>]{1,300})\("
    r"|^(?:Cell |Input )?In ?\[\d{1,6}\](?:, line (?P<cell>\d{1,9}))?"
)
_PATH_BEGINS = re.compile(r"^(?:[/~<]|[A-Za-z]:[\\/])")
_NUMBERED = re.compile(r"^\s*(?P<arrow>❱|-{1,12}>)?\s*(?P<line>\d{1,9})\s(?P<code>.*)$")
_WRAPPED = 5
"""Lines over which rich may spread a path."""


@dataclass
class RawFrame:
    """A frame that is being read."""

    file: str
    line: int
    function: str
    indent: int = 0
    code: str = ""

    def finished(self) -> Frame:
        """The frame; its role is not known yet."""
        return Frame(Place(self.file.strip(), self.line, self.function.strip(), code=self.code.strip()))


def frame(text: str) -> RawFrame | None:
    """The frame in a line outside of a box."""
    if found := _FRAME.match(text):
        indent = len(text) - len(text.lstrip())
        return RawFrame(found["file"], int(found["line"]), found["function"] or "", indent)
    if found := _PYTEST_FRAME.match(text):
        return RawFrame(found["file"], int(found["line"]), found["function"])
    if found := _IPYTHON_FRAME.match(text):
        file = found["file"] or found["old"] or "<cell>"
        return RawFrame(file, int(found["line"] or found["cell"] or 0), found["function"] or found["name"] or "")
    return None


def numbered(text: str) -> re.Match[str] | None:
    """The number and the code of a line of source, as rich and IPython show it."""
    return _NUMBERED.match(text)


class BoxedFrames:
    """The frames in a box, their paths possibly wrapped over several lines."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        """The part of a path that was read so far."""

    def take(self, text: str) -> RawFrame | None:
        """Read the next line, and return the frame that ends with it."""
        parts = self._parts
        goes_on = bool(parts) and bool(re.search(r":\d{0,9}$", parts[-1])) and bool(re.match(r"\d{1,9} in\b", text))
        if not text or (_NUMBERED.match(text) and not goes_on):
            parts.clear()
            return None
        if not parts and not _PATH_BEGINS.match(text):
            return None
        # A wrap in the middle of a word adds nothing; a wrap at a space removes the space.
        at_space = bool(parts) and bool(re.search(r"(?::\d{1,9}| in)$", parts[-1])) and not goes_on
        parts.append(f" {text}" if at_space else text)
        found = _RICH_FRAME.match("".join(parts))
        if found or len(parts) >= _WRAPPED:
            parts.clear()
        return RawFrame(found["file"], int(found["line"]), found["function"]) if found else None
