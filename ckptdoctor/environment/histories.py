"""The commits between two as releases, so that the one can be found that broke or fixed something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ckptdoctor.environment import project, repositories
from ckptdoctor.environment.named import named
from ckptdoctor.environment.releases import File, Release
from ckptdoctor.environment.repositories import RANGE, SHORT, Address, Commit, Repository
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.sources import UNKNOWN, Source, marked


@dataclass(frozen=True)
class History:
    """Neighbouring commits.

    Attributes:
        releases: Oldest first.
        good: The release that the good end stands for; empty where none was given.
        bad: The same of the bad end.
        notes: What a reader must know of the ends.
    """

    releases: tuple[Release, ...]
    good: str = ""
    bad: str = ""
    notes: tuple[str, ...] = ()


class _Ends(NamedTuple):
    older: str
    newer: str
    is_good_older: bool = True


def is_range(text: str) -> bool:
    """Whether a requirement names several commits."""
    try:
        return RANGE in repositories.ref_of(Requirement(named(text)).url or "")
    except InvalidRequirement:
        return False


def read(text: str, good: str, bad: str, cache: Path) -> History:
    """The commits of a range, or between two ends; see ``Sources.history``."""
    address = _address(text)
    repository = Repository(address, cache)
    ends = _ends(address, repository, good, bad)
    older, newer = (repository.commit(ref, whole=True) for ref in (ends.older, ends.newer))
    first = repository.meeting(older, newer)
    if not first:
        raise UsageFault(f"The two ends have no commit of {address.name} in common.", "name two of one branch")
    commits = [first, *repository.between(first, newer)]
    if len(commits) < 2:
        raise UsageFault(
            f"No commit of {address.name} after {ends.older} up to {ends.newer} changes what is installed.",
            "name the older commit first, or others",
        )
    titles = {commits[0]: ends.older if first == older else "", commits[-1]: ends.newer}
    releases = tuple(_releases(repository, commits, titles))
    oldest, newest = releases[0].version, releases[-1].version
    diverged = (
        f"{ends.older} and {ends.newer} have diverged. The search starts at {first[:SHORT]}, the last commit of both."
    )
    return History(
        releases,
        *((oldest, newest) if ends.is_good_older else (newest, oldest)),
        notes=() if first == older else (diverged,),
    )


def _ends(address: Address, repository: Repository, good: str, bad: str) -> _Ends:
    older, is_pair, newer = address.ref.partition(RANGE)
    if not good:
        return _Ends(older or "HEAD", newer.removeprefix(".") or "HEAD")
    if is_pair:
        raise UsageFault("A range has its ends already.", "leave out --good and --bad, or the range")
    at_good, at_bad = (repository.commit(ref, whole=True) for ref in (good, bad))
    if at_good == at_bad:
        raise UsageFault("The good and the bad commit are the same.", "name two")
    is_bad_older = repository.meeting(at_good, at_bad) == at_bad
    return _Ends(bad, good, False) if is_bad_older else _Ends(good, bad)


def _address(text: str) -> Address:
    url = Requirement(named(text)).url or ""
    if url.startswith("git+"):
        return repositories.parse(url)
    folder = Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None
    address = repositories.around(folder) if folder and folder.is_dir() else None
    if address is None:
        raise UsageFault(f"{text} is not in a git repository.", "name a clone's folder, or two releases")
    return address


def _releases(repository: Repository, commits: Sequence[str], titles: Mapping[str, str]) -> Iterator[Release]:
    subjects = repository.subjects(commits)
    name = version = ""
    with repository.reading() as read:
        for commit in commits:
            told = project.declared(lambda file, commit=commit: repository.text(read, commit, file))  # type: ignore[misc]
            name, version = told.name or name, told.version or version or UNKNOWN
            one = Commit(repository, commit)
            ref = titles.get(commit, "")
            text = commit[:SHORT] if not ref or commit.startswith(ref) else ref
            yield Release(
                canonicalize_name(name or repository.address.name),
                marked(version, one.mark),
                (File("code", "", is_wheel=False, sha256=one.mark),),
                requires_python=told.requires_python,
                source=Source(f"{repository.address.name}@{text}", commit, subjects.get(commit, "")),
                commit=one,
            )
