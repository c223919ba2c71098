"""The environment of a command in whose processes the hook is active."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ckptdoctor.store import locations

DO, EVIDENCE = "CKPTDOCTOR_DO", "CKPTDOCTOR_EVIDENCE"
"""Variables that the hook reads, see ``probes/no_touch/_ckptdoctor_hook.py``."""

Part = Literal["adapt", "watch", "rehearse"]


def environment(parts: Sequence[Part], environ: Mapping[str, str], evidence: Path | None = None) -> dict[str, str]:
    """The environment of the command: ours, with the folder of the hook first on ``PYTHONPATH``.

    Args:
        parts: What the hook does in each process.
        environ: What the command would get without us; it may have come through here before.
        evidence: The folder in which processes report, for all but ``adapt``.
    """
    folder = str(locations.probes() / "no_touch")
    found = environ.get("PYTHONPATH", "")
    # An empty entry means the current folder, so that none may be made here, nor be lost.
    others = [entry for entry in found.split(os.pathsep) if entry != folder] if found else []
    known = [part for part in environ.get(DO, "").split(",") if part] if folder in found.split(os.pathsep) else []
    does = ",".join(dict.fromkeys([*known, *parts]))
    made = {**environ, "PYTHONPATH": os.pathsep.join([folder, *others]), DO: does}
    return {**made, EVIDENCE: str(evidence)} if evidence is not None else made
