"""What would change in a target if it met some requirements, as uv works it out; torch is not replaced."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ckptdoctor import catalog
from ckptdoctor.environment import uv_errors
from ckptdoctor.environment.installation import Installation
from ckptdoctor.environment.uv_command import Uv
from ckptdoctor.errors import UnobtainableError

_HELD = frozenset({"torch", "torchvision", "torchaudio", "triton", "pytorch-triton"})


def torch_pins(wanted: Sequence[Requirement], installed: Mapping[str, str]) -> dict[str, str]:
    """Releases that must not change: torch and its packages, unless the user asks for another torch."""
    asked = {canonicalize_name(requirement.name) for requirement in wanted}
    if "torch" in asked:
        return {}
    return {
        name: version for name, version in installed.items() if is_held(name) and name not in asked and _valid(version)
    }


def is_held(name: str) -> bool:
    """Whether a package belongs to torch, whose builds are never replaced."""
    return name in _HELD or name.startswith("nvidia-")


def _valid(version: str) -> bool:
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


def resolve(
    uv: Uv, wanted: Sequence[Requirement], installed: Mapping[str, str], with_dependencies: bool
) -> dict[str, str]:
    """What to install, name to requirement, without what the target already has in the same version."""
    alone = [r for r in wanted if not with_dependencies and canonicalize_name(r.name) in catalog.trainers()]
    changes: dict[str, str] = {}
    if others := [r for r in wanted if r not in alone]:
        changes |= _dry_run(uv, others)
    if alone:
        changes |= _dry_run(uv, alone, "--no-deps")
    urls: dict[str, str] = {canonicalize_name(r.name): str(r) for r in wanted if r.url}
    _refuse_torch(changes, wanted, installed)
    return {
        name: urls.get(name, f"{name}=={version}")
        for name, version in sorted(changes.items())
        if name in urls or installed.get(name) != version
    }


def _dry_run(uv: Uv, wanted: Sequence[Requirement], *options: str) -> dict[str, str]:
    """All that uv would install, name to version or URL.

    uv's lines are read and not its JSON, which only its newest releases write, as a preview.
    """
    # A dry run installs nothing, so it may look at a Python that the system manages.
    with _lock_removed(uv.target):
        done = uv("--dry-run", "--break-system-packages", *uv.again, *options, *map(str, wanted))
    lines = re.findall(r"^ [+~] ([\w.-]+)(?:==| @ )(\S+)", uv_errors.clean(done.stderr), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


@contextlib.contextmanager
def _lock_removed(target: Installation) -> Iterator[None]:
    """Remove the empty lock file that uv leaves in a virtual environment even after a dry run."""
    lock = target.prefix / ".lock"
    was_there = lock.exists()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if not was_there and lock.stat().st_size == 0:
                lock.unlink()


def _refuse_torch(changes: Mapping[str, str], wanted: Sequence[Requirement], installed: Mapping[str, str]) -> None:
    """The last guard: keep a torch whose version cannot be written as a constraint."""
    asked = any(canonicalize_name(requirement.name) == "torch" for requirement in wanted)
    have = installed.get("torch")
    if not asked and have and changes.get("torch", have) != have:
        message = f"The requirements bring torch {changes['torch']}, but the target's torch {have} is never replaced."
        raise UnobtainableError(message, "Choose releases made for it, or ask for torch by name: --with 'torch==...'.")
