"""Where installed packages lie, found without importing any of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec
from packaging.utils import canonicalize_name


@dataclass(frozen=True)
class Installed:
    """A distribution.

    Attributes:
        name: As its metadata has it.
        version: Its release.
        places: The files and folders of its modules.
    """

    name: str
    version: str
    places: tuple[Path, ...]


class Packages:
    """The distributions of an environment."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Look into folders.

        Args:
            paths: ``sys.path`` of the environment, the overlay first.
        """
        self.roots = tuple(root for root in dict.fromkeys(map(Path, filter(None, paths))) if root.is_dir())

    @functools.cached_property
    def all(self) -> dict[str, Installed]:
        """By normalised name; the first of several with one name is the one that is imported."""
        found: dict[str, Installed] = {}
        for root in self.roots:
            for one in metadata.distributions(path=[str(root)]):
                name = one.metadata["Name"] if one.metadata else None
                if name and (key := canonicalize_name(name)) not in found:
                    found[key] = Installed(name, one.version or "", tuple(dict.fromkeys(_places(one, root))))
        return found

    @functools.cached_property
    def _owners(self) -> dict[Path, Installed]:
        return {place: one for one in self.all.values() for place in one.places}

    def find(self, name: str) -> Installed | None:
        """A package by the name of its distribution or of its module."""
        if one := self.all.get(canonicalize_name(name)):
            return one
        module = name.replace("-", "_")
        for root in self.roots:
            for place in (root / module, root / f"{module}.py"):
                if place.exists():
                    return self._owners.get(place) or Installed(module, "", (place,))
        return None

    def owner(self, file: Path) -> Installed | None:
        """The distribution that a file belongs to."""
        return next((self._owners[one] for one in (file, *file.parents) if one in self._owners), None)

    def module_file(self, path: str) -> bytes:
        """A file by its path below the folder of packages.

        Raises:
            LookupError: There is none that can be read.
        """
        for root in self.roots:
            try:
                return (root / path).read_bytes()
            except OSError:
                continue
        raise LookupError(path)


def _places(one: metadata.Distribution, root: Path) -> Iterator[Path]:
    if editable := _editable(one):
        yield editable
        return
    tops = (one.read_text("top_level.txt") or "").split()
    if not tops:
        lines = (one.read_text("RECORD") or "").splitlines()
        tops = list(dict.fromkeys(line.partition(",")[0].partition("/")[0] for line in lines))
    for top in tops:
        module = root / top.removesuffix(".py")
        if module.is_dir() and not top.endswith((".dist-info", ".data")) and top not in ("..", "bin", "__pycache__"):
            yield module
        elif module.with_suffix(".py").is_file():
            yield module.with_suffix(".py")


def _editable(one: metadata.Distribution) -> Path | None:
    """The folder of a package that is installed in place."""
    try:
        told = msgspec.json.decode(one.read_text("direct_url.json") or "{}")
        if told.get("dir_info", {}).get("editable"):
            return Path(url2pathname(urlsplit(told["url"]).path))
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError):
        pass
    return None
