"""The types of the catalog's records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
from packaging.version import InvalidVersion, Version


class Reproduction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a reproduction's script switches on a trainer's checkpoint function; ``trainer`` is its module there."""

    transformers: str
    """Lines for a model of transformers, ``model``; ``$torch`` stands for those that switch torch's own function on."""
    own_model: str
    """The checkpoint function as an expression, for our own model."""
    imports: tuple[str, ...] = ()
    """Modules that the lines for a model of transformers need."""


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One checkpoint function of a trainer's."""

    name: str
    """As ``--checkpoint-fn`` takes it; begins with the package's name."""
    modules: tuple[str, ...]
    """Dotted names, newest first; the first whose file is installed is used."""
    needs: tuple[str, ...]
    """Names of which the module must define one for the function to exist in this release; the first stands for it."""
    reproduction: Reproduction
    alone: bool = False
    """Only what ``needs`` names is run, with what that uses: the whole module would import half of the trainer."""
    given: dict[str, str] = {}
    """Then, what some of its names are on a machine with a GPU: their own module cannot be imported without one."""
    whole: bool = False
    """Its package is imported as it is: other modules of the stack use it too."""
    shares_entry: bool = False
    """It is entered through the trainer's first function, and is tried where it may differ from that."""
    prepares_inputs: bool = False
    """It sees itself to inputs that require no gradient; others leave that to PEFT or to the user."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a trainer's jobs are told what remedies propose; ``{}`` is the value."""

    off: str
    """To keep all activations."""
    reentrant: str
    """Whether checkpointing is to be reentrant."""
    torch: str = ""
    """A sentence: to use torch's own function in place of the trainer's. Empty where the trainer has no such setting."""
    torch_cost: str = ""
    """What that costs."""
    trainers_switch: str = "gradient_checkpointing: true"
    """With which transformers' Trainer switches checkpointing on too, after the trainer."""


class AutoClasses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The order in which releases of a trainer look up the class of a model."""

    since: str
    """The first release with this order."""
    order: tuple[str, ...]
    """``ImageTextToText`` for ``AutoModelForImageTextToText``: the first whose mapping has the family; see
    ``probes/families.py``."""


class StartChecks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a trainer's command compares the installed releases with its own requirements, and ends if they differ.

    What is compared is read from the installed code (``probes/start_checks.py``).
    """

    module: str
    """Dotted name."""
    function: str
    """The function of that module whose calls have a requirement as their first argument."""
    unless: str = ""
    """The environment variable that switches the checks off, but for those that are mandatory."""
    extras: tuple[str, ...] = ()
    """Packages that it compares where a job uses them; requirements name them as extras of the same name."""


class Trainer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trainer: a framework that sets models up for training. Its file is named after its package."""

    title: str
    """As its makers write it."""
    order: int = 100
    """Trainers are tried and shown in this order."""
    module: str = ""
    """The file in ``probes/trainers/`` that switches its functions on, without its ending."""
    start: str = ""
    """The command that starts its jobs."""
    spellings: tuple[str, ...] = ()
    """How people write its package in lower case, beside its own name."""
    hosts: tuple[str, ...] = ()
    """Its web sites: they tell nothing about who names them."""
    owners: tuple[str, ...] = ()
    """Owners of its public repositories, in lower case."""
    checkpoint_modules: tuple[str, ...] = ()
    """Dotted names of modules with checkpoint functions of which none is tried yet."""
    arguments: tuple[str, ...] = ()
    """Settings of a job that its own preparation of the model reads; empty if this is not applied."""
    functions: tuple[Function, ...] = ()
    measured: tuple[str, ...] = ()
    """Requirements: the shipped knowledge has the releases that match one of them."""
    settings: Settings | None = None
    start_checks: tuple[StartChecks, ...] = ()
    auto_classes: tuple[AutoClasses, ...] = ()
    """The oldest release first; empty where that is not known."""

    @property
    def checked_if_used(self) -> frozenset[str]:
        """Packages whose release its command checks only for jobs that use them."""
        return frozenset(name for one in self.start_checks for name in one.extras)

    def auto_classes_of(self, release: str) -> tuple[str, ...]:
        """The order of a release, the newest one's where the release is not known."""
        try:
            fitting = [one for one in self.auto_classes if Version(one.since) <= Version(release)]
        except InvalidVersion:
            fitting = list(self.auto_classes)
        return fitting[-1].order if fitting else ()

    def modules(self) -> tuple[str, ...]:
        """Dotted names of all its modules with checkpoint functions."""
        return tuple(
            dict.fromkeys([*(name for one in self.functions for name in one.modules), *self.checkpoint_modules])
        )


class EngineReproduction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a reproduction's script wraps its model."""

    wrap: str = ""
    """Lines that wrap ``model``; ``$name`` is one of the engine's options."""
    imports: tuple[str, ...] = ()
    """Modules that these lines need."""
    prepare: str = ""
    """Lines before the first of the package's modules is imported, and its import."""
    run: str = "model"
    """What takes the inputs."""
    backward: str = "loss.backward()"
    """The line that goes backward."""
    gradient: str = "parameter.grad"
    """The whole gradient of ``parameter``, as an expression; empty where one expression cannot say it, so that a fault which
    raises nothing has no script."""
    gradient_import: str = ""
    """The line that this expression needs."""


class Instead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The engine to use in place of another one, and the setting that does it."""

    engine: str
    setting: str
    """As a job of transformers' Trainer has it."""
    cost: str


class EngineRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of engine: what wraps the model for training. Its file has the name of that in ``probes/engines/``."""

    words: str
    """In a sentence; ``{}`` stands for the short names of those that are meant."""
    title: str
    """In a job's line; ``{}`` stands for the short name."""
    names: dict[str, str]
    """Engines of this kind, as ``--engine`` takes them, each with its short name."""
    order: int
    """Engines are tried and shown in this order."""
    package: str = ""
    """The package without which there is no such engine; empty where torch is enough."""
    owner: str = ""
    """The package whose code wraps the model, where that is not ``package``; empty where no package's does."""
    torch: str = ""
    """The first release of torch that has it; empty where every one has."""
    on_demand: tuple[str, ...] = ()
    """Those that are tried only where they are named, or all are: rarer, or too slow."""
    instead: dict[str, Instead] = {}
    """The engine that a job can change to by one setting, if one of the names is at fault."""
    options: dict[str, dict[str, int | bool | str]] = {}
    """What each of the names stands for, for the environment's side."""
    telling: tuple[str, ...] = ()
    """Those under which functions are tried too that share their entry with another one: where it matters most."""
    ranks: bool = False
    """It can be run in several processes."""
    least_ranks: int = 1
    """It is always run in so many processes."""
    precision: dict[str, Literal["bf16"]] = {}
    """Precision to which each of the names rounds the parameters for forward and backward; without one, none does."""
    hides_layers: bool = False
    """What a layer does cannot be seen from outside, as in compiled code."""
    slow: int = 1
    """So many times the usual time limit."""
    casts_weights: bool = False
    """It casts the model's weights to the job's precision; others leave that to autocast."""
    reproduction: EngineReproduction = msgspec.field(default_factory=EngineReproduction)


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        name: As ``--engine`` takes it.
        short: What tells it from others of its kind.
        file: The file in ``probes/engines/``, without its ending.
        record: What it shares with its kind.
    """

    name: str
    short: str
    file: str
    record: EngineRecord

    @property
    def package(self) -> str:
        """The package without which there is no such engine; empty where torch is enough."""
        return self.record.package

    @property
    def owner(self) -> str:
        """The package whose code wraps the model; empty where no package's does."""
        return self.record.package or self.record.owner

    @property
    def is_on_demand(self) -> bool:
        """Whether it is tried only where it is named, or all are."""
        return self.name in self.record.on_demand

    @property
    def instead(self) -> Instead | None:
        """The engine that a job can change to by one setting."""
        return self.record.instead.get(self.name)

    @property
    def is_telling(self) -> bool:
        """Whether functions that share their entry with another one are tried under it too."""
        return self.name in self.record.telling

    @property
    def title(self) -> str:
        """In a job's line; empty where there is no engine to speak of."""
        return self.record.title.format(self.short)


class Convention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way in which a model passes its layer to the checkpoint function."""

    reproduction: str
    """How a reproduction's script passes ``layer``, as an expression: its arguments are ``hidden_states`` and ``keywords``."""
    releases: str = ""
    """The releases of transformers that are known to use it; empty where none does."""
    words: str = ""
    """What is passed, for people; empty for what only our own model does."""


class Packages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Packages beside trainers."""

    stack: tuple[str, ...]
    """Those that decide whether checkpointing works, in the order in which they are shown."""
    spellings: dict[str, str]
    """How people write a package, where that is not its name."""
    seen: tuple[str, ...]
    """Further packages of which a log's release is worth telling."""
