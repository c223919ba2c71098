"""The packages that a script needs, and the commands that install them."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import ProbeResult
from ckptdoctor.planning.options import OWN_MODEL


def commands(environment: Environment, probe: ProbeResult) -> Iterator[str]:
    """The commands that make such a stack: trainers without their dependencies, whose pins it may break."""
    found = packages(environment, probe)
    rest = " ".join(f"{name}=={version}" for name, version in found.items() if not catalog.is_trainer(name))
    yield f"pip install {rest}"
    for name, version in found.items():
        if catalog.is_trainer(name):
            yield f"pip install --no-deps {name}=={version}"


def packages(environment: Environment, probe: ProbeResult) -> dict[str, str]:
    """What a script needs: what the probe had imported and is of the stack, in the order of the stack."""
    modules = probe.evidence.modules
    wanted = {"torch", "numpy", *(["transformers"] if probe.model != OWN_MODEL else [])}
    trainer = catalog.package_of(probe.checkpoint_function)
    wanted |= {trainer} if catalog.is_trainer(trainer) or trainer == "deepspeed" else set()
    engine = catalog.engines().get(probe.engine)
    wanted |= {engine.package} if engine and engine.package else set()
    names = [*environment.stack, *(name for name in modules if name not in environment.stack)]
    versions = {name: modules.get(name) or environment.version(name) for name in names if name in wanted}
    return {name: _public(version) for name, version in versions.items() if version}


def _public(version: str) -> str:
    """A version as the index has it, without the mark of a build such as ``+cpu``."""
    try:
        return Version(version).public
    except InvalidVersion:
        return version
