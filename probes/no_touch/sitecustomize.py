"""Run by every Python that ``ckptdoctor run`` starts, through ``PYTHONPATH``, before the program itself.

Puts the import hook in place, then does what the ``sitecustomize`` that it shadows does. Whatever is wrong with the hook,
the program runs as it would without it. Python 3.9 and later, standard library only.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from contextlib import suppress
from typing import Any

_ADAPTER = "_ckptdoctor_adapter"


def _install() -> bool:
    """Put the hook in place; whether the shadowed ``sitecustomize`` is still to be run in this process."""
    try:
        adapter: Any = importlib.import_module(_ADAPTER)
        adapter.install()
        # Another sitecustomize may come back to this one in the same way.
        first, adapter.shadowed_has_run = not adapter.shadowed_has_run, True
        return first
    except Exception as error:
        _complain(f"ckptdoctor run: not active: {type(error).__name__}: {error}")
        return True


def _complain(text: str) -> None:
    with suppress(Exception):  # there is nobody to tell
        print(text.encode("unicode_escape").decode("ascii"), file=sys.stderr, flush=True)  # noqa: T201


def _run_shadowed() -> None:
    """Import the next ``sitecustomize`` on the path; what goes wrong in it is left to ``site``, as ever."""
    ours = os.path.realpath(os.path.dirname(os.path.abspath(__file__)))
    path = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != ours]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module  # the import that is going on returns what it finds here at its end
    spec.loader.exec_module(module)


if _install():
    _run_shadowed()
