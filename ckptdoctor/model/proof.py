"""What it means that a remedy is proven, and which probes that rests on."""

from __future__ import annotations

from typing import Literal

Proven = Literal["", "some", "failing", "all"]
"""Which probes were run again with a remedy applied, and were ok.

``some``: some of the probes that had failed. ``failing``: all of them. ``all``: every probe that concerns the stack, so
that nothing that worked is lost either. Empty: none, the remedy was not run on this stack.
"""

IN_WORDS: dict[Proven, str] = {
    "": "",
    "some": "ok where it was run",
    "failing": "ok in all failing probes",
    "all": "ok in all probes",
}
"""How a remedy is marked in every format: what was run with it, and is ok."""
