"""What a rule sees of a log, and what it says of an error in it.

``ckptdoctor.explain`` reads the log: it finds the errors and tells what part each line of a traceback plays in
checkpointing. A rule looks at one error at a time.
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
"""What a line of code ends with that did not fit its box."""

QUOTE = r"[\"'`]{0,2}"
"""In a pattern: quotes as Python, Markdown and people set them around a name."""

_CERTAIN = re.compile(r"(?:Error|Exception|Interrupt|Exit|Iteration|Group|Warning|Failure|Fault|Interrupted)$")


def is_named_as_error(type_: str) -> bool:
    """Whether a type is named as errors are."""
    return bool(_CERTAIN.search(type_))


@dataclass(frozen=True)
class Frame:
    """A line of a traceback, and its part in checkpointing.

    Attributes:
        place: The line, with the package that owns it.
        is_checkpoint_file: The file is known to hold checkpoint functions and little else.
        is_checkpoint_function: The code is a checkpoint function's, by its file or its name.
        passes_layer: The line calls a checkpoint function, beyond doubt.
        may_pass_layer: The line may call a checkpoint function.
        is_helper: The code is a library's, and stands between the caller and the function, or below both.
        enters_layer: The line runs a module: what is below is the layer's own code.
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
    frames: list[Frame] = field(default_factory=list)
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
        """Index of the innermost frame up to there that calls a checkpoint function, or from which one was called."""
        for at in range(until, -1, -1):
            if self.frames[at].path.endswith("torch/autograd/__init__.py"):
                return None  # in backward, whoever passed the layer has long returned
            if self.frames[at].may_pass_layer and not self.frames[at].is_checkpoint_file:
                return at
        return self._model_above(until)

    def _model_above(self, until: int) -> int | None:
        """Where the source line is missing or cropped: the frame of a model right above the checkpoint function."""
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
        warnings: The texts of those warnings of rules (``LogWarning.text``) that it shows.
        signs: Those of the rules' ``InLog.signs`` that it has.
        is_checkpointing: By a setting, by what libraries print, or in the writer's words.
        runs_without: The writer says that it runs without checkpointing.
    """

    warnings: frozenset[str] = frozenset()
    signs: frozenset[str] = frozenset()
    is_checkpointing: bool = False
    runs_without: bool = False


@dataclass(frozen=True)
class LogVerdict:
    """What an error amounts to.

    Attributes:
        verdict: Ours only where the text itself shows it.
        summary: One sentence.
        culprit: Whose code reads, or raised.
        passed_by: The line that called the checkpoint function.
        doubts: What the text does not tell.
        fixes: What to do, likeliest first, each with the condition under which it helps.
        rests_on_frames: Mixed frames of several processes make it doubtful.
        is_unmistakable: Nothing but the fault writes such a text, so a mere mention shows it.
        rule: A rule's code, empty when it is not ours; ``explain`` fills it in.
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
    """How an error is worded, so that it is found where its type is left out."""

    words: re.Pattern[str]
    type: str
    """The type of error whose message it is."""
    word: str = ""
    """A pattern of a word that every such line has: lines without one of these are passed over quickly."""


class LogWarning(NamedTuple):
    """A warning that goes before a fault."""

    text: str
    alone: LogVerdict
    """What it amounts to in a log without any error."""
    beside: str
    """What to say of it beside an error that is not ours."""


@dataclass(frozen=True)
class InLog:
    """How a rule shows in a log.

    Attributes:
        judge: Says what an error amounts to, or nothing where the rule has no say in it.
        messages: How its errors are worded.
        long_messages: Names of its errors whose message goes over several lines.
        signs: Texts that the judge wants to know of, wherever in the log they stand.
        warning: What libraries warn of before.
    """

    judge: Callable[[LogError, LogContext], LogVerdict | None]
    messages: tuple[Message, ...] = ()
    long_messages: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    warning: LogWarning | None = None
