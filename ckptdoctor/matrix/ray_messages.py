"""What a run on a Ray cluster and its nodes tell each other: JSON lines of plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from ckptdoctor.matrix.combination import Base
from ckptdoctor.matrix.executor import Event, Task
from ckptdoctor.matrix.machine import Machine
from ckptdoctor.model.evidence import Environment
from ckptdoctor.planning.options import Options

CODE = "code/ckptdoctor"
"""The copy of ckptdoctor that is sent to the nodes, in the current folder of the process that talks to the cluster."""


class Joining(msgspec.Struct, frozen=True):
    """All that a node needs to know before its first task."""

    python: str
    """The target's interpreter on the machine where the command was started."""
    target: Environment
    machine: Machine
    """That machine."""
    options: Options
    folder: str
    """The current folder there."""
    variables: Mapping[str, str]
    """Environment variables there that decide what probes observe, and how packages are installed."""
    jobs: int = 0
    """Tasks at a time; 0 for as many as the node's CPUs and memory allow."""


class Connect(msgspec.Struct, frozen=True, tag=True):
    """Connect to a cluster, and have its nodes join."""

    address: str
    joining: Joining
    cache: str
    """Where the copies of sources are."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Run a task on a node."""

    node: str
    number: int
    """Tells the task's events from those of others."""
    task: Task
    at_once: int
    """Probes at a time."""


class Release(msgspec.Struct, frozen=True, tag=True):
    """No task needs a base's Python any more."""

    base: Base


Request: TypeAlias = Connect | Begin | Release


class Joined(msgspec.Struct, frozen=True, tag=True):
    """A node takes part."""

    node: str
    name: str
    """Its address, for people."""
    slots: int
    """Tasks that it runs at a time."""


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """A node that cannot take part."""

    node: str
    name: str
    why: str


class Lost(msgspec.Struct, frozen=True, tag=True):
    """A node is gone, with all that it was doing."""

    node: str


class Seen(msgspec.Struct, frozen=True, tag=True):
    """The cluster was looked at."""

    nodes: int
    """Nodes that take part, or may yet."""


class Happened(msgspec.Struct, frozen=True, tag=True):
    """An event of a task."""

    node: str
    number: int
    event: Event


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The run cannot go on."""

    message: str
    hint: str = ""
    is_usage: bool = False
    """Whether the request makes no sense."""


Answer: TypeAlias = Joined | Unfit | Lost | Seen | Happened | Failed
