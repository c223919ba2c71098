"""What hinders a command from starting, told as shells tell it. Nothing else is imported here: ``run`` starts at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ckptdoctor.errors import UsageFault
from ckptdoctor.model.exit_status import ExitStatus


@contextmanager
def starting(program: str) -> Iterator[None]:
    """A context in which a program is started; what hinders it is told as shells tell it.

    Raises:
        UsageFault: There is no such program, or it cannot be started.
    """
    try:
        yield
    except FileNotFoundError as error:
        fault = UsageFault(f"{program}: not found.", "activate its environment, or check the name")
        fault.status = ExitStatus.NOT_FOUND
        raise fault from error
    except (OSError, ValueError) as error:  # the latter for a null character
        reason = getattr(error, "strerror", None) or str(error)
        fault = UsageFault(f"{program} cannot be started: {reason}.", "name a program, such as python, before a script")
        fault.status = ExitStatus.NOT_EXECUTABLE
        raise fault from error
