"""Values that are private by the name that they are given to: ``password=...``."""

from __future__ import annotations

import re
import sys

if sys.version_info >= (3, 11):
    pass
else:
    pass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STRONG = _words(
    "password passwords passwd passphrase passwort pwd secret secrets credential credentials cookie cookies authorization "
    "webhook apikey dsn"
)
"""Last words of names whose values are secrets, whatever they look like."""

_STRONG_KEYS = _words(
    "api access private signing encryption account storage license licence ssh gpg deploy secret auth master service wandb "
    "shared instrumentation"
)

_STRONG_TOKENS = _words(
    "access api auth authentication bearer bot refresh session hf hub huggingface github gitlab wandb oauth private id jwt "
    "personal deploy"
)

_WEAK = _words("token key pass pat sas sig signature auth pin session sessionid csrf csrftoken jsessionid phpsessid pw")
"""Last words of names that hold a secret or something else: the value decides."""

_PHONE_NAMES = _words("phone telephone tel mobile fax whatsapp")

_OF_VOCABULARIES = _words("pad eos bos unk sep cls mask image special stop eot per next last video audio")
"""Tokens of a vocabulary, which are no secrets."""

_NO_VALUES = _words(
    "none null true false str string bytes int bool float optional required any object dict list self default unset empty "
    "missing invalid expected changeme xxx todo"
)

_OF_MODELS = _words(
    "attn attention backward batch block bool bias bfloat bf conv cuda cpu dim dtype embed embedding expert experts float fp "
    "forward gpu grad hidden int layer layers linear llama loss lora mask mlp model module norm proj qwen rank router run seed "
    "self shard state step tensor test uint version weight weights zero stage epoch"
)

_REFERENCE = re.compile(
    r"<|\$|%\(|\{|\*{3}|(?:os|self|args|config|cfg|settings|env|kwargs|opts?|options)\.|getenv|environ\b|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$"
    r"|[~.]{0,2}/|[\w.-]+\($"
)
"""Values that stand for another one: a placeholder, a variable, a file."""

_HOSTS = _words("host hostname server endpoint addr address proxy registry broker nameserver gateway")


def names_a_secret(name: str) -> str:
    """What a name says of its value: ``strong`` for a secret, ``weak`` for one that may be, ``phone``, or nothing."""
    words = [word.lower() for word in re.findall(r"[A-Z]{2,}(?![a-z])|[A-Z]?[a-z]+|[A-Z]", name[-120:])]
    while len(words) > 1 and words[-1] in ("id", "value", "val", "str", "string"):
        if words[-2:] == ["connection", "string"]:
            return "strong"
        words.pop()
    if not words:
        return ""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if before in _OF_VOCABULARIES and last == "token":
        return ""
    if last in _STRONG or (last == "key" and before in _STRONG_KEYS) or (last == "token" and before in _STRONG_TOKENS):
        return "strong"
    if last in _PHONE_NAMES or (last == "number" and before in _PHONE_NAMES):
        return "phone"
    return "weak" if last in _WEAK else ""


def is_secret(name: str, value: str) -> bool:
    """Whether a value that is given to a name is a secret: ``MAX_TOKEN=512`` and ``CACHE_KEY="past"`` are none.

    Args:
        name: Of a variable, an argument or a field.
        value: What it is given, without quotes.
    """
    kind, value = names_a_secret(name), value.strip()
    if not kind or len(value) < 4 or value.lower() in _NO_VALUES or _REFERENCE.match(value):
        return False
    if kind == "phone":
        return len(re.findall(r"\d", value)) >= 7 and not re.search(r"[A-Za-z]{4}", value)
    if kind == "strong":
        return True
    return looks_made_up(value)


def looks_made_up(value: str) -> bool:
    """Whether a text has digits among letters, and is no name of a layer, a type, a file or a call."""
    if len(value) < 8 or re.search(r"\s", value) or not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    return not re.search(r"[(\[<{]", value) and not _is_made_of_words(value)


def _is_made_of_words(text: str) -> bool:
    """``model.layers.0.weight``, ``bfloat16``, ``step_100``: words and short numbers."""
    pieces = [piece for piece in re.split(r"[^A-Za-z0-9]+", text) if piece]
    return all(map(_is_word, pieces))


def _is_word(piece: str) -> bool:
    if piece.isdigit():
        return len(piece) <= 8
    if piece.isalpha():
        return (
            piece.islower()
            or piece.istitle()
            or piece.isupper()
            or bool(re.fullmatch(r"(?:[A-Z]?[a-z]+|[A-Z]+)+", piece))
        )
    found = re.fullmatch(r"([a-z]+|[A-Z]+)(\d{1,3})([a-z]?)", piece)
    return bool(found and (found[1].lower() in _OF_MODELS or len(found[1]) <= 2))


def is_host(name: str, value: str) -> bool:
    """Whether a name is given a machine's name or address: ``connect(host="db7")``."""
    words = re.findall(r"[A-Z]{2,}(?![a-z])|[A-Z]?[a-z]+", name[-60:])
    if not words or words[-1].lower() not in _HOSTS or value.lower() in ("localhost", *_NO_VALUES):
        return False
    return bool(re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9-]{2,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}", value))
