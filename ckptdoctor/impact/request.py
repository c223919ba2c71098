"""What to compare."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckptdoctor.matrix.request import MatrixRequest


@dataclass(frozen=True)
class ImpactRequest:
    """What to compare.

    Attributes:
        base: A requirement or a source; of several releases that match, the newest.
        head: Another one of the same package.
        options: Target, model families, checkpoint functions, engines, the store, and what is added to both sides; a trainer
            among these stands for the catalog's.
        fixes: Look for what fixes what is newly broken.
    """

    base: str
    head: str
    options: MatrixRequest = field(default_factory=lambda: MatrixRequest(()))
    fixes: bool = True
