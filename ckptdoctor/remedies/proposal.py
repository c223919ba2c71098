"""The result of a search for remedies."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ckptdoctor.model.report import Finding, Remedy


class Proposal(NamedTuple):
    """Remedies for a finding, and notes on the search."""

    remedies: tuple[Remedy, ...] = ()
    impasse: str = ""
    """If no release of the trainer works with the installed transformers: a sentence on it, with the newest pair that works."""
    unsearched: str = ""
    """One sentence: what could not be tried now, and why."""

    def and_also(self, *others: Remedy) -> Proposal:
        """The same with more remedies."""
        return self._replace(remedies=(*self.remedies, *others))

    def attached_to(self, finding: Finding, searched: tuple[str, ...]) -> Finding:
        """The finding with its remedies.

        Args:
            finding: The finding.
            searched: The kinds of remedies that were searched for.
        """
        return msgspec.structs.replace(
            finding, remedies=self.remedies, searched=searched, impasse=self.impasse, unsearched=self.unsearched
        )
