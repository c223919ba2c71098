"""Whether a step went well, and what an error points to, by its evidence alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckptdoctor.model.evidence import Error, Evidence, Place
from ckptdoctor.words.wording import relative


def is_sound(evidence: Evidence) -> bool:
    """Whether a step returned with every layer recomputed once and every gradient right."""
    gradients = evidence.gradients
    return (
        evidence.ended == "returned"
        and gradients is not None
        and not gradients.missing
        and not gradients.wrong
        and not (evidence.accumulated and (evidence.accumulated.wrong or evidence.accumulated.missing))
        and all(layer.is_recomputed_once for layer in evidence.layers)
    )


def wrong_gradients(evidence: Evidence) -> set[str]:
    """The parameters with a wrong gradient after the first step; if there are none, after the second."""
    both = (evidence.gradients, evidence.accumulated)
    return next(({one.parameter for one in found.wrong} for found in both if found and found.wrong), set())


def works(evidence: Evidence) -> bool:
    """Sound; for a function that needs a GPU on a machine without one, sound when simulated on the CPU."""
    if not evidence.forward_only:
        return is_sound(evidence)
    tried = evidence.stand_in
    return tried is not None and tried.precision == evidence.precision and is_sound(tried)


_CUDA = re.compile(r"cuda|\bgpus?\b|nvidia|triton|accelerator|dummy base class", re.IGNORECASE)
"""Words that point to a GPU in a message or a line of code. Without CUDA, torch's streams and events are dummy classes."""


def involves_cuda(error: Error) -> bool:
    """Whether the missing GPU may be the cause of an error, by its message or by the line that raised it."""
    own = innermost_own(error.frames)
    lines = [frame for frame in (own, *error.frames[-1:]) if frame is not None]
    in_cuda = any(
        relative(frame.file).startswith(("torch/cuda/", "torch/backends/cuda/", "triton/")) for frame in lines
    )
    return error.needs_cuda or in_cuda or any(map(_CUDA.search, [error.message, *(frame.code for frame in lines)]))


FROZEN = "<frozen "
"""What the names of files begin with whose modules are compiled into Python; no distribution owns them."""


def innermost_own(frames: Sequence[Place]) -> Place | None:
    """The innermost frame outside of torch and Python: their helpers raise errors on behalf of the caller."""
    own = [frame for frame in frames if frame.package not in ("python", "torch") and not frame.file.startswith(FROZEN)]
    return own[-1] if own else None
