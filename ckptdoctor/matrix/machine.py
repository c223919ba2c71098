"""What of a machine decides what probes observe on it, and in what two machines differ."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ckptdoctor import results
from ckptdoctor.matrix import store
from ckptdoctor.model.evidence import Environment
from ckptdoctor.planning.options import Options


class Machine(msgspec.Struct, frozen=True):
    """All of a machine and its target that decides what probes observe, as far as the store's keys count it.

    Environment variables are no part of it: a node gets those of the machine that the command was started on.
    """

    system: str
    """``linux x86_64``."""
    processor: str
    python: str
    """The target's version."""
    packages: Mapping[str, str]
    """Installed in the target, name to version."""
    code: Mapping[str, str]
    """Digests of packages of the stack, which may have been edited in place."""
    files: Mapping[str, str]
    """Digests of the user's own files, by the function or model that names them."""
    devices: Sequence[str]
    """The files by which the system offers its GPUs."""


def of(target: Environment, options: Options) -> Machine:
    """This machine, with what is installed in its target and the files that a request names."""
    own = store.own_files(options, target).items()
    return Machine(
        system=target.platform,
        processor=platform.machine(),
        python=target.python,
        packages={package.name: package.version for package in target.packages},
        code={one.name: _code(Path(one.location, one.name)) for one in store.editable(target) if one.name != "torch"},
        files={name: store.contents(file) for name, file in own},
        devices=results.devices(),
    )


def _code(folder: Path) -> str:
    """A digest of a package's modules; they may have been installed at other times and places."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode(errors="surrogateescape") + b"\0" + path.read_bytes())
    return digest.hexdigest()


def difference(ours: Machine, theirs: Machine) -> str:
    """In what another machine differs, for people: ``torch 2.12.0 instead of 2.13.0``; empty where it does not."""
    return ", ".join(_differences(ours, theirs))


def _differences(ours: Machine, theirs: Machine) -> Iterator[str]:
    if ours.system != theirs.system or ours.processor != theirs.processor:
        yield f"{theirs.system} instead of {ours.system}"
    if ours.python != theirs.python:
        yield f"Python {theirs.python} instead of {ours.python}"
    if ours.devices != theirs.devices:
        yield "other GPUs" if ours.devices and theirs.devices else "GPUs" if theirs.devices else "no GPUs"
    changed = sorted(
        (name for name in {*ours.packages, *theirs.packages} if ours.packages.get(name) != theirs.packages.get(name)),
        key=lambda name: (name != "torch", name),
    )
    for name in changed[:_SHOWN]:
        yield f"{name} {theirs.packages.get(name, 'missing')} instead of {ours.packages.get(name, 'none')}"
    if len(changed) > _SHOWN:
        more = len(changed) - _SHOWN
        yield f"{more} more package{'s' if more > 1 else ''} in other releases"
    if not changed:
        yield from (f"other code in {name}" for name in ours.code if ours.code[name] != theirs.code.get(name))
    for name in ours.files:
        if ours.files[name] != theirs.files.get(name):
            yield f"{'another' if theirs.files.get(name) else 'no'} file for {name}"


_SHOWN = 2
"""Packages that are named."""
