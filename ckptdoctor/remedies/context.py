"""What a remedy is looked for in: the target, what was run in it, and what was found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ckptdoctor import catalog
from ckptdoctor.environment.fork_server import ForkServer
from ckptdoctor.environment.inspection import Inspection
from ckptdoctor.environment.session import Session
from ckptdoctor.environment.target import Target
from ckptdoctor.model.evidence import Environment, Spec
from ckptdoctor.model.workers import Worker
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.planning.request import Request
from ckptdoctor.remedies import released
from ckptdoctor.verdict.findings import Found

Progress = Callable[[str], None]

VARIED = ("transformers", "deepspeed", *catalog.with_functions())
"""Packages of which other releases may help."""

ROLES = ("subject", "control")
"""Probes that are run again: what concerns this stack."""


@dataclass(frozen=True)
class RemedyContext:
    """What remedies are tried on, and what was found there.

    Attributes:
        target: The target, with the overlay that the diagnosis was made with.
        request: What was asked.
        environment: The target as the report shows it.
        plan: What was run.
        found: What came of it.
        session: The target's processes, still at hand.
        closing: Ends what is started here, once the remedies are found.
        progress: Told what is going on.
    """

    target: Target
    request: Request
    environment: Environment
    plan: Plan
    found: Found
    session: Session
    closing: ExitStack
    progress: Progress = lambda _: None

    @property
    def probes(self) -> list[Planned]:
        """What is run again."""
        return [planned for planned in self.plan.probes if planned.role in ROLES]

    def specs(self, probes: Iterable[Planned] | None = None) -> dict[Worker, list[Spec]]:
        """What is run again by worker: some probes, or all that concern this stack."""
        return Plan(self.probes if probes is None else list(probes)).by_worker()

    @functools.cached_property
    def edited(self) -> dict[str, str]:
        """Packages whose releases are tried and that are not as released, each with the reason."""
        return released.edited(self.environment, VARIED, self.session.files)

    @functools.cached_property
    def before(self) -> Environment:
        """The target with what was added to it, and all that each package requires."""
        return self.inspect(self.target.overlay).with_every_requirement()

    @functools.cached_property
    def fork_server(self) -> ForkServer:
        """Where what is tried in an overlay is started from: torch is imported once for all."""
        return self.closing.enter_context(ForkServer(self.target.python, self.target.cache))

    def inspect(self, overlay: Path | None) -> Inspection:
        """The target with an overlay; each is inspected once."""
        return self.target.inspect(overlay, fork_server=self._fork_server_for(overlay))

    def another(self, overlay: Path | None) -> Session:
        """The target with another overlay, to be examined."""
        return self.target.session(overlay, self.session.at_once, self._fork_server_for(overlay))

    def _fork_server_for(self, overlay: Path | None) -> ForkServer | None:
        return self.fork_server if overlay is not None else None
