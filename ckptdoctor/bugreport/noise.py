"""Runs of random characters, which may be secrets."""

from __future__ import annotations

import re
import sys
from itertools import pairwise

if sys.version_info >= (3, 11):
    pass
else:
    pass
from ckptdoctor.bugreport.placeholders import TOKEN

_RUN = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{20,4096}={0,2}(?![A-Za-z0-9+/=_-])")

_HASHES = re.compile(
    r"(?:commit|revision|rev|sha\d*|md5|hash|checksum|digest|blob|tree|fingerprint)\W{1,12}$", re.IGNORECASE
)


def hide_noise(text: str) -> str:
    """The text without runs of random characters; only for text in which nothing random is needed."""
    return _RUN.sub(lambda found: TOKEN if _is_noise(found) else found[0], text)


def _is_noise(found: re.Match[str]) -> bool:
    text = found[0]
    before = found.string[max(0, found.start() - 40) : found.start()]
    if re.fullmatch(r"[0-9a-fA-F-]+", text):
        if not re.search(r"[A-Fa-f]", text) or not re.search(r"\d", text) or len(set(text)) < 8:
            return False
        return not _HASHES.search(before)
    return any(map(_is_random, re.split(r"[-_/+=]", text)))


def _is_random(piece: str) -> bool:
    """Whether letters and digits change too often for words: ``Seq2SeqTrainingArguments`` is made of some."""
    if len(piece) < 16 or sum(map(len, re.findall(r"[A-Z]?[a-z]{3,}", piece))) > len(piece) / 2:
        return False
    kinds = ["A" if char.isupper() else "a" if char.isalpha() else "1" for char in piece]
    changes = sum(one != other for one, other in pairwise(kinds)) / len(piece)
    numbers = len(re.findall(r"\d+", piece))
    return (numbers >= 2 and changes >= 0.3) or (len(piece) >= 20 and changes >= 0.5)
