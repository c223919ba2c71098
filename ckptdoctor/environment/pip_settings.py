"""pip's own settings, read without pip and translated for uv.

uv makes an overlay, but a machine is set up for pip: its indexes, certificates and constraints stand in pip's
configuration. Neither the target nor ckptdoctor's own environment need have pip, so the files are parsed here.
"""

from __future__ import annotations

import configparser
import locale
import os
import re
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import platformdirs
from packaging.utils import canonicalize_name

from ckptdoctor.errors import TargetError

UNIX_GLOBAL = Path("/etc")
"""Where pip looks for a ``pip.conf`` on Unix besides the XDG folders."""
_BASENAME = "pip.conf"
_ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url"}
_YES = frozenset({"y", "yes", "t", "true", "on", "1"})
_NO = frozenset({"n", "no", "f", "false", "off", "0"})


@dataclass(frozen=True)
class PipSettings:
    """The settings of pip that decide what it can install; empty means not set."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    cert: str = ""
    client_cert: str = ""
    proxy: str = ""
    timeout: str = ""
    """Seconds."""
    pre: bool = False
    no_binary: tuple[str, ...] = ()
    """Package names, or ``:all:``."""
    only_binary: tuple[str, ...] = ()


def read(python_prefix: Path | None, environ: Mapping[str, str]) -> PipSettings:
    """What pip would go by, were it run in an environment.

    Args:
        python_prefix: The environment's ``sys.prefix``, where its own pip configuration stands; None leaves that out.
        environ: Environment variables.
    """
    values: dict[str, str] = {}
    binaries: list[tuple[str, str]] = []
    for name, value in _in_order(python_prefix, environ):
        if not value:
            continue  # pip ignores empty values, so an empty one does not clear what an earlier layer set.
        values[name] = value
        if name in {"no-binary", "only-binary"}:
            binaries.append((name, value))
    no_binary, only_binary = _binaries(binaries)
    return PipSettings(
        index_url=values.get("index-url", ""),
        extra_index_urls=_several(values, "extra-index-url"),
        find_links=_several(values, "find-links"),
        constraints=_several(values, "constraint"),
        no_index=_flag(values, "no-index"),
        trusted_hosts=_several(values, "trusted-host"),
        cert=values.get("cert", ""),
        client_cert=values.get("client-cert", ""),
        proxy=values.get("proxy", ""),
        timeout=values.get("timeout", ""),
        pre=_flag(values, "pre"),
        no_binary=no_binary,
        only_binary=only_binary,
    )


def uv_arguments(settings: PipSettings, environ: Mapping[str, str] | None = None) -> list[str]:
    """Options of ``uv pip install`` that make it install what pip would.

    Args:
        settings: pip's settings.
        environ: Environment variables that uv gets; one of its own (``UV_INDEX``) beats pip's setting.

    Raises:
        TargetError: A constraints file does not exist.
    """
    environ = environ or {}
    arguments = _index_arguments(settings, environ)
    if not _set(environ, "UV_CONSTRAINT"):
        arguments += _each("--constraints", _constraint_files(settings))
    if not _set(environ, "UV_INSECURE_HOST"):
        arguments += _each("--allow-insecure-host", settings.trusted_hosts)
    if settings.pre and not _set(environ, "UV_PRERELEASE"):
        arguments += ["--prerelease", "allow"]
    if not _set(environ, "UV_NO_BINARY", "UV_NO_BINARY_PACKAGE"):
        arguments += _each("--no-binary", settings.no_binary)
    if not _set(environ, "UV_NO_BUILD", "UV_NO_BUILD_PACKAGE"):
        arguments += _each("--only-binary", settings.only_binary)
    return arguments


def uv_environment(settings: PipSettings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables for uv, to be added to those that are there.

    Args:
        settings: pip's settings.
        environ: Environment variables that uv gets anyway.
    """
    environ = environ or {}
    added: dict[str, str] = {}
    # pip goes through requests, which knows variables of its own for certificates.
    cert = settings.cert or _first(environ, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    if settings.cert or (cert and not _set(environ, "SSL_CERT_FILE", "SSL_CERT_DIR")):
        added["SSL_CERT_DIR" if Path(cert).is_dir() else "SSL_CERT_FILE"] = cert
    elif not _set(environ, "SSL_CERT_FILE", "SSL_CERT_DIR") and _has_system_certificates():
        # pip trusts the system's certificates, uv by itself does not; the older name is for older releases of uv.
        added.update(UV_SYSTEM_CERTS="true", UV_NATIVE_TLS="true")
    if settings.client_cert:
        added["SSL_CLIENT_CERT"] = settings.client_cert
    if settings.proxy:
        proxy = settings.proxy if "://" in settings.proxy else f"http://{settings.proxy}"
        added.update(dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy))
    if settings.timeout:
        # uv takes whole seconds only, and none of them means no time at all.
        added["UV_HTTP_TIMEOUT"] = str(max(1, round(_seconds(settings.timeout))))
    return {name: value for name, value in added.items() if not (name.startswith("UV_") and name in environ)}


def _in_order(prefix: Path | None, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Settings from the weakest to the strongest: all files' [global], then all files' [install], then PIP_*."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in _files(prefix, environ):
        parser = _parse(file)
        for section in filter(parser.has_section, sections):
            sections[section].update({_name(key): value for key, value in parser.items(section)})
    variables = {_name(key[4:]): value for key, value in environ.items() if key.startswith("PIP_")}
    for layer in (*sections.values(), variables):
        yield from layer.items()


def _files(prefix: Path | None, environ: Mapping[str, str]) -> list[Path]:
    extra = environ.get("PIP_CONFIG_FILE")
    if extra == os.devnull:
        return []
    files = _global_files(environ)
    if not (extra and Path(extra).exists()):
        files += _user_files(environ)  # pip leaves the user's files out when it is given one that exists.
    if prefix is not None:
        files.append(prefix / _BASENAME)
    if extra:
        files.append(Path(extra))
    return [file for file in files if file.is_file()]


def _global_files(environ: Mapping[str, str]) -> list[Path]:
    if sys.platform == "darwin":
        return [Path(platformdirs.site_data_dir("pip", appauthor=False)) / _BASENAME]
    folders = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    return [*(Path(folder) / "pip" / _BASENAME for folder in folders if folder), UNIX_GLOBAL / _BASENAME]


def _user_files(environ: Mapping[str, str]) -> list[Path]:
    home = Path(environ.get("HOME") or Path.home())
    modern = home / ".config" / "pip"
    if sys.platform == "darwin":
        support = home / "Library" / "Application Support" / "pip"
        modern = support if support.is_dir() else modern
    elif environ.get("XDG_CONFIG_HOME"):
        modern = Path(environ["XDG_CONFIG_HOME"]) / "pip"
    return [home / ".pip" / _BASENAME, modern / _BASENAME]


def _parse(file: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding=locale.getpreferredencoding(False)))
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        message = f"pip's configuration file {file} cannot be read."
        raise TargetError(message, "See what pip says about it: `pip config debug`.") from error
    return parser


def _name(key: str) -> str:
    name = key.lower().replace("_", "-").removeprefix("--")
    return _ALIASES.get(name, name)


def _several(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(values.get(name, "").split())


def _flag(values: Mapping[str, str], name: str) -> bool:
    value = values.get(name, "no").lower()
    if value not in _YES | _NO:
        raise TargetError(f"pip's setting {name} is neither yes nor no.", "Correct it: `pip config debug` shows where.")
    return value in _YES


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        message = "pip's setting timeout is not a number."
        raise TargetError(message, "Correct it: `pip config debug` shows where.") from None


def _binaries(values: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Package names without wheels, and with wheels only; what comes later takes a name out of the other set."""
    sets: dict[str, dict[str, None]] = {"no-binary": {}, "only-binary": {}}
    for option, value in values:
        mine = sets[option]
        other = sets["only-binary" if option == "no-binary" else "no-binary"]
        for name in filter(None, re.split(r"[,\s]+", value)):
            if name == ":none:":
                mine.clear()
            elif name == ":all:":
                mine.clear()
                other.clear()
                mine[name] = None
            else:
                other.pop(canonicalize_name(name), None)
                mine[canonicalize_name(name)] = None
    return tuple(sets["no-binary"]), tuple(sets["only-binary"])


def _index_arguments(settings: PipSettings, environ: Mapping[str, str]) -> list[str]:
    arguments = []
    if not _set(environ, "UV_FIND_LINKS"):
        arguments += _each("--find-links", filter(_can_hold_links, map(_expanded, settings.find_links)))
    if settings.no_index:
        return [*arguments, "--no-index"]
    if settings.index_url and not _set(environ, "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        arguments += ["--default-index", _as_url(settings.index_url)]
    if settings.extra_index_urls and not _set(environ, "UV_INDEX", "UV_EXTRA_INDEX_URL"):
        arguments += _each("--index", map(_as_url, settings.extra_index_urls))
    if settings.extra_index_urls and not _set(environ, "UV_INDEX_STRATEGY"):
        # pip takes the best release of all indexes; uv by itself stops at the first index that has the package.
        arguments += ["--index-strategy", "unsafe-best-match"]
    return arguments


def _constraint_files(settings: PipSettings) -> tuple[str, ...]:
    for file in settings.constraints:
        if (path := _local(file)) and not path.is_file():
            message = f"The constraints file {file} of pip's settings does not exist."
            raise TargetError(message, "Create it, or take `constraint` out: `pip config debug` shows where it stands.")
    return settings.constraints


def _can_hold_links(place: str) -> bool:
    """Whether uv would read it; pip goes on silently where a local place does not exist, uv stops."""
    path = _local(place)
    return path is None or path.exists()


def _local(place: str) -> Path | None:
    """The path that a setting names, or None where it is a URL of the network."""
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    return None if "://" in place else Path(place)


def _expanded(place: str) -> str:
    return str(Path(place).expanduser()) if place.startswith("~") else place


def _as_url(index: str) -> str:
    """The index as a URL: uv takes a path without a scheme for the name of an index in some releases."""
    path = _local(index)
    return index if path is None or index.startswith("file:") else path.absolute().as_uri()


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [argument for value in values for argument in (option, value)]


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _set(environ: Mapping[str, str], *names: str) -> bool:
    return bool(_first(environ, *names))


def _has_system_certificates() -> bool:
    """Whether the system has any; a bare container may not, and uv then falls back on its own."""
    paths = ssl.get_default_verify_paths()
    return sys.platform == "darwin" or bool(paths.cafile or paths.capath)
