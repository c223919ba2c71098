"""The part of a script that switches the probe's checkpoint function on."""

from __future__ import annotations

from pathlib import Path

from ckptdoctor import catalog
from ckptdoctor.bugreport.repro import trainers
from ckptdoctor.bugreport.repro.draft import Draft, is_name, template
from ckptdoctor.bugreport.repro.expected import travels
from ckptdoctor.planning.options import TORCH


def switched_on(draft: Draft) -> str:
    """What makes the model use the checkpoint function, as its own users do."""
    function = draft.probe.checkpoint_function
    if function == "none":
        return ""
    if function in TORCH:
        return _torch(draft, function)
    if function == "deepspeed":
        return prepared(draft, "deepspeed") + draft.giving("deepspeed.checkpointing.checkpoint")
    if catalog.trainer_of(function):
        return trainers.switched_on(draft, function) + trainers.switched_on_again(draft)
    return _users_own(draft, function)


def prepared(draft: Draft, package: str) -> str:
    """The import of an engine's package, and what must come before."""
    reproduction = next(one.record.reproduction for one in catalog.engines().values() if one.package == package)
    draft.imports |= {*reproduction.imports}
    return reproduction.prepare


def _torch(draft: Draft, function: str) -> str:
    reentrant = function == "torch:reentrant"
    if not draft.is_own_model:
        return template("torch", reentrant=str(reentrant))
    draft.imports.add("torch.utils.checkpoint")
    return draft.giving(f"functools.partial(torch.utils.checkpoint.checkpoint, use_reentrant={reentrant})")


def _users_own(draft: Draft, function: str) -> str:
    where, _, attribute = function.rpartition(":")
    is_file = where.endswith(".py")
    if not is_name(attribute) or not (is_file or is_name(where)):
        return "raise SystemExit('the checkpoint function has no name that a script can use')\n"
    module, loaded = where, draft.probe.evidence.loaded
    if is_file or travels(draft.probe.evidence):
        file = where if is_file or loaded is None else loaded.place.file
        module = draft.own
        draft.beside[f"{module}.py"] = Path(file).read_text(encoding="utf-8", errors="replace")
    return f"import {module} as own  # the checkpoint function\n\n{draft.giving(f'own.{attribute}')}"
