"""The stack, imported once for all probes that are forked afterwards."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import importlib
import json
import os
from typing import Any, Callable

from . import catalog, isolate, places
from .bridge import Channel

OPENING = "CKPTDOCTOR_OPENING"
"""Environment variable through which a spawned child is told how its worker was opened."""

BROKEN: dict[str, dict[str, Any]] = {}
"""What could not be imported, with the error as evidence."""


def prepare(specs: list[dict[str, Any]], channel: Channel) -> None:
    """Import what the specs share, so that no child has to; what fails here is each child's evidence."""
    gc.disable()  # importing makes hundreds of thousands of objects and no garbage
    _import("torch", channel, import_torch)
    for model in sorted({spec["model"] for spec in specs}):
        _import(model, channel, functools.partial(_import_model, model))
    if any(needs_deepspeed(spec) for spec in specs):
        _import("deepspeed", channel, _import_deepspeed)
    for engine in sorted({catalog.ENGINES[spec["engine"]]["module"] for spec in specs if spec["ranks"] > 1}):
        _import_engine(engine)
    if any(spec["setup"]["tuning"] == "lora" for spec in specs):
        _import("peft", channel, functools.partial(importlib.import_module, "peft"))
    _import("the probes", channel, _import_probes)
    for trainer in sorted({spec["setup"]["prepared_by"] for spec in specs if not spec["setup"]["without_patches"]}):
        if trainer:
            _import(trainer, channel, functools.partial(_import_trainer, trainer))
    gc.freeze()  # DeepSpeed collects garbage at every step of its set-up: let it not search all of the stack each time
    gc.enable()


def import_torch() -> None:
    """Import torch, and what its checkpoint functions import late."""
    import torch.utils.checkpoint

    # Torch's checkpoint functions import it when first called: many seconds in each probe, the more where it is traced.
    with contextlib.suppress(Exception):
        import torch._dynamo  # noqa: F401


def needs_deepspeed(spec: dict[str, Any]) -> bool:
    """Whether a probe uses DeepSpeed: its function, or the package of its engine."""
    return "deepspeed" in (spec["function"], catalog.ENGINES[spec["engine"]]["package"])


def _import_deepspeed() -> None:
    from .engines.deepspeed import warm_up

    warm_up()


def _import_engine(module: str) -> None:
    """What an engine of ranks imports late; where that fails, its probes tell."""
    with contextlib.suppress(Exception):
        importlib.import_module(f".engines.{module}", __package__).warm_up()
        import torch

        with torch.autograd.profiler.record_function(""):  # imports a module when it is first used, as DDP and FSDP2 do
            pass


def _import_model(name: str) -> None:
    from . import models, switching_on

    if name == models.OWN:
        return
    switching_on.trainers_call()
    if os.path.isabs(name):
        import transformers  # noqa: F401
    else:
        models.warm_up(name)


def _import_trainer(name: str) -> None:
    """All of a trainer; if that fails, its patches are not applied, and the evidence says why."""
    from . import preparing

    preparing.load_whole(name)


def _import_probes() -> None:
    from . import replacements, step, tiny_glm4  # noqa: F401

    places.warm_up()
    replacements.warm_up()


def _import(what: str, channel: Channel, load: Callable[[], Any]) -> None:
    """Import one part of the stack, and remember it if that fails: trying it again in each probe would only take time."""
    channel.send("importing", what=what)
    look = json.loads(os.environ[OPENING])["look"]
    isolate.dump_later(look, repeat=True)  # the doctor tells, and gives up where it hangs
    try:
        load()
    except Exception as error:
        BROKEN[what] = _as_evidence(error)
        channel.send("broken", what=what, error=BROKEN[what])
    finally:
        faulthandler.cancel_dump_traceback_later()


def _as_evidence(error: Exception) -> dict[str, Any]:
    try:
        from .failures import evidence

        return evidence(error)
    except Exception:  # torch itself is what is broken
        return {"type": type(error).__name__, "message": str(error)[:2000], "frames": []}
