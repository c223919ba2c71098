"""Reads the lines that one process wrote: tracebacks line by line, and errors that stand alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from ckptdoctor.explain import frames
from ckptdoctor.explain.frames import BoxedFrames, RawFrame
from ckptdoctor.explain.lines import HEADER, OURS_LEFT_OUT, Line
from ckptdoctor.explain.wordings import WATCHDOG, Wordings, is_statement, is_supposed
from ckptdoctor.rules.common.log import CROPPED, LogError, is_named_as_error

_MARKERS = re.compile(r"^[\s^~]+$")
_ANNOTATION = re.compile(r"^\s*└")
"""The values that loguru draws below a line of code."""

_LEFT_OUT = re.compile(r"^\s*(?:\.{3,}|…+|\[?\(?\.\.\..{0,80}|<snip>|.{0,40}省略.{0,40})$")
_PROGRESS = re.compile(r"\s*\d{1,3}%")
_REPEATED = "[Previous line repeated "
_ERROR = re.compile(
    r"^\s*(?:ray\.exceptions\.RayTaskError\((?P<ray>[\w.]{1,200})\)|(?P<type>[A-Za-z_][\w.]{0,200}))(?::\s?(?P<message>.*))?$"
)
_ALONE = re.compile(
    r"(?<![A-Za-z0-9_.])(?:(?:ray\.exceptions\.)?RayTaskError\((?P<ray>[\w.]{1,200})\)"
    r"|(?P<type>(?:[A-Za-z_]\w{0,60}\.){0,8}(?:[A-Za-z_]\w{0,60})?(?:Error|Exception)))"
    r"(?::\s(?P<message>\S.{0,1500})|\((?P<quote>[\"'])(?P<repr>.{1,1500}?)(?P=quote),?\))"
)
"""An error outside of a traceback, as it is printed or as ``repr`` writes it."""

_RAISES = re.compile(r"^raise (?P<type>[A-Za-z_][\w.]{0,200}(?:Error|Exception))\(")
_FOLLOWS = {"During handling of the above": "while it was handled", "The above exception was the": "because of it"}

_FOREIGN = 3
"""Foreign lines, such as a progress bar's, that a traceback may contain before it counts as ended."""
_MOST_LINES = 12
"""Lines of a message that are kept."""


@dataclass
class _Open:
    """A traceback that is being read."""

    indent: int
    frames: list[RawFrame] = field(default_factory=list)
    expects_code: bool = False
    foreign: int = 0
    is_tangled: bool = False
    cut_at: int = -1
    """Number of frames before a gap."""
    in_box: bool = False
    is_pythons: bool = False
    """In Python's own form, with the error below the frames, also in a box."""
    line: int = 0
    """Where it begins."""


class Stream:
    """The lines of one process."""

    def __init__(self, label: str, wordings: Wordings) -> None:
        self.found: list[LogError] = []
        self._label = label
        self._wordings = wordings
        self._open: _Open | None = None
        self._was_tangled = False
        self._follows = ""
        self._continued = 0
        """Number of lines that the message of the last error may still continue."""
        self._boxed = BoxedFrames()
        self._announced = ""
        """The line before, if it ends with a colon."""

    def take(self, line: Line) -> None:
        """Read the next line."""
        if HEADER in line.text:
            self._begin(line)
        elif not self._is_frame(line) and not (self._open and self._within(self._open, line)):
            self._outside(line)

    def end(self) -> None:
        """The text ends here: a traceback that is cut off raised its error."""
        if self._open and self._open.frames:
            self._raised(self._open)
        self._open = None

    def _raised(self, open_: _Open) -> None:
        """The type of an error that was cut off, by the line that raises it."""
        found = _RAISES.match(open_.frames[-1].code.strip())
        if found and open_.cut_at < 0:
            self.found.append(
                LogError(
                    found["type"],
                    "",
                    [frame.finished() for frame in open_.frames],
                    open_.line,
                    [self._label] if self._label else [],
                    is_tangled=open_.is_tangled,
                    is_mention=True,
                )
            )

    def _begin(self, line: Line) -> None:
        if self._open and self._open.frames:
            self._raised(self._open)
        # A traceback inside another one: two processes write at the same time.
        is_tangled = self._open is not None and not self._open.foreign and self._open.cut_at < 0
        self._was_tangled = is_tangled
        indent = len(line.text) - len(line.text.lstrip())
        in_box = line.in_box or line.is_edge
        self._open = _Open(0 if in_box else indent, is_tangled=is_tangled, in_box=in_box, line=line.number)
        self._continued = 0

    def _is_frame(self, line: Line) -> bool:
        frame = frames.frame(line.text)
        if frame is None and line.in_box:
            frame = self._boxed.take(line.text.strip())
        if frame is None:
            return False
        if self._open is None:
            # Lines after the error of a mixed traceback belong to the mixture.
            self._open = _Open(max(0, frame.indent - 2), is_tangled=self._was_tangled, line=line.number)
            self._continued = 0
        self._open.frames.append(frame)
        self._open.expects_code = True
        self._open.foreign = 0
        self._open.is_pythons = self._open.is_pythons or "File " in line.text
        return True

    def _within(self, open_: _Open, line: Line) -> bool:
        """Whether a line belongs to the traceback that is open; the error that ends it closes it."""
        text = line.text
        if not text.strip() or _MARKERS.match(text) or _REPEATED in text:
            return True
        if line.is_edge:
            # The error comes after its box; after any other edge, something else starts.
            if not line.in_box and not open_.in_box and not any(char in text for char in "╰└╭┌"):
                self._open = None
            return True
        if text.endswith(OURS_LEFT_OUT):  # the next lines may be another traceback
            self._open = None
            return True
        if _LEFT_OUT.match(text):
            open_.cut_at, open_.expects_code = len(open_.frames), False
            return True
        if self._is_code(open_, line) or (line.in_box and not open_.is_pythons):
            return True
        if self._is_end(open_, line) or line.in_box or _ANNOTATION.match(text):
            return True
        open_.foreign += 1
        if open_.foreign > _FOREIGN:
            self._open = None
        return False

    def _is_code(self, open_: _Open, line: Line) -> bool:
        if not open_.frames:
            return False
        frame, text = open_.frames[-1], line.text
        numbered = frames.numbered(text)
        if numbered:
            number = int(numbered["line"])
            if number == frame.line or (numbered["arrow"] and frame.line == 0):
                cropped = CROPPED if line.is_full else ""
                frame.line, frame.code = number, f"{numbered['code'].lstrip('│ ').strip()}{cropped}"
            open_.expects_code = False
            return True
        indent = len(text) - len(text.lstrip())
        if open_.expects_code:
            error = _ERROR.match(text)
            ends = bool(error and is_named_as_error(error["ray"] or error["type"]))
            if indent > frame.indent or (indent == frame.indent and not ends):
                frame.code, open_.expects_code = text, False
                return True
            return False
        return indent > open_.indent + 2

    def _is_end(self, open_: _Open, line: Line) -> bool:
        found = _ERROR.match(line.text)
        if not found:
            return False
        indent = len(line.text) - len(line.text.lstrip())
        # With indentation lost, a line of code may look like an error; only a name can tell.
        told_by_indent = bool(open_.frames) and indent <= open_.indent < open_.frames[-1].indent
        type_ = found["ray"] or found["type"]
        # Others write lines of one word in between.
        is_told = (
            told_by_indent and bool(found["message"] or "." in type_) and not _PROGRESS.match(found["message"] or "")
        )
        if not is_named_as_error(type_) and not is_told:
            return False
        self._add(type_, found["message"] or "", line, open_)
        self._open = None
        return True

    def _outside(self, line: Line) -> None:
        if self._goes_on(line):
            return
        for text, word in _FOLLOWS.items():
            if text in line.text:
                self._follows = word
                return
        before, self._announced = self._announced, line.text if line.text.endswith(":") else ""
        alone = _ALONE.search(line.text)
        mention = self._wordings.mentioned(line.text)
        start = alone.start() if alone else line.text.find(mention.message) if mention else 0
        if is_statement(line.text) or ((alone or mention) and is_supposed(f"{before} {line.text[:start]}")):
            return
        if alone and not (mention and mention.type == WATCHDOG):
            self._add(alone["ray"] or alone["type"], alone["message"] or alone["repr"], line, None)
        elif mention:
            self._add(mention.type, mention.message, line, None, is_mention=True)

    def _goes_on(self, line: Line) -> bool:
        """Whether the line continues the last error's message."""
        if not self._continued:
            return False
        last = self.found[-1]
        text = line.text.strip()
        if not text or line.is_edge or text.startswith("Tip:") or _ALONE.search(text) or not self._wants_more(last):
            self._continued = 0
            return False
        self._continued -= 1
        if text != ".":
            self.found[-1] = replace(last, message=f"{last.message}\n{text}".strip())
        return True

    def _add(self, type_: str, message: str, line: Line, open_: _Open | None, is_mention: bool = False) -> None:
        frames = [frame.finished() for frame in open_.frames] if open_ else []
        self.found.append(
            LogError(
                type_,
                message.strip(),
                frames,
                line.number,
                [self._label] if self._label else [],
                self._follows if open_ else "",
                cut_at=open_.cut_at if open_ else -1,
                is_tangled=bool(open_ and open_.is_tangled),
                is_mention=is_mention,
            )
        )
        self._follows = "" if open_ else self._follows
        self._continued = _MOST_LINES

    def _wants_more(self, error: LogError) -> bool:
        """Whether the message of an error continues, or was wrapped before its end."""
        if error.name in self._wordings.long_messages or not error.message:
            return True
        return error.name == "AttributeError" and " object" in error.message and error.message.count("'") < 4
