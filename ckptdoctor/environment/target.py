"""The environment under diagnosis: its interpreter, what is added to it, and what is installed, each found out once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ckptdoctor.environment import overlay as overlays
from ckptdoctor.environment.fork_server import ForkServer
from ckptdoctor.environment.inspection import Inspection
from ckptdoctor.environment.session import Session
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.store import locations


class Target:
    """A target with an overlay, or without one, during one run.

    Nothing is installed in it meanwhile, so each overlay is inspected once, and everyone asks here.
    """

    def __init__(
        self,
        python: Path,
        requirements: Sequence[str] = (),
        with_dependencies: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        """Make the overlay that the requirements ask for, unless it is there already.

        Args:
            python: The target's interpreter.
            requirements: What to add to it, in an overlay.
            with_dependencies: Add the dependencies of trainers as well.
            progress: Told how it goes on.

        Raises:
            DoctorError: The target does not start, or what is to be added cannot be had.
        """
        self.python, self.cache = python, locations.cache()
        self._with_dependencies, self._progress = with_dependencies, progress
        self._inspections: dict[Path | None, Inspection] = {}
        self.overlay = self.overlay_with(requirements) if requirements else None

    def session(
        self,
        overlay: Path | None,
        at_once: int = 1,
        fork_server: ForkServer | None = None,
        adapted: bool = False,
    ) -> Session:
        """Processes of the target with an overlay, to run probes in; see ``Session``."""
        return Session(self.python, overlay, at_once, self.cache, self._progress, fork_server, adapted=adapted)

    def inspect(
        self, overlay: Path | None, session: Session | None = None, fork_server: ForkServer | None = None
    ) -> Inspection:
        """What is installed in the target with an overlay, and all that it requires.

        Args:
            overlay: The overlay, or ``None`` for the target alone.
            session: Processes of the target with this overlay, where there are some already.
            fork_server: Where to start them from otherwise.

        Raises:
            TargetError: The target's Python does not start.
        """
        if overlay not in self._inspections:
            if session is not None:
                self._inspections[overlay] = session.inspect()
            else:
                with self.session(overlay, fork_server=fork_server) as own:
                    self._inspections[overlay] = own.inspect()
        return self._inspections[overlay]

    def overlay_with(self, requirements: Sequence[str], anew: Collection[str] = ()) -> Path:
        """The overlay with which the target meets some requirements.

        Args:
            requirements: As for pip.
            anew: Packages to add even if the target has that very release: what it has is an edited copy.

        Raises:
            UsageFault: A requirement is not one.
            TargetError: It cannot be had.
        """
        return overlays.make(
            self.python,
            requirements,
            with_dependencies=self._with_dependencies,
            environment_packages=self.inspect(None).versions,
            cache=self.cache,
            progress=self._progress,
            anew=anew,
        )
