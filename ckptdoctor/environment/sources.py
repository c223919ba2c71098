"""Code from anywhere as a release: a folder, a wheel, a source archive or a commit, copied into the cache as it is now.

A source's release is its own version and a mark of its content: ``5.24.0.dev0+src0123456789abcdef``. The mark names the copy,
so the release alone says what is installed, and equal code is one release wherever it lies.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from ckptdoctor.environment import copies, histories, pip_settings, project, repositories, snapshots, tagging, unpacking
from ckptdoctor.environment.copies import CODE, Kept
from ckptdoctor.environment.histories import History
from ckptdoctor.environment.installation import look_at
from ckptdoctor.environment.named import has_name, named
from ckptdoctor.environment.releases import File, Release
from ckptdoctor.environment.repositories import Commit, Repository
from ckptdoctor.environment.requirements import local_source, parse_requirement
from ckptdoctor.environment.uv_command import Uv
from ckptdoctor.environment.uv_errors import clean
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.model.sources import Source, mark, marked
from ckptdoctor.store import locations


def is_source(text: str) -> bool:
    """Whether a requirement names code by its place, not by its release.

    Raises:
        UsageFault: There is no such folder or file, or it does not tell its package's name.
    """
    try:
        return bool(Requirement(named(text)).url)
    except InvalidRequirement:
        return False


def installed(requirement: Requirement, cache: Path) -> Requirement:
    """A requirement with the copy of the folder or source archive that it names; all others as they are.

    What is built is what was read, and the build writes nothing into a folder of the user's.
    """
    if repositories.RANGE in repositories.ref_of(requirement.url or ""):
        raise _several(str(requirement))
    path = local_source(requirement)
    if path is None or copies.is_copy(requirement.url or "") or path.suffix == ".whl" or not path.exists():
        return requirement
    place = copies.place(cache, _copy_of(path, cache)) / CODE
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return Requirement(f"{requirement.name}{extras} @ {place.as_uri()}{marker}")


class Sources:
    """Takes sources into the cache."""

    def __init__(self, python: Path, cache: Path) -> None:
        """Read nothing yet.

        Args:
            python: The target's interpreter, for packages whose build says which version they are.
            cache: Where copies are kept.
        """
        self._python, self._cache = python, cache
        self._taken: dict[str, Release] = {}
        self._commits: dict[str, Commit] = {}

    @property
    def told(self) -> dict[str, dict[str, Source]]:
        """Where the code is from that was taken, by package and release."""
        found: dict[str, dict[str, Source]] = {}
        for release in self._taken.values():
            if release.source is not None:
                found.setdefault(release.name, {})[release.version] = release.source
        return found

    def take(self, text: str) -> Release:
        """The release that a source is now.

        Args:
            text: A folder, a wheel, a source archive or a URL, with or without its package's name.

        Raises:
            UsageFault: There is no such source, or it is no package.
            TargetError: It cannot be fetched, or its build fails.
        """
        if histories.is_range(text):
            raise _several(text)
        if text not in self._taken:
            requirement = parse_requirement(named(text))
            release = self._release(*self._copied(requirement.url or ""))
            if has_name(text) and canonicalize_name(requirement.name) != release.name:
                raise UsageFault(
                    f"{clean(text)} is the package {release.name}, not {requirement.name}.", "correct the name"
                )
            self._taken[text] = release
        return self._taken[text]

    def releases(self, text: str) -> tuple[Release, ...]:
        """The releases that a source is: one, or every commit of a range."""
        return self.history(text).releases if histories.is_range(text) else (self.take(text),)

    def history(self, text: str, good: str = "", bad: str = "") -> History:
        """The commits between two, as releases; nothing of them is copied until it is run.

        Args:
            text: A repository with a range, such as ``./transformers@v1..v2``, or without one where the ends are given.
            good: A commit that works; it may be the newer one.
            bad: One that does not.

        Raises:
            UsageFault: There is no such repository or commit, or nothing between them.
            TargetError: The repository cannot be fetched.
        """
        found = histories.read(text, good, bad, self._cache)
        for release in found.releases:
            self._taken[release.version] = release
            if release.commit:
                self._commits[release.commit.mark] = release.commit
        return found

    def pinned(self, text: str) -> str:
        """A requirement with the release that its source is now, so that it means the same from here on; others stay."""
        if not is_source(text):
            return text
        release, requirement = self.take(text), Requirement(named(text))
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        marker = f" ; {requirement.marker}" if requirement.marker else ""
        return f"{release.name}{extras}=={release.version}{marker}"

    def located(self, text: str) -> str:
        """A requirement as it is installed, see ``copies.located``; a commit is copied if that was not done yet."""
        requirement = Requirement(text)
        for one in requirement.specifier:
            commit = self._commits.get(mark(one.version))
            if commit is not None and copies.known(self._cache, commit.mark) is None:
                with copies.making(self._cache) as make:
                    made = make() / "made"
                    snapshots.copy(_checked_out(commit, make()), made)
                    tagging.tag(made / CODE, tagging.described(commit.repository.folder, commit.name))
                    copies.put(self._cache, commit.mark, made)
                copies.note(self._cache, commit.mark, Kept(requirement.name, one.version, CODE))
        return copies.located(text, self._cache)

    def _release(self, content: str, source: Source) -> Release:
        kept = copies.known(self._cache, content)
        if kept is None:
            raise TargetError(f"The copy of {source.text} is not in the cache any more.", "run the same command again")
        place = copies.place(self._cache, content)
        locations.mark_used(place)
        file = File(kept.file, (place / kept.file).as_uri(), is_wheel=kept.file.endswith(".whl"), sha256=content)
        return Release(
            canonicalize_name(kept.name),
            marked(kept.version, content),
            (file,),
            requires_python=kept.requires_python,
            source=source,
        )

    def _copied(self, url: str) -> tuple[str, Source]:
        """The mark of a source, whose copy is in the cache now, and what it is called."""
        if url.startswith("git+"):
            return self._commit(url)
        if not url.startswith("file:"):
            raise UsageFault(
                f"{clean(url)} is not on this machine.", "download it, and name the file; or use git+https"
            )
        path = Path(url2pathname(urlsplit(url).path))
        told = shown(path)
        if not path.exists():
            raise UsageFault(f"There is no folder or file {told}.", "name a package's folder, a wheel or a git URL")
        if path.suffix == ".whl":
            return self._wheel(path), Source(path.name)
        content = self._noted(_copy_of(path, self._cache))
        if not path.is_dir():
            return content, Source(path.name)
        commit, edited = snapshots.state(path)
        return content, Source(told, commit, edited=edited)

    def _commit(self, url: str) -> tuple[str, Source]:
        address = repositories.parse(url)
        repository = Repository(address, self._cache)
        commit = Commit(repository, repository.commit(address.ref))
        told = f"{address.name}@{address.ref}"
        with copies.making(self._cache) as make:
            version = tagging.described(repository.folder, commit.name)
            content = self._noted(_copy_of(_checked_out(commit, make()), self._cache, told, version))
        return content, Source(told, commit.name, repository.subject(commit.name))

    def _noted(self, content: str) -> str:
        """The mark of a copy of which it is known now what it is."""
        if copies.known(self._cache, content) is None:
            copies.note(self._cache, content, self._described(copies.place(self._cache, content) / CODE))
        return content

    def _described(self, code: Path) -> Kept:
        name, version, requires_python = project.declared(project.in_folder(code))
        if not name or not version:
            name, version = self._built(code)
        return Kept(name, version, CODE, requires_python)

    def _built(self, code: Path) -> tuple[str, str]:
        """What the package's build says of it."""
        target = look_at(self._python)
        with copies.making(self._cache) as make:
            temporary = make()
            uv = Uv(target, pip_settings.read(target.prefix, os.environ), {}, temporary)
            uv("--no-deps", "--target", str(temporary / "built"), str(code))
            found = next(iter(importlib.metadata.distributions(path=[str(temporary / "built")])))
            return found.name, found.version

    def _wheel(self, file: Path) -> str:
        whole = file.read_bytes()
        content = f"src{hashlib.sha256(whole).hexdigest()[:16]}"
        if copies.known(self._cache, content) is None:
            name, version, *_ = parse_wheel_filename(file.name)
            with copies.making(self._cache) as make:
                made = make() / "made"
                made.mkdir()
                (made / file.name).write_bytes(whole)
                copies.put(self._cache, content, made)
            copies.note(self._cache, content, Kept(name, str(version), file.name))
        return content


def _several(text: str) -> UsageFault:
    return UsageFault(f"{clean(text)} names several commits.", "name one, or give the range to bisect or --vary")


def _copy_of(path: Path, cache: Path, told: str = "", version: str = "") -> str:
    """The mark of the copy of a project's folder or source archive, which is made if there is none.

    Args:
        path: The folder or archive.
        cache: Where copies are kept.
        told: What people call it; by default its path.
        version: What git says that it is; by default what it says of the folder.
    """
    told = told or shown(path)
    with copies.making(cache) as make:
        if path.is_file():
            path = unpacking.unpacked(path, make())
        if not any((path / name).is_file() for name in project.FILES):
            raise UsageFault(
                f"{told} is not a Python package: it has no pyproject.toml and no setup.py.",
                "name the folder in which `pip install .` works",
            )
        content = snapshots.digest(path)
        if not (copies.place(cache, content) / CODE).is_dir():
            made = make() / "made"
            content = snapshots.copy(path, made)
            tagging.tag(made / CODE, version or tagging.described(path))
            copies.put(cache, content, made)
    return content


def _checked_out(commit: Commit, temporary: Path) -> Path:
    (temporary / "commit").mkdir()
    commit.repository.check_out(commit.name, temporary / "commit")
    return temporary / "commit"


def shown(path: Path) -> str:
    """A path for people, which may be shared: from the current folder, else from the home, else its end."""
    with suppress(ValueError, OSError):
        return f"./{path.relative_to(Path.cwd())}".removesuffix("/.")
    with suppress(ValueError, RuntimeError):
        return f"~/{path.relative_to(Path.home())}"
    return f".../{path.name}"
