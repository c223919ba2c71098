"""Commits of git repositories, on this machine and elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

from ckptdoctor.environment import git, snapshots
from ckptdoctor.environment.uv_errors import clean
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.store import locations, workspace

SHORT = 10
"""Digits of a commit that people read."""

RANGE = ".."
"""Between the two ends of a range of commits."""

_FULL, _DIGITS = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{4,40}")
_EVERYTHING = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


@dataclass(frozen=True)
class Address:
    """Where commits are: ``git+https://host/team/repository.git@ref#subdirectory=python``."""

    url: str
    """Without ``git+``, the ref and the rest."""
    ref: str = "HEAD"
    subdirectory: str = ""

    @property
    def folder(self) -> Path | None:
        """The repository's folder, if it is on this machine."""
        parts = urlsplit(self.url)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" else None

    @property
    def name(self) -> str:
        """The repository's name, for people."""
        return clean(re.sub(r"(?:/?\.git)?/*$", "", self.url).rpartition("/")[2]) or "repository"


def parse(url: str) -> Address:
    """Read the URL of a requirement, as pip takes it; the ref may be a range, ``v1..v2``."""
    parts = urlsplit(url.removeprefix("git+"))
    path, _, ref = parts.path.partition("@")
    asked = parse_qs(parts.fragment)
    bare = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    if parts.scheme == "file":  # urlunsplit leaves out the empty host
        bare = f"file://{path}"
    return Address(bare, unquote(ref) or "HEAD", asked.get("subdirectory", [""])[0].strip("/"))


def ref_of(url: str) -> str:
    """The ref in the URL of a requirement; empty where it names none, or is not git's."""
    if not url.startswith("git+"):
        return ""
    return unquote(urlsplit(url.removeprefix("git+")).path.partition("@")[2])


def around(folder: Path) -> Address | None:
    """The address of the repository that a project's folder is in; none where it is in none."""
    if not snapshots.is_tracked(folder):
        return None
    found = git.run(["-C", str(folder), "rev-parse", "--show-toplevel", "--show-prefix"])
    top, prefix = os.fsdecode(found.stdout).split("\n")[:2]
    return Address(Path(top).as_uri(), subdirectory=prefix.strip("/"))


def at_ref(text: str) -> tuple[Path, str] | None:
    """A folder with a ref, ``./transformers@v1``: the folder, and a URL for pip; none if the text is not one."""
    for at, sign in enumerate(text):
        folder = Path(text[:at]).expanduser().absolute() if sign == "@" else None
        if folder is not None and folder.is_dir() and (address := around(folder)):
            inside = f"#subdirectory={address.subdirectory}" if address.subdirectory else ""
            return folder, f"git+{address.url}@{quote(text[at + 1 :], safe='/~^.')}{inside}"
    return None


class Repository:
    """A repository, and its commits."""

    def __init__(self, address: Address, cache: Path) -> None:
        """Find it on this machine, or make an empty copy in the cache, into which is fetched what is asked for.

        Args:
            address: Where it is.
            cache: Where copies of repositories on the network are kept.

        Raises:
            UsageFault: There is no such repository on this machine.
            TargetError: git is missing.
        """
        self.address = address
        self._is_local, self._has_everything = address.folder is not None, False
        self.folder = address.folder or self._mirror(cache)
        found = self._tried("rev-parse", "--absolute-git-dir")
        if found.returncode:
            raise UsageFault(f"{address.name} is not a git repository: {git.reason(found)}.", "name a clone's folder")
        self._git_folder = os.fsdecode(found.stdout).strip()

    def commit(self, ref: str, whole: bool = False) -> str:
        """The full name of a commit.

        Args:
            ref: A branch, a tag or a commit.
            whole: Whether the history before it is needed.

        Raises:
            UsageFault: There is no such commit.
            TargetError: git does not reach the repository.
        """
        found = self._resolved(ref) if self._is_local or _FULL.fullmatch(ref) else ""
        if not found and not self._is_local and not whole and self._fetch(["--depth", "1"], [ref], [ref]):
            found = self._resolved("FETCH_HEAD")
        if not self._is_local and (whole or (not found and _DIGITS.fullmatch(ref))):
            found = self._in_everything(ref)
        if not found:
            raise UsageFault(
                f"{self.address.name} has no branch, tag or commit {clean(ref)}.", "see `git tag` and `git log` there"
            )
        return found

    def meeting(self, one: str, other: str) -> str:
        """The last commit that the histories of two commits have in common; empty where there is none."""
        return self._tried("merge-base", one, other).stdout.decode().strip()

    def between(self, older: str, newer: str) -> list[str]:
        """The commits after one up to another, oldest first, that change what is installed.

        Of a merge only the merge itself is taken, not the commits that it brought.
        """
        top = f"{self.address.subdirectory}/" if self.address.subdirectory else ""
        paths = [f":(top){top}", *(f":(top,exclude){top}{name}" for name in (*sorted(snapshots.BESIDE), ".github"))]
        done = self._tried("rev-list", "--first-parent", "--reverse", f"{older}..{newer}", "--", *paths)
        return done.stdout.decode().split()

    def subject(self, commit: str) -> str:
        """The first line of a commit's message."""
        return self.subjects([commit]).get(commit, "")

    def subjects(self, commits: Sequence[str]) -> dict[str, str]:
        """The first line of each commit's message."""
        done = git.run(
            ["-C", str(self.folder), "log", "--no-walk=unsorted", "--format=%H %s", "--stdin"],
            given="\n".join(commits).encode(),
        )
        lines = clean(done.stdout.decode(errors="replace")).splitlines()
        return {line[:40]: line[41:] for line in lines}

    def check_out(self, commit: str, into: Path) -> None:
        """Write the files of a commit, or of the subdirectory of the address, to an empty folder.

        Raises:
            UsageFault: The commit has no such subdirectory.
            TargetError: They cannot be written.
        """
        index = into.with_name(f"{into.name}.index")  # of our own: the user's repository stays as it is
        where = {"GIT_DIR": self._git_folder, "GIT_WORK_TREE": str(into), "GIT_INDEX_FILE": str(index)}
        tree = f"{commit}:{self.address.subdirectory}"
        if git.run(["-C", str(into), "read-tree", "--end-of-options", tree], variables=where).returncode:
            raise UsageFault(f"{self.address.name} has no folder {self.address.subdirectory} at {commit[:SHORT]}.", "")
        done = git.run(["-C", str(into), "checkout-index", "--all", "--force"], variables=where)
        if done.returncode:
            raise TargetError(f"git cannot write {commit[:SHORT]}: {git.reason(done)}.", "")

    def files(self, commit: str) -> dict[str, str]:
        """The files of a commit that decide what is installed, each with the name of its content."""
        done = self._tried("ls-tree", "-r", "-z", "--full-tree", f"{commit}:{self.address.subdirectory}")
        found = {}
        for line in filter(None, os.fsdecode(done.stdout).split("\0")):
            kind, _, name = line.partition("\t")
            mode, _, content = kind.split()
            if mode.startswith("100") and snapshots.matters(name):
                found[name] = content
        return found

    def reading(self) -> AbstractContextManager[Callable[[str], bytes]]:
        """What reads contents by their names, or as ``COMMIT:PATH``."""
        return git.reading(self.folder)

    def text(self, read: Callable[[str], bytes], commit: str, file: str) -> str:
        """The text of a project's file in a commit; empty where there is none."""
        folder = f"{self.address.subdirectory}/" if self.address.subdirectory else ""
        try:
            return read(f"{commit}:{folder}{file}").decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _resolved(self, ref: str) -> str:
        done = self._tried("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        return "" if done.returncode else done.stdout.decode().strip()

    def _mirror(self, cache: Path) -> Path:
        name = hashlib.sha256(self.address.url.encode()).hexdigest()[:32]
        workspace.hold(cache, f"repositories/{name}")
        folder = cache / "repositories" / name
        if not (folder / "HEAD").is_file():
            git.run(["init", "--quiet", "--bare", str(folder)])
        locations.mark_used(folder)
        return folder

    def _in_everything(self, ref: str) -> str:
        """A commit once all branches and tags are there."""
        if not self._has_everything:
            shallow = ["--unshallow"] if (self.folder / "shallow").exists() else []
            self._has_everything = self._fetch(shallow, _EVERYTHING)
        if ref == "HEAD":  # of the copy it is none
            return self._resolved("FETCH_HEAD") if self._fetch([], [ref]) else ""
        return self._resolved(ref)

    def _fetch(self, options: Sequence[str], *refs: Sequence[str]) -> bool:
        """Whether something was fetched; the options are left out where they do not work, as over plain HTTP."""
        url = self.address.url
        attempts = [[*options, url, *refs[0]], *([url, *others] for others in refs[1:])]
        for arguments in attempts:
            done = self._tried("fetch", "--quiet", "--force", "--no-tags", *arguments)
            if not done.returncode:
                return True
        reason = git.reason(done)
        if not re.search(r"couldn't find remote ref|not our ref|unadvertised object", reason):
            raise TargetError(f"{clean(url)} cannot be fetched: {reason}.", "check the URL and your access to it")
        return False

    def _tried(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return git.run(["-C", str(self.folder), *arguments])


@dataclass(frozen=True)
class Commit:
    """The project in a commit, whose files are read without writing them anywhere."""

    repository: Repository
    name: str

    @contextmanager
    def opened(self) -> Iterator[tuple[dict[str, str], Callable[[str], bytes]]]:
        """Its files, each with the name of its content, and what reads contents."""
        with self.repository.reading() as read:
            yield self.repository.files(self.name), read

    @property
    def mark(self) -> str:
        """What marks its release."""
        digits = hashlib.sha256(f"{self.name}:{inside}".encode()).hexdigest() if (inside := self._inside) else self.name
        return f"git{digits[:16]}"

    @property
    def _inside(self) -> str:
        return self.repository.address.subdirectory
