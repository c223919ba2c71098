"""What is private by its form: URLs, addresses, and paths on somebody's disk."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from ckptdoctor.bugreport.delimiters import BACKSLASH, SLASH, WORD
from ckptdoctor.bugreport.placeholders import ELSEWHERE, EMAIL, HOME, HOST, IP, MAC
from ckptdoctor.bugreport.public_hosts import PRIVATE_PATHS, is_public

SYSTEM = re.compile(
    r"/(?:usr|lib\d*|bin|sbin|etc|proc|sys|dev|System|Library/Frameworks|nix/store"
    r"|opt/(?:conda|cuda|intel|nvidia|rocm|homebrew|python|venv|hostedtoolcache|amdgpu))/"
)
"""Folders that are the same on every machine."""

_EVERYBODYS = (".cache", ".conda", ".local", ".pyenv", "anaconda3", "mambaforge", "miniconda3", "miniforge3", "...")
"""Folders in a home that tell how Python was installed, and nothing of their owner."""

_PART = r"[\w.@+~=-]+"

_BELOW_HOME = re.compile(
    rf"<home>(?P<path>(?P<separator>{SLASH}){_PART}(?:{SLASH}{_PART})*|(?P<windows>\\{{1,8}}){_PART}(?:\\{{1,8}}{_PART})*)",
    re.IGNORECASE,
)

_PERSON = r"[^/\\\s\"'<>:%,;()\[\]{}|*?]+"

_HOMES = re.compile(
    rf"(?:{WORD}|(?<=-[ILR]))(?:"
    rf"(?:{SLASH}mnt{SLASH}[a-z])?(?<![\w.>-]){SLASH}(?:home|Users){SLASH}(?!Shared\b|Public\b){_PERSON}"
    rf"|(?<![\w.>-]){SLASH}(?:[\w.-]+{SLASH}){{1,3}}home{SLASH}{_PERSON}"
    rf"|(?<![\w.>-]){SLASH}root(?![\w.-])"
    rf"|[A-Z](?::|%3a){BACKSLASH}Users{BACKSLASH}(?:[^/\\\n\"'<>:|*?%]+?(?={BACKSLASH})|{_PERSON})"
    r")",
    re.IGNORECASE,
)

_URL = re.compile(
    rf"\b(?P<scheme>[a-z][a-z0-9+.-]*)(?P<slashes>:{SLASH}{{2}}(?:<token>@)?)(?P<host>\[[0-9a-f:.]+\]|[^\s/?#\"'<>:\\@()%]+)?"
    r"(?P<port>:\d+)?(?P<rest>[^\s\"'<>)\]}]*)",
    re.IGNORECASE,
)

_EMAIL = re.compile(r"(?<![\w.%+/-])[\w.%+-]+(?:@|%40)(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b")

_IPV4 = re.compile(r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?!\w|\.\d)")

_VERSION_BEFORE = re.compile(
    r"(?:[=<>~!]=\s*|[<>]\s*|\bv|(?:versions?|releases?|__version__)\W{0,8}(?:is\s|of\s)?|\.so\.|\[(?:conda|pip3?)\]\s+\S+\s+"
    r"|\b(?:cu(?:da|dnn|blas\w*|fft\w*|rand|solver|sparse\w*)|nccl|nvjitlink|nvtx|nvrtc|driver|rocm|miopen|hip|mkl|onednn|ucx|libfabric"
    r"|\w+[-_]cu\d\d)\W{1,40}|[A-Za-z]{2}[-_])$",
    re.IGNORECASE,
)

_VERSION_AFTER = re.compile(r"[+-](?:py|cp|cu|cpu|manylinux|linux|build)|\.(?:whl|tar|zip|dist-info)")

_ADDRESS_BEFORE = re.compile(
    r"(?:\b(?:host|addr(?:ess)?|server|ip|node|peer|from|to|at|on|connect(?:ed|ing)?|listen(?:ing)?|inet|ssh|ping|nameserver|gateway)\W{1,3})$",
    re.IGNORECASE,
)

_MAC = re.compile(
    r"(?<![\w:.-])(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?:\1[0-9a-f]{2}){0,14}(?![\w:-])"
    r"|(?<![\w.])(?=[0-9.]{0,13}[a-f])(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}(?![\w.])",
    re.IGNORECASE,
)

_INTERNAL = re.compile(
    r"(?<![\w.@/-])(?:[A-Za-z0-9_-]{1,63}\.){1,6}(?:internal|intra|intranet|corp|lan|localdomain|home\.arpa|svc|svc\.cluster\.local|local)"
    r"(?![\w(-]|\.\w)"
)
"""Names of machines in nets that only their owners know."""

_IPV6 = re.compile(r"(?<![\w:.])(?:fe80|f[cd][0-9a-f]{2}|[23][0-9a-f]{3}):[0-9a-f:]*[0-9a-f:](?![\w:])", re.IGNORECASE)

_ABSOLUTE = re.compile(r"(?:(?<![\w.<>/\\%@)-])|(?<=-[ILR])|(?<=\\[nrt]))/(?!/)[\w.@+~=-]+(?:/[\w.@+~=-]+)+/?")

_WINDOWS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:\\+(?![nrt\"'])[^\\/:*?\"'<>|\s]+(?:\\+[^\\/:*?\"'<>|\s]+)+")


def hide_places(text: str) -> str:
    """The text without homes, private hosts in URLs, and mail addresses."""
    text = _HOMES.sub(HOME, text)
    text = _BELOW_HOME.sub(_below_home, text)
    text = _URL.sub(_url, text)
    return _EMAIL.sub(lambda found: found[0] if _is_ssh(found[0]) else EMAIL, text)


def hide_addresses(text: str, versions: Collection[str]) -> str:
    """The text without names and addresses of machines.

    Args:
        text: Any text.
        versions: Versions of packages, some of which look like addresses.
    """
    text = _INTERNAL.sub(HOST, text)
    text = _MAC.sub(MAC, text)
    text = _IPV4.sub(lambda found: found[0] if _is_harmless(found, versions) else IP, text)
    return _IPV6.sub(_address_6, text)


def hide_paths(text: str) -> str:
    """The text without absolute paths of which nothing is known."""
    text = _ABSOLUTE.sub(_absolute, text)
    return _WINDOWS.sub(_windows, text)


def _is_harmless(found: re.Match[str], versions: Collection[str]) -> bool:
    """Whether what looks like an IPv4 address is the version of a package, or every machine's own address."""
    text, whole = found[0], found.string
    before, after = whole[max(0, found.start() - 60) : found.start()], whole[found.end() : found.end() + 12]
    if text in versions or text.startswith("127.") or text in ("0.0.0.0", "255.255.255.255"):  # noqa: S104
        return True
    is_version = bool(_VERSION_BEFORE.search(before) or _VERSION_AFTER.match(after) or text.startswith("0."))
    return is_version and not _ADDRESS_BEFORE.search(before)


def _is_ssh(text: str) -> bool:
    return text.lower().startswith("git@") and is_public(text[4:])


def _url(found: re.Match[str]) -> str:
    scheme, slashes, host, port, rest = (
        found["scheme"],
        found["slashes"],
        found["host"] or "",
        found["port"] or "",
        found["rest"],
    )
    if not host or host.startswith("<"):
        shown = (
            f"{ELSEWHERE}/{rest.rstrip('/').rpartition('/')[2]}"
            if scheme.lower().endswith("file") and "/" in rest[1:]
            else rest
        )
        return f"{scheme}{slashes}{host}{port}{shown}"
    if host.lower() in PRIVATE_PATHS:
        return f"{scheme}{slashes}{host}{port}{'' if rest in ('', '/') else '/' + ELSEWHERE}"
    if is_public(host) or host.startswith("127.") or scheme.lower().endswith("file"):
        return f"{scheme}{slashes}{host}{port}{rest}"
    return f"{scheme}{slashes}{HOST}{'' if rest in ('', '/') else '/' + ELSEWHERE}"


def _address_6(found: re.Match[str]) -> str:
    try:
        ipaddress.IPv6Address(found[0])
    except ValueError:
        return found[0]
    return IP


def _below_home(found: re.Match[str]) -> str:
    """A path in a home without the folders that only its owner knows."""
    separator = found["separator"] or found["windows"]
    parts = re.split(SLASH if found["separator"] else r"\\+", found["path"], flags=re.IGNORECASE)[1:]
    inside = next((at for at, part in enumerate(parts) if part in ("site-packages", "dist-packages")), None)
    if parts[0].lower() in _EVERYBODYS or len(parts) == 1 or inside == 0:
        return found[0]
    kept = parts[-1:] if inside is None else parts[inside:]
    return HOME + separator + separator.join(["...", *kept])


def _absolute(found: re.Match[str]) -> str:
    """A path of which nothing is known: what lies in a folder of packages, or its last part, can be told."""
    path = found[0]
    if SYSTEM.match(path + "/"):
        return path
    inside = re.search(r"/(?:site|dist)-packages(?:/.*)?$", path)
    return ELSEWHERE + (inside[0] if inside else "/" + path.rstrip("/").rpartition("/")[2])


def _windows(found: re.Match[str]) -> str:
    path = found[0]
    inside = re.search(r"\\+(?:site|dist)-packages(?:\\.*)?$", path, re.IGNORECASE)
    return ELSEWHERE + (inside[0] if inside else "\\" + re.split(r"[\\/]+", path.rstrip("\\/"))[-1])
