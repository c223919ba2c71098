"""The last report of an environment that has not changed since."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ckptdoctor.environment import pip_settings
from ckptdoctor.environment.session import Reads
from ckptdoctor.model.encoding import encode_exactly
from ckptdoctor.model.report import DECIDED, Report
from ckptdoctor.model.version import __version__
from ckptdoctor.planning.request import Request
from ckptdoctor.store import locations, writing

if TYPE_CHECKING:
    from ckptdoctor.job.reading import JobFile

VARIABLES = ("CUDA", "NVIDIA", "TORCH", "PYTORCH", "DS_", "HF_", "TRANSFORMERS", "ACCELERATE", "PYTHON", "NCCL", "GLOO")
"""Environment variables that may change what the stack does, by how their names begin."""


class _Stored(msgspec.Struct):
    files: dict[str, tuple[int, int]]
    """Every file that the run loaded, with size and time of change in nanoseconds."""
    folders: dict[str, int]
    """Every folder of ``sys.path`` with its time of change: something installed or removed shows there."""
    reads: dict[str, tuple[int, int] | None]
    """Every file and folder that the run read or looked for beside modules; none where it is not there."""
    variables: dict[str, str]
    """Every environment variable that the run looked up, with a digest of its value."""
    report: Report


def key(python: Path, overlay: Path | None, request: Request, job: JobFile | None = None) -> str:
    """What a result depends on beside the files that the run loads: the question, the variables, our own code.

    The overlay counts by its folder: a requirement without a version comes to another one when a release is published. A job
    counts by all that it says: it may change while its file's name stays.
    """
    named = [*request.options.functions, *request.options.models, *request.job]
    # The same name is another file in another folder.
    here = str(Path.cwd()) if any(".py:" in name or Path(name).exists() for name in named if name) else ""
    question = [
        str(python),
        str(overlay),
        request.find_remedies,
        request.verify,
        here,
        msgspec.to_builtins(job.interpreted()) if job is not None else None,
        msgspec.to_builtins(request.options),
    ]
    return hashlib.sha256(encode_exactly([question, circumstances(), _sources(), _own_code()])).hexdigest()[:32]


def _sources() -> Any:
    """Where packages come from: remedies that an index could not be asked for are looked for anew once it can be."""
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("UV_"))
    return [asdict(pip_settings.read(None, os.environ)), variables]


def circumstances() -> list[Any]:
    """What may change what a stack does and is no part of it: environment variables, and whether there are GPUs."""
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith(VARIABLES))
    return [variables, devices()]


def devices() -> list[str]:
    """The files by which the system offers its GPUs."""
    return sorted(str(device) for device in Path("/dev").glob("nvidia*")) if sys.platform == "linux" else []


def load(name: str) -> Report | None:
    """The stored report, if every file it rests on is as it was."""
    try:
        stored = msgspec.json.decode(_path(name).read_bytes(), type=_Stored)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if any(_file(path) != state for path, state in stored.files.items()):
        return None
    if any(_folder(path) != changed for path, changed in stored.folders.items()):
        return None
    if any(_file(path) != state for path, state in stored.reads.items()):
        return None
    if any(_variable(one) != digest for one, digest in stored.variables.items()):
        return None
    locations.mark_used(_path(name))
    return msgspec.structs.replace(stored.report, cached=True)


def store(name: str, report: Report, files: Iterable[str], folders: Iterable[str], reads: Reads | None = None) -> None:
    """Keep a report.

    What could not be judged is not kept, since its cause may lie where no file shows it; nor is a report with a probe
    whose process was killed, since that could not tell which files it had loaded, or with one for which the machine lacked
    something; nor one on a function that started programs, or made connections, of which nobody can tell what they read.
    """
    if (
        report.verdict not in DECIDED
        or _is_for_now(report)
        or (reads and reads.untraced)
        or any(probe.evidence.is_lost for probe in report.probes)
    ):
        return
    configurations = {str(Path(probe.model) / "config.json") for probe in report.probes if os.sep in probe.model}
    stored = _Stored(
        files={path: state for path in sorted({*files, *configurations}) if (state := _file(path)) is not None},
        folders={path: changed for path in folders if (changed := _folder(path)) is not None},
        reads={path: _file(path) for path in sorted(reads.files)} if reads else {},
        variables={one: _variable(one) for one in sorted(reads.variables)} if reads else {},
        report=report,
    )
    with suppress(OSError):  # a full disk must not cost the report
        writing.keep(_path(name), encode_exactly(stored))


def _is_for_now(report: Report) -> bool:
    """Whether a remedy could not be tried, for want of a network or of room: the next time it may be."""
    return any(one.unsearched for one in report.findings)


def _path(name: str) -> Path:
    return locations.cache() / "results" / f"{name}.json"


def _file(path: str) -> tuple[int, int] | None:
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _variable(name: str) -> str:
    """A digest of a variable's value: values may be secrets, and belong in no file."""
    value = os.environ.get(name)
    return "" if value is None else hashlib.sha256(os.fsencode(value)).hexdigest()


def _folder(path: str) -> int | None:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None


def _own_code() -> list[Any]:
    """Version, and size and time of our own files and of what was measured here: what they say may change the report."""
    package = Path(__file__).parent
    ours = [path for folder in (package, locations.probes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    ours += sorted(here.glob("*.json.gz")) if (here := locations.known_here()) else []
    return [__version__, [(path.name, _file(str(path))) for path in ours if path.suffix in (".py", ".json", ".gz")]]
