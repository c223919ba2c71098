"""Secrets that are recognised without being known: by their form, by the name that they are given to, by their noise.

Two collections stand side by side: the rules of gitleaks, as its authors publish them (``gitleaks/gitleaks.toml``, MIT), and
our own, for services of machine learning and for text that is no file: logs, headers, messages, escaped or cut.
"""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOKEN, USER, PHONE = "<token>", "<user>", "<phone>"

# Runs are bounded everywhere: what a report holds may have been written to stall whoever reads it.
SLASH = r"(?:/|\\{1,8}/|\\{1,8}u002f|%(?:25){0,3}2f)"
# Where a word begins: also behind an escape, whose last character may be a letter.
WORD = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9a-fA-F][0-9a-fA-F])|(?<=u00[0-9a-fA-F][0-9a-fA-F])|(?<=\\[nrt]))"

Replacement = str | Callable[[re.Match[str]], str]


def hide(text: str) -> str:
    """The text without what looks like a secret; hiding once more changes nothing."""
    for pattern, by in (*_BLOCKS, *_IN_URLS, *_FORMS):
        text = pattern.sub(by, text)
    text = _hide_published(text)
    for pattern, by in (*_HEADERS, *_PHONES):
        text = pattern.sub(by, text)
    text = _ASSIGNED.sub(_assigned, text)
    return _without_key_ends(text)


def hide_noise(text: str) -> str:
    """The text without runs of characters that no person thought of; only for text of which nothing random is needed."""
    return _RUN.sub(lambda found: TOKEN if _is_noise(found) else found[0], text)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# -- by the name ------------------------------------------------------------------------------------------------------

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


_REFERENCE = re.compile(
    r"<|\$|%\(|\{|\*{3}|(?:os|self|args|config|cfg|settings|env|kwargs|opts?|options)\.|getenv|environ\b|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$"
    r"|[~.]{0,2}/|[\w.-]+\($"
)
"""Values that stand for another one: a placeholder, a variable, a file."""


# -- by noise ---------------------------------------------------------------------------------------------------------

_RUN = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{20,4096}={0,2}(?![A-Za-z0-9+/=_-])")
_HASHES = re.compile(
    r"(?:commit|revision|rev|sha\d*|md5|hash|checksum|digest|blob|tree|fingerprint)\W{1,12}$", re.IGNORECASE
)


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


def _entropy(text: str) -> float:
    """Bits a character, as gitleaks counts them."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values()) if text else 0.0


# -- gitleaks ---------------------------------------------------------------------------------------------------------

_NOT_USED = {
    "generic-api-key": "our own judges names and values",
    "curl-auth-header": "our own reads headers; this one takes time without bounds",
    "curl-auth-user": "takes time without bounds",
    "kubernetes-secret-yaml": "for files of one kind only",
    "private-key": "our own knows blocks that are cut",
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


@cache
def published_rules() -> tuple[_Rule, ...]:
    """The rules of gitleaks that judge text by itself, for Python's ``re``."""
    file = Path(__file__).parent / "gitleaks" / "gitleaks.toml"
    rules = tomllib.loads(file.read_text(encoding="utf-8"))["rules"]
    return tuple(
        _Rule(tuple(rule["keywords"]), _translated(rule["regex"]), rule.get("secretGroup", 0), rule.get("entropy", 0.0))
        for rule in rules
        if "regex" in rule and rule["id"] not in _NOT_USED
    )


def _translated(regex: str) -> re.Pattern[str]:
    """A pattern of Go's as one of Python's; it may end before any sign, since text here is more than files of code."""
    flags = re.ASCII | (re.IGNORECASE if "(?i)" in regex else 0)
    regex = regex.replace("(?i)", "").replace(r"\z", r"\Z").replace(_END, r"(?![A-Za-z0-9])")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # brackets in a set, which mean the same to Go
        return re.compile(re.sub(r"^(\(?)\\b", lambda found: found[1] + WORD, regex), flags)


def _hide_published(text: str) -> str:
    lower = text.lower()
    for rule in published_rules():
        if any(keyword in lower for keyword in rule.keywords):
            text = rule.hide(text)
    return text


# -- our own ----------------------------------------------------------------------------------------------------------

_BLOCKS: list[tuple[re.Pattern[str], Replacement]] = [
    # Key blocks, also without their end; what is left of one that lacks its beginning is looked for in `_without_key_ends`.
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
            r"(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|(?:[A-Za-z0-9+/=:, \n\r-]|\\+[nr])*)",
            re.DOTALL,
        ),
        TOKEN,
    ),
    (re.compile(r"\b(ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-\S+) AAAA[\w+/=]+(?: \S+@\S+)?"), rf"\g<1> {TOKEN}"),
]
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def _without_key_ends(text: str) -> str:
    """Takes out private keys whose beginning was cut off: whatever could be base64 before their last line."""
    while (end := _KEY_END.search(text)) is not None:
        # Read backwards, since a pattern that ends here could begin anywhere.
        before = re.match(r"[A-Za-z0-9+/=\s\\]{0,8192}", text[: end.start()][::-1])
        text = text[: end.start() - (len(before[0]) if before else 0)] + TOKEN + text[end.end() :]
    return text


_IN_URLS: list[tuple[re.Pattern[str], Replacement]] = [
    (re.compile(rf"(:{SLASH}{{2}})[^\s/\"'<>\\]+@", re.IGNORECASE), rf"\g<1>{TOKEN}@"),
    (
        re.compile(
            r"([?&;](?:[\w-]{0,40}(?:token|secret|signature|password|credential|api[_-]?key)|key|sig|auth|access_token)=)[^&\s\"'<>]+",
            re.IGNORECASE,
        ),
        rf"\g<1>{TOKEN}",
    ),
    (re.compile(r"(\bsig=)[\w%+/-]{20,}={0,2}", re.IGNORECASE), rf"\g<1>{TOKEN}"),
    # Webhooks, whose path is the secret.
    (re.compile(r"(\bservices/)T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/\w{8,}"), rf"\g<1>{TOKEN}"),
    (
        re.compile(
            r"(\b(?:(?:api/)?(?:incoming)?web)?hooks?(?:/v\d)?/)(?=[\w/-]{0,80}\d)[\w-]{6,}(?:/[\w@-]{4,}){0,5}",
            re.IGNORECASE,
        ),
        rf"\g<1>{TOKEN}",
    ),
    (re.compile(r"(\bwebhookb2?/)[\w@/-]{16,}", re.IGNORECASE), rf"\g<1>{TOKEN}"),
]


def _form(pattern: str, flags: int = re.IGNORECASE) -> tuple[re.Pattern[str], Replacement]:
    return re.compile(WORD + pattern, flags), TOKEN


_FORMS: list[tuple[re.Pattern[str], Replacement]] = [
    _form(r"(?:hf|api_org)_[A-Za-z0-9]{16,}"),
    _form(r"sk-(?=[\w-]*\d)[A-Za-z0-9_-]{16,}"),
    _form(r"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[\w.-]{16,})"),
    _form(r"(?:xox[abeprs]-[\w-]{10,}|xapp-[\w-]{20,}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|nvapi-[\w-]{20,}|r8_\w{30,})", 0),
    _form(r"(?:pypi-[\w-]{40,}|npm_\w{30,}|dckr_pat_[\w-]{20,}|local-[0-9a-f]{40}|wandb_v1_\w{20,})"),
    _form(r"(?:AKIA|ASIA|AROA|AIDA|ABSK|LTAI)[0-9A-Z]{16}[0-9A-Za-z]{0,12}(?![A-Za-z0-9])"),
    # A token in three parts, and one of Neptune's, which is JSON in base64.
    _form(r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", 0),
    _form(r"eyJ[A-Za-z0-9+/_-]{40,}={0,2}", 0),
    _form(r"(?:gsk|csk|fw|pplx|tgp_v1|sn|rpa|together|lsv2_(?:pt|sk))[_-](?=\w*\d)[A-Za-z0-9_]{24,}", 0),
    _form(r"xai-[A-Za-z0-9]{24,}", 0),
    _form(r"SG\.[\w-]{12,}\.[\w-]{12,}", 0),
    _form(r"dapi(?=[a-f]*\d)[0-9a-f]{24,}(?:-\d)?"),
    _form(r"(?:hv[sbr]\.[\w-]{20,}|s\.(?=[A-Za-z]*\d)[A-Za-z0-9]{24}(?![\w.]))", 0),
    _form(r"do[opr]_v1_[0-9a-f]{16,}"),
    _form(r"(?:[srp]k_(?:live|test)_|whsec_|rk_(?:live|test)_)[A-Za-z0-9]{10,}", 0),
    _form(r"\d{7,12}:AA[\w-]{30,}", 0),
    _form(r"(?:ms|secret)-?_?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    _form(
        r"(?:shp(?:at|ca|pa|ss)_[0-9a-f]{20,}|dop_\w{20,}|sbp_[0-9a-f]{30,}|tvly-[\w-]{16,}|jina_\w{30,}|lin_api_\w{20,})"
    ),
    # Keys of Azure, in base64 of 64 and of 32 bytes.
    (re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{86}=="), TOKEN),
    (
        re.compile(
            r"(\b(?:Account|SharedAccess|Primary|Secondary)Key\s{0,3}[=:]\s{0,3})[A-Za-z0-9/+=]{20,}", re.IGNORECASE
        ),
        rf"\g<1>{TOKEN}",
    ),
    (
        re.compile(r"(\bSharedAccessSignature\s{0,3}[=:]?\s{0,3})(?:sr=|sv=)[^\s\"';]{10,}", re.IGNORECASE),
        rf"\g<1>{TOKEN}",
    ),
    _form(r"[A-Za-z0-9]{3}8Q~[\w~.-]{30,40}", 0),
    # A secret key of AWS has no mark but its length and that it looks like nothing else.
    (re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"), lambda found: _unless_it_tells(found[0])),
    (re.compile(r"((?:wandb|\bkey)[^\n0-9a-f]{0,3}[^\n]{0,40}?)\b[0-9a-f]{40}\b", re.IGNORECASE), rf"\g<1>{TOKEN}"),
    (re.compile(r"\b(GPU-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE), r"\g<1><id>"),
]


def _unless_it_tells(text: str) -> str:
    """A placeholder for what looks like noise; a path or a hash in hexadecimal digits stays."""
    counts = [sum(map(is_one, text)) for is_one in (str.isupper, str.islower, str.isdigit)]
    return TOKEN if counts[0] >= 6 and counts[1] >= 6 and counts[2] >= 1 else text


_HEADERS: list[tuple[re.Pattern[str], Replacement]] = [
    (
        re.compile(r"(\b(?:proxy-)?authorization\\*[\"']?\s*[:=]\s*)(\\*[\"'])?[^\"'\n\\]+", re.IGNORECASE),
        rf"\g<1>\g<2>{TOKEN}",
    ),
    (re.compile(r"\b(bearer)\s+(?=[\w.~+/-]*\d|[\w.~+/-]{16})[\w.~+/-]{8,}=*", re.IGNORECASE), rf"\g<1> {TOKEN}"),
    (re.compile(r"\b((?:set-)?cookie\s*:\s*)[^\"'\n]+", re.IGNORECASE), rf"\g<1>{TOKEN}"),
    (
        re.compile(
            r"\b((?:x-)?[\w-]{0,30}(?:api-key|auth-token)\\*[\"']?\s*:\s*)(?!\\*[\"']?<)[^\s\"',}]{6,}", re.IGNORECASE
        ),
        rf"\g<1>{TOKEN}",
    ),
    (
        re.compile(
            r"(--(?:[\w-]*[-_])?(?:token|password|passwd|secret|key)(?:=|\s+))(?!-)[^\s\"']*[A-Za-z][^\s\"']*",
            re.IGNORECASE,
        ),
        rf"\g<1>{TOKEN}",
    ),
    (re.compile(r"(\blogin\s+)\S+(\s+password\s+)\S+", re.IGNORECASE), rf"\g<1>{USER}\g<2>{TOKEN}"),
]

_DIGITS = r"\d(?:[ ()./-]{0,2}\d)"
_PHONES: list[tuple[re.Pattern[str], Replacement]] = [
    (re.compile(rf"(?<![\w.+*/^-])\+(?=[1-9]){_DIGITS}{{7,13}}(?![\w.])"), PHONE),
    (re.compile(r"(?<![\w.-])(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}(?![\w.-])"), PHONE),
    (
        re.compile(
            rf"(\b(?:phone|tel(?:ephone)?|mobile|fax|whatsapp|call(?: me)?(?: at)?)\W{{1,6}})[+(]?{_DIGITS}{{6,13}}(?![\w.])",
            re.IGNORECASE,
        ),
        rf"\g<1>{PHONE}",
    ),
]

_QUOTED = r"\\*\"[^\"\n]*\"|\\*'[^'\n]*'"
_ASSIGNED = re.compile(
    r"(?P<head>(?<![A-Za-z0-9])(?P<name>[\w.-]{0,60}?"
    r"(?:token|secret|pass|pwd|pw|key|cred|auth|cookie|sess|webhook|phone|mobile|sig|pat|sas|dsn|csrf|pin|connection_?string)[\w-]{0,16})"
    r"\\*[\"']?[\])]?\s{0,3}(?::=|=>|={1,2}|:)\s{0,3}[bru]{0,2})"
    rf"(?P<value>{_QUOTED}|[^\s\"',;(){{}}\[\]<>\\]+(?![\w(\[.\\]))",
    re.IGNORECASE,
)
"""A name and what it is given, as a shell, Python, JSON or YAML has them."""


def _assigned(found: re.Match[str]) -> str:
    """What is given to a name that a secret has, hidden; quotes stay."""
    value, head = found["value"], found["head"]
    start, end = re.match(r"\\*[\"']?", value), re.search(r"\\*[\"']?$", value)
    opening, closing = (start[0] if start else ""), (end[0] if end else "")
    inner = value[len(opening) : len(value) - len(closing)] if opening else value
    if not is_secret(found["name"], inner) or (not opening and _is_code(inner)):
        return found[0]
    return (
        head + opening + (PHONE if names_a_secret(found["name"]) == "phone" else TOKEN) + (closing if opening else "")
    )


def _is_code(value: str) -> bool:
    """Whether a value without quotes is another name for the same thing, such as ``password=db_password``."""
    return bool(re.fullmatch(r"[A-Za-z_][\w.]*", value)) and bool(names_a_secret(value.rpartition(".")[2]))


# -- hosts ------------------------------------------------------------------------------------------------------------

HOST = "<host>"
_HOSTS = _words("host hostname server endpoint addr address proxy registry broker nameserver gateway")


def is_host(name: str, value: str) -> bool:
    """Whether a name is given a machine's name or address: ``connect(host="db7")``."""
    words = re.findall(r"[A-Z]{2,}(?![a-z])|[A-Z]?[a-z]+", name[-60:])
    if not words or words[-1].lower() not in _HOSTS or value.lower() in ("localhost", *_NO_VALUES):
        return False
    return bool(re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9-]{2,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}", value))
