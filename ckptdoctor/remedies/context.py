"""The context of a remedy: the target, the probes that were run in it, and the findings."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ckptdoctor import catalog
from ckptdoctor.environment.fork_server import ForkServer
from ckptdoctor.environment.inspection import Inspection
from ckptdoctor.environment.session import Session
from ckptdoctor.environment.target import Target
from ckptdoctor.model.evidence import Environment, Spec
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.model.workers import Worker
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.planning.request import Request
from ckptdoctor.remedies import released
from ckptdoctor.verdict.findings import Found

VARIED = ("transformers", "deepspeed", *catalog.with_functions())
"""Packages of which another release may help."""

ROLES = ("subject", "control")
"""Roles of probes that are run again with a remedy."""


@dataclass(frozen=True)
class RemedyContext:
    """The target on which remedies are tried, and its findings.

    Attributes:
        target: The target, with the overlay that the diagnosis was made with.
        request: The request.
        environment: The target as the report shows it.
        plan: The probes that were run.
        found: The findings.
        session: The target's processes, still running.
        closing: Ends the processes that are started here, once the remedies are found.
        progress: Told how it goes on.
    """

    target: Target
    request: Request
    environment: Environment
    plan: Plan
    found: Found
    session: Session
    closing: ExitStack
    progress: Progress = SILENT

    @property
    def probes(self) -> list[Planned]:
        """The probes that are run again."""
        return [planned for planned in self.plan.probes if planned.role in ROLES]

    def specs(self, probes: Iterable[Planned] | None = None) -> dict[Worker, list[Spec]]:
        """The probes to run again, by worker: some, or all that concern this stack."""
        return Plan(self.probes if probes is None else list(probes)).by_worker()

    @functools.cached_property
    def edited(self) -> dict[str, str]:
        """Packages whose releases are tried and that differ from their release, each with the reason."""
        return released.edited(self.environment, VARIED, self.session.files)

    @functools.cached_property
    def before(self) -> Environment:
        """The target with its overlay, and the requirements of each package."""
        return self.inspect(self.target.overlay).with_every_requirement()

    @functools.cached_property
    def fork_server(self) -> ForkServer:
        """The fork server for trials in overlays: torch is imported once for all trials."""
        return self.closing.enter_context(ForkServer(self.target.python, self.target.cache))

    def inspect(self, overlay: Path | None) -> Inspection:
        """The target with an overlay; each is inspected once."""
        return self.target.inspect(overlay, fork_server=self._fork_server_for(overlay))

    def another(self, overlay: Path | None) -> Session:
        """The target with another overlay, to be examined."""
        return self.target.session(overlay, self.session.at_once, self._fork_server_for(overlay))

    def _fork_server_for(self, overlay: Path | None) -> ForkServer | None:
        return self.fork_server if overlay is not None else None
