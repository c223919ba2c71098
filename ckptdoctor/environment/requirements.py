"""Requirements as the user writes them: read, and what of them may change from day to day."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement

from ckptdoctor.environment import uv_errors
from ckptdoctor.errors import UsageFault


def parse_requirement(text: str) -> Requirement:
    """Read a requirement.

    Raises:
        UsageFault: It is not one.
    """
    try:
        return Requirement(text)
    except InvalidRequirement:
        shown = uv_errors.clean(text).replace("\n", " ")
        message = f"{shown!r} is not a requirement."
        raise UsageFault(message, "Write it as for pip: transformers==4.52.4, or name @ URL.") from None


def source_changed_at(requirement: Requirement) -> int:
    """When the local archive of a requirement last changed; 0 for one that has none."""
    source = local_source(requirement)
    return source.stat().st_mtime_ns if source is not None and source.is_file() else 0


def local_source(requirement: Requirement) -> Path | None:
    """The file or folder on this machine that a requirement names; none for what is fetched.

    A folder is copied before anything is made of it (``copies``), so its name says what is in it.
    """
    if requirement.url is None or not requirement.url.startswith("file:"):
        return None
    return Path(url2pathname(urlsplit(requirement.url).path))


def names_one_release(requirement: Requirement) -> bool:
    """Whether a requirement means the same code today and tomorrow."""
    if requirement.url is not None:
        return local_source(requirement) is not None  # Its state is part of the request.
    return any(
        each.operator == "===" or (each.operator == "==" and not each.version.endswith(".*"))
        for each in requirement.specifier
    )
