"""What a setting means from one release of a trainer to the next."""

from __future__ import annotations

from collections.abc import Mapping

from packaging.version import InvalidVersion, Version

NON_REENTRANT = "torch:non-reentrant"
REENTRANT = "torch:reentrant"


class Releases:
    """The releases in the target, as far as they are known."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        self._versions = versions

    def is_from(self, package: str, release: str) -> bool | None:
        """Whether a package is of that release or a later one; nothing where its version is not known."""
        try:
            return Version(self._versions.get(package, "")) >= Version(release)
        except InvalidVersion:
            return None

    def reentrant(self, asked: bool | None) -> bool | None:
        """What transformers makes of what it is told of reentrant checkpointing; nothing where its release decides on it."""
        found = self.torchs(asked)
        return found == [REENTRANT] if len(found) == 1 else None

    def torchs(self, reentrant: bool | None) -> list[str]:
        """Which of torch's functions transformers uses, from what it is told of reentrant checkpointing."""
        if reentrant is None:
            is_newer = self.is_from("transformers", "5.0.0")
            if is_newer is None:
                return [NON_REENTRANT, REENTRANT]
            reentrant = not is_newer
        return [REENTRANT if reentrant else NON_REENTRANT]
