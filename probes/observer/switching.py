"""Who switched checkpointing on, by which of the model's methods."""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any

from .. import places
from ..switching_on import METHODS, SETTER

MODULE = "transformers.modeling_utils"

_BETWEEN = ("transformers.modeling_utils", "peft.", "accelerate.", "_ckptdoctor")
"""Modules that only pass the call on."""


class Switching:
    """Stands in front of the methods of transformers' models that switch checkpointing on."""

    def __init__(self) -> None:
        self.by: dict[str, Any] | None = None
        """The line that made the last call."""
        self._replaced: list[tuple[Any, str, Any, Any]] = []
        self._is_open = True

    def install(self, module: ModuleType) -> None:
        """Watch the methods of ``PreTrainedModel``."""
        owner = module.PreTrainedModel
        for name in (*METHODS, SETTER) if self._is_open else ():
            method = vars(owner).get(name)
            if callable(method):
                ours = self._in_front_of(method)
                self._replaced.append((owner, name, method, ours))
                setattr(owner, name, ours)

    def _in_front_of(self, method: Any) -> Any:
        @functools.wraps(method)
        def switch_on(*args: Any, **kwargs: Any) -> Any:
            if self._is_open:
                self._note()
            return method(*args, **kwargs)

        return switch_on

    def _note(self) -> None:
        try:
            frame = sys._getframe(2)
            while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_BETWEEN):
                frame = frame.f_back
            self.by = places.of_frame(frame)
        except Exception:  # the job's call comes first
            self.by = None

    def close(self) -> None:
        """Put the methods back, unless somebody else stands in front of them by now."""
        self._is_open = False
        for owner, name, method, ours in self._replaced:
            if vars(owner).get(name) is ours:
                setattr(owner, name, method)
        self._replaced.clear()
