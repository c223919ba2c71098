"""Whether a terminal opens links that text has (OSC 8): only where that is known, since others may print them as text."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PROGRAMS = ("WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio", "WarpTerminal")
"""By ``TERM_PROGRAM``."""
_TERMS = ("xterm-kitty", "alacritty", "xterm-ghostty", "foot", "contour", "wezterm", "rio")
"""By how ``TERM`` begins."""
_VTE = 5000
"""The first release of VTE (GNOME Terminal and its kin) with links."""


def opened(environ: Mapping[str, str], is_terminal: bool) -> bool:
    """Whether links are shown.

    ``FORCE_HYPERLINK`` decides if it is set, ``0`` for never. Else there are none in pipes, files and the logs of CI, none with
    ``NO_COLOR``, none in tmux and screen, and none in terminals that are not known for them.

    Args:
        environ: Environment variables.
        is_terminal: Whether the text goes to a terminal.
    """
    if forced := environ.get("FORCE_HYPERLINK"):
        return forced != "0"
    term = environ.get("TERM", "")
    if not is_terminal or term == "dumb" or environ.get("NO_COLOR") or environ.get("CI"):
        return False
    if environ.get("TMUX") or term.startswith(("tmux", "screen")):
        return False
    program = environ.get("TERM_PROGRAM", "")
    return (
        program in _PROGRAMS
        or (program == "iTerm.app" and _version(environ.get("TERM_PROGRAM_VERSION", "")) >= (3, 1))
        or bool(environ.get("WT_SESSION") or environ.get("KONSOLE_VERSION"))
        or _version(environ.get("VTE_VERSION", "")) >= (_VTE,)
        or term.startswith(_TERMS)
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
