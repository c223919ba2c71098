"""What a search for remedies ends in."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ckptdoctor.model.report import Finding, Remedy


class Proposal(NamedTuple):
    """Remedies for a finding, and what else the reader must know of the search."""

    remedies: tuple[Remedy, ...] = ()
    impasse: str = ""
    """Where no release of the trainer works with the installed transformers: that, and which newest pair does."""
    unsearched: str = ""
    """What could not be tried just now, and why: one sentence."""

    def and_also(self, *others: Remedy) -> Proposal:
        """The same with more remedies."""
        return self._replace(remedies=(*self.remedies, *others))

    def attached_to(self, finding: Finding, searched: tuple[str, ...]) -> Finding:
        """The finding with its remedies.

        Args:
            finding: What was looked into.
            searched: What was looked for: kinds of remedies.
        """
        return msgspec.structs.replace(
            finding, remedies=self.remedies, searched=searched, impasse=self.impasse, unsearched=self.unsearched
        )
