"""Secrets by the rules of gitleaks, as its authors publish them (``gitleaks/gitleaks.toml``, MIT)."""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
from ckptdoctor.bugreport.delimiters import WORD
from ckptdoctor.bugreport.placeholders import TOKEN

_NOT_USED = {
    "generic-api-key": "our own rules judge names and values",
    "curl-auth-header": "our own rules read headers; this rule takes unbounded time",
    "curl-auth-user": "takes unbounded time",
    "kubernetes-secret-yaml": "for files of one kind only",
    "private-key": "our own rules know blocks that are cut",
}

_END = r"""(?:[\x60'"\s;]|\\[nr]|$)"""


@dataclass(frozen=True)
class _Rule:
    keywords: tuple[str, ...]
    pattern: re.Pattern[str]
    group: int
    entropy: float

    def hide(self, text: str) -> str:
        return self.pattern.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        group = self.group or next((at for at in range(1, 1 + (found.re.groups or 0)) if found[at]), 0)
        if _entropy(found[group]) < self.entropy:
            return found[0]
        start, end = found.start(group) - found.start(), found.end(group) - found.start()
        return found[0][:start] + TOKEN + found[0][end:]


def _entropy(text: str) -> float:
    """Bits a character, as gitleaks counts them."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values()) if text else 0.0


@cache
def rules() -> tuple[_Rule, ...]:
    """The rules of gitleaks that judge text by itself, for Python's ``re``."""
    file = Path(__file__).parent / "gitleaks" / "gitleaks.toml"
    published = tomllib.loads(file.read_text(encoding="utf-8"))["rules"]
    return tuple(
        _Rule(tuple(rule["keywords"]), _translated(rule["regex"]), rule.get("secretGroup", 0), rule.get("entropy", 0.0))
        for rule in published
        if "regex" in rule and rule["id"] not in _NOT_USED
    )


def _translated(regex: str) -> re.Pattern[str]:
    """A pattern of Go's as one of Python's; it may end before any sign, since text here is more than files of code."""
    flags = re.ASCII | (re.IGNORECASE if "(?i)" in regex else 0)
    regex = regex.replace("(?i)", "").replace(r"\z", r"\Z").replace(_END, r"(?![A-Za-z0-9])")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # brackets in a set, which mean the same to Go
        return re.compile(re.sub(r"^(\(?)\\b", lambda found: found[1] + WORD, regex), flags)


def hide(text: str) -> str:
    """The text without what a rule of gitleaks calls a secret."""
    lower = text.lower()
    for rule in rules():
        if any(keyword in lower for keyword in rule.keywords):
            text = rule.hide(text)
    return text
