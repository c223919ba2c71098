"""What an inspection of an environment says: its packages, and all that they require."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ckptdoctor.errors import TargetError
from ckptdoctor.model.evidence import Environment


class Inspection(msgspec.Struct, frozen=True):
    """All that later steps need to know of an environment."""

    environment: Environment
    """As a report shows it: a package has the requirements that name a package of the stack."""
    requires: Mapping[str, tuple[str, ...]] = {}
    """``Requires-Dist`` of every package, whole, by the package's name."""

    @property
    def versions(self) -> dict[str, str]:
        """The installed release of each package, by its name."""
        return {package.name: package.version for package in self.environment.packages}

    def with_every_requirement(self) -> Environment:
        """The environment with all that each package requires."""
        packages = tuple(
            msgspec.structs.replace(package, requires=self.requires.get(package.name, package.requires))
            for package in self.environment.packages
        )
        return msgspec.structs.replace(self.environment, packages=packages)


def inspection_of(event: Mapping[str, Any], python: Path) -> Inspection:
    """An inspection, from the event that the environment's side sent.

    Raises:
        TargetError: The event has another form.
    """
    try:
        return msgspec.convert(event, Inspection, strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise TargetError(
            f"{python} does not say what is installed in it: {error}.",
            "a package's METADATA, or a sitecustomize, may be damaged",
        ) from None
