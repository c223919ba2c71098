"""What is known of the machine that a report comes from: people, hosts, folders, secrets."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote

from ckptdoctor.bugreport import shapes
from ckptdoctor.bugreport.placeholders import HOME
from ckptdoctor.bugreport.public_hosts import is_public
from ckptdoctor.bugreport.vocabulary import COMMON, SHORTEST_NAME, SHORTEST_SECRET, is_made_of

_SECRET_NAME = re.compile(
    r"TOKEN(?!S|IZ)|SECRET|PASSW|PASSPHRASE|_PASS$|CREDENTIAL|PRIVATE|COOKIE|WEBHOOK|CONNECTION_STRING|_DSN$|(?:^|_)PAT$"
    r"|(?:^|_)SAS$|(?:^|_)AUTH(?!OR)|(?:API|ACCESS|SIGNING|ENCRYPTION|ACCOUNT|STORAGE|LICEN[SC]E|SSH|GPG|DEPLOY|WANDB).?KEY"
    r"|_KEY(?:_ID)?$|^KEY$",
    re.IGNORECASE,
)

_HOST_NAME = re.compile(r"proxy$|(?:^|_)(?:MASTER_ADDR|HOSTNAMES?|HOST|REGISTRY|ENDPOINT)$", re.IGNORECASE)


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
            if not is_made_of(name, vocabulary) and len(name) >= SHORTEST_NAME
        },
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


def _with_real(folders: Mapping[str, str]) -> dict[str, str]:
    """The folders as named and with links resolved; those that every machine has tell nothing and stay."""
    both = [(path, name) for given, name in folders.items() for path in {given.rstrip("/\\"), os.path.realpath(given)}]
    return {path: name for path, name in both if len(path) > 1 and not shapes.SYSTEM.match(path + "/")}


def _secrets(environ: Mapping[str, str], urls: Iterable[str], vocabulary: frozenset[str]) -> dict[str, str]:
    found = {
        name: value
        for name, value in environ.items()
        if _SECRET_NAME.search(name) and is_secret(value.strip(), vocabulary)
    }
    for value in urls:
        for whole in re.findall(r"://([^\s/\"']+)@", value):
            for part in {whole, *whole.split(":", 1)}:
                for text in {part, unquote(part)}:
                    if is_secret(text, vocabulary):
                        found[f"a URL's credentials ({len(found)})"] = text
    return found


def is_secret(value: str, vocabulary: frozenset[str]) -> bool:
    """Whether a value is worth hiding: a word that every report has (``SECRET_BACKEND=transformers``) is not."""
    if value.lower() in vocabulary or value.startswith(("/", "~")):
        return False  # of a file that holds a secret, the path is treated as paths are
    if len(value) >= SHORTEST_SECRET:
        return True
    return len(value) >= 4 and bool(re.search(r"[A-Za-z]", value) and re.search(r"[^A-Za-z.]", value))
