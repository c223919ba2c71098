"""Settings that avoid a fault, each shown to work by probes of this run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ckptdoctor import catalog
from ckptdoctor.catalog.records import Settings
from ckptdoctor.model.evidence import Evidence
from ckptdoctor.model.proof import Proven
from ckptdoctor.model.report import Remedy
from ckptdoctor.planning.options import WRAPPER
from ckptdoctor.rules import Case
from ckptdoctor.rules.common.soundness import works
from ckptdoctor.words.wording import listed

TORCH = {"torch:non-reentrant": "use_reentrant: false", "torch:reentrant": "use_reentrant: true"}


def find(cases: list[Case]) -> list[Remedy]:
    """Settings that make every failing probe of a finding pass."""
    functions = {case.spec.function for case in cases}
    found = [
        _switched_on_once(cases, functions),
        _prepared_inputs(cases),
        *_one_of_two(cases, functions),
        _torch_instead(cases, functions),
        _other_way_round(cases, functions),
        _engine_instead(cases),
        _off(cases, functions),
    ]
    return [one for one in found if one is not None]


def _prepared_inputs(cases: list[Case]) -> Remedy | None:
    """The call that makes the output of frozen embeddings require a gradient."""
    siblings = [case.with_prepared_inputs() for case in cases]
    if not all(one is not None and works(one) for one in siblings):
        return None
    title = "call `model.enable_input_require_grads()` before training"
    return _remedy(
        title, "no extra memory; backward goes through all frozen layers", "the same steps ran with it", siblings
    )


def _torch_instead(cases: list[Case], functions: set[str]) -> Remedy | None:
    """Torch's own function, if the trainer has a setting for it, or the other one of torch's two."""
    for name, setting in TORCH.items():
        usual = [case for case in cases if not case.spec.variant] or cases
        siblings = [case.sibling(function=name) for case in usual]
        if name in functions or not all(one is not None and works(one) for one in siblings):
            continue
        title = _title(functions, setting)
        if title is None:
            return None
        scope: Proven = "failing" if len(usual) == len(cases) else "some"
        return _remedy(title, _cost(functions), "torch's own function trained this model", siblings, scope)
    return None


def _other_way_round(cases: list[Case], functions: set[str]) -> Remedy | None:
    """The opposite of the job's ``use_reentrant``, or of its default, which is reentrant."""
    usual = [case for case in cases if not case.spec.variant] or cases
    said = {case.spec.setup.reentrant for case in usual}
    settings = _settings(functions)
    if len(said) != 1 or settings is None:
        return None
    other = said == {False}
    siblings = [case.sibling(setup=msgspec.structs.replace(case.spec.setup, reentrant=other)) for case in usual]
    if not all(one is not None and works(one) for one in siblings):
        return None
    setting = settings.reentrant.format(str(other).lower())
    scope: Proven = "failing" if len(usual) == len(cases) else "some"
    return _remedy(f"set `{setting}`", "no extra memory", "the same steps ran with it", siblings, scope)


def _switched_on_once(cases: list[Case], functions: set[str]) -> Remedy | None:
    """The job without the setting with which Trainer switches checkpointing on after the trainer."""
    settings = _settings(functions)
    if settings is None or not all(case.spec.setup.trainer_switches_on for case in cases):
        return None
    siblings = [case.sibling(setup=case.spec.setup.switched_on_once) for case in cases]
    if not all(one is not None and works(one) for one in siblings):
        return None
    title = f"remove `{settings.trainers_switch}`: the trainer switches checkpointing on itself"
    return _remedy(title, "no extra memory", "the same steps ran without it", siblings)


def _one_of_two(cases: list[Case], functions: set[str]) -> Iterator[Remedy]:
    """If FSDP's own activation checkpointing is on beside the trainer's: either of them alone."""
    if not all(case.spec.setup.fsdp_checkpointing for case in cases):
        return
    settings = _settings(functions)
    off = settings.off if settings else "gradient_checkpointing: false"
    for change, title in (
        ({}, "switch FSDP's own off: `fsdp_config: {activation_checkpointing: false}`"),
        ({"function": WRAPPER}, f"keep FSDP's own, and switch the other one off: `{off}`"),
    ):
        alone = [
            case.sibling(setup=msgspec.structs.replace(case.spec.setup, fsdp_checkpointing=False), **change)
            for case in cases
        ]
        if all(one is not None and works(one) for one in alone):
            yield _remedy(title, "no extra memory", "the same steps ran with it", alone)


def _engine_instead(cases: list[Case]) -> Remedy | None:
    """The setting of the engine that makes another engine of it."""
    instead = {catalog.engines()[case.spec.engine].instead for case in cases}
    change = instead.pop()
    siblings = [case.sibling(engine=change.engine) for case in cases] if change and not instead else [None]
    if change is None or not all(one is not None and works(one) for one in siblings):
        return None
    return _remedy(f"set `{change.setting}`", change.cost, "the same steps ran with it", siblings)


def _remedy(title: str, cost: str, ran: str, probes: Iterable[Evidence | None], scope: Proven = "failing") -> Remedy:
    """A setting, with the probes of this run that show that it works."""
    shown = [one for one in probes if one is not None]
    ids = sorted({one.id for one in shown})
    simulated = ", with backward simulated on the CPU" if any(one.forward_only for one in shown) else ""
    evidence = f"{ran} in this run ({listed(ids, 3)}){simulated}"
    return Remedy(kind="setting", title=title, cost=cost, evidence=evidence, proven=scope, tried=tuple(ids))


def _title(functions: set[str], setting: str) -> str | None:
    if all(name in TORCH for name in functions):
        return f"use torch's other variant: `gradient_checkpointing_kwargs: {{{setting}}}`{_in_other_words(setting)}"
    settings = _settings(functions)
    if settings is not None:
        return settings.torch.format(setting) or None
    trainers = [trainer for name in functions if (trainer := catalog.trainer_of(name))]
    if not all(trainer.settings and trainer.settings.torch for trainer in trainers):
        return None
    return f"use torch.utils.checkpoint.checkpoint ({setting}) instead of this function"


def _in_other_words(setting: str) -> str:
    """The same setting of trainers that have a key of their own for it."""
    value = setting.rpartition(" ")[2]
    keys = [
        f"{trainer.title}: `{trainer.settings.reentrant.format(value)}`"
        for trainer in catalog.trainers().values()
        if trainer.settings and "gradient_checkpointing_kwargs" not in trainer.settings.reentrant
    ]
    return f" ({', '.join(keys)})" if keys else ""


def _settings(functions: set[str]) -> Settings | None:
    """The settings of the one trainer that has all these functions."""
    trainers = {catalog.package_of(name) if catalog.trainer_of(name) else "" for name in functions}
    trainer = catalog.trainers().get(trainers.pop()) if len(trainers) == 1 else None
    return trainer.settings if trainer else None


def _cost(functions: set[str]) -> str:
    settings = _settings(functions)
    return (settings.torch_cost if settings else "") or "no extra memory; other features of this function are lost"


def _off(cases: list[Case], functions: set[str]) -> Remedy | None:
    """No checkpointing at all: always possible, but costs memory."""
    settings = _settings(functions)
    if any(case.spec.setup.trainer_switches_on for case in cases):
        return None  # then Trainer switches checkpointing on all the same
    controls = [case.control() for case in cases]
    if settings is None or not all(one and one.ended == "returned" for one in controls):
        return None
    title = f"train without checkpointing: `{settings.off}`"
    cost = "GPU memory: all activations are kept, several times as much on a real model"
    return _remedy(title, cost, "the same steps ran without it", controls)
