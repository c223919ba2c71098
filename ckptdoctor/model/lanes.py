"""The lanes that probes run in: processes in the target, told apart by what is hidden in them."""

from __future__ import annotations

Lane = tuple[str, ...]
"""A lane is named by the packages that are hidden in it."""

WITHOUT_DEEPSPEED: Lane = ("deepspeed",)
"""The lane without DeepSpeed: what fails in it is not DeepSpeed's doing."""

FULL_STACK: Lane = ()
"""The lane with everything that is installed."""
