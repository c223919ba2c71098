"""Code from anywhere as a release: a folder, a wheel, a source archive or a commit, copied into the cache as it is now.

A source's release is its own version and a mark of its content: ``5.24.0.dev0+src0123456789abcdef``. The mark names the copy,
so the release alone says what is installed, and equal code is one release wherever it lies.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from ckptdoctor.environment import pip_settings, project, repositories, snapshots, unpacking
from ckptdoctor.environment.index import File, Release
from ckptdoctor.environment.installation import look_at
from ckptdoctor.environment.named import named
from ckptdoctor.environment.repositories import Repository
from ckptdoctor.environment.requirements import parse_requirement
from ckptdoctor.environment.uv_command import Uv
from ckptdoctor.environment.uv_errors import clean
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.model.sources import Source, mark, marked
from ckptdoctor.store import locations, workspace, writing

FOLDER = "sources"
"""Where copies lie in the cache."""

_RECORD = "source.json"


class _Kept(msgspec.Struct):
    """What is known of a copy."""

    name: str
    version: str
    """The package's own."""
    file: str
    """The folder or the wheel in the copy."""
    requires_python: str = ""


def is_source(text: str) -> bool:
    """Whether a requirement names code by its place, not by its release.

    Raises:
        UsageFault: There is no such folder or file, or it does not tell its package's name.
    """
    try:
        return bool(Requirement(named(text)).url)
    except InvalidRequirement:
        return False


def located(text: str, cache: Path) -> str:
    """A requirement as it is installed: a source's release by the place of its copy, all others as they are.

    Args:
        text: A requirement, such as ``transformers==5.24.0.dev0+src0123456789abcdef``.
        cache: Where the copies are.

    Raises:
        TargetError: The copy is gone.
    """
    requirement = Requirement(text)
    marks = [found for one in requirement.specifier if (found := mark(one.version))]
    if not marks:
        return text
    workspace.hold(cache, f"{FOLDER}/{marks[0]}")
    kept = _kept(cache / FOLDER / marks[0])
    if kept is None:
        raise TargetError(f"The copy of {text} is not in the cache any more.", "run the same command again")
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras} @ {(cache / FOLDER / marks[0] / kept.file).as_uri()}"


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

    def take(self, text: str) -> Release:
        """The release that a source is now.

        Args:
            text: A folder, a wheel, a source archive or a URL, with or without its package's name.

        Raises:
            UsageFault: There is no such source, or it is no package.
            TargetError: It cannot be fetched, or its build fails.
        """
        if text not in self._taken:
            requirement = parse_requirement(named(text))
            release = self._release(*self._copied(requirement.url or ""))
            if "@" in text.partition(":")[0] and canonicalize_name(requirement.name) != release.name:
                raise UsageFault(
                    f"{clean(text)} is the package {release.name}, not {requirement.name}.", "correct the name"
                )
            self._taken[text] = release
        return self._taken[text]

    @property
    def told(self) -> dict[str, dict[str, Source]]:
        """Where the code is from that was taken, by package and release."""
        found: dict[str, dict[str, Source]] = {}
        for release in self._taken.values():
            if release.source:
                found.setdefault(release.name, {})[release.version] = release.source
        return found

    def pinned(self, text: str) -> str:
        """A requirement with the release that its source is now, so that it means the same from here on; others stay."""
        if not is_source(text):
            return text
        release, requirement = self.take(text), Requirement(named(text))
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        marker = f" ; {requirement.marker}" if requirement.marker else ""
        return f"{release.name}{extras}=={release.version}{marker}"

    def _release(self, content: str, source: Source) -> Release:
        folder = self._cache / FOLDER / content
        kept = _kept(folder)
        if kept is None:
            raise TargetError(f"The copy of {source.text} is not in the cache any more.", "run the same command again")
        locations.mark_used(folder)
        path = folder / kept.file
        file = File(path.name, path.as_uri(), is_wheel=path.suffix == ".whl", sha256=content)
        version = marked(kept.version, content)
        return Release(
            canonicalize_name(kept.name), version, (file,), requires_python=kept.requires_python, source=source
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
        if path.is_dir():
            commit, edited = snapshots.state(path)
            return self._folder(path, told), Source(told, commit, edited=edited)
        if path.suffix == ".whl":
            return self._wheel(path), Source(path.name)
        with workspace.making_in(self._cache) as temporary:
            return self._folder(unpacking.unpacked(path, temporary), told), Source(path.name)

    def _commit(self, url: str) -> tuple[str, Source]:
        address = repositories.parse(url)
        repository = Repository(address, self._cache)
        commit = repository.commit(address.ref)
        told = f"{address.name}@{address.ref}"
        with workspace.making_in(self._cache) as temporary:
            (temporary / "commit").mkdir()
            repository.check_out(commit, temporary / "commit")
            content = self._folder(temporary / "commit", told)
        return content, Source(told, commit, repository.subject(commit))

    def _folder(self, folder: Path, told: str) -> str:
        if not any((folder / name).is_file() for name in project.FILES):
            raise UsageFault(
                f"{told} is not a Python package: it has no pyproject.toml and no setup.py.",
                "name the folder in which `pip install .` works",
            )
        content = snapshots.digest(folder)
        workspace.hold(self._cache, f"{FOLDER}/{content}")
        if _kept(self._cache / FOLDER / content) is None:
            with workspace.making_in(self._cache) as temporary:
                content = snapshots.copy(folder, temporary / "made")
                self._keep(content, temporary / "made", self._described(temporary / "made" / "code", temporary))
        return content

    def _described(self, code: Path, temporary: Path) -> _Kept:
        name, version = project.name(code), project.version(code)
        if not name or not version:
            name, version = self._built(code, temporary)
        return _Kept(name, version, code.name, project.requires_python(code))

    def _built(self, code: Path, temporary: Path) -> tuple[str, str]:
        """What the package's build says of it."""
        target = look_at(self._python)
        uv = Uv(target, pip_settings.read(target.prefix, os.environ), {}, temporary)
        done = uv("--dry-run", "--no-deps", "--target", str(temporary / "none"), str(code))
        said = re.search(r"^ \+ ([\w.-]+)==(\S+)", clean(done.stderr), re.MULTILINE)
        if said is None:
            raise TargetError("The build of the package does not say its name and version.", "try it with pip")
        return said[1], said[2]

    def _wheel(self, file: Path) -> str:
        whole = file.read_bytes()
        content = f"src{hashlib.sha256(whole).hexdigest()[:16]}"
        workspace.hold(self._cache, f"{FOLDER}/{content}")
        if _kept(self._cache / FOLDER / content) is None:
            name, version, *_ = parse_wheel_filename(file.name)
            with workspace.making_in(self._cache) as temporary:
                (temporary / "made").mkdir()
                (temporary / "made" / file.name).write_bytes(whole)
                self._keep(content, temporary / "made", _Kept(name, str(version), file.name))
        return content

    def _keep(self, content: str, made: Path, kept: _Kept) -> None:
        writing.keep(made / _RECORD, msgspec.json.encode(kept))
        folder = self._cache / FOLDER / content
        workspace.hold(self._cache, f"{FOLDER}/{content}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(folder)
        except OSError:
            # Another process was faster: its copy holds the same.
            if _kept(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)
                made.rename(folder)


def shown(path: Path) -> str:
    """A path for people, which may be shared: from the current folder, else from the home, else its end."""
    with suppress(ValueError, OSError):
        return f"./{path.relative_to(Path.cwd())}".removesuffix("/.")
    with suppress(ValueError, RuntimeError):
        return f"~/{path.relative_to(Path.home())}"
    return f".../{path.name}"


def _kept(folder: Path) -> _Kept | None:
    try:
        return msgspec.json.decode((folder / _RECORD).read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        return None
