"""Code fingerprints: which releases share the code that decides how a checkpointed training step goes.

Releases with the same fingerprint behave alike, so that only one of them has to be run. A fingerprint of transformers covers
a family's modelling code, what wraps its layers and its forward, and the methods that switch checkpointing on. That of a
trainer covers the module that defines its checkpoint function, and what that module imports from the trainer. Comments,
docstrings and layout do not count. A release that cannot be read has no fingerprint, and is run.
"""

from __future__ import annotations

import email.parser
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
from packaging.version import Version
from requests import Session

from ckptdoctor import catalog
from ckptdoctor.environment.connections import AT_ONCE
from ckptdoctor.environment.releases import Release
from ckptdoctor.matrix import archives, checkpoint_functions, family_code, python_source
from ckptdoctor.matrix.archives import Archive, UnreadableError
from ckptdoctor.matrix.definitions import Definitions, Module
from ckptdoctor.planning.options import ALL
from ckptdoctor.store import writing
from ckptdoctor.store.locations import mark_used

FORMAT = 5
"""Changes whenever the same release would get another fingerprint."""

METADATA = "METADATA"
LAYERS = "transformers/modeling_layers.py"

_DOCUMENTS = {
    "auto_docstring",
    "add_start_docstrings",
    "add_start_docstrings_to_model_forward",
    "replace_return_docstrings",
}
"""Decorators that write documentation and wrap nothing."""

_VERSION = re.compile(r"\d+(?:\.\d+)+(?:\.?(?:a|b|rc|dev|post)\d+)?")


class Fingerprint(msgspec.Struct, frozen=True):
    """What is alike in releases that behave alike."""

    digests: dict[str, str]
    """By model family for transformers, by checkpoint function for a trainer; what a release does not have is left out."""
    compared: tuple[str, ...] = ()
    """Versions that a trainer's code names. It may compare transformers' with them, so that two releases of transformers
    with one of them in between are not alike to it, whatever their code: see ``place_among``."""
    requires: tuple[str, ...] | None = None
    """A trainer's ``Requires-Dist``, in which releases with the same fingerprint may differ; None where it is not known."""


def place_among(version: str, compared: Iterable[str]) -> tuple[int, int]:
    """A version's position among those that some code names; releases with the same position compare alike.

    Args:
        version: A release of the package that is compared.
        compared: What the code names, ``Fingerprint.compared``.
    """
    here = Version(version)
    named = [Version(one) for one in compared]
    return sum(one < here for one in named), sum(one <= here for one in named)


class Reader:
    """Reads the fingerprints of releases, many at once, and keeps them."""

    def __init__(self, session: Session, cache_folder: Path) -> None:
        """Start with what an earlier one has kept.

        Args:
            session: What reads from the network; an ``Index`` has one.
            cache_folder: Where fingerprints are kept.
        """
        self._session = session
        self._folder = cache_folder

    def fingerprints(
        self, package: str, releases: Sequence[Release], families: Sequence[str] = ()
    ) -> dict[str, Fingerprint | None]:
        """The fingerprint of each release by its version; None where it is not known, so that the release has to be run.

        Args:
            package: Normalised name. Only those of transformers and the trainers can be told.
            releases: Releases of that package.
            families: Model families that matter; ``all`` for every family that learns a language.
        """
        if package != "transformers" and not checkpoint_functions.of_package(package):
            return {release.version: None for release in releases}
        wanted = tuple(sorted(set(families))) if package == "transformers" else ()
        if ALL in wanted:
            return self._of_all_families(releases)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda release: self._fingerprint(package, release, wanted), releases)
            return dict(zip((release.version for release in releases), found, strict=True))

    def _of_all_families(self, releases: Sequence[Release]) -> dict[str, Fingerprint | None]:
        """One release after another, since neighbours share most of their code, which is read once."""
        found: dict[str, Fingerprint | None] = {}
        known: dict[str, Module] = {}
        for release in releases:
            file = self._file("transformers", release, (ALL, str(family_code.FORMAT)))
            found[release.version] = _kept(file)
            if found[release.version] is None:
                with (
                    suppress(UnreadableError, RecursionError),
                    archives.opened(release, self._session, True) as archive,
                ):
                    read = partial(_read, archive)
                    code = Definitions(read, known)
                    fingerprint = found[release.version] = Fingerprint(family_code.of_all(read, code))
                    known = code.read
                    _keep(file, fingerprint)
        return found

    def _fingerprint(self, package: str, release: Release, families: tuple[str, ...]) -> Fingerprint | None:
        file = self._file(package, release, families)
        kept = _kept(file)
        if kept is not None:
            return kept
        try:
            with archives.opened(release, self._session) as archive:
                fingerprint = (
                    _of_transformers(archive, families) if package == "transformers" else _of_trainer(archive, package)
                )
        except (UnreadableError, RecursionError):
            return None
        if release.source and not fingerprint.digests:
            return None  # its code is not where releases have it
        _keep(file, fingerprint)
        return fingerprint

    def _file(self, package: str, release: Release, families: tuple[str, ...]) -> Path | None:
        """Where the fingerprint of a release is kept; None if nothing tells its archive from another one."""
        archive = archives.chosen(release)
        if archive is None:
            return None
        identity = archive.digest() or (f"{archive.url} {archive.size}" if archive.size else "")
        if not identity:
            return None
        # Python's syntax trees differ between its minor versions.
        words = (str(FORMAT), *map(str, sys.version_info[:2]), package, *families, identity)
        return self._folder / f"{python_source.digest_of(words)}.json"


def _kept(file: Path | None) -> Fingerprint | None:
    if file is not None:
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            fingerprint = msgspec.json.decode(file.read_bytes(), type=Fingerprint)
            mark_used(file)
            return fingerprint
    return None


def _keep(file: Path | None, fingerprint: Fingerprint) -> None:
    """Write it whole or not at all; where that fails, it is read again next time."""
    if file is None:
        return
    with suppress(OSError):
        writing.keep(file, msgspec.json.encode(fingerprint))


def _of_transformers(archive: Archive, families: Iterable[str]) -> Fingerprint:
    common = family_code.switches(_read(archive, family_code.UTILS))
    layers = _read(archive, LAYERS)
    digests = {}
    for family in families:
        folder = f"transformers/models/{family}"
        modeling = _read(archive, f"{folder}/modeling_{family}.py")
        if modeling:
            configuration = _read(archive, f"{folder}/configuration_{family}.py")
            parts = [common, *map(python_source.normalised, (modeling, configuration, layers))]
            parts += _wrappers(archive, f"{folder}/modeling_{family}.py", modeling)
            parts += _wrappers(archive, LAYERS, layers)
            digests[family] = python_source.digest_of(parts)
    return Fingerprint(digests)


def _of_trainer(archive: Archive, package: str) -> Fingerprint:
    digests, compared = {}, set[str]()
    for function in checkpoint_functions.of_package(package):
        file = checkpoint_functions.located(function, archive.names.__contains__, archive.read)
        if not file:
            continue
        if catalog.functions()[function].alone:
            text = python_source.part(_read(archive, file), catalog.functions()[function].needs)
            digests[function] = python_source.digest_of(
                [python_source.normalised(text), *_imported(archive, file, text, lambda _: True)]
            )
            compared |= set(_VERSION.findall(text))
            continue
        folder = file.removesuffix("__init__.py") if file.endswith("/__init__.py") else ""
        parts = sorted(name for name in archive.names if folder and name.startswith(folder) and name.endswith(".py"))
        texts = [_read(archive, part) for part in parts or [file]]
        digests[function] = python_source.digest_of(
            [*map(python_source.normalised, texts), *_all_imported(archive, parts or [file])]
        )
        compared |= {version for text in texts for version in _VERSION.findall(text)}
    return Fingerprint(digests, tuple(sorted(compared, key=Version)), _requirements(archive))


def _requirements(archive: Archive) -> tuple[str, ...] | None:
    """What a wheel requires; a source archive need not say what will come of it."""
    if METADATA not in archive.names:
        return None
    headers = email.parser.HeaderParser().parsestr(_read(archive, METADATA))
    return tuple(map(str, headers.get_all("Requires-Dist", [])))


def _all_imported(archive: Archive, files: Iterable[str]) -> Iterator[str]:
    for file in files:
        yield from _imported(archive, file, _read(archive, file), lambda _: True)


def _read(archive: Archive, name: str) -> str:
    """A module's source; empty where the release has none."""
    return archive.read(name).decode(errors="replace") if name in archive.names else ""


def _wrappers(archive: Archive, file: str, source: str) -> Iterator[str]:
    """What wraps the functions and classes of a module: the definitions of its decorators, as far as they are transformers'."""
    used = python_source.decorating(source)
    return _imported(archive, file, source, lambda name: name in used - _DOCUMENTS)


def _imported(archive: Archive, file: str, source: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
    """The definitions of names that a module imports from its own package, one step far."""
    for module, names in python_source.imports(source, file):
        for name in filter(is_wanted, names):
            yield python_source.normalised(_defined(archive, module, name))


def _defined(archive: Archive, module: str, name: str, steps: int = 3) -> str:
    """The definition of a name, where need be in the module that its module has it from; all of it where it is not found."""
    file = next((one for one in (f"{module}.py", f"{module}/__init__.py") if one in archive.names), "")
    text = _read(archive, file)
    found = python_source.definition(text, name)
    for other, names in python_source.imports(text, file) if not found and steps else ():
        if name in names:
            return _defined(archive, other, name, steps - 1)
    return found or text
