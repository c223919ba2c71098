"""What one look at an environment tells: its packages, and all that they require."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ckptdoctor.model.evidence import Environment


class Inspection(msgspec.Struct, frozen=True):
    """An environment as it was inspected, all that later steps need of it."""

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
