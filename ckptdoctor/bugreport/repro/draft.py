"""A script in the making, and how text gets into it.

Nothing of a report is put into the script but through ``repr``, as an identifier, or on one line of a comment.
"""

from __future__ import annotations

import functools
import importlib.resources
import keyword
import re
from dataclasses import dataclass, field
from string import Template

from ckptdoctor import catalog
from ckptdoctor.bugreport.repro.expected import Expected
from ckptdoctor.catalog.records import EngineReproduction
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import Finding, ProbeResult
from ckptdoctor.planning.options import OWN_MODEL
from ckptdoctor.rules import RULES
from ckptdoctor.rules.common.reproduction import Assertion

_ATTRIBUTE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


@dataclass
class Draft:
    """What all parts of a script go by, and what they ask for.

    Attributes:
        environment: The environment of the report.
        finding: What is to be shown.
        probe: The probe that the script does again.
        expected: What it must end in.
        own: The module in which the user's own checkpoint function travels along.
        imports: Modules that the script imports.
        beside: Files that must lie beside it, by name.
    """

    environment: Environment
    finding: Finding
    probe: ProbeResult
    expected: Expected
    own: str
    imports: set[str] = field(default_factory=lambda: {"platform", "importlib.metadata", "torch"})
    beside: dict[str, str] = field(default_factory=dict)

    @property
    def is_own_model(self) -> bool:
        """Whether the model is our own, of which the script has a short one."""
        return self.probe.model == OWN_MODEL

    @property
    def engine(self) -> EngineReproduction:
        """How the probe's engine wraps the model."""
        engine = catalog.engines().get(self.probe.engine)
        return engine.record.reproduction if engine else EngineReproduction()

    @property
    def hides_deepspeed(self) -> bool:
        """Whether the script shows the fault with DeepSpeed hidden, which the finding clears."""
        is_cleared = any(one.package == "deepspeed" for one in self.finding.ruled_out)
        is_used = catalog.needs(self.probe.engine, "deepspeed") or self.probe.checkpoint_function == "deepspeed"
        return is_cleared and not is_used

    @property
    def assertion(self) -> Assertion | None:
        """What shows a fault that raises nothing."""
        return RULES[self.finding.rule].assertion if self.expected.error.startswith("AssertionError: ") else None

    def giving(self, expression: str) -> str:
        """The line with which the model passes its layers to this very function."""
        if self.is_own_model:
            return f"model.checkpoint = {expression}\n"
        return f"model._set_gradient_checkpointing(enable=True, gradient_checkpointing_func={expression})\n"


def template(name: str, **values: str) -> str:
    """A text from the folder of templates, filled in."""
    return fill(_template(name), **values)


@functools.cache
def _template(name: str) -> str:
    file = importlib.resources.files(__package__).joinpath("templates", f"{name}.py.txt")
    return file.read_text(encoding="utf-8")


def fill(text: str, **values: str) -> str:
    """A text with values in the place of its names."""
    return Template(text).substitute(values)


def is_name(text: str) -> bool:
    """Whether a dotted name can stand in a script."""
    return is_dotted(text) and not any(map(keyword.iskeyword, text.split(".")))


def is_dotted(text: str) -> bool:
    """Whether it is written as dotted names are."""
    return bool(_ATTRIBUTE.fullmatch(text))


VARIANTS = ("packed", "dropout", "frozen")
"""Variants that a script can do again; others count as settings of a job's own."""


def left_out(probe: ProbeResult) -> list[str]:
    """The settings of a job's own that a probe had and the script leaves out."""
    known = {probe.model, probe.checkpoint_function, probe.engine, probe.calling_convention}
    known |= {probe.variant} & set(VARIANTS)
    if probe.evidence.trainers_call is not None:
        known.add("Trainer's switch")
    plain = "/".join([probe.model, probe.checkpoint_function, probe.engine])
    engine = catalog.engines().get(probe.engine)
    if engine is not None and engine.record.least_ranks > 1:
        known.add(f"{engine.record.least_ranks} ranks")  # the script has them too
    settings = re.split(r"[/+]", probe.id[len(plain) :]) if probe.id.startswith(plain) else [probe.id]
    return [one for one in settings if one and one not in known]
