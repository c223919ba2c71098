"""The rules of a scan. Every module in this folder is one rule and defines ``RULE``; nothing lists them."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from ckptdoctor.scan.rule import ScanRule


@functools.cache
def rules() -> dict[str, ScanRule]:
    """All rules by code."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found: list[ScanRule] = [importlib.import_module(f"{__name__}.{name}").RULE for name in names]
    return {rule.code: rule for rule in sorted(found, key=lambda rule: rule.code)}
