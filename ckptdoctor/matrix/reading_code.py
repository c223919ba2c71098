"""The code fingerprints that a request needs, and the families that they tell of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ckptdoctor import catalog
from ckptdoctor.environment.index import Index
from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.fingerprints import Reader
from ckptdoctor.matrix.inference import Fingerprints
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.model.progress import Progress
from ckptdoctor.planning.options import ALL, FALLBACK_FAMILIES, OWN_MODEL, Options
from ckptdoctor.store import locations

READ = ("transformers", *catalog.with_functions())
"""Packages whose code that matters is known."""


def read_fingerprints(
    found: Sequence[Axis], request: MatrixRequest, releases: Index, progress: Progress
) -> Fingerprints:
    """Which releases of each axis share the code that matters, as far as it can be read without installing them."""
    if request.exhaustive and ALL not in request.options.models:
        return {}
    fingerprints = {}
    reader = Reader(releases.session, locations.cache() / "fingerprints")
    for axis in found:
        if axis.name in READ and not (axis.name == "transformers" and _has_own_models(request.options)):
            progress(f"reading {len(axis.releases)} releases of {axis.name}")
            fingerprints[axis.name] = reader.fingerprints(
                axis.name, axis.releases, request.options.models or FALLBACK_FAMILIES
            )
    return fingerprints


def _has_own_models(options: Options) -> bool:
    """Whether the request names a model whose code is not a file of transformers."""
    return any(name == OWN_MODEL or os.sep in name or Path(name).is_dir() for name in options.models)


def of_all_families(request: MatrixRequest, fingerprints: Fingerprints) -> MatrixRequest:
    """The request with the names of all families that some release has.

    Raises:
        UsageFault: No release of transformers could be read.
    """
    known = filter(None, fingerprints.get("transformers", {}).values())
    families = sorted({family for one in known for family in one.digests})
    if not families:
        raise UsageFault("`--model all` needs releases of transformers to vary.", "add --vary 'transformers>=5'")
    return replace(request, options=replace(request.options, models=families, packed=True, by_family=True))
