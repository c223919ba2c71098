"""Other releases of packages, added to a target without changing it.

uv works out what would change in the target (a dry run), and exactly those packages go into a folder of their own that
the target's Python finds first. The folder is kept and used again while target, requirements and settings are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ckptdoctor.environment import copies, pip_settings, sources
from ckptdoctor.environment.installation import Installation, look_at
from ckptdoctor.environment.requirements import names_one_release, parse_requirement, source_changed_at
from ckptdoctor.environment.resolving import resolve, torch_pins
from ckptdoctor.environment.uv_command import Uv
from ckptdoctor.errors import TargetError
from ckptdoctor.store import locations, workspace, writing

_REUSED_FOR = 24 * 3600
"""Seconds after which an overlay is made again if its requirements do not name one release."""


def make(
    python: Path,
    requirements: Sequence[str],
    *,
    with_dependencies: bool,
    environment_packages: Mapping[str, str],
    cache: Path,
    progress: Callable[[str], None],
    any_python: bool = False,
    anew: Collection[str] = (),
) -> Path:
    """Make a folder to put first on the target's ``sys.path``, so that it meets the requirements.

    Args:
        python: The target's interpreter.
        requirements: As for pip, e.g. ``transformers==4.52.4``.
        with_dependencies: Add the dependencies of trainers to the overlay too.
        environment_packages: What the target has installed, name to version.
        cache: Where overlays are kept.
        progress: Called with a few words about the current step.
        any_python: Add a release even if it is made for another Python than the target's.
        anew: Packages to add even if the target has this version, since the target's copy was edited.

    Raises:
        UsageFault: A requirement is not one.
        TargetError: A release cannot be installed, or the target's Python does not run.
    """
    asked_for = [parse_requirement(text) for text in requirements]
    wanted = [sources.installed(requirement, cache) for requirement in asked_for]
    installed: dict[str, str] = {
        canonicalize_name(name): version for name, version in environment_packages.items() if name not in anew
    }
    target = look_at(python)
    settings = pip_settings.read(target.prefix, os.environ)
    asked = _request(target, wanted, with_dependencies, installed, settings, any_python)
    record = cache / "requests" / f"{asked}.json"
    if known := _known(record, cache, always=all(map(names_one_release, wanted))):
        return known
    with _temporary(cache) as folder:
        uv = Uv(target, settings, torch_pins(wanted, installed), folder, progress=progress, any_python=any_python)
        uv.again = [argument for name in sorted(anew) for argument in ("--reinstall-package", name)]
        progress("Resolving " + ", ".join(map(str, asked_for)))
        changes = resolve(uv, wanted, installed, with_dependencies)
        overlay = cache / "overlays" / _digest(target.version, record.stem, changes, _unrepeatable(wanted))
        workspace.hold(cache, f"overlays/{overlay.name}")
        if not overlay.is_dir():
            progress(f"Installing {len(changes)} package{'' if len(changes) == 1 else 's'} into an overlay")
            _install(uv, changes, overlay)
        _remember(record, overlay, python)
    return overlay


def _request(
    target: Installation,
    wanted: Sequence[Requirement],
    with_dependencies: bool,
    installed: Mapping[str, str],
    settings: pip_settings.PipSettings,
    any_python: bool,
) -> str:
    """A digest of everything that decides what an overlay holds and that is known before uv runs."""
    return _digest(
        target.version,
        target.stamp,
        sorted(str(requirement) for requirement in wanted),
        [source_changed_at(requirement) for requirement in wanted],
        (with_dependencies, any_python),
        sorted(installed.items()),
        settings,
        [_contents(file) for file in (*settings.constraints, *os.environ.get("UV_CONSTRAINT", "").split())],
        sorted((name, value) for name, value in os.environ.items() if name.startswith("UV_")),
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _contents(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError:
        return b""


def _unrepeatable(wanted: Sequence[Requirement]) -> str:
    """Differs each time for a package from a URL: the version of a branch stays while its code moves. A copy's does not."""
    moves = any(requirement.url and not copies.is_copy(requirement.url) for requirement in wanted)
    return uuid.uuid4().hex if moves else ""


def _known(record: Path, cache: Path, *, always: bool) -> Path | None:
    try:
        remembered = json.loads(record.read_text(encoding="utf-8"))
        overlay, age = cache / "overlays" / str(remembered["overlay"]), time.time() - float(remembered["made"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    workspace.hold(cache, f"overlays/{overlay.name}")
    if not overlay.is_dir() or not (always or 0 <= age < _REUSED_FOR):
        return None
    locations.mark_used(record)  # not the overlay: kept results rest on its time of change
    return overlay


def _remember(record: Path, overlay: Path, python: Path) -> None:
    told = {"overlay": overlay.name, "made": time.time(), "python": os.path.abspath(python)}  # noqa: PTH100 - as in look_at
    writing.keep(record, json.dumps(told).encode())


@contextlib.contextmanager
def _temporary(cache: Path) -> Iterator[Path]:
    """A folder on the cache's own file system, so that what is made in it can be renamed into place."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        making = contextlib.ExitStack()
        folder = making.enter_context(workspace.making_in(cache))
    except OSError as error:
        message = f"The cache {cache} cannot be written: {error.strerror}."
        raise TargetError(message, "Choose another cache folder, or make room there.") from error
    with making:
        yield folder


def _install(uv: Uv, changes: Mapping[str, str], overlay: Path) -> None:
    made = uv.folder / "overlay"
    made.mkdir()
    if changes:
        uv("--no-deps", "--target", str(made), *changes.values())
        (made / ".lock").unlink(missing_ok=True)
    workspace.move(made, overlay)
