"""Secrets that are recognised by their form, without being known.

Two collections stand side by side: the rules of gitleaks, and our own, for services of machine learning and for text that is no
file: logs, headers, messages, escaped or cut.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

if sys.version_info >= (3, 11):
    pass
else:
    pass
from ckptdoctor.bugreport import gitleaks_rules
from ckptdoctor.bugreport.delimiters import SLASH, WORD
from ckptdoctor.bugreport.placeholders import PHONE, TOKEN, USER
from ckptdoctor.bugreport.secret_names import is_secret, names_a_secret

Replacement = str | Callable[[re.Match[str]], str]


def hide(text: str) -> str:
    """The text without what looks like a secret; hiding once more changes nothing."""
    for pattern, by in (*_BLOCKS, *_IN_URLS, *_FORMS):
        text = pattern.sub(by, text)
    text = gitleaks_rules.hide(text)
    for pattern, by in (*_HEADERS, *_PHONES):
        text = pattern.sub(by, text)
    text = _ASSIGNED.sub(_assigned, text)
    return _without_key_ends(text)


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
