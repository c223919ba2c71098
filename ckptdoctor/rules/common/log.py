"""A log as a rule sees it, and the verdict of a rule on an error in the log.

``ckptdoctor.explain`` reads the log: it finds the errors and the role of each traceback line in checkpointing. A rule
judges one error at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.explanation import ErrorVerdict
from ckptdoctor.words.wording import first_line

CROPPED = "…"
"""The end of a line of code that did not fit its box."""

QUOTE = r"[\"'`]{0,2}"
"""In a pattern: quotes as Python, Markdown and people set them around a name."""

_CERTAIN = re.compile(r"(?:Error|Exception|Interrupt|Exit|Iteration|Group|Warning|Failure|Fault|Interrupted)$")


def is_named_as_error(type_: str) -> bool:
    """Whether a type has the name of an error."""
    return bool(_CERTAIN.search(type_))


@dataclass(frozen=True)
class Frame:
    """A line of a traceback, and its role in checkpointing.

    Attributes:
        place: The line, with the package that owns it.
        is_checkpoint_file: The file is known to hold checkpoint functions and little else.
        is_checkpoint_function: The code belongs to a checkpoint function, by its file or its name.
        passes_layer: The line certainly calls a checkpoint function.
        may_pass_layer: The line may call a checkpoint function.
        is_helper: The code belongs to a library, between the caller and the function, or below both.
        enters_layer: The line runs a module. The frames below are the layer's own code.
    """

    place: Place
    is_checkpoint_file: bool = False
    is_checkpoint_function: bool = False
    passes_layer: bool = False
    may_pass_layer: bool = False
    is_helper: bool = False
    enters_layer: bool = False

    @property
    def path(self) -> str:
        """The file with forward slashes."""
        return self.place.file.replace("\\", "/")


@dataclass(frozen=True)
class LogError:
    """An error as a log shows it.

    Attributes:
        type: The type as written, e.g. ``torch.utils.checkpoint.CheckpointError``.
        message: The message, without the tip that torch adds.
        frames: Outermost first.
        line: The line of the log that shows the error.
        labels: Processes that raised it, e.g. ``rank3``.
        follows: How the error before led to this one; empty if it did not.
        cut_at: Number of frames before a gap in the traceback; -1 if there is no gap.
        is_tangled: Lines of several processes are mixed in the traceback.
        is_mention: The text has the message without the type, or the type without the message.
    """

    type: str
    message: str
    frames: list[Frame] = field(default_factory=list)
    line: int = 0
    labels: list[str] = field(default_factory=list)
    follows: str = ""
    cut_at: int = -1
    is_tangled: bool = False
    is_mention: bool = False

    @property
    def is_cut_before_error(self) -> bool:
        """Whether frames are missing between the last frame and the error."""
        return bool(self.frames) and self.cut_at == len(self.frames)

    @property
    def is_certain(self) -> bool:
        """Whether the type has the name of an error: the line of a progress bar can look like an error too."""
        return is_named_as_error(self.type) or "." in self.type

    @property
    def name(self) -> str:
        """The type without its module."""
        return self.type.rpartition(".")[2]

    @property
    def text(self) -> str:
        """Type and message in one line."""
        return f"{self.name}: {first_line(self.message)}" if self.message.strip() else self.name

    @property
    def words(self) -> str:
        """The message with single spaces in place of all white space."""
        return " ".join(self.message.split())

    @property
    def innermost_own(self) -> int:
        """Index of the innermost frame that is not a library's helper."""
        own = [at for at, frame in enumerate(self.frames) if not frame.is_helper]
        return own[-1] if own else len(self.frames) - 1

    def passed_at(self, until: int) -> int | None:
        """Index of the innermost frame up to ``until`` that calls a checkpoint function."""
        for at in range(until, -1, -1):
            if self.frames[at].path.endswith("torch/autograd/__init__.py"):
                return None  # in backward, the line that passed the layer is no longer on the stack
            if self.frames[at].may_pass_layer and not self.frames[at].is_checkpoint_file:
                return at
        return self._model_above(until)

    def _model_above(self, until: int) -> int | None:
        """The frame of a model right above the checkpoint function, if its source line is missing or cropped."""
        first = next((at for at in range(until + 1) if self.frames[at].is_checkpoint_file), None)
        if first is None:
            return None
        above = [at for at in range(first) if not self.frames[at].is_helper]
        if not above:
            return None
        caller = self.frames[above[-1]].place
        is_model = caller.package == "transformers" and (not caller.code or caller.code.endswith(CROPPED))
        return above[-1] if is_model else None


@dataclass(frozen=True)
class LogContext:
    """What the rest of the log says.

    Attributes:
        warnings: The warnings of rules (``LogWarning.text``) that the log shows.
        signs: The ``InLog.signs`` of rules that the log shows.
        is_checkpointing: A setting, the output of a library or the writer says that checkpointing is used.
        runs_without: The writer says that the step runs without checkpointing.
    """

    warnings: frozenset[str] = frozenset()
    signs: frozenset[str] = frozenset()
    is_checkpointing: bool = False
    runs_without: bool = False


@dataclass(frozen=True)
class LogVerdict:
    """The verdict of a rule on an error in a log.

    Attributes:
        verdict: ``ours`` only if the text itself shows the fault.
        summary: One sentence.
        culprit: The line that read the attribute, or raised the error.
        passed_by: The line that called the checkpoint function.
        doubts: What the text does not say.
        fixes: What to do, most likely first, each with the condition under which it helps.
        rests_on_frames: The verdict is doubtful if frames of several processes are mixed.
        is_unmistakable: Only this fault writes such a text, so a mention is enough.
        rule: The rule's code, empty if the fault is not ours; ``explain`` fills it in.
    """

    verdict: ErrorVerdict
    summary: str
    culprit: Place | None = None
    passed_by: Place | None = None
    doubts: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)
    rests_on_frames: bool = True
    is_unmistakable: bool = False
    rule: str = ""


class Message(NamedTuple):
    """The wording of an error, to find it in a text without its type."""

    words: re.Pattern[str]
    type: str
    """The type of error that has this message."""
    word: str = ""
    """A pattern of a word that every such line has. Lines without such a word are skipped quickly."""


class LogWarning(NamedTuple):
    """A warning that comes before a fault."""

    text: str
    alone: LogVerdict
    """The verdict if the log has the warning and no error."""
    beside: str
    """What to say about the warning if the log's error is not ours."""


@dataclass(frozen=True)
class ErrorText:
    """An error as people paste it into a search engine. The site has a page for each.

    Attributes:
        title: The line that people search for, as it is printed.
        about: What this line says beyond the meaning of the rule, and what it does not say.
        shown: Parts of logs that show the error, as it occurs. Without any, the title is all that there is.
        reports: Public threads with this line.
    """

    title: str
    about: str
    shown: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()

    @property
    def examples(self) -> tuple[str, ...]:
        """What a log shows; at least the title."""
        return self.shown or (self.title,)


@dataclass(frozen=True)
class InLog:
    """How a rule shows in a log.

    Attributes:
        judge: The verdict on an error, or nothing if the rule does not apply.
        messages: The wordings of its errors.
        long_messages: Names of its errors whose message has several lines.
        signs: Texts that the judge looks for anywhere in the log.
        warning: The warning that libraries print before the error.
        texts: The errors that the site has pages for.
    """

    judge: Callable[[LogError, LogContext], LogVerdict | None]
    messages: tuple[Message, ...] = ()
    long_messages: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    warning: LogWarning | None = None
    texts: tuple[ErrorText, ...] = ()
