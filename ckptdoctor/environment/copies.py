"""Copies of sources in the cache, each under the mark of its content, and what is known of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from packaging.requirements import Requirement

from ckptdoctor.errors import TargetError
from ckptdoctor.model.sources import MARK, mark
from ckptdoctor.store import workspace, writing

FOLDER = "sources"
"""Where copies lie in the cache."""
CODE = "code"
"""The folder in a copy that holds a project."""

_RECORD = "source.json"


class Kept(msgspec.Struct):
    """What is known of a copy."""

    name: str
    version: str
    """The package's own."""
    file: str
    """The folder or the wheel in the copy."""
    requires_python: str = ""


def is_copy(url: str) -> bool:
    """Whether a URL is that of a copy."""
    return bool(re.search(rf"/{FOLDER}/{MARK.pattern}/[^/]+$", url))


def place(cache: Path, content: str) -> Path:
    """The folder of a copy, whether or not it is there; it stays until this process ends."""
    workspace.hold(cache, f"{FOLDER}/{content}")
    return cache / FOLDER / content


def known(cache: Path, content: str) -> Kept | None:
    """What is known of a copy; none where there is no copy, or nothing was noted of it yet."""
    try:
        return msgspec.json.decode((place(cache, content) / _RECORD).read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None


@contextmanager
def making(cache: Path) -> Iterator[Callable[[], Path]]:
    """What makes temporary folders in the cache, as many as are needed.

    Raises:
        TargetError: They cannot be written.
    """
    with ExitStack() as stack:

        def make() -> Path:
            cache.mkdir(parents=True, exist_ok=True)
            return stack.enter_context(workspace.making_in(cache))

        try:
            yield make
        except OSError as error:
            message = f"A copy cannot be written to the cache {cache}: {error.strerror or error}."
            raise TargetError(message, "choose another cache folder, or make room there") from error


def put(cache: Path, content: str, made: Path) -> Path:
    """Move a folder that was made in the cache to the place of a copy, and return this place."""
    folder = place(cache, content)
    workspace.move(made, folder)
    return folder


def note(cache: Path, content: str, kept: Kept) -> None:
    """Write down what is known of a copy."""
    writing.keep(place(cache, content) / _RECORD, msgspec.json.encode(kept))


def located(text: str, cache: Path) -> str:
    """A requirement as it is installed: a source's release by the place of its copy, all others as they are.

    Args:
        text: A requirement, such as ``transformers==5.24.0.dev0+src0123456789abcdef``.
        cache: Where the copies are.

    Raises:
        TargetError: The copy is gone.
    """
    requirement = Requirement(text)
    content = next(filter(None, (mark(one.version) for one in requirement.specifier)), "")
    if not content:
        return text
    kept = known(cache, content)
    if kept is None:
        raise TargetError(f"The copy of {text} is not in the cache any more.", "run the same command again")
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras} @ {(place(cache, content) / kept.file).as_uri()}"
