"""Why there is no connection to a Ray cluster, in a sentence. Ray is not imported here."""

from __future__ import annotations

import re

from ckptdoctor.matrix.ray_messages import Failed
from ckptdoctor.model.version import __version__

_RELEASES = re.compile(r"^\s*Ray: (\S+)\n\s*Python: (\S+)", re.MULTILINE)
"""Twice in Ray's message: of the cluster, and of this process."""


def failure(error: Exception) -> Failed:
    """What Ray raised when it was to connect, for people."""
    said = str(error).strip() or type(error).__name__
    releases = _RELEASES.findall(said)
    if len(releases) == 2:
        theirs, ours = (f"Ray {ray} on Python {python}" for ray, python in releases)
        return Failed(
            f"The cluster runs {theirs}, and this machine {ours}: Ray connects equal releases only.",
            f"install ckptdoctor {__version__} beside the cluster's Ray, in its Python",
        )
    if "any running Ray instance" in said:
        return Failed(
            "No Ray cluster is running on this machine.",
            "start one with `ray start --head`, or name one: --executor ray=HOST:PORT",
        )
    first = said.splitlines()[0].rstrip(".")
    return Failed(f"The Ray cluster cannot be reached: {first}.", "see `ray status` on this machine")
