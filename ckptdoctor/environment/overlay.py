"""Other releases of packages, added to a target without changing it.

uv works out what would change in the target (a dry run), and exactly those packages go into a folder of their own that
the target's Python finds first. The folder is kept and used again while target, requirements and settings are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ckptdoctor import catalog
from ckptdoctor.environment import pip_settings, uv_errors
from ckptdoctor.environment.process import does_not_start
from ckptdoctor.errors import TargetError, UnobtainableError, UsageFault
from ckptdoctor.store import locations, workspace, writing

_HELD = frozenset({"torch", "torchvision", "torchaudio", "triton", "pytorch-triton"})
RETRIES = "1"
"""How often uv tries an index again that does not answer, where its own variable does not say: by itself it takes half a
minute to give up."""
_REUSED_FOR = 24 * 3600
"""Seconds that an overlay answers for requirements which do not name one release."""
_LOOK = """
import json, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps([sys.prefix, list(sys.version_info), [paths["purelib"], paths["platlib"]]]))
"""


@dataclass(frozen=True)
class _Target:
    python: Path
    prefix: Path
    version: str
    stamp: tuple[str, ...]
    """Changes when a package is installed or removed."""
    sees_base: bool
    """A virtual environment that shares its base's packages, which uv does not see."""


@dataclass
class _Uv:
    """uv, set up as pip is and held to the target's torch."""

    target: _Target
    settings: pip_settings.PipSettings
    pins: Mapping[str, str]
    folder: Path
    """Temporary; holds the constraints."""
    extra: list[str] = field(default_factory=list)
    """Options found necessary on the way, for all later runs too."""
    lost: list[str] = field(default_factory=list)
    """Hosts of indexes that could not be reached and were left out."""
    progress: Callable[[str], None] = lambda _: None
    any_python: bool = False
    """Whether a release may be laid that is made for another Python."""
    again: list[str] = field(default_factory=list)
    """Options by which packages count as changed that the target has in that version."""

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``uv pip install``; a failed build gets a second attempt, with the target's torch at hand."""
        done = self._reaching(arguments)
        other = uv_errors.wanted_python(done.stderr) if done.returncode and self.any_python else ""
        if other:
            self.any_python = False
            self.extra = ["--python-version", other]
            return self(*arguments)
        if done.returncode and uv_errors.is_build_failure(done.stderr) and not self.extra:
            self.extra = ["--no-build-isolation"]
            second = self._reaching(arguments)
            if second.returncode == 0:
                return second
            self.extra = []
            # Of two failed builds the one that had torch says what is really missing.
            done = second if uv_errors.is_build_failure(second.stderr) else done
        if done.returncode:
            raise self._error(done.stderr)
        return done

    def _error(self, stderr: str) -> TargetError:
        error = uv_errors.distil(stderr, self.pins)
        if not self.lost:
            return error
        # What an index that cannot be reached just now may well have is not out of reach for good.
        hosts = " and ".join(self.lost)
        message = f"{hosts} cannot be reached, and without it this is all that is known: {error.message}"
        return TargetError(message, uv_errors.NETWORK)

    def _reaching(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run with one index less for each that cannot be reached while others can: pip goes on there too."""
        while True:
            done = self._run(arguments)
            fewer = _without_index(self.settings, uv_errors.unreachable_url(done.stderr)) if done.returncode else None
            if fewer is None:
                return done
            host = uv_errors.host(uv_errors.unreachable_url(done.stderr))
            self.progress(f"{host} cannot be reached: going on without it")
            self.settings = fewer
            self.lost.append(host)

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            "DS_BUILD_OPS": "0",
            "UV_HTTP_RETRIES": RETRIES,
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_COLOR": "1",
        }
        environment.update(pip_settings.uv_environment(self.settings, os.environ))
        options = ["--python", str(self.target.python), "--color", "never", "--no-progress", *self.extra]
        options += pip_settings.uv_arguments(self.settings, os.environ)
        return run_uv(["pip", "install", *options, *self._constraints(), *arguments], environment)

    def _constraints(self) -> list[str]:
        if not self.pins:
            return []
        if self.target.sees_base:
            # uv would look for the base's torch in the indexes, and many are in none: demand no torch instead.
            lines = [f"{name} ; python_version < '0'\n" for name in self.pins]
            return self._listed("--overrides", "UV_OVERRIDE", lines)
        lines = [f"{name}=={version}\n" for name, version in self.pins.items()]
        return self._listed("--constraints", "UV_CONSTRAINT", lines)

    def _listed(self, option: str, variable: str, lines: Sequence[str]) -> list[str]:
        file = self.folder / "held.txt"
        file.write_text("".join(lines), encoding="utf-8")
        # Options beat variables in uv, so the files that a variable names are named again.
        others = os.environ.get(variable, "").split()
        return [argument for name in (str(file), *others) for argument in (option, name)]


def lay(
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
    """A folder to put first on the target's ``sys.path``, so that it meets the requirements.

    Args:
        python: The target's interpreter.
        requirements: As for pip, e.g. ``transformers==4.52.4``.
        with_dependencies: Lay in the dependencies of trainers as well.
        environment_packages: What the target has installed, name to version.
        cache: Where overlays are kept.
        progress: Told in a few words what is going on.
        any_python: Lay a release also if it is made for another Python than the target's.
        anew: Packages to lay even if the target has that very version: what it has is an edited copy.

    Raises:
        UsageFault: A requirement is not one.
        TargetError: It cannot be had, or the target's Python does not run.
    """
    wanted = [_requirement(text) for text in requirements]
    installed: dict[str, str] = {
        canonicalize_name(name): version for name, version in environment_packages.items() if name not in anew
    }
    target = _look_at(python)
    settings = pip_settings.read(target.prefix, os.environ)
    asked = _request(target, wanted, with_dependencies, installed, settings, any_python)
    record = cache / "requests" / f"{asked}.json"
    if known := _known(record, cache, always=all(map(names_one_release, wanted))):
        return known
    with _temporary(cache) as folder:
        uv = _Uv(target, settings, _pins(wanted, installed), folder, progress=progress, any_python=any_python)
        uv.again = [argument for name in sorted(anew) for argument in ("--reinstall-package", name)]
        progress("Resolving " + ", ".join(map(str, wanted)))
        changes = _resolve(uv, wanted, installed, with_dependencies)
        overlay = cache / "overlays" / _digest(target.version, record.stem, changes, _unrepeatable(wanted))
        workspace.hold(cache, f"overlays/{overlay.name}")
        if not overlay.is_dir():
            progress(f"Installing {len(changes)} package{'' if len(changes) == 1 else 's'} into an overlay")
            _install(uv, changes, overlay)
        _remember(record, overlay, python)
    return overlay


def run_uv(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run uv and collect what it says; it dies with us when we are interrupted.

    Raises:
        TargetError: There is no uv, or it cannot be started.
    """
    try:
        from uv import find_uv_bin

        command = [find_uv_bin(), *arguments]
    except (ImportError, OSError) as error:
        raise TargetError("uv, which lays overlays, is missing.", _INSTALL_UV) from error
    try:
        return subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise does_not_start("uv, which lays overlays,", error, _INSTALL_UV) from error


_INSTALL_UV = "Install it beside ckptdoctor: `pip install uv`."


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement:
        shown = uv_errors.clean(text).replace("\n", " ")
        message = f"{shown!r} is not a requirement."
        raise UsageFault(message, "Write it as for pip: transformers==4.52.4, or name @ URL.") from None


def _look_at(python: Path) -> _Target:
    # The path stays as it is: in a virtual environment it is a link, and the environment is found through it.
    python = Path(os.path.abspath(python))  # noqa: PTH100
    command = [str(python), "-I", "-B", "-c", _LOOK]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=True, timeout=60
        )
        prefix, version, folders = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise TargetError(f"{python} does not run as a Python interpreter.", "Name the target's python.") from error
    stamp = [str(os.stat(folder).st_mtime_ns) for folder in dict.fromkeys(folders) if Path(folder).is_dir()]  # noqa: PTH116
    stamp = [str(python.resolve()), prefix, *stamp]
    return _Target(python, Path(prefix), ".".join(map(str, version)), tuple(stamp), _sees_base(Path(prefix)))


def _sees_base(prefix: Path) -> bool:
    try:
        settings = (prefix / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return bool(re.search(r"^include-system-site-packages\s*=\s*true\s*$", settings, re.MULTILINE | re.IGNORECASE))


def _request(
    target: _Target,
    wanted: Sequence[Requirement],
    with_dependencies: bool,
    installed: Mapping[str, str],
    settings: pip_settings.PipSettings,
    any_python: bool,
) -> str:
    """Names all that decides what an overlay holds, and that can be seen without running uv."""
    return _digest(
        target.version,
        target.stamp,
        sorted(str(requirement) for requirement in wanted),
        [newest(requirement) for requirement in wanted],
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


def newest(requirement: Requirement) -> int:
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
    """Whether a requirement stands for the same code today and tomorrow."""
    if requirement.url is not None:
        return _local_source(requirement) is not None  # Its state is part of the request.
    return any(
        each.operator == "===" or (each.operator == "==" and not each.version.endswith(".*"))
        for each in requirement.specifier
    )


def _unrepeatable(wanted: Sequence[Requirement]) -> str:
    """Differs each time for a package from a URL: the version of a branch stays while its code moves."""
    return uuid.uuid4().hex if any(requirement.url for requirement in wanted) else ""


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
    told = {"overlay": overlay.name, "made": time.time(), "python": os.path.abspath(python)}  # noqa: PTH100 - as in _look_at
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


def _pins(wanted: Sequence[Requirement], installed: Mapping[str, str]) -> dict[str, str]:
    """What must stay as it is: torch and what belongs to it, unless the user asks for another torch."""
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


def _resolve(
    uv: _Uv, wanted: Sequence[Requirement], installed: Mapping[str, str], with_dependencies: bool
) -> dict[str, str]:
    """What has to be installed, name to requirement; what the target has in that version already is left out."""
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


def _dry_run(uv: _Uv, wanted: Sequence[Requirement], *options: str) -> dict[str, str]:
    """Name to version, or URL, of all that uv would install.

    uv's lines are read and not its JSON, which only its newest releases write, as a preview.
    """
    # Nothing is installed, so a Python that its system manages is no obstacle.
    with _lock_removed(uv.target):
        done = uv("--dry-run", "--break-system-packages", *uv.again, *options, *map(str, wanted))
    lines = re.findall(r"^ [+~] ([\w.-]+)(?:==| @ )(\S+)", uv_errors.clean(done.stderr), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


@contextlib.contextmanager
def _lock_removed(target: _Target) -> Iterator[None]:
    """Take away the empty lock file that uv leaves in a virtual environment even when it only looks."""
    lock = target.prefix / ".lock"
    was_there = lock.exists()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if not was_there and lock.stat().st_size == 0:
                lock.unlink()


def _refuse_torch(changes: Mapping[str, str], wanted: Sequence[Requirement], installed: Mapping[str, str]) -> None:
    """The last guard: a torch whose version cannot be written as a constraint is not replaced either."""
    asked = any(canonicalize_name(requirement.name) == "torch" for requirement in wanted)
    have = installed.get("torch")
    if not asked and have and changes.get("torch", have) != have:
        message = f"The requirements bring torch {changes['torch']}, but the target's torch {have} is never replaced."
        raise UnobtainableError(message, "Choose releases made for it, or ask for torch by name: --with 'torch==...'.")


def _install(uv: _Uv, changes: Mapping[str, str], overlay: Path) -> None:
    made = uv.folder / "overlay"
    made.mkdir()
    if changes:
        uv("--no-deps", "--target", str(made), *changes.values())
        (made / ".lock").unlink(missing_ok=True)
    overlay.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(overlay)
    except OSError:
        # Another process was faster: its overlay holds the same, and ours goes with the temporary folder.
        if not overlay.is_dir():
            raise


def _without_index(settings: pip_settings.PipSettings, url: str) -> pip_settings.PipSettings | None:
    """The settings less the index that a URL belongs to, or None where that would leave no place to look in."""
    if not url or settings.no_index:
        return None
    extras = settings.extra_index_urls
    if gone := _owner(url, extras):
        return replace(settings, extra_index_urls=tuple(index for index in extras if index != gone))
    # The index that uv takes when none is set is known by its form only.
    if not _owner(url, [settings.index_url or url.partition("/simple/")[0] + "/simple"]):
        return None
    if extras:
        return replace(settings, index_url=extras[0], extra_index_urls=extras[1:])
    return replace(settings, no_index=True) if settings.find_links else None


def _owner(url: str, indexes: Sequence[str]) -> str:
    # uv leaves passwords out where it names a URL.
    def bare(text: str) -> str:
        return re.sub(r"(?<=://)[^/\s@]+@", "", text).rstrip("/") + "/"

    return next((index for index in indexes if bare(url).startswith(bare(index))), "")
