"""Which probes to run, and the purpose of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from msgspec import structs

from ckptdoctor import catalog
from ckptdoctor.errors import TargetError
from ckptdoctor.model.evidence import Environment, Setup, Spec
from ckptdoctor.model.workers import FULL_STACK, WITHOUT_DEEPSPEED, Worker
from ckptdoctor.planning.choosing import choose_engines, choose_functions, choose_models, engines_left_out, lacking
from ckptdoctor.planning.options import (
    COURSE,
    NO_FUNCTION,
    OWN_MODEL,
    TORCH,
    WRAPPER,
    Options,
    in_the_wild,
    is_torchs,
    ranks_of,
    shares_entry,
)
from ckptdoctor.planning.variants import perturbed, untried, variants
from ckptdoctor.words.wording import engines_in_words

Role = Literal["subject", "control", "convention", "advisory"]


@dataclass(frozen=True)
class Planned:
    """A probe and its purpose.

    Attributes:
        spec: What to run.
        role: ``subject`` counts for the verdict. ``control`` rules packages out. ``convention`` shows which
            calling conventions a function supports, whether or not this stack uses them. ``advisory`` concerns a function
            that nobody asked for.
        worker: The process of the environment that it runs in.
        usual: The usual step of which the probe is a variant; nothing for the usual step itself.
    """

    spec: Spec
    role: Role
    worker: Worker
    usual: Spec | None = None


@dataclass
class Plan:
    """The probes, and what the reader must know about the choice."""

    probes: list[Planned] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Engines that could be tried here and are not."""
    not_tried: list[str] = field(default_factory=list)
    """What is not tried, for people: those engines, what needs a package that is missing, variants."""

    @property
    def used(self) -> set[str]:
        """Packages that every job uses which is asked about: DeepSpeed where only its engines were."""
        usual = [one.spec for one in self.probes if one.role == "subject" and not one.spec.variant]
        packages = [{catalog.engines()[one.engine].package} for one in usual]
        return set.intersection(*packages) - {""} if packages else set()

    def specs(self, worker: Worker) -> list[Spec]:
        """The probes of one worker; the longest come first, so that none runs alone at the end."""
        found = [planned.spec for planned in self.probes if planned.worker == worker]
        return sorted(found, key=lambda spec: spec.variant != COURSE)

    def by_worker(self) -> dict[Worker, list[Spec]]:
        """The probes of each worker."""
        return {worker: self.specs(worker) for worker in (WITHOUT_DEEPSPEED, FULL_STACK)}


def worker_of(function: str, engine: str) -> Worker:
    """The worker that a probe needs: DeepSpeed's own function and engines from packages need the full stack."""
    return (
        FULL_STACK
        if catalog.package_of(function) == "deepspeed" or catalog.engines()[engine].package
        else WITHOUT_DEEPSPEED
    )


def make(environment: Environment, options: Options) -> Plan:
    """Choose the probes for a target.

    Raises:
        TargetError: The target lacks torch, or something that the user named.
        UsageFault: There is no such model, function, engine or convention.
    """
    if not environment.version("torch"):
        raise TargetError(
            f"torch is not installed in {environment.executable}.",
            "name the training environment with --python, or activate it first",
        )
    plan = Plan()
    models, plan.notes = choose_models(environment, options)
    subjects = choose_functions(environment, options)
    engines = choose_engines(environment, options)
    plan.left_out = engines_left_out(environment, options)
    plan.not_tried += [f"{engines_in_words(plan.left_out)} (--engine all)"] if plan.left_out else []
    plan.not_tried += [*lacking(environment, options), *untried(engines, options, environment)]
    for model in models:
        plan.probes += usual_step(model, subjects, engines, options)
        plan.probes += as_installed(model, subjects, engines, options, environment)
        plan.probes += _other_way_round(model, subjects, engines, options, environment)
        plan.probes += _switched_on_once(model, subjects, engines, options, environment)
        plan.probes += _without_patches(model, subjects, options)
        plan.probes += _one_of_two(model, subjects, engines, options)
        if options.setup.is_usual:
            plan.probes += _variants(model, subjects, engines, options, environment)
        plan.probes += _courses(model, subjects, options)
        plan.probes += _perturbed(model, subjects, options)
    if OWN_MODEL not in models:
        plan.probes += _conventions(subjects, options)
    if "deepspeed" in environment.stack and not options.functions and not options.engines:
        advisory = Spec(model=models[0], function="deepspeed", engine="zero0", timeout=options.timeout)
        plan.probes.append(Planned(advisory, "advisory", FULL_STACK))
    return plan


def usual_step(model: str, subjects: Sequence[str], engines: Sequence[str], options: Options) -> Iterator[Planned]:
    """Every function under every engine, and the engine without checkpointing and with torch's own functions."""
    conventions = (options.conventions or in_the_wild()) if model == OWN_MODEL else ("model",)
    instead = [one.engine for name in engines if (one := catalog.engines()[name].instead)]
    instead = [] if options.leaves_unused else instead
    for engine in dict.fromkeys((*engines, *options.beside, *instead)):
        for convention in conventions:
            for function in dict.fromkeys((NO_FUNCTION, *TORCH, *subjects)):
                if not _is_worth_it(function, engine, options):
                    continue
                role: Role = "subject" if function in subjects and engine in engines else "control"
                yield Planned(_spec(model, function, engine, convention, options), role, worker_of(function, engine))


def as_installed(
    model: str, subjects: Sequence[str], engines: Sequence[str], options: Options, environment: Environment
) -> Iterator[Planned]:
    """The usual step without an engine and without hiding DeepSpeed, if no DeepSpeed engine is tried.

    Hiding DeepSpeed shows whether DeepSpeed is to blame. Only the unchanged environment shows whether it works: transformers
    imports DeepSpeed if it is installed.
    """
    takes_all_installed = any(catalog.engines()[engine].package for engine in engines)
    if "deepspeed" not in environment.stack or "none" not in engines or takes_all_installed:
        return
    convention = _convention(model, options)
    for function in dict.fromkeys((NO_FUNCTION, *TORCH, *subjects)):
        if function != "deepspeed":  # it is always tried with DeepSpeed installed
            spec = structs.replace(_spec(model, function, "none", convention, options), as_installed=True)
            yield Planned(spec, "subject" if function in subjects else "control", FULL_STACK)


def _other_way_round(
    model: str, subjects: Sequence[str], engines: Sequence[str], options: Options, environment: Environment
) -> Iterator[Planned]:
    """Trainers' functions with the opposite of the job's ``use_reentrant``: does this setting help?

    Where a job says nothing of it, functions are reentrant by default; some models of users' own only train without that.
    """
    said = options.setup.reentrant
    if (said is None and not options.models) or model == OWN_MODEL:
        return
    turned = structs.replace(options.setup, reentrant=said is False)
    yield from _with_another_setup(model, subjects, engines, replace(options, setup=turned), environment)


def _switched_on_once(
    model: str, subjects: Sequence[str], engines: Sequence[str], options: Options, environment: Environment
) -> Iterator[Planned]:
    """Trainers' functions without Trainer's own call after them: does the job run without this setting?"""
    if options.setup.trainer_switches_on and model != OWN_MODEL:
        once = replace(options, setup=options.setup.switched_on_once)
        yield from _with_another_setup(model, subjects, engines, once, environment)


def _without_patches(model: str, subjects: Sequence[str], options: Options) -> Iterator[Planned]:
    """The step without the trainer's own preparation: is a patch of the trainer the cause?"""
    if not options.setup.prepared_by or model == OWN_MODEL:
        return
    bare = replace(options, setup=structs.replace(options.setup, without_patches=True))
    for function in subjects:
        if function != NO_FUNCTION:
            yield Planned(_spec(model, function, "none", "model", bare), "control", worker_of(function, "none"))


def _with_another_setup(
    model: str, subjects: Sequence[str], engines: Sequence[str], options: Options, environment: Environment
) -> Iterator[Planned]:
    """Trainers' functions alone, as controls."""
    own = [name for name in subjects if name in catalog.functions()]
    if not own:
        return
    whole = as_installed(model, own, engines, options, environment)
    for planned in (*usual_step(model, own, engines, options), *whole):
        if planned.spec.function in own:
            yield replace(planned, role="control")


def _one_of_two(model: str, subjects: Sequence[str], engines: Sequence[str], options: Options) -> Iterator[Planned]:
    """If a job checkpoints twice: each of its two mechanisms alone. Does switching one of them off help?"""
    if not options.setup.fsdp_checkpointing:
        return
    once = replace(options, setup=structs.replace(options.setup, fsdp_checkpointing=False))
    for planned in usual_step(model, [*subjects, WRAPPER], engines, once):
        if planned.spec.function in (*subjects, WRAPPER):
            yield replace(planned, role="control")


def _convention(model: str, options: Options) -> str:
    """The one calling convention with which a model is tried beside the usual step."""
    return (options.conventions or in_the_wild())[0] if model == OWN_MODEL else "model"


def _spec(model: str, function: str, engine: str, convention: str, options: Options) -> Spec:
    ranks = ranks_of(engine, options.ranks)
    # Where nothing can be forked, each rank imports the stack again; all ranks share the cores.
    timeout = options.timeout * catalog.engines()[engine].record.slow * (1 + ranks if ranks > 1 else 1)
    return Spec(model, function, engine, convention, timeout=timeout, setup=options.setup, ranks=ranks)


def _is_worth_it(function: str, engine: str, options: Options) -> bool:
    """Whether a combination may show more than similar ones; a combination that the user names always counts."""
    if options.thorough or options.functions:
        return True
    if engine == "partial" and function in TORCH:
        return False
    return not shares_entry(function) or catalog.engines()[engine].is_telling or bool(options.engines)


def _variants(
    model: str, subjects: Sequence[str], engines: Sequence[str], options: Options, environment: Environment
) -> Iterator[Planned]:
    """Variants that only some jobs use: packing, dropout, frozen layers, an adapter, bf16."""
    convention = _convention(model, options)
    step = _spec(model, NO_FUNCTION, "none", convention, options)
    for varied, counts in variants(step, subjects, engines, options, environment):
        # The class of the model is looked up in the same way, whatever is varied.
        setup = structs.replace(varied.setup, auto_classes=options.setup.auto_classes)
        under = _spec(model, varied.function, varied.engine, convention, options)
        spec = structs.replace(varied, setup=setup, ranks=under.ranks, timeout=under.timeout)
        role: Role = "subject" if counts else "control"
        usual = structs.replace(spec, variant="", setup=Setup(auto_classes=options.setup.auto_classes))
        yield Planned(spec, role, worker_of(spec.function, spec.engine), usual)


def _courses(model: str, subjects: Sequence[str], options: Options) -> Iterator[Planned]:
    """A short training run for each function that is not torch's own; torch's functions are known to pass.

    The run does not use the other settings of a job: full tuning in fp32 without an engine, and bf16 where that matters.
    """
    convention = _convention(model, options)
    for function in subjects:
        if function == NO_FUNCTION or is_torchs(function):  # if torch's own functions fail, no function is blamed
            continue
        is_known = catalog.package_of(function) == "deepspeed" or (shares_entry(function) and not options.functions)
        if is_known and not options.thorough:
            continue
        setup = Setup(auto_classes=options.setup.auto_classes)
        spec = Spec(
            model, function, "none", convention, COURSE, 2 * options.timeout, setup=setup, thorough=options.thorough
        )
        yield Planned(spec, "subject", worker_of(function, "none"))


def _perturbed(model: str, subjects: Sequence[str], options: Options) -> Iterator[Planned]:
    """Whether what is saved for backward depends on values; a job's setup does not matter to this."""
    convention = _convention(model, options)
    for spec in perturbed(Spec(model, NO_FUNCTION, "none", convention, timeout=options.timeout), subjects, options):
        yield Planned(spec, "subject", worker_of(spec.function, spec.engine))


def _conventions(subjects: Sequence[str], options: Options) -> Iterator[Planned]:
    """Each function that is not torch's own, with each calling convention; torch's own functions support all."""
    own = [name for name in subjects if not (is_torchs(name) or name == "deepspeed" or shares_entry(name))]
    for function in own:
        for convention in options.conventions or catalog.conventions():
            setup = Setup(precision=options.setup.precision)
            spec = Spec(OWN_MODEL, function, "none", convention, timeout=options.timeout, setup=setup)
            yield Planned(spec, "convention", worker_of(function, "none"))
