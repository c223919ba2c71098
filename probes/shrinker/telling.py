"""What was made small in this process, for the doctor: a file in the folder of evidence."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile

_small: dict[str, str] = {}
"""Each sentence, by what of it says how things are now."""

_missing: list[dict[str, str]] = []

FOLDER = "CKPTDOCTOR_REHEARSAL"
"""Variable with the temporary folder of the rehearsal."""

DEFAULT_STEPS = 2
"""Optimizer steps that are observed, where the doctor does not say."""


def small(sentence: str) -> None:
    """Tell what was made small, or left out because it cannot run here: a sentence, told once, whatever it was before."""
    now = sentence.partition(" instead of ")[0]
    if now not in _small:
        _small[now] = sentence
        _write("small", list(_small.values()))


def missing(kind: str, name: str, error: BaseException) -> None:
    """Tell what the job could not load.

    Args:
        kind: ``configuration``, ``tokenizer`` or ``dataset``.
        name: As the job names it.
        error: What loading it ended in.
    """
    first = next(iter(str(error).splitlines()), "")
    entry = {"kind": kind, "name": name, "error": f"{type(error).__name__}: {first}"[:500]}
    if entry not in _missing:
        _missing.append(entry)
        _write("missing", _missing)


def steps() -> int:
    """Optimizer steps that are observed."""
    path = os.path.join(os.environ.get("CKPTDOCTOR_EVIDENCE", ""), "settings.json")
    with contextlib.suppress(OSError, ValueError, KeyError), open(path, encoding="utf-8") as handle:
        return int(json.load(handle)["steps"])
    return DEFAULT_STEPS


def folder(name: str = "") -> str:
    """The temporary folder of the rehearsal, which the doctor removes; or one in it."""
    base = os.environ.get(FOLDER) or os.path.join(tempfile.gettempdir(), "ckptdoctor-rehearsal")
    path = os.path.join(base, name) if name else base
    os.makedirs(path, exist_ok=True)
    return path


def _write(name: str, content: object) -> None:
    """Write a file whole, or not at all."""
    where = os.environ.get("CKPTDOCTOR_EVIDENCE")
    if not where:
        return
    path = os.path.join(where, f"{name}-{os.getpid()}.json")
    with contextlib.suppress(OSError):  # the job goes on
        with open(f"{path}.new", "w", encoding="utf-8") as handle:
            json.dump(content, handle)
        os.replace(f"{path}.new", path)
