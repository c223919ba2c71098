"""What the doctor's catalog says of trainers, engines and packages, as it came over the bridge."""

from __future__ import annotations

from typing import Any

STACK: list[str] = []
"""The packages that decide whether checkpointing works, in the order in which they are shown."""

FUNCTIONS: dict[str, dict[str, Any]] = {}
"""Trainers' checkpoint functions by name: ``module``, the file in ``trainers/`` that switches it on; ``modules``, dotted names
of where it is defined, newest first; ``needs``, names of which the module must define one, the first of which stands for it."""

START_CHECKS: dict[str, list[dict[str, str]]] = {}
"""Where the commands of trainers compare installed releases when they start, by package: ``module``, a dotted name;
``function``, of that module; ``unless``, the environment variable that switches it off."""

ENGINES: dict[str, dict[str, Any]] = {}
"""Engines by name: ``module``, the file in ``engines/``; ``package``, without which there is none; ``casts_weights``;
``ranks``, whether it starts a process group; ``precision``, to which it rounds the parameters for a step; ``hides_layers``,
whether hooks see nothing of a layer; ``options``."""


def take(sent: dict[str, Any]) -> None:
    """Take in what the doctor sent, in the place of what was there."""
    STACK[:] = sent["stack"]
    taken = ((FUNCTIONS, "functions"), (START_CHECKS, "start_checks"), (ENGINES, "engines"))
    for known, new in ((known, sent[name]) for known, name in taken):
        known.clear()
        known.update(new)
