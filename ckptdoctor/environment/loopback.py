"""Whether processes on this machine reach each other."""

from __future__ import annotations

import socket

from ckptdoctor.errors import TargetError

PATIENCE = 5.0
"""Seconds that a connection within the machine may take."""


def require() -> None:
    """Make sure that several ranks can be run, before anything is started.

    Raises:
        TargetError: The machine cannot connect to itself.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=PATIENCE).close()
    except OSError as error:
        raise TargetError(
            f"Ranks cannot reach each other: this machine has no working loopback interface "
            f"(127.0.0.1: {error.strerror or error}).",
            "bring it up with `ip link set lo up`, or leave out --nproc and add --engine none",
        ) from error
