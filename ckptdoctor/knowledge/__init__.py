"""What was measured: which releases work together. Data beside this file, written by ``ckptdoctor.measure``."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Literal

import msgspec

FILE = "measured.json"


class Measurement(msgspec.Struct, frozen=True):
    """One stack and checkpoint function that was run."""

    transformers: str
    package: str
    """The trainer."""
    version: str
    function: str
    model: str
    """Model family."""
    verdict: Literal["ok", "fail", "error"]
    """``error``: it could not be diagnosed."""
    forward_only: bool
    """There was no GPU for the backward pass, which was run with the CPU in its place."""
    rules: list[str]
    detail: str
    """The error in one line, where there was one."""


class Knowledge(msgspec.Struct, frozen=True):
    """All measurements, with what measured them."""

    date: str
    ckptdoctor: str
    python: str
    torch: str
    platform: str
    requires: dict[str, dict[str, list[str]]]
    """``Requires-Dist`` of each release of a trainer that name a package of the stack."""
    measurements: list[Measurement]

    def works(self, **wanted: str) -> list[Measurement]:
        """Measurements that were ok and match the given fields."""
        return [
            one
            for one in self.measurements
            if one.verdict == "ok" and all(getattr(one, field) == value for field, value in wanted.items())
        ]


@functools.cache
def load() -> Knowledge:
    """The knowledge shipped with the package."""
    data = resources.files(__package__).joinpath(FILE).read_bytes()
    return msgspec.json.decode(data, type=Knowledge)
