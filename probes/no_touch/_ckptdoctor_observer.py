"""Observes a process once it has imported torch; others are not touched, and pay nothing."""

from __future__ import annotations

from types import ModuleType

import _ckptdoctor_hook as hook

_begun: list[bool] = []


def install() -> None:
    """Wait for torch."""
    hook.when_executed("torch", _begin)


def _begin(module: ModuleType) -> None:
    if not _begun:
        _begun.append(True)
        hook.probes("observer.observer").start()
