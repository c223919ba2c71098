"""The workers that probes run in: processes of the environment, each with some packages hidden."""

from __future__ import annotations

Worker = tuple[str, ...]
"""A worker, named by the packages that are hidden in it."""

WITHOUT_DEEPSPEED: Worker = ("deepspeed",)
"""The worker without DeepSpeed: DeepSpeed does not cause what fails in it."""

FULL_STACK: Worker = ()
"""The worker with everything that is installed."""
