"""Takes out of text what is nobody else's business: secrets, people, machines, and where things lie on them.

What is known of this machine (``Facts``) is replaced wherever it stands and however it is encoded; what is private by its
form (tokens, addresses, other people's home folders) is recognised without knowing it. Facts that a maintainer needs stay:
versions, files of packages with their lines, error messages.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from ckptdoctor import catalog
from ckptdoctor.bugreport import forms
from ckptdoctor.bugreport.forms import SLASH, TOKEN, USER, WORD

HOST, HOME, EMAIL, IP, MAC = "<host>", "<home>", "<email>", "<ip>", "<mac>"
PROJECT, VENV, CACHE, MODEL, ELSEWHERE = "<project>", "<venv>", "<cache>", "<model>", "<path>"

_SHORTEST_SECRET = 8
_SHORTEST_NAME = 3
_SHORTEST_PART = 6
"""A name of so many characters is replaced inside of longer words too."""

_WORDS = (
    "admin administrator adam alpha amd app apps attention auto backward base batch bench beta bin build builder "
    "cache checkpoint checkpointing ci cloud cluster code conda config container core cpu cuda data debian debug deepspeed "
    "default demo dev docker engine env error ec2 file fire forward function gemma git github gitlab glm gpu gradient guest "
    "home host huggingface index job jupyter kernel lab layer layers lib linux llama local localhost lora loss "
    "machine main mask master max message mistral model models module name net nobody node none notebook null nvidia oracle "
    "package packages partial path peft phi pip pod post probe process project proxy pypi python pytorch qwen ray report "
    "repro root rule run runner sandbox server service shared slurm stack state step sys system tensor test tester tests "
    "tiny token torch train trainer training transformers trl tune ubuntu user username users vagrant var venv "
    "version virtual vm windows work worker workspace zero"
)
COMMON = frozenset({*_WORDS.split(), *catalog.trainers()})
"""Names of users and machines that are words of every report: they are replaced only where they can be nothing else."""

PUBLIC_HOSTS = (
    "arxiv.org", "anaconda.com", "anaconda.org", "aka.ms", "apache.org", "cppreference.com", "debian.org",
    "deepspeed.ai", "discuss.pytorch.org", "docker.com", "docs.rs", "github.com", "github.io", "githubusercontent.com",
    "gitlab.com", "google.com", "hf.co", "huggingface.co", "intel.com", "json-schema.org", "localhost", "microsoft.com",
    "mozilla.org", "msgspec.dev", "numpy.org", "nvidia.com", "openai.com", "pydantic.dev", "pypa.io", "pypi.org", "python.org",
    "pythonhosted.org", "pytorch.org", "readthedocs.io", "scipy.org", "stackoverflow.com", "w3.org",
    "docs.wandb.ai", "wikipedia.org",
    *(host for trainer in catalog.trainers().values() for host in trainer.hosts),
)  # fmt: skip
"""Hosts, with all below them, that tell nothing about who names them."""

_OF_THEIR_USERS = ("docs.google.com", "drive.google.com", "sheets.google.com", "storage.google.com")
"""Public hosts whose paths tell of those who use them."""

_SECRET_NAME = re.compile(
    r"TOKEN(?!S|IZ)|SECRET|PASSW|PASSPHRASE|_PASS$|CREDENTIAL|PRIVATE|COOKIE|WEBHOOK|CONNECTION_STRING|_DSN$|(?:^|_)PAT$"
    r"|(?:^|_)SAS$|(?:^|_)AUTH(?!OR)|(?:API|ACCESS|SIGNING|ENCRYPTION|ACCOUNT|STORAGE|LICEN[SC]E|SSH|GPG|DEPLOY|WANDB).?KEY"
    r"|_KEY(?:_ID)?$|^KEY$",
    re.IGNORECASE,
)
_HOST_NAME = re.compile(r"proxy$|(?:^|_)(?:MASTER_ADDR|HOSTNAMES?|HOST|REGISTRY|ENDPOINT)$", re.IGNORECASE)

_BACKSLASH = r"(?:\\{1,8}|/|%(?:25){0,3}5c)"


@dataclass(frozen=True)
class Facts:
    """What is known of the machine that a report comes from.

    Attributes:
        users: Names of its people.
        hosts: Names of the machine, and hosts that only its owners know.
        folders: Folders by what stands for them.
        secrets: Values that must never leave, by the name of the variable that holds them.
        vocabulary: Words that the report is made of, lower case: no name takes them out of it.
        versions: Versions of packages, some of which look like addresses.
        private: Names of packages, repositories and folders that only their owners know, by what stands for them.
    """

    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    vocabulary: frozenset[str] = frozenset()
    versions: frozenset[str] = frozenset()
    private: Mapping[str, str] = field(default_factory=dict)


def facts(
    environ: Mapping[str, str],
    folders: Mapping[str, str],
    urls: Iterable[str] = (),
    packages: Mapping[str, str] | None = None,
    private: Mapping[str, str] | None = None,
    people: Iterable[str] = (),
) -> Facts:
    """Look at the machine.

    Args:
        environ: The environment variables.
        folders: Folders by what stands for them, beside the homes.
        urls: Indexes, proxies and hosts out of pip's settings.
        packages: What is installed in the target and public, name to version.
        private: Names that only their owners know, by what stands for them.
        people: Names of people beside the account's.
    """
    homes = {environ.get(name, "") for name in ("HOME", "USERPROFILE")} | {os.path.expanduser("~")}  # noqa: PTH111
    users = {*people, *(environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER"))}
    for name, home in _account():
        users.add(name)
        homes.add(home)
    homes |= {os.path.realpath(home) for home in homes if home}
    users |= {re.split(r"[/\\]", home.rstrip("/\\"))[-1] for home in homes if home}
    values = [*urls, *(value for name, value in environ.items() if "://" in value or _HOST_NAME.search(name))]
    words = {part for name in packages or {} for part in re.split(r"[-_.]", name.lower())}
    vocabulary = frozenset({*COMMON, *words, *(name.lower() for name in packages or {})})
    return Facts(
        users=tuple(sorted(filter(None, users))),
        hosts=tuple(sorted({*_own_hosts(environ), *(host for value in values for host in _hosts_in(value))})),
        folders={**_with_real(folders), **{home.rstrip("/\\"): HOME for home in homes if len(home) > 1}},
        secrets=_secrets(environ, values, vocabulary),
        vocabulary=vocabulary,
        versions=frozenset((packages or {}).values()),
        private={
            name: by
            for name, by in (private or {}).items()
            if not _is_made_of(name, vocabulary) and len(name) >= _SHORTEST_NAME
        },
    )


def _is_made_of(name: str, vocabulary: frozenset[str]) -> bool:
    """Whether a name has no part that a report has not anyway."""
    return (
        all(part in vocabulary for part in re.split(r"[-_. /]+", name.lower()))
        or re.sub(r"[-_.]", "", name.lower()) in vocabulary
    )


def _account() -> list[tuple[str, str]]:
    """Names and home of the account that this runs under, as the system has them."""
    with suppress(ImportError, KeyError, OSError):
        import pwd

        entry = pwd.getpwuid(os.getuid())
        full = entry.pw_gecos.split(",")[0]
        return [(entry.pw_name, entry.pw_dir), *([(full, entry.pw_dir)] if " " in full else [])]
    return []


def _own_hosts(environ: Mapping[str, str]) -> set[str]:
    whole = {environ.get(name, "") for name in ("HOSTNAME", "HOST", "COMPUTERNAME")} | {socket.gethostname()}
    with suppress(AttributeError):
        whole.add(os.uname().nodename)
    return {one for name in whole for one in (name, name.split(".")[0]) if one}


def _hosts_in(value: str) -> set[str]:
    """Hosts that a setting names, as a URL or by themselves; public ones are left out."""
    found = set(re.findall(r"://(?:[^\s/\"']*@)?([A-Za-z0-9_.-]+)", value))
    if "://" not in value and "/" not in value:
        found |= set(re.findall(r"(?:^|[\s,;@])\*?\.?([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)", value))
    found = {name.strip(".") for name in found if not re.fullmatch(r"[\d.]*", name) and not is_public(name)}
    domains = {".".join(name.split(".")[-2:]) for name in found if name.count(".") > 1 and len(name.split(".")[-2]) > 3}
    return {*found, *(name for name in domains if not is_public(name))}


def is_public(host: str) -> bool:
    """Whether a host is one that everybody uses."""
    name = host.lower().strip(".")
    return any(name == public or name.endswith(f".{public}") for public in PUBLIC_HOSTS)


def _with_real(folders: Mapping[str, str]) -> dict[str, str]:
    """The folders as named and with links resolved; those that every machine has tell nothing and stay."""
    both = [(path, name) for given, name in folders.items() for path in {given.rstrip("/\\"), os.path.realpath(given)}]
    return {path: name for path, name in both if len(path) > 1 and not _SYSTEM.match(path + "/")}


def _secrets(environ: Mapping[str, str], urls: Iterable[str], vocabulary: frozenset[str]) -> dict[str, str]:
    found = {
        name: value
        for name, value in environ.items()
        if _SECRET_NAME.search(name) and _is_secret(value.strip(), vocabulary)
    }
    for value in urls:
        for whole in re.findall(r"://([^\s/\"']+)@", value):
            for part in {whole, *whole.split(":", 1)}:
                for text in {part, unquote(part)}:
                    if _is_secret(text, vocabulary):
                        found[f"a URL's credentials ({len(found)})"] = text
    return found


def _is_secret(value: str, vocabulary: frozenset[str]) -> bool:
    """Whether a value is worth hiding: a word that every report has (``SECRET_BACKEND=transformers``) is not."""
    if value.lower() in vocabulary or value.startswith(("/", "~")):
        return False  # of a file that holds a secret, the path is treated as paths are
    if len(value) >= _SHORTEST_SECRET:
        return True
    return len(value) >= 4 and bool(re.search(r"[A-Za-z]", value) and re.search(r"[^A-Za-z.]", value))


class Redactor:
    """Replaces what is private, everywhere by the same placeholders."""

    def __init__(self, known: Facts) -> None:
        self._known = known
        self._secrets = [(name, _either(_forms(value), value)) for name, value in known.secrets.items()]
        self._secrets.sort(key=lambda one: -len(one[1].pattern))
        self._folders = _folders(known.folders)
        self._identities = list(_identities(known))

    def clean(self, text: str) -> str:
        """The text without what is private; cleaning it once more changes nothing."""
        if not text:
            return text
        for _, pattern in self._secrets:
            text = pattern.sub(TOKEN, text)
        text = forms.hide(text)
        for pattern, placeholder in self._folders:
            text = pattern.sub(placeholder, text)
        text = _HOMES.sub(HOME, text)
        text = _BELOW_HOME.sub(_below_home, text)
        text = _URL.sub(_url, text)
        text = _EMAIL.sub(lambda found: found[0] if _is_ssh(found[0]) else EMAIL, text)
        for pattern, by in self._identities:
            text = pattern.sub(by, text)
        text = _INTERNAL.sub(HOST, text)
        text = _MAC.sub(MAC, text)
        text = _IPV4.sub(self._address, text)
        text = _IPV6.sub(_address_6, text)
        text = _ABSOLUTE.sub(_absolute, text)
        return _WINDOWS.sub(_windows, text)

    def clean_json(self, value: Any) -> Any:
        """A copy of plain data with every string in it cleaned, keys too."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {
                self.clean(str(key)): TOKEN if _is_secret_field(str(key), one) else self.clean_json(one)
                for key, one in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.clean_json(one) for one in value]
        return value

    def learn(self, values: Iterable[str], where: str) -> None:
        """Replace from now on, wherever they stand, secrets that were found in a file.

        Args:
            values: The secrets.
            where: What a leak of one is called by.
        """
        for value in values:
            if len(value) >= _SHORTEST_PART and _is_secret(value, self._known.vocabulary) and TOKEN not in value:
                self._secrets.append((where, _either(_forms(value), value)))
        self._secrets.sort(key=lambda one: -len(one[1].pattern))

    def identifier(self, name: str) -> str:
        """A name in a program without the names of people, machines and packages that only their owners know."""
        for pattern, by in self._identities:
            name = pattern.sub(re.sub(r"<([a-z]\w*)>", r"\1", by), name)
        return name

    def leaks(self, text: str) -> list[str]:
        """Names of the variables whose values stand in a text after all."""
        return [name for name, pattern in self._secrets if pattern.search(text)]

    def _address(self, found: re.Match[str]) -> str:
        """An IPv4 address, unless it is the version of a package, or every machine's own."""
        text, whole = found[0], found.string
        before, after = whole[max(0, found.start() - 60) : found.start()], whole[found.end() : found.end() + 12]
        if text in self._known.versions or text.startswith("127.") or text in ("0.0.0.0", "255.255.255.255"):  # noqa: S104
            return text
        is_version = bool(_VERSION_BEFORE.search(before) or _VERSION_AFTER.match(after) or text.startswith("0."))
        return text if is_version and not _ADDRESS_BEFORE.search(before) else IP


def _forms(secret: str) -> set[str]:
    """A secret as it is, its longer lines, and in base64 at every offset, as a Basic header holds it."""
    found = {secret, secret.strip(), *(line.strip() for line in secret.splitlines() if len(line.strip()) >= 16)}
    if len(secret) >= _SHORTEST_SECRET:
        for offset in range(3):
            coded = base64.b64encode(b"\0" * offset + secret.encode("utf-8", "replace")).decode()
            found.add(coded[4 if offset else 0 :].rstrip("=")[:-1])
    return found


def _either(texts: Iterable[str], whole: str) -> re.Pattern[str]:
    body = "|".join(_encoded(text) for text in sorted(texts, key=len, reverse=True) if text)
    if len(whole) < _SHORTEST_SECRET:  # so short, it must stand alone
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


def _folders(folders: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    """Patterns of folders, the longest first, so that what lies in a home keeps its own placeholder."""
    made = []
    for path, placeholder in sorted(folders.items(), key=lambda one: -len(one[0])):
        # `/models` as a folder of the user's must not eat `transformers/models`.
        is_short = len(re.findall(r"[/\\]", path)) < 2
        start = r"(?:(?<![\w.>-])|(?<=-[ILR])|(?<=\\[nrt]))" if is_short else ""
        made.append((re.compile(f"{start}{_encoded(path)}(?![A-Za-z0-9_])", re.IGNORECASE), placeholder))
    return made


def _identities(known: Facts) -> Iterable[tuple[re.Pattern[str], str]]:
    """Patterns of the names of people and machines, the longest first."""
    both = [(name, HOST) for name in known.hosts] + [(name, USER) for name in known.users] + [*known.private.items()]
    for name, placeholder in sorted(set(both), key=lambda one: -len(one[0])):
        body = _encoded(name)
        if placeholder not in (HOST, USER):
            yield re.compile(f"{WORD}{_any_separator(name)}(?![A-Za-z0-9])", re.IGNORECASE), placeholder
        elif _is_word(name, known.vocabulary):
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
        elif len(name) >= _SHORTEST_PART and not any(name.lower() in word for word in known.vocabulary):
            sub = r"(?:(?<![\w.-])(?:[\w-]{1,63}\.){1,6})?" if placeholder == HOST and "." in name else ""
            yield re.compile(f"{sub}{body}", re.IGNORECASE), placeholder
        else:
            yield re.compile(f"{WORD}{body}(?![A-Za-z0-9])", re.IGNORECASE), placeholder


def _any_separator(name: str) -> str:
    """A name as a package, a module, a file of an archive or a repository writes it."""
    return r"[-_. ]".join(_encoded(part) for part in re.split(r"[-_. ]", name))


def _is_word(name: str, vocabulary: frozenset[str]) -> bool:
    return len(name) < _SHORTEST_NAME or name.lower() in COMMON or name.lower() in vocabulary or name.isdigit()


def _is_secret_field(key: str, value: Any) -> bool:
    """Whether a field of plain data holds a secret by its name; ``eos_token`` and the like do not."""
    return isinstance(value, str) and value != TOKEN and forms.is_secret(key, value)


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
    if host.lower() in _OF_THEIR_USERS:
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
    if _SYSTEM.match(path + "/"):
        return path
    inside = re.search(r"/(?:site|dist)-packages(?:/.*)?$", path)
    return ELSEWHERE + (inside[0] if inside else "/" + path.rstrip("/").rpartition("/")[2])


def _windows(found: re.Match[str]) -> str:
    path = found[0]
    inside = re.search(r"\\+(?:site|dist)-packages(?:\\.*)?$", path, re.IGNORECASE)
    return ELSEWHERE + (inside[0] if inside else "\\" + re.split(r"[\\/]+", path.rstrip("\\/"))[-1])


_SYSTEM = re.compile(
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
    rf"|[A-Z](?::|%3a){_BACKSLASH}Users{_BACKSLASH}(?:[^/\\\n\"'<>:|*?%]+?(?={_BACKSLASH})|{_PERSON})"
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
