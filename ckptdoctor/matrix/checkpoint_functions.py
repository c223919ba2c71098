"""Which checkpoint functions a release of a trainer has, and in which of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ckptdoctor import catalog


def of_package(package: str) -> list[str]:
    """The checkpoint functions that some release of a trainer has."""
    return [name for name in catalog.functions() if catalog.package_of(name) == package]


def installed(folder: Path, package: str) -> tuple[str, ...]:
    """The checkpoint functions of a trainer in a folder of installed packages, such as an overlay."""

    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError:
            return b""

    return tuple(name for name in of_package(package) if located(name, lambda file: (folder / file).is_file(), read))


def located(function: str, has: Callable[[str], bool], read: Callable[[str], bytes]) -> str:
    """The file that defines a checkpoint function, or an empty string; the first that there is, as Python would take it.

    Args:
        function: The function.
        has: Whether a release has a file.
        read: The contents of a file that it has.
    """
    for dotted in catalog.functions()[function].modules:
        path = dotted.replace(".", "/")
        file = next(filter(has, (f"{path}.py", f"{path}/__init__.py")), "")
        if file and any(name.encode() in read(file) for name in catalog.functions()[function].needs):
            return file
    return ""
