"""What wraps the model of a job: one engine, from the job's own settings and from what starts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from ckptdoctor import catalog
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch, Sharding
from ckptdoctor.job.models import Found
from ckptdoctor.model.evidence import Setup

if TYPE_CHECKING:
    from ckptdoctor.job.formats.deepspeed import Configuration, Precision

WRAPPER = "torch:wrapper"
"""FSDP's own activation checkpointing, as a checkpoint function."""

COMPILE = "compile"

FSDP_CHECKPOINTING = "FSDP's own activation checkpointing wraps the layers"

COMPILE_KEYS = ("torch_compile", "torch_compile_backend", "torch_compile_mode")


@dataclass(frozen=True)
class Wrapping:
    """What wraps the model.

    Attributes:
        engine: As ``--engine`` takes it.
        is_fsdp_checkpointed: FSDP's own activation checkpointing is on.
        untried: A sentence for each thing that is not tried.
        unjudged: Why the job's checkpointing cannot be judged.
    """

    engine: str = "none"
    is_fsdp_checkpointed: bool = False
    untried: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    def job(
        self,
        fields: Fields,
        trainer: str,
        model: Found,
        switched_on: Sequence[str],
        setup: Setup,
        untried: Sequence[str],
        unjudged: Sequence[str] = (),
    ) -> Job:
        """The job, with what wraps its model.

        Args:
            fields: The job's settings.
            trainer: The name of its format.
            model: The model that it names.
            switched_on: The checkpoint functions that it switches on itself.
            setup: What it does beside them.
            untried: A sentence for each thing that is not tried.
            unjudged: Why its checkpointing cannot be judged, what wraps the model apart.
        """
        # FSDP's own function counts where no other is switched on.
        functions = list(switched_on) if switched_on or not self.is_fsdp_checkpointed else [WRAPPER]
        return Job(
            fields.source,
            trainer,
            model.folder,
            model.name,
            model.kind,
            functions,
            self.engine,
            bool(functions),
            self._beside(setup, functions),
            list(untried),
            [*unjudged, *self.unjudged],
            how=model.how,
            doubt=model.doubt,
        )

    def _beside(self, setup: Setup, functions: Sequence[str]) -> Setup:
        """What a job does beside its checkpoint functions: FSDP's own checkpointing is there where others are switched on."""
        if WRAPPER in functions:
            return structs.replace(setup, reentrant=None)
        return structs.replace(setup, fsdp_checkpointing=True) if self.is_fsdp_checkpointed else setup


def wrapped(
    fields: Fields,
    launch: Launch,
    configuration: Configuration,
    sharding: Sharding | None,
    precision: Precision,
    is_checkpointed: bool,
) -> Wrapping:
    """The engine of a job.

    Args:
        fields: The job's settings.
        launch: What starts it.
        configuration: What it asks of DeepSpeed, itself or by its launcher.
        sharding: FSDP as the job asks for it; nothing where it does not.
        precision: What it computes in.
        is_checkpointed: Checkpointing is switched on otherwise than by FSDP.
    """
    if configuration.engine != "none":
        return _with_compile(fields, launch, Wrapping(configuration.engine))
    if sharding is None and launch.kind == "fsdp":
        sharding = launch.sharding
    if sharding is not None and sharding.is_there:
        return _with_compile(fields, launch, _sharded(sharding, precision))
    if sharding is not None:
        reason = f"{FSDP_CHECKPOINTING}, and nothing says that FSDP is used: add --job accelerate.yaml."
        return Wrapping(unjudged=(f"{sharding.checkpointing_key}: {reason}",))
    if launch.kind == "ddp":
        is_looking = fields.flag("ddp_find_unused_parameters", default=not is_checkpointed)
        return _with_compile(fields, launch, Wrapping("ddp-unused" if is_looking else "ddp"))
    return _with_compile(fields, launch, Wrapping())


def _sharded(sharding: Sharding, precision: Precision) -> Wrapping:
    engine = f"fsdp{sharding.version}{'-fp32' if precision == 'fp32' else ''}"
    return Wrapping(engine, sharding.is_checkpointed, sharding.untried)


def _with_compile(fields: Fields, launch: Launch, wrapping: Wrapping) -> Wrapping:
    """``torch.compile`` is an engine of its own where nothing else wraps the model, and is not tried beside another."""
    asked = [key for key in COMPILE_KEYS if fields.asks_for(key)]
    if not asked and not launch.is_compiled:
        return wrapping
    if wrapping.engine == "none":
        return Wrapping(COMPILE)
    title = catalog.engines()[wrapping.engine].title
    reason = f"compilation of the model (`torch.compile`); {title} is tried without it."
    said = fields.sentence_of(asked, reason) if asked else f"{launch.source}: {reason}"
    return Wrapping(wrapping.engine, wrapping.is_fsdp_checkpointed, (*wrapping.untried, said), wrapping.unjudged)
