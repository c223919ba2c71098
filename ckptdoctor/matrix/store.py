"""Results, on disk as soon as they are known, so that no run is repeated or lost.

One SQLite file holds the results of all runs. Each row is written whole or not at all, and synced, so that every result
survives a killed process or a power failure. SQLite's rollback journal is used
rather than its write-ahead log, which does not work on the network disks that hold the homes of clusters.
"""

from __future__ import annotations

import datetime
import hashlib
import platform
import sqlite3
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ckptdoctor import catalog, results
from ckptdoctor.environment import requirements
from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix.combination import Base
from ckptdoctor.matrix.questions import Trainer
from ckptdoctor.model.encoding import encode, encode_exactly
from ckptdoctor.model.evidence import Environment, Evidence, Package
from ckptdoctor.planning.options import Options, named_functions
from ckptdoctor.store import locations

FORMAT = 2
"""Part of every key: raised when what a row means changes."""

BUSY = 60.0
"""Seconds to wait for another run that is writing."""

FACTS = ""
"""The item under which a base's own facts, or why there is no such base, are kept."""

_TABLE = """
CREATE TABLE IF NOT EXISTS results (
    base TEXT NOT NULL, item TEXT NOT NULL, kind TEXT NOT NULL, made TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (base, item)
) WITHOUT ROWID
"""


class Refusal(msgspec.Struct):
    """A base or a trainer's release that cannot be had."""

    why: str


class Kept(msgspec.Struct):
    """All that is known of one base."""

    facts: Environment | None = None
    refused: dict[str, str] = {}
    """Why a requirement cannot be added to it; the base itself under ``FACTS``."""
    trainers: dict[str, Trainer] = {}
    """Trainers' releases that were added to it, by requirement."""
    evidence: dict[str, Evidence] = {}
    """By the probe's id."""
    made: dict[str, str] = {}
    """When each item was found out, YYYY-MM-DD."""


class Store:
    """The results of all runs. Use as a context manager, from one thread; several processes may share the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it where there is none.

        Raises:
            UsageFault: It cannot be written, or is something else.
        """
        self.path = path
        self.lost: str = ""
        """Why results could not be kept, if they could not; the run goes on without."""
        self._unkept: dict[tuple[str, str], tuple[str, bytes, str]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path.absolute().as_uri(), timeout=BUSY, isolation_level=None, uri=True)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise UsageFault(
                f"{path} cannot be used to keep results: {error}.", "name another file: --store"
            ) from error

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def keep_facts(self, base: str, facts: Environment) -> None:
        """What is installed in a base."""
        self._keep(base, FACTS, "facts", facts)

    def keep_refusal(self, base: str, requirement: str, why: str) -> None:
        """That a requirement, or with ``FACTS`` the base itself, cannot be had."""
        self._keep(base, requirement, "refusal", Refusal(why))

    def keep_trainer(self, base: str, requirement: str, trainer: Trainer) -> None:
        """What a trainer's release has, once added to a base."""
        self._keep(base, requirement, "trainer", trainer)

    def keep_evidence(self, base: str, evidence: Evidence) -> None:
        """What a probe observed."""
        self._keep(base, evidence.id, "evidence", evidence)

    def take_in(self, other: Path) -> int:
        """Add the results in another file, such as another shard's; what is known here stays. The number that were added.

        Raises:
            UsageFault: The file holds no results, or cannot be read or added.
        """
        if not other.is_file():
            raise UsageFault(f"{other} is no file of results.", "name the files that --store named")
        try:
            before = self._database.total_changes
            self._database.execute("ATTACH DATABASE ? AS other", (f"{other.absolute().as_uri()}?mode=ro",))
            self._database.execute(
                "INSERT OR IGNORE INTO results SELECT base, item, kind, made, body FROM other.results"
            )
            return self._database.total_changes - before
        except sqlite3.Error as error:
            raise UsageFault(
                f"The results in {other} cannot be added: {error}.", "name the files that --store named"
            ) from error
        finally:
            with suppress(sqlite3.Error):
                self._database.execute("DETACH DATABASE other")

    def forget(self, base: str, item: str) -> None:
        """Drop what is known of one item."""
        self._unkept.pop((base, item), None)
        self._write("DELETE FROM results WHERE base = ? AND item = ?", (base, item))

    def known(self, base: str, items: Collection[str] | None = None) -> Kept:
        """All that is known of a base, or only of some items.

        Raises:
            UsageFault: The file is damaged.
        """
        kept = Kept()
        for item, kind, made, body in self._rows(base):
            if items is not None and item not in items:
                continue
            try:
                data = zlib.decompress(body)
                if kind == "facts":
                    kept.facts = msgspec.json.decode(data, type=Environment)
                elif kind == "refusal":
                    kept.refused[item] = msgspec.json.decode(data, type=Refusal).why
                elif kind == "trainer":
                    kept.trainers[item] = msgspec.json.decode(data, type=Trainer)
                else:
                    kept.evidence[item] = msgspec.json.decode(data, type=Evidence)
            except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, TypeError):
                continue  # it is run again
            kept.made[item] = made[:10]
        return kept

    def _rows(self, base: str) -> Iterator[tuple[str, str, str, bytes]]:
        query = "SELECT item, kind, made, body FROM results WHERE base = ?"
        try:
            yield from self._database.execute(query, (base,)).fetchall()
        except sqlite3.Error as error:
            raise UsageFault(
                f"The results in {self.path} cannot be read: {error}.", "move it away, or name another file: --store"
            ) from error
        for (owner, item), (kind, body, made) in self._unkept.items():
            if owner == base:
                yield item, kind, made, body

    def _keep(self, base: str, item: str, kind: str, value: object) -> None:
        made = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        body = zlib.compress(encode(value))
        if self._write("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", (base, item, kind, made, body)):
            self._unkept.pop((base, item), None)
        else:
            self._unkept[base, item] = (kind, body, made)

    def _write(self, statement: str, values: tuple[object, ...]) -> bool:
        """Whether it could be written: a full disk must not cost what was found out."""
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            self.lost = str(error)
            return False
        return True


def key(base: Base, target: Environment, options: Options) -> str:
    """A digest of all that decides what a probe observes in a base: target, added releases, our probes, the machine.

    The dependencies of the releases are not part of it, since they are known only once they are installed.

    Args:
        base: The releases.
        target: What they are added to.
        options: What to try; files and modules that it names count by their contents.
    """
    added = {"torch", *(canonicalize_name(Requirement(requirement).name) for requirement in base.requirements)}
    own = set(own_files(options, target).values())
    parts = [
        FORMAT,
        msgspec.to_builtins(base),
        target.python if not base.python else "",
        target.platform,
        platform.machine(),
        sorted((package.name, package.version) for package in target.packages),
        results.circumstances(),
        [_state(package) for package in editable(target) if package.name not in added],
        [requirements.source_changed_at(Requirement(requirement)) for requirement in base.requirements],
        "" if all(map(requirements.names_one_release, map(Requirement, base.requirements))) else _today(),
        sorted((str(file.absolute()), digest) for file in own if (digest := contents(file))),
        probes_code(),
    ]
    return hashlib.sha256(encode_exactly(parts)).hexdigest()[:32]


def _today() -> str:
    """A requirement without a release may mean another one tomorrow."""
    return datetime.date.today().isoformat()


def _state(package: Package) -> tuple[int, int, int]:
    """What shows that a package of the target was edited in place, which does not change its version."""
    files = [path.lstat() for path in Path(package.location, package.name).rglob("*.py")] if package.location else []
    return len(files), sum(file.st_size for file in files), max((file.st_mtime_ns for file in files), default=0)


def editable(target: Environment) -> list[Package]:
    """Packages of the stack; one that was edited in place keeps its version."""
    return [package for package in target.packages if package.name in target.stack]


def own_files(options: Options, target: Environment) -> dict[str, Path]:
    """Files of the user's own that decide what probes observe, by the function or model that names them."""
    names = [name for name in options.functions if name not in named_functions()]
    functions = {name: file for name in names if (file := _file_of(name.rpartition(":")[0], target))}
    return functions | {name: Path(name, "config.json") for name in options.models}


def contents(file: Path) -> str:
    """A digest of a file; empty where it cannot be read."""
    try:
        return hashlib.sha256(file.expanduser().read_bytes()).hexdigest()
    except (OSError, RuntimeError):  # the latter for ~ where there is no home
        return ""


def _file_of(where: str, target: Environment) -> Path | None:
    """The file of a checkpoint function of the user's own, which is given by file or by module."""
    if where.endswith(".py") or not where:
        return Path(where) if where else None
    inside = where.replace(".", "/")
    files = (Path(entry, name) for entry in target.paths for name in (f"{inside}/__init__.py", f"{inside}.py"))
    return next((file for file in files if file.is_file()), None)


def probes_code() -> str:
    """A digest of the probes' own code and of what they are sent: what they observe depends on it."""
    digest = hashlib.sha256()
    digest.update(msgspec.json.encode(catalog.sent(), order="sorted"))
    folder = locations.probes()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
