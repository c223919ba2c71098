"""Methods and functions that are wrapped in place."""

from __future__ import annotations

import functools
from typing import Any, Callable

Around = Callable[..., Any]
"""Called with the original, then with the arguments of the call."""


def wrap(owner: Any, name: str, around: Around) -> None:
    """Put ``around(original, *arguments)`` in the place of a function, a method or a class method, once.

    Args:
        owner: A module or a class; the class must define the method itself, or inherit it.
        name: What it is called; nothing happens where there is no such thing.
        around: Gets the original first. For a method the object follows, for a class method the class.
    """
    found = vars(owner).get(name, getattr(owner, name, None))
    original = getattr(found, "__func__", found)
    if original is None or hasattr(original, "_ckptdoctor"):
        return

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    wrapped._ckptdoctor = True  # type: ignore[attr-defined]
    kind = type(found) if isinstance(found, (classmethod, staticmethod)) else None
    setattr(owner, name, kind(wrapped) if kind else wrapped)
