"""Run by every Python that ``ckptdoctor run``, ``watch`` or ``rehearse`` starts, through ``PYTHONPATH``, before the program.

Puts in place what the command asks for, then does what the ``sitecustomize`` that it shadows does. Whatever is wrong with
the hook, the program runs as it would without it. Python 3.9 and later, standard library only.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from contextlib import suppress
from typing import Any

_HOOK = "_ckptdoctor_hook"
_MODULES = {"adapt": "_ckptdoctor_adapter", "watch": "_ckptdoctor_observer", "rehearse": "_ckptdoctor_shrinker"}
"""What is done in a job, and the module that does it."""


def _install() -> bool:
    """Put the hook in place; whether the shadowed ``sitecustomize`` is still to be run in this process."""
    # Another sitecustomize may come back to this one in the same way.
    first = _HOOK not in sys.modules
    try:
        hook: Any = importlib.import_module(_HOOK)
        for part in hook.parts():
            if part in _MODULES:
                importlib.import_module(_MODULES[part]).install()
    except Exception as error:
        _complain(f"ckptdoctor: not active: {type(error).__name__}: {error}")
    return first


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
