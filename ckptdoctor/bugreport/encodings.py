"""Patterns that match known values in every encoding: JSON, URLs, Python's strings, base64."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping

from ckptdoctor.bugreport.delimiters import SLASH, WORD
from ckptdoctor.bugreport.machine import Facts
from ckptdoctor.bugreport.placeholders import HOST, USER
from ckptdoctor.bugreport.vocabulary import SHORTEST_PART, SHORTEST_SECRET, is_word


def _forms(secret: str) -> set[str]:
    """A secret as it is, its longer lines, and in base64 at every offset, as a Basic header holds it."""
    found = {secret, secret.strip(), *(line.strip() for line in secret.splitlines() if len(line.strip()) >= 16)}
    if len(secret) >= SHORTEST_SECRET:
        for offset in range(3):
            coded = base64.b64encode(b"\0" * offset + secret.encode("utf-8", "replace")).decode()
            found.add(coded[4 if offset else 0 :].rstrip("=")[:-1])
    return found


def secret_pattern(whole: str) -> re.Pattern[str]:
    """A pattern of a secret in each of its forms."""
    texts = _forms(whole)
    body = "|".join(_encoded(text) for text in sorted(texts, key=len, reverse=True) if text)
    if len(whole) < SHORTEST_SECRET:  # so short, it must stand alone
        body = f"{WORD}(?:{body})(?![A-Za-z0-9])"
    return re.compile(body, re.IGNORECASE)


def _encoded(text: str) -> str:
    """A pattern for a text as it is, JSON-escaped, as Python shows it, or URL-encoded, once or more often."""
    return "".join(char if char.isascii() and char.isalnum() else _encoded_char(char) for char in text)


def _encoded_char(char: str) -> str:
    if char == "/":
        return SLASH
    percent = "".join(f"%(?:25)*{byte:02x}" for byte in char.encode("utf-8", "replace"))
    units = char.encode("utf-16-be", "replace").hex(" ", 2).split()
    ways = [re.escape(char), percent, "".join(rf"\\+u{unit}" for unit in units)]
    if char == "\\":
        ways = [r"\\+", "/", percent]
    elif char == "\n":
        ways += [r"\\+r?\\*n", r"\s+"]
    elif char == " ":
        ways.append(r"\+")
    elif ord(char) < 256:
        ways += [rf"\\+x{ord(char):02x}", rf"\\+{re.escape(char)}"]
    return f"(?:{'|'.join(ways)})"


def folder_patterns(folders: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    """Patterns of folders, the longest first, so that what lies in a home keeps its own placeholder."""
    made = []
    for path, placeholder in sorted(folders.items(), key=lambda one: -len(one[0])):
        # `/models` as a folder of the user's must not eat `transformers/models`.
        is_short = len(re.findall(r"[/\\]", path)) < 2
        start = r"(?:(?<![\w.>-])|(?<=-[ILR])|(?<=\\[nrt]))" if is_short else ""
        made.append((re.compile(f"{start}{_encoded(path)}(?![A-Za-z0-9_])", re.IGNORECASE), placeholder))
    return made


def identity_patterns(known: Facts) -> Iterable[tuple[re.Pattern[str], str]]:
    """Patterns of the names of people and machines, the longest first."""
    both = [(name, HOST) for name in known.hosts] + [(name, USER) for name in known.users] + [*known.private.items()]
    for name, placeholder in sorted(set(both), key=lambda one: -len(one[0])):
        body = _encoded(name)
        if placeholder not in (HOST, USER):
            yield re.compile(f"{WORD}{_any_separator(name)}(?![A-Za-z0-9])", re.IGNORECASE), placeholder
        elif is_word(name, known.vocabulary):
            where = (
                "host(?:name)?|node(?:name)?|computername"
                if placeholder == HOST
                else "user(?:name)?|logname|owner|login"
            )
            yield (
                re.compile(rf"(?<=@){body}(?![\w.-])" if placeholder == HOST else rf"\b{body}(?=@)", re.IGNORECASE),
                placeholder,
            )
            yield (
                re.compile(rf"\b((?:{where})\\*[\"']?\s*[:=]\s*\\*[\"']?){body}(?![\w.-])", re.IGNORECASE),
                rf"\g<1>{placeholder}",
            )
            if placeholder == USER:
                yield re.compile(rf"(\bid=\d+\(|~){body}(?=[)/])", re.IGNORECASE), rf"\g<1>{placeholder}"
        elif len(name) >= SHORTEST_PART and not any(name.lower() in word for word in known.vocabulary):
            sub = r"(?:(?<![\w.-])(?:[\w-]{1,63}\.){1,6})?" if placeholder == HOST and "." in name else ""
            yield re.compile(f"{sub}{body}", re.IGNORECASE), placeholder
        else:
            yield re.compile(f"{WORD}{body}(?![A-Za-z0-9])", re.IGNORECASE), placeholder


def _any_separator(name: str) -> str:
    """A name as a package, a module, a file of an archive or a repository writes it."""
    return r"[-_. ]".join(_encoded(part) for part in re.split(r"[-_. ]", name))
