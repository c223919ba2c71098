"""Lines with the message of an error and no type, and lines that only mention errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ckptdoctor.rules import in_log
from ckptdoctor.rules.common.log import Message

WATCHDOG = "Watchdog"
_WATCHDOG = Message(re.compile(r"Watchdog caught collective operation timeout"), WATCHDOG, WATCHDOG)

_LITERAL = re.compile(
    r"(?:^\s*(?:[-+]\s*)?|[(,=\[{]\s*)[rbfuRBFU]{0,2}[\"']{1,3}(?:torch\.utils\.checkpoint: )?[^\"']{0,40}$"
)
_STATEMENT = re.compile(r"^\s*(?:[-+]\s*)?(?:raise|assert|except|import|from\s\S+\simport)\s")
_SUPPOSED = re.compile(
    r"\b(?:not|never|no longer)\b\W{1,6}(?:raise|throw|fail|see|get)"
    r"|\bif you\b|\b(?:may|might|can|could|would|will) (?:\w{1,12} ){0,2}"
    r"(?:result|lead|cause|raise|trigger|fail|error|see|get|encounter)"
    r"|\b(?:avoids?|avoiding|prevents?|suppress\w{0,3}|ignore|harmless|filterwarnings|instead of)\b"
    r"|如果|若|可能会|避免|防止|忽略",
    re.IGNORECASE,
)


def is_statement(text: str) -> bool:
    """Whether a line of a program raises, catches or imports an error."""
    return bool(_STATEMENT.match(text))


def is_supposed(text: str) -> bool:
    """Whether a line mentions a possible error, as advice and comments do, and not one that happened."""
    return bool(_SUPPOSED.search(text))


def warns(text: str, warning: str) -> bool:
    """Whether a line is the warning itself, and not code or a page about it."""
    start = text.find(warning)
    return start >= 0 and not _LITERAL.search(text[:start]) and not is_supposed(text)


class Mention(NamedTuple):
    """An error that is given by its message, without a type."""

    type: str
    message: str


class Wordings:
    """The wordings of the rules' errors.

    Attributes:
        long_messages: Names of errors whose message has several lines.
    """

    def __init__(self) -> None:
        readers = [reader for _, reader in in_log()]
        self.long_messages = {name for reader in readers for name in reader.long_messages}
        self._messages = [_WATCHDOG, *(message for reader in readers for message in reader.messages)]
        self._telling = _any_of({message.word for message in self._messages})

    def mentioned(self, text: str) -> Mention | None:
        """The error whose message a line has; nothing for a line of code that raises, matches or documents it."""
        if not self._telling.search(text) or is_statement(text):
            return None
        for message in self._messages:
            found = message.words.search(text)
            if found and not _LITERAL.search(text[: found.start()]):
                return Mention(message.type, text[found.start() :].strip())
        return None


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """A word of each message; most lines have none of these words."""
    return re.compile("|".join(sorted(words)), re.IGNORECASE)
