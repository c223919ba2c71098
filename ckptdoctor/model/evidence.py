"""What probes report: evidence, without judgement. One file, since it mirrors what the environment's side writes, type by type.

The types mirror the JSON lines that the environment's side (``probes/``) writes. Everything in them was observed in the
target; strings may hold arbitrary text out of packages and tracebacks and are escaped only where they are printed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

Ended = Literal["returned", "raised", "skipped", "crashed", "timeout"]
Variant = Literal[
    "", "packed", "dropout", "frozen", "prefix", "cache", "shared-kv", "accumulated", "second", "perturbed", "course"
]


class Region(msgspec.Struct, frozen=True):
    """From a character to a character of a file. Lines and columns count from 1; the end is the column behind the last one."""

    line: int
    column: int
    end_line: int
    end_column: int


class Source(msgspec.Struct, frozen=True):
    """Lines of a file as they were when the evidence was collected."""

    first: int
    """The number of the first line."""
    lines: tuple[str, ...]
    """With their indentation, without their ends."""
    region: Region | None = None
    """The expression that is meant; a long one may end below the lines that are kept."""


class Place(msgspec.Struct, frozen=True):
    """A line of code and the installed distribution that owns it."""

    file: str
    """Absolute path in the target."""
    line: int
    function: str = ""
    package: str = ""
    """Distribution name, ``python`` for the standard library, or empty when no distribution owns the file."""
    version: str = ""
    code: str = ""
    """The source line, stripped."""
    source: Source | msgspec.UnsetType = msgspec.UNSET
    """The lines around it, where the file could be read and the place may be shown; else left out."""

    def is_at(self, other: Place) -> bool:
        """Whether both are the same line of the same file."""
        return (self.file, self.line) == (other.file, other.line)


class CallableInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a callable is made of, outermost first."""

    kind: str
    """``bound method``, ``functools.partial``, ``function``, ``module``, ``wrapped function`` or ``object``."""
    text: str
    """One line, e.g. ``functools.partial(Glm4DecoderLayer.__call__)``."""
    type: str
    """The type's qualified name, e.g. ``functools.partial``."""
    defined: Place | None = None
    """Where the code of the innermost function stands."""
    keywords: tuple[str, ...] = ()
    """Names of keyword arguments bound into it, at any depth."""
    inner: CallableInfo | None = None
    """What a partial or a wrapper holds."""


class Attribute(msgspec.Struct, frozen=True, omit_defaults=True):
    """The attribute whose lookup failed."""

    name: str
    object: str
    """Type of the object it was looked up on."""
    in_callable: str = ""
    """Where that object stands in the callable passed (``callable``, ``callable.func``), empty when it does not."""


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception that ended a probe."""

    type: str
    message: str
    frames: tuple[Place, ...] = ()
    """Outermost first, our own frames left out."""
    attribute: Attribute | None = None
    needs_cuda: bool = False
    """It was raised because the code asked for CUDA on a machine that has none."""
    refused_by: Place | None = None
    """The model's method that switches checkpointing on, if it was called with arguments that it does not take."""


class Handover(msgspec.Struct, frozen=True, omit_defaults=True):
    """A callable as a model handed it to the checkpoint function."""

    callable: CallableInfo
    by: Place
    """The line that called the checkpoint function; its region is what it passes first."""
    built: Place | None = None
    """The line that made the callable, where the same function has it."""
    keywords: tuple[str, ...] = ()
    """Keyword arguments given beside the callable."""
    calls: int = 1


class Layer(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often a layer's forward ran in one training step."""

    name: str
    type: str
    plain: int
    """Without checkpointing."""
    forwards: int
    """With it, forward and backward pass together: twice ``plain`` when the layer was recomputed once."""
    in_forward: int
    """With it, in the forward pass alone: as often as ``plain``."""
    reached: bool = True
    """Backward goes through it: a frozen layer that nothing trained comes before need not be recomputed."""
    trained: bool = True
    """It has parameters of its own that are trained: whether a frozen one is recomputed is a trainer's choice."""

    @property
    def is_recomputed_once(self) -> bool:
        """Whether it ran as checkpointing has it: once more in backward, unless it is frozen or backward stops before it."""
        again = self.forwards - self.in_forward
        may_be_kept = not (self.reached and self.trained)
        return self.in_forward == self.plain and (again == self.plain or (again == 0 and may_be_kept))


class WrongGradient(msgspec.Struct, frozen=True):
    """A parameter whose gradient differs from the plain step's."""

    parameter: str
    difference: float
    """Largest absolute difference over the largest absolute value of the plain gradient; no unit."""


class Gradients(msgspec.Struct, frozen=True, omit_defaults=True):
    """Gradients of the checkpointed step against the plain one's."""

    compared: int
    missing: tuple[str, ...] = ()
    wrong: tuple[WrongGradient, ...] = ()
    confirmed: str = ""
    """Which gradients the slope of the loss bears out, where they differ: ``plain``, ``checkpointed``, or not clear."""
    hidden: tuple[str, ...] = ()
    """Finite, although the plain gradient is not."""
    unexpected: tuple[str, ...] = ()
    """There, although without checkpointing there is none: frozen parameters, mostly."""


class SavedBytes(msgspec.Struct, frozen=True):
    """Bytes of tensors kept for backward in one forward pass, parameters left out."""

    plain: int
    checkpointed: int


class Arithmetic(msgspec.Struct, frozen=True):
    """A layer that ran again in another precision than at first."""

    layer: str
    forward: str
    """e.g. ``float32 under autocast to bfloat16``."""
    recomputed: str


class ValueDependence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A layer that saves tensors of other shapes for backward if its input has other values, or a function that does."""

    layer: str
    """Empty for the checkpoint function itself."""
    type: str
    tokens: int
    """In its input."""
    trials: int
    """Runs in which each value of its input was changed by no more than rounding to bf16 changes it."""
    changed: int
    """Those of them in which the shapes changed; if none, they changed only with quite other values."""
    saved: str = ""
    """The first tensor that differs, as saved with the right input: ``[130] int64``."""
    again: str = ""
    place: Place | None = None
    """The line that saved it."""
    raised: str = ""
    """Of a function: torch's error when its input was changed between the forward and the backward pass."""


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a layer of a job got in recomputation, and that it did not get in the forward pass."""

    layer: str
    type: str
    what: Literal["keywords", "random numbers", "shapes", "modules", "values"]
    forward: str = ""
    """Of keywords, those that were lost; of shapes, the tensor in the forward pass: ``[2, 8, 32] float32``."""
    again: str = ""
    module: str = ""
    """The module in the layer that got it."""


class KeptBytes(msgspec.Struct, frozen=True):
    """Memory that stays in use after each layer of a job's forward pass; medians over its layers."""

    each: int
    """Bytes for each layer."""
    output: int
    """Bytes of a layer's output, which checkpointing has to keep."""
    layers: int


class LostKeywords(msgspec.Struct, frozen=True):
    """Keyword arguments that reached a submodule of a layer only without checkpointing."""

    module: str
    keywords: tuple[str, ...]


class Loaded(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a checkpoint function came from."""

    place: Place
    how: str
    """``import``, ``module only`` (its package's other modules were not imported) or ``file``."""
    stubbed: tuple[str, ...] = ()
    """Modules that are not installed and were stood in for while loading."""


class Setup(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a training job does beside checkpointing: how the model is tuned, and what wraps it."""

    tuning: Literal["full", "lora", "freeze"] = "full"
    lora_targets: tuple[str, ...] = ()
    """Names of the modules that get an adapter, as PEFT takes them; empty for every linear layer."""
    trainable_layers: int = 0
    """For ``freeze``: so many of the last layers are trained, of the first where it is negative."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    reentrant: bool | None = None
    """What the job says of reentrant checkpointing; its trainer's own default where it says nothing."""
    deepspeed: str = ""
    """DeepSpeed's configuration as the job has it, a JSON object; empty for one of our own."""
    trainer_switches_on: bool = False
    """Transformers' Trainer switches checkpointing on by its own call, after the trainer has prepared the model."""
    trainers_reentrant: bool | None = None
    """What that call says of reentrant checkpointing; nothing where the job gives it no arguments."""
    auto_classes: tuple[str, ...] = ()
    """The order of transformers' auto classes in which the trainer looks up what to build; empty: not known."""
    frozen_towers: bool = False
    """The trainer freezes all of a model but its language model."""
    prepared_by: str = ""
    """The trainer whose own preparation of the model is applied; none without a job of a trainer's."""
    arguments: str = ""
    """The job's settings that this preparation reads, a JSON object."""
    without_patches: bool = False
    """The trainer's preparation is left out, to see what it changes."""
    inputs_require_grad: bool = False
    """The output of frozen embeddings is made to require a gradient beside an adapter, and in variants beside frozen layers:
    trainers do it, as a plain Trainer does not."""
    fsdp_checkpointing: bool = False
    """FSDP's own activation checkpointing is on beside the checkpoint function (``fsdp_config.activation_checkpointing``)."""

    @property
    def is_usual(self) -> bool:
        """Whether it is the setup of a plain step; how a model's class is looked up makes no other one."""
        return msgspec.structs.replace(self, auto_classes=()) == Setup()

    @property
    def effective_reentrant(self) -> bool | None:
        """What the job says of reentrant checkpointing in the end: the last call counts."""
        switched_again = self.trainer_switches_on and self.trainers_reentrant is not None
        return self.trainers_reentrant if switched_again else self.reentrant

    @property
    def switched_on_once(self) -> Setup:
        """The same job without Trainer's own call."""
        return msgspec.structs.replace(self, trainer_switches_on=False, trainers_reentrant=None)

    @property
    def label(self) -> str:
        """In a few characters, for a probe's id; empty for the usual step."""
        reentrant = {True: "reentrant", False: "non-reentrant", None: ""}[self.reentrant]
        parts = [self.tuning if self.tuning != "full" else "", self.precision if self.precision != "fp32" else ""]
        more = [
            "job's config" if self.deepspeed else "",
            "Trainer's switch" if self.trainer_switches_on else "",
            "inputs require grad" if self.inputs_require_grad else "",
            "without patches" if self.without_patches else "",
            "FSDP's checkpointing" if self.fsdp_checkpointing else "",
        ]
        return "+".join(filter(None, [*parts, reentrant, *more]))


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one probe is to run."""

    model: str
    """A model family (``glm4``), ``tiny-glm4`` for our own, or a folder with a ``config.json``."""
    function: str
    """A checkpoint function, e.g. ``torch:reentrant``, ``llamafactory``, ``file.py:name``; ``none``: no checkpointing."""
    engine: str = "none"
    convention: str = "model"
    """A calling convention of our own model; ``model``: what the model itself does."""
    variant: Variant = ""
    """``packed``: with the keyword arguments of flash-attention's packing; ``dropout``; ``frozen``: embeddings not trained;
    ``prefix``: nor the first layers; ``cache``: ``use_cache`` left on; ``shared-kv``: layers share keys and values;
    ``accumulated``: two micro-batches; ``second``: the step after an optimizer step; ``perturbed``: layers get other values
    when they run again; ``course``: many steps on more layers, see ``probes/course/``."""
    timeout: float = 60.0
    """Seconds."""
    seed: int = 0
    setup: Setup = Setup()
    ranks: int = 1
    """Processes."""
    thorough: bool = False
    """Of a course: whole for a trainer's function too."""
    as_installed: bool = False
    """With nothing hidden, although no engine needs DeepSpeed: the environment as a job without DeepSpeed meets it."""
    observed: str = ""
    """Of a job that was watched, where: ``rank 0, step 1``. Nothing was run for it."""
    added: str = ""
    """A requirement that is added to the environment for this probe alone, e.g. ``llamafactory==0.9.2``."""

    @property
    def id(self) -> str:
        """A name for people and reports, unique in a plan."""
        parts = [self.model, self.function, self.engine]
        if self.convention != "model":
            parts.append(self.convention)
        if self.variant:
            parts.append(self.variant)
        if self.setup.label:
            parts.append(self.setup.label)
        if self.ranks > 1:
            parts.append(f"{self.ranks} ranks")
        if self.as_installed:
            parts.append("as installed")
        parts += filter(None, [self.added, self.observed])
        return "/".join(parts)


class Replacement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that checkpointing depends on and that was replaced before the step."""

    what: str
    """``Glm4DecoderLayer.forward``, ``model.layers.0.forward``, ``transformers.modeling_utils.checkpoint``."""
    by: Place | None = None
    """The line that replaced it, if it was seen."""
    with_: Place | None = None
    """Where the replacement is defined, if it has Python code."""


class TrainersCall(msgspec.Struct, frozen=True):
    """The call with which transformers' Trainer switches checkpointing on, as the installed release makes it."""

    method: str
    """Of the model."""
    keywords: str
    """Its arguments, a JSON object."""
    by: Place
    """The line that makes it."""


class LayerContract(msgspec.Struct, frozen=True, omit_defaults=True):
    """What trainers rely on in one class of a model's layers."""

    type: str
    forward: Place
    """The code that runs as the layer's ``forward``."""
    returns: str = ""
    """Type of what the layer returns, e.g. ``tuple[torch.Tensor]``."""
    hooks_again: bool = False
    """The layer's own hooks run in recomputation too."""
    recomputed: bool = False
    recomputed_if_replaced: bool = False
    """It still is recomputed if the class's ``forward`` is replaced by a plain function, as trainers do to patch a family."""


class Contract(msgspec.Struct, frozen=True, omit_defaults=True):
    """What trainers rely on in a model beside the callable."""

    layers: tuple[LayerContract, ...] = ()
    switches: tuple[str, ...] = ()
    """The model's methods that switch checkpointing on, with the names of their parameters."""
    trainers_call: TrainersCall | None = None
    """How transformers' Trainer calls them."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that one probe observed."""

    id: str
    ended: Ended
    why: str = ""
    """For a probe that did not return: one line."""
    unfit: bool = False
    """The machine lacks something, as ``why`` says, such as memory: the probe says nothing, and may run another time."""
    during: str = ""
    """``load``, ``build``, ``plain``, ``enable``, ``engine``, ``forward`` or ``backward``."""
    model_class: str = ""
    family: str = ""
    """The model's family, as transformers names it."""
    config: str = ""
    """The tiny model's configuration, of a family and without an engine: JSON, as far as it differs from its class's."""
    media: tuple[str, ...] = ()
    """What the step's inputs held beside text: ``images``, ``sound``."""
    media_untried: tuple[str, ...] = ()
    """What the model takes besides, and the inputs did not hold."""
    model_place: Place | None = None
    """Where the model's forward begins."""
    error: Error | None = None
    handovers: tuple[Handover, ...] = ()
    replaced: tuple[Replacement, ...] = ()
    """By the trainer's preparation, or by the file that defines the checkpoint function."""
    trainers_call: TrainersCall | None = None
    """If Trainer switches checkpointing on too."""
    contract: Contract | None = None
    """Of the usual step of a model with torch's own function."""
    unprepared: str = ""
    """Why the trainer's preparation of the model could not be applied."""
    layers: tuple[Layer, ...] = ()
    layers_without: int = 0
    """Of a job: layers that ran besides, and that nobody asked to be checkpointed."""
    loss: float | None = None
    plain_loss: float | None = None
    gradients: Gradients | None = None
    accumulated: Gradients | None = None
    """After a second step, its gradients added to the first's, against twice the plain ones."""
    saved_bytes: SavedBytes | None = None
    keywords_lost: tuple[LostKeywords, ...] = ()
    value_dependent: tuple[ValueDependence, ...] = ()
    """Layers that save other shapes for other values, or the checkpoint function, if these were tried."""
    function_called: int = 0
    """Times the checkpoint function was called."""
    forward_only: bool = False
    """The function needs CUDA in backward and there is none: only its forward was judged."""
    stand_in: Evidence | None = None
    """Then, the same step without an engine and with the CPU in place of the GPU."""
    steps: tuple[Evidence, ...] = ()
    """Of a course: every step, as evidence of its own."""
    when: str = ""
    """Of a step of a course: what is particular about it, as the end of a clause."""
    rare: bool = False
    """Not every job comes into that situation."""
    rounding: float = 0.0
    """The largest relative difference that rounding explains, as measured without checkpointing; 0: not measured."""
    changed: tuple[str, ...] = ()
    """What the step left other than it was, in words."""
    arithmetic: tuple[Arithmetic, ...] = ()
    held_bytes: SavedBytes | None = None
    """Bytes by which memory in use grew in the forward pass, whoever holds them."""
    grew: int = 0
    """Bytes by which memory in use grows from each step to the next, where it does."""
    moved_bytes: int = 0
    """Bytes of activations that were sent to the CPU in the forward pass, where no layer was recomputed."""
    differs: tuple[Difference, ...] = ()
    """Of a job: what layers got in recomputation, and not in the forward pass."""
    preserves_random: bool = True
    """Of a job: torch's checkpoint function was asked to restore random states."""
    random_dropped_by: Place | None = None
    """Of a job: the line that asked it not to, where just one imported line does."""
    kept: KeptBytes | None = None
    """Of a job: memory that stays in use after each layer of the first forward pass."""
    peak_bytes: int = 0
    """Of a job: the most memory of the device that was in use so far."""
    unused: tuple[str, ...] = ()
    """Of a job: trained parameters without a gradient that checkpointing did not cut off."""
    not_finite: tuple[str, ...] = ()
    """Of a job: parameters whose gradient is NaN or infinite."""
    switched_on_by: Place | None = None
    """Of a job: the line that switched checkpointing on last."""
    unobserved: str = ""
    """Of a job: why its layers could not be watched."""
    torch_too: tuple[str, ...] = ()
    """torch's own checkpoint functions that do not get this step right either."""
    loaded: Loaded | None = None
    wrapper: Place | None = None
    """Where torch's ``checkpoint_wrapper`` runs a layer, if FSDP's own activation checkpointing wraps layers."""
    missing: tuple[str, ...] = ()
    """Packages that are not installed, and that the checkpoint function asked for while it ran: a stand-in answered."""
    modules: Mapping[str, str] = {}
    """Packages of the stack that were imported in the probe's process, with their versions."""
    device: str = "cpu"
    precision: str = "fp32"
    targets_missing: tuple[str, ...] = ()
    """LoRA targets of the job that the model does not have; the others got an adapter."""
    rank: int = 0
    """Of several processes, the one that this is from."""
    output: str = ""
    """Head and tail of what the probe printed."""
    seconds: float = 0.0

    @property
    def is_lost(self) -> bool:
        """Whether the probe came to no end of its own: it may next time, and until then nothing follows from it."""
        return self.unfit or self.ended in ("crashed", "timeout")

    def __post_init__(self) -> None:
        """JSON has no number for what is none, so that a loss is none after it was kept; it is none from the beginning."""
        for name in ("loss", "plain_loss"):
            msgspec.structs.force_setattr(self, name, _finite(getattr(self, name)))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class StartCheck(msgspec.Struct, frozen=True):
    """A requirement that a package's command checks when it starts. Where it is not met, the command ends with an error."""

    requirement: str
    """``deepspeed>=0.10.0,<=0.16.9``; on a package that not every job uses, it is checked for those that do."""
    unless: str = ""
    """The environment variable that switches the check off, and does not now; empty where nothing does."""


class Package(msgspec.Struct, frozen=True):
    """An installed distribution."""

    name: str
    version: str
    location: str = ""
    requires: tuple[str, ...] = ()
    """``Requires-Dist``, for packages of the stack and those that depend on them."""
    start_checks: tuple[StartCheck, ...] = ()
    """What its command compares with the installed releases; see ``probes/start_checks.py``."""


class Environment(msgspec.Struct, frozen=True):
    """The target as it is, read without importing any of its packages."""

    python: str
    """Version, e.g. ``3.11.7``."""
    executable: str
    platform: str
    packages: tuple[Package, ...] = ()
    stack: tuple[str, ...] = ()
    """Names of the packages that matter here and are installed."""
    trainers: tuple[str, ...] = ()
    """Installed trainers with a checkpoint function of their own."""
    families: tuple[str, ...] = ()
    """Model families that the installed transformers has."""
    paths: tuple[str, ...] = ()
    """``sys.path``."""

    def version(self, name: str) -> str:
        """The installed version of a distribution, or an empty string."""
        return next((package.version for package in self.packages if package.name == name), "")
