"""What ckptdoctor raises when it cannot do its work; findings about a target are no errors."""

from __future__ import annotations

from ckptdoctor.model.exit_status import ExitStatus


class DoctorError(Exception):
    """Something that a person has to fix before ckptdoctor can go on.

    Attributes:
        message: What is wrong, one sentence.
        hint: The next step, or empty.
        status: The exit status it ends the command with.
    """

    status: ExitStatus = ExitStatus.UNDIAGNOSED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageFault(DoctorError):  # noqa: N818 - reads as the person's slip, not as a crash
    """The command was called with something it cannot understand."""

    status = ExitStatus.USAGE


class TargetError(DoctorError):
    """The target, or an overlay over it, cannot be had."""

    status = ExitStatus.UNDIAGNOSED


class UnobtainableError(TargetError):
    """Packages that cannot be had together, today or tomorrow: not there, at odds with each other, or not to be built."""


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """Work was stopped because nobody waits for it any more."""
