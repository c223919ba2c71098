"""Commits of git repositories, on this machine and elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit
from urllib.request import url2pathname

from ckptdoctor.environment import git
from ckptdoctor.environment.uv_errors import clean
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.store import locations, workspace

SHORT = 10
"""Digits of a commit that people read."""


@dataclass(frozen=True)
class Address:
    """Where a commit is: ``git+https://host/team/repository.git@ref#subdirectory=python``."""

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
    """Read the URL of a requirement, as pip takes it."""
    parts = urlsplit(url.removeprefix("git+"))
    path, _, ref = parts.path.partition("@")
    asked = parse_qs(parts.fragment)
    bare = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return Address(bare, ref or "HEAD", asked.get("subdirectory", [""])[0].strip("/"))


class Repository:
    """A repository, and its commits."""

    def __init__(self, address: Address, cache: Path) -> None:
        """Find it on this machine, or fetch what is needed of it into the cache.

        Args:
            address: Where it is.
            cache: Where copies of repositories on the network are kept.

        Raises:
            UsageFault: There is no such repository on this machine.
            TargetError: git is missing, or does not reach the repository.
        """
        self.address = address
        self._is_local = address.folder is not None
        self.folder = address.folder or self._mirror(cache)
        found = self._tried("rev-parse", "--absolute-git-dir")
        if found.returncode:
            raise UsageFault(f"{self.folder} is not a git repository: {git.reason(found)}.", "name a clone's folder")
        self._git_folder = os.fsdecode(found.stdout).strip()

    def commit(self, ref: str) -> str:
        """The full name of a commit.

        Raises:
            UsageFault: There is no such commit.
            TargetError: git does not reach the repository.
        """
        if not self._is_local and not re.fullmatch(r"[0-9a-f]{40}", ref):
            self._fetch(ref)
            ref = "FETCH_HEAD"
        done = self._tried("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        if done.returncode and not self._is_local:
            self._fetch(ref)
            done = self._tried("rev-parse", "--verify", "--quiet", "--end-of-options", "FETCH_HEAD^{commit}")
        if done.returncode:
            raise UsageFault(
                f"{self.address.name} has no branch, tag or commit {clean(ref)}.", f"see `git -C {self.folder} log`"
            )
        return done.stdout.decode().strip()

    def subject(self, commit: str) -> str:
        """The first line of a commit's message."""
        done = self._tried("log", "-1", "--format=%s", "--end-of-options", commit)
        return clean(done.stdout.decode(errors="replace")).strip()

    def check_out(self, commit: str, into: Path) -> None:
        """Write the files of a commit, or of the subdirectory of the address, to an empty folder.

        Raises:
            UsageFault: The commit has no such subdirectory.
            TargetError: They cannot be written.
        """
        index = into.with_name(f"{into.name}.index")  # of our own: the user's repository stays as it is
        where = {"GIT_DIR": self._git_folder, "GIT_WORK_TREE": str(into), "GIT_INDEX_FILE": str(index)}
        tree = f"{commit}:{self.address.subdirectory}"
        if git.run(["-C", str(into), "read-tree", "--end-of-options", tree], **where).returncode:
            raise UsageFault(f"{self.address.name} has no folder {self.address.subdirectory} at {commit[:SHORT]}.", "")
        done = git.run(["-C", str(into), "checkout-index", "--all", "--force"], **where)
        if done.returncode:
            raise TargetError(f"git cannot write {commit[:SHORT]}: {git.reason(done)}.", "")

    def _mirror(self, cache: Path) -> Path:
        name = hashlib.sha256(self.address.url.encode()).hexdigest()[:32]
        workspace.hold(cache, f"repositories/{name}")
        folder = cache / "repositories" / name
        if not (folder / "HEAD").is_file():
            git.run(["init", "--quiet", "--bare", str(folder)])
        locations.mark_used(folder)
        return folder

    def _fetch(self, ref: str) -> None:
        # A repository that cannot give a single commit, as over plain HTTP, gives all.
        whole = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        attempts: list[list[str]] = [["--depth", "1", self.address.url, ref], [self.address.url, ref]]
        attempts += [[self.address.url, *whole]]
        for arguments in attempts:
            done = self._tried("fetch", "--quiet", "--force", "--no-tags", *arguments)
            if not done.returncode:
                return
        reason = git.reason(done)
        if "couldn't find remote ref" in reason:
            return
        raise TargetError(
            f"{clean(self.address.url)} cannot be fetched: {reason}.", "check the URL and your access to it"
        )

    def _tried(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return git.run(["-C", str(self.folder), *arguments])
