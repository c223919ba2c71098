"""Finds the errors in a log: Python's tracebacks, rich's boxes, IPython's, and errors that stand alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ckptdoctor.explain import wordings
from ckptdoctor.explain.lines import HEADER, OURS_LEFT_OUT, Line
from ckptdoctor.explain.places import CROPPED
from ckptdoctor.model.evidence import Place

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
_MARKERS = re.compile(r"^[\s^~]+$")
_ANNOTATION = re.compile(r"^\s*└")
"""loguru's values of what stands in a line, which it draws lines to."""

_LEFT_OUT = re.compile(r"^\s*(?:\.{3,}|…+|\[?\(?\.\.\..{0,80}|<snip>|.{0,40}省略.{0,40})$")
_PROGRESS = re.compile(r"\s*\d{1,3}%")
_REPEATED = "[Previous line repeated "
_ERROR = re.compile(
    r"^\s*(?:ray\.exceptions\.RayTaskError\((?P<ray>[\w.]{1,200})\)|(?P<type>[A-Za-z_][\w.]{0,200}))(?::\s?(?P<message>.*))?$"
)
_CERTAIN = re.compile(r"(?:Error|Exception|Interrupt|Exit|Iteration|Group|Warning|Failure|Fault|Interrupted)$")
_ALONE = re.compile(
    r"(?<![A-Za-z0-9_.])(?:(?:ray\.exceptions\.)?RayTaskError\((?P<ray>[\w.]{1,200})\)"
    r"|(?P<type>(?:[A-Za-z_]\w{0,60}\.){0,8}(?:[A-Za-z_]\w{0,60})?(?:Error|Exception)))"
    r"(?::\s(?P<message>\S.{0,1500})|\((?P<quote>[\"'])(?P<repr>.{1,1500}?)(?P=quote),?\))"
)
"""An error outside of a traceback, as it is printed or as ``repr`` writes it."""

_RAISES = re.compile(r"^raise (?P<type>[A-Za-z_][\w.]{0,200}(?:Error|Exception))\(")
_FOLLOWS = {"During handling of the above": "while it was handled", "The above exception was the": "because of it"}

_FOREIGN = 3
"""Lines of others that may stand within a traceback, such as a progress bar's, before it counts as broken off."""
_MOST_LINES = 12
"""Lines of a message that are kept."""
_GIST = 40
"""Characters by which a message is told when it is repeated; the rest may be cut or wrapped."""

_WRAPPED = 5
"""Lines over which rich may spread a path."""


@dataclass(frozen=True)
class Raised:
    """An error as a log shows it.

    Attributes:
        type: As written, e.g. ``torch.utils.checkpoint.CheckpointError``.
        message: Its text, without what torch adds as a tip.
        frames: Outermost first.
        line: Where the error stands in the log.
        labels: Processes that showed it, e.g. ``rank3``.
        follows: How it came out of the error before it, empty when it did not.
        cut_at: As many frames come before something that was left out, -1 where nothing was.
        is_tangled: Lines of several processes are mixed in it.
        is_mention: The text has the message without the type, or the type without the message.
    """

    type: str
    message: str
    frames: list[Place] = field(default_factory=list)
    line: int = 0
    labels: list[str] = field(default_factory=list)
    follows: str = ""
    cut_at: int = -1
    is_tangled: bool = False
    is_mention: bool = False

    @property
    def is_cut_before_error(self) -> bool:
        """Whether something was left out between the last frame and the error."""
        return bool(self.frames) and self.cut_at == len(self.frames)

    @property
    def is_certain(self) -> bool:
        """Whether its type is named as errors are: a progress bar's line looks like an error as well."""
        return bool(_CERTAIN.search(self.type)) or "." in self.type

    @property
    def name(self) -> str:
        """The type without its module."""
        return self.type.rpartition(".")[2]


def find(lines: Iterable[Line]) -> list[Raised]:
    """All errors, in the order in which they stand; what several processes show alike is one."""
    streams: dict[str, _Stream] = {}
    for line in lines:
        streams.setdefault(line.label, _Stream(line.label)).take(line)
    for stream in streams.values():
        stream.end()
    found = sorted((one for stream in streams.values() for one in stream.found), key=lambda one: one.line)
    return _without_mentions(_merged(found))


def _merged(found: list[Raised]) -> list[Raised]:
    by_kind: dict[object, Raised] = {}
    for one in found:
        key = (one.type, one.message[:200], tuple((frame.file, frame.line) for frame in one.frames))
        first = by_kind.setdefault(key, one)
        if first is not one:
            by_kind[key] = replace(first, labels=list(dict.fromkeys([*first.labels, *one.labels])))
    return list(by_kind.values())


def _without_mentions(found: list[Raised]) -> list[Raised]:
    """Leaves out errors without frames that another one shows with them, as a summary or a title repeats them."""
    shown = {_gist(one) for one in found if one.frames}
    typed = {one.name for one in found if not one.is_mention}
    kept = []
    for one in found:
        if one.is_mention and one.name in typed:
            continue
        if one.frames or _gist(one) not in shown:
            kept.append(one)
            shown.add(_gist(one))
    return kept


def _gist(error: Raised) -> tuple[str, str]:
    return error.name, " ".join(error.message[:400].split())[:_GIST]


@dataclass
class _Frame:
    file: str
    line: int
    function: str
    indent: int = 0
    code: str = ""

    def place(self) -> Place:
        return Place(self.file.strip(), self.line, self.function.strip(), code=self.code.strip())


@dataclass
class _Open:
    """A traceback that is being read."""

    indent: int
    frames: list[_Frame] = field(default_factory=list)
    expects_code: bool = False
    foreign: int = 0
    is_tangled: bool = False
    cut_at: int = -1
    """Frames that had been read when something was left out."""
    in_box: bool = False
    is_pythons: bool = False
    """In Python's own form, in which the error stands below the frames, also in a box."""
    line: int = 0
    """Where it begins."""


class _Stream:
    """The lines of one process."""

    def __init__(self, label: str) -> None:
        self.found: list[Raised] = []
        self._label = label
        self._open: _Open | None = None
        self._was_tangled = False
        self._follows = ""
        self._continued = 0
        """Lines that the message of the last error may still go on for."""
        self._path: list[str] = []
        """A path of a frame in a box, as far as it was read."""
        self._announced = ""
        """The line before, where it ends with a colon."""

    def take(self, line: Line) -> None:
        """Read the next line."""
        if HEADER in line.text:
            self._begin(line)
        elif not self._is_frame(line) and not (self._open and self._within(self._open, line)):
            self._outside(line)

    def end(self) -> None:
        """Nothing follows: what the last traceback was about to raise was raised."""
        if self._open and self._open.frames:
            self._raised(self._open)
        self._open = None

    def _raised(self, open_: _Open) -> None:
        """The type of an error that was cut off, by the line that raises it."""
        found = _RAISES.match(open_.frames[-1].code.strip())
        if found and open_.cut_at < 0:
            self.found.append(
                Raised(
                    found["type"],
                    "",
                    [frame.place() for frame in open_.frames],
                    open_.line,
                    [self._label] if self._label else [],
                    is_tangled=open_.is_tangled,
                    is_mention=True,
                )
            )

    def _begin(self, line: Line) -> None:
        if self._open and self._open.frames:
            self._raised(self._open)
        # One traceback right within another: two processes write at the same time.
        is_tangled = self._open is not None and not self._open.foreign and self._open.cut_at < 0
        self._was_tangled = is_tangled
        indent = len(line.text) - len(line.text.lstrip())
        in_box = line.in_box or line.is_edge
        self._open = _Open(0 if in_box else indent, is_tangled=is_tangled, in_box=in_box, line=line.number)
        self._continued = 0

    def _is_frame(self, line: Line) -> bool:
        frame = _frame(line.text)
        if frame is None and line.in_box:
            frame = self._rich_frame(line.text.strip())
        if frame is None:
            return False
        if self._open is None:
            # What goes on after the error of a mixed traceback is the rest of the mixture.
            self._open = _Open(max(0, frame.indent - 2), is_tangled=self._was_tangled, line=line.number)
            self._continued = 0
        self._open.frames.append(frame)
        self._open.expects_code = True
        self._open.foreign = 0
        self._open.is_pythons = self._open.is_pythons or "File " in line.text
        return True

    def _rich_frame(self, text: str) -> _Frame | None:
        """A frame in a box, its path possibly wrapped over several lines."""
        parts = self._path
        goes_on = bool(parts) and bool(re.search(r":\d{0,9}$", parts[-1])) and bool(re.match(r"\d{1,9} in\b", text))
        if not text or (_NUMBERED.match(text) and not goes_on):
            parts.clear()
            return None
        if not parts and not _PATH_BEGINS.match(text):
            return None
        # A wrap within a word leaves nothing behind, one at a space takes the space away.
        at_space = bool(parts) and bool(re.search(r"(?::\d{1,9}| in)$", parts[-1])) and not goes_on
        parts.append(f" {text}" if at_space else text)
        found = _RICH_FRAME.match("".join(parts))
        if found or len(parts) >= _WRAPPED:
            parts.clear()
        return _Frame(found["file"], int(found["line"]), found["function"]) if found else None

    def _within(self, open_: _Open, line: Line) -> bool:
        """Whether a line belongs to the traceback that is open; the error that ends it closes it."""
        text = line.text
        if not text.strip() or _MARKERS.match(text) or _REPEATED in text:
            return True
        if line.is_edge:
            # After a box comes its error; after any other edge comes something else.
            if not line.in_box and not open_.in_box and not any(char in text for char in "╰└╭┌"):
                self._open = None
            return True
        if text.endswith(OURS_LEFT_OUT):  # what comes now may be another traceback
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
        numbered = _NUMBERED.match(text)
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
            ends = bool(error and _CERTAIN.search(error["ray"] or error["type"]))
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
        if not _CERTAIN.search(type_) and not is_told:
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
        mention = wordings.mentioned(line.text)
        start = alone.start() if alone else line.text.find(mention.message) if mention else 0
        if wordings.is_statement(line.text) or (
            (alone or mention) and wordings.is_supposed(f"{before} {line.text[:start]}")
        ):
            return
        if alone and not (mention and mention.type == "Watchdog"):
            self._add(alone["ray"] or alone["type"], alone["message"] or alone["repr"], line, None)
        elif mention:
            self._add(mention.type, mention.message, line, None, is_mention=True)

    def _goes_on(self, line: Line) -> bool:
        """Whether the line is more of the last error's message."""
        if not self._continued:
            return False
        last = self.found[-1]
        text = line.text.strip()
        if not text or line.is_edge or text.startswith("Tip:") or _ALONE.search(text) or not _wants_more(last):
            self._continued = 0
            return False
        self._continued -= 1
        if text != ".":
            self.found[-1] = replace(last, message=f"{last.message}\n{text}".strip())
        return True

    def _add(self, type_: str, message: str, line: Line, open_: _Open | None, is_mention: bool = False) -> None:
        frames = [frame.place() for frame in open_.frames] if open_ else []
        self.found.append(
            Raised(
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


def _wants_more(error: Raised) -> bool:
    """Whether the message of an error goes on, or was wrapped before its end."""
    if error.name == "CheckpointError" or not error.message:
        return True
    return error.name == "AttributeError" and " object" in error.message and error.message.count("'") < 4


def _frame(text: str) -> _Frame | None:
    if found := _FRAME.match(text):
        indent = len(text) - len(text.lstrip())
        return _Frame(found["file"], int(found["line"]), found["function"] or "", indent)
    if found := _PYTEST_FRAME.match(text):
        return _Frame(found["file"], int(found["line"]), found["function"])
    if found := _IPYTHON_FRAME.match(text):
        file = found["file"] or found["old"] or "<cell>"
        return _Frame(file, int(found["line"] or found["cell"] or 0), found["function"] or found["name"] or "")
    return None
