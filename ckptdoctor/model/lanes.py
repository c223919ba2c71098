"""The lanes that probes run in: processes of the environment, each with some packages hidden."""

from __future__ import annotations

Lane = tuple[str, ...]
"""A lane, named by the packages that are hidden in it."""

WITHOUT_DEEPSPEED: Lane = ("deepspeed",)
"""The lane without DeepSpeed: DeepSpeed does not cause what fails in it."""

FULL_STACK: Lane = ()
"""The lane with everything that is installed."""
