"""Requirements as pip takes them, folders, archives and repositories among them, in the one form that carries the name."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from ckptdoctor.environment import project, repositories
from ckptdoctor.errors import UsageFault

_EDITABLE = re.compile(r"^(?:-e|--editable)[ =]\s*")
_EXTRAS = re.compile(r"^(.*?)(\[[\w\s,.-]*\])?$", re.DOTALL)
_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip")
_WITH_URL = re.compile(r"^[\w.-]+\s*(?:\[[^\]]*\])?\s*@\s*\w[\w+.-]*:")
"""``NAME @ URL``, with or without the spaces."""

_REMOTE = re.compile(r"^(?:(?:git|hg|svn|bzr)\+)?\w+://")


def named(text: str) -> str:
    """A requirement with its name: ``./folder`` becomes ``package @ file:///…/folder``, all others stay.

    Args:
        text: A requirement, a folder, one with a ref of git (``./folder@ref``), a wheel or source archive, a URL, or one of
            them after ``-e``.

    Raises:
        UsageFault: There is no such folder or file, or it does not tell its package's name.
    """
    bare = _EDITABLE.sub("", text.strip())
    if _REMOTE.match(bare) and not bare.startswith("file:"):
        return f"{_name_in_url(bare)} @ {bare}"
    where, extras = _EXTRAS.match(bare.removeprefix("file://")).groups()  # type: ignore[union-attr]
    if not (bare != text.strip() or bare.startswith("file:") or _looks_like_a_path(where)):
        return text
    path = Path(where).expanduser().absolute()
    if not path.exists() and (found := repositories.at_ref(bare)):
        folder, url = found
        return f"{project.declared(project.in_folder(folder)).name or _name_in_url(url)} @ {url}"
    if not path.exists():
        raise UsageFault(f"There is no folder or file {path}.", "name a package's folder, a wheel, or NAME==RELEASE")
    if path.is_dir() and not any((path / file).is_file() for file in project.FILES):
        raise UsageFault(
            f"{path} is not a Python package: it has no pyproject.toml and no setup.py.",
            "name the folder in which `pip install .` works",
        )
    name = project.declared(project.in_folder(path)).name if path.is_dir() else _name_of_archive(path.name)
    if not name:
        raise UsageFault(f"{path} does not tell the name of its package.", f"write it as NAME @ {path.as_uri()}")
    return f"{name}{extras or ''} @ {path.as_uri()}"


def has_name(text: str) -> bool:
    """Whether a requirement is written as ``NAME @ URL``."""
    return bool(_WITH_URL.match(text))


def _looks_like_a_path(text: str) -> bool:
    if has_name(text):
        return False
    return text.startswith((".", "~")) or "/" in text or "\\" in text or text.endswith(_ARCHIVES)


def _name_in_url(url: str) -> str:
    parts = urlsplit(url)
    egg = re.search(r"(?:^|&)egg=([\w.-]+)", parts.fragment)
    last = parts.path.rstrip("/").rpartition("/")[2]
    name = egg.group(1) if egg else _name_of_archive(last) or re.sub(r"(?:\.git)?(?:@.*)?$", "", last)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UsageFault(f"{url} does not tell the name of its package.", f"write it as NAME @ {url}")
    return name


def _name_of_archive(file: str) -> str:
    with suppress(InvalidWheelFilename, InvalidSdistFilename):
        return str(parse_wheel_filename(file)[0] if file.endswith(".whl") else parse_sdist_filename(file)[0])
    return ""
