"""Kinds of job files, a module for each, with its ``FORMAT``. Modules are found by looking into this folder."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from ckptdoctor.job.format import Format


@functools.cache
def formats() -> dict[str, Format]:
    """Every kind of job file by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return {one.name: one for one in found}
