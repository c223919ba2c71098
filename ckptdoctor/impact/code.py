"""Which code differs between two releases of a package: files by their contents, then by what they do, then by model family."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import requests

from ckptdoctor import catalog
from ckptdoctor.environment.releases import Release
from ckptdoctor.matrix import archives, family_code, python_source
from ckptdoctor.matrix.archives import Archive, UnreadableError
from ckptdoctor.matrix.definitions import Definitions, Module
from ckptdoctor.matrix.fingerprints import Reader
from ckptdoctor.planning.options import ALL, FALLBACK_FAMILIES
from ckptdoctor.scan import releases as facts
from ckptdoctor.scan.releases import Facts

MODELS = "transformers"
"""The package that trainers train models of."""

MOST = 100
"""Files with other contents that are compared by what they do; beyond that, only what matters is."""

_BESIDE = {"tests", "test", "docs", "examples", "benchmarks", "scripts", "utils", "setup.py", "conftest.py"}
"""What lies at the top of a project and is not part of its package."""


@dataclass(frozen=True)
class Difference:
    """How the code of two releases differs.

    Attributes:
        files: Files of which the code differs; empty where there are too many to compare one by one.
        matters: Whether code that decides how checkpointing goes differs, or may.
        families: Of transformers, model families whose code that matters differs.
        alike: Families of which it does not.
        new: Families that only the head has.
        gone: Families that only the base has.
        facts: Of transformers, what the source of base and head says of checkpointing.
    """

    files: list[str] = field(default_factory=list)
    matters: bool = True
    families: list[str] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    facts: tuple[Facts, Facts] | None = None


def between(
    base: Release, head: Release, session: requests.Session, reader: Reader, asked: Sequence[str] = ()
) -> Difference:
    """Compare two releases without installing them.

    Args:
        base: A release.
        head: Another one of the same package.
        session: What reads from the network.
        reader: Reads fingerprints, and keeps them.
        asked: Model families, or folders of models, that alone are of interest; none for all families.
    """
    try:
        with archives.opened(base, session) as before, archives.opened(head, session) as after:
            changed = _changed(_contents(before, not base.source), _contents(after, not head.source))
            files = _by_code(changed, before, after) if len(changed) <= MOST else []
            if len(changed) <= MOST and not files:
                return Difference(matters=False)
            both = (_facts(before), _facts(after)) if base.name == MODELS else None
            few = _of_few(before, after, asked) if both and asked else None
    except (UnreadableError, RecursionError):
        files, both, few = [], None, None
    if base.name == MODELS:
        read = few or [one.digests if one else {} for one in reader.fingerprints(MODELS, [base, head], (ALL,)).values()]
        return _of_transformers(files, both, read[0], read[1], asked)
    return Difference(files, not (catalog.is_trainer(base.name) and _is_alike(base, head, reader)))


def _is_alike(base: Release, head: Release, reader: Reader) -> bool:
    """Whether the checkpoint functions of two releases of a trainer have the same code."""
    ours, theirs = reader.fingerprints(base.name, [base, head]).values()
    is_read = ours is not None and theirs is not None
    return is_read and (ours.digests, ours.compared) == (theirs.digests, theirs.compared)  # type: ignore[union-attr]


def _of_transformers(
    files: list[str],
    both: tuple[Facts, Facts] | None,
    ours: Mapping[str, str],
    theirs: Mapping[str, str],
    asked: Sequence[str],
) -> Difference:
    differing = [family for family in ours if family in theirs and ours[family] != theirs[family]]
    if not differing and both is not None and both[0] != both[1]:  # Trainer's own call, which no family has in its code
        differing = [family for family in (*asked, *FALLBACK_FAMILIES) if family in ours and family in theirs][:1]
    unknown = [one for one in asked if one not in ours and one not in theirs]  # a folder: its code is not looked up
    return Difference(
        files,
        bool(differing or unknown) or not (ours and theirs),
        differing,
        [family for family in ours if ours[family] == theirs.get(family) and family not in differing],
        new=sorted(theirs.keys() - ours.keys()) if ours else [],
        gone=sorted(ours.keys() - theirs.keys()) if theirs else [],
        facts=both,
    )


def _of_few(before: Archive, after: Archive, asked: Sequence[str]) -> list[dict[str, str]]:
    """The fingerprints of some families on both sides; code that is the same text is read once."""
    known: dict[str, Module] = {}
    found = []
    for archive in (before, after):
        read = _source(archive)
        definitions = Definitions(read, known)
        found.append(family_code.of_all(read, definitions, asked))
        known = definitions.read
    return found


def _source(archive: Archive) -> Callable[[str], str]:
    """The source of a file of a release by its name; empty where there is none."""

    @functools.cache
    def read(name: str) -> str:
        return archive.read(name).decode(errors="replace") if name in archive.names else ""

    return read


def _facts(archive: Archive) -> Facts:
    def read(name: str) -> bytes:
        if name not in archive.names:
            raise LookupError(name)
        return archive.read(name)

    try:
        return facts.read(read)
    except SyntaxError:
        return Facts()


# -- file by file -----------------------------------------------------------------------------------------------------


def _changed(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Python files of the package whose contents are not the same."""
    tops = _tops(ours) & _tops(theirs)
    names = {name for name in ours.keys() | theirs.keys() if PurePosixPath(name).parts[0] in tops}
    return sorted(name for name in names if ours.get(name) != theirs.get(name))


def _tops(contents: Mapping[str, str]) -> set[str]:
    """The folders and modules at the top; of a project's folder, those that its wheel has are among them."""
    return {PurePosixPath(name).parts[0] for name in contents} - _BESIDE


def _contents(archive: Archive, is_released: bool) -> dict[str, str]:
    """The digest of each Python file; of a released wheel, as its record has it: one that lies about may have been edited."""
    record = next((name for name in archive.names if is_released and name.endswith(".dist-info/RECORD")), "")
    recorded = dict(_recorded(archive.read(record))) if record else {}
    names = [name for name in archive.names if name.endswith(".py")]
    return {name: recorded.get(name) or hashlib.sha256(archive.read(name)).hexdigest() for name in names}


def _recorded(record: bytes) -> Iterator[tuple[str, str]]:
    for row in csv.reader(io.StringIO(record.decode(errors="replace"))):
        method, _, digest = (row[1] if len(row) > 1 else "").partition("=")
        if method == "sha256":
            yield row[0], base64.urlsafe_b64decode(f"{digest}==").hex()


def _by_code(changed: list[str], before: Archive, after: Archive) -> list[str]:
    """Those whose code differs: comments, docstrings and layout left out."""
    ours, theirs = _source(before), _source(after)
    return [name for name in changed if _code(ours(name)) != _code(theirs(name))]


def _code(text: str) -> str:
    return python_source.normalised(text) if text else ""
