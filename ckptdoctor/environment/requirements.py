"""Requirements as the user writes them: read, and what of them may change from day to day."""

from __future__ import annotations

import re
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
    """When the local source of a requirement last changed; 0 for one that has none."""
    source = _local_source(requirement)
    if source is None or not source.exists():
        return 0
    inside = source.rglob("*") if source.is_dir() else iter(())
    # Building writes into the source, so what it writes must not count as a change.
    ours = re.compile(r"^(?:\..*|build|dist|__pycache__|.*\.egg-info)$")
    files = (path for path in inside if path.is_file() and not any(map(ours.match, path.relative_to(source).parts)))
    own = 0 if source.is_dir() else source.stat().st_mtime_ns
    return max((path.stat().st_mtime_ns for path in files), default=own)


def _local_source(requirement: Requirement) -> Path | None:
    if requirement.url is None or not requirement.url.startswith("file:"):
        return None
    return Path(url2pathname(urlsplit(requirement.url).path))


def names_one_release(requirement: Requirement) -> bool:
    """Whether a requirement means the same code today and tomorrow."""
    if requirement.url is not None:
        return _local_source(requirement) is not None  # Its state is part of the request.
    return any(
        each.operator == "===" or (each.operator == "==" and not each.version.endswith(".*"))
        for each in requirement.specifier
    )
