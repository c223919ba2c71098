"""What helps against an error in a log, each with the condition under which it does."""

from __future__ import annotations

from ckptdoctor import catalog
from ckptdoctor.explain import judging, places, wordings
from ckptdoctor.explain.judging import Judged
from ckptdoctor.explain.tracebacks import Raised

_NON_REENTRANT = "`gradient_checkpointing_kwargs={'use_reentrant': False}`"
_REENTRANT = "`gradient_checkpointing_kwargs={'use_reentrant': True}`"


def fixes(error: Raised, judged: Judged, has_releases: bool) -> list[str]:
    """What to do, likeliest first.

    Args:
        error: The error that matters.
        judged: What it amounts to.
        has_releases: Whether releases that work together are offered beside it.
    """
    if judged.rule == "CKPT001":
        return [] if has_releases else _attribute_contract(error)
    if judged.rule == "CKPT004":
        return [
            "If the embeddings are frozen, as under PEFT: call `model.enable_input_require_grads()` before training.",
            f"If the model accepts non-reentrant checkpointing: set {_NON_REENTRANT}.",
        ]
    if judged.rule == "CKPT007":
        return _recomputation_mismatch(error)
    if wordings.READY_ONCE.search(error.message):
        return [
            f"If checkpointing is reentrant: set {_NON_REENTRANT}.",
            "If every parameter takes part in the loss: set `ddp_find_unused_parameters=False`.",
        ]
    return []


def _attribute_contract(error: Raised) -> list[str]:
    trainers = dict.fromkeys(place.package for place in error.frames if catalog.is_trainer(place.package))
    name = next(iter(trainers), "")
    return [
        f"If other releases may be installed: `ckptdoctor known{f' {name}' if name else ''}` lists which releases of "
        f"{name or 'the trainers'} and of transformers work together.",
        "If packages must stay as they are: `ckptdoctor run -- <command>` adapts the callable in the running job.",
        "If the environment is at hand: `ckptdoctor fix` tries releases, a patch and settings, and offers what works.",
    ]


def _recomputation_mismatch(error: Raised) -> list[str]:
    differs = judging.difference(error.message)
    is_emptied = differs.is_emptied if differs else "torch.Size([0])" in error.message
    twice = any("checkpoint_wrapper.py" in places.path(one) for one in error.frames)
    found = []
    if is_emptied:
        found.append(
            f"If adapters beside frozen parameters (PEFT) are trained under DeepSpeed ZeRO 3: set {_REENTRANT}."
        )
    if twice:
        found.append("If both FSDP and the trainer checkpoint the layers: keep one of the two settings.")
    if differs and differs.kind == "count":
        found.append("If layers choose experts: keep the router's output, or exclude the router from checkpointing.")
    if differs and differs.kind == "shape" and not is_emptied:
        found.append("If a key-value cache is on in training: set `use_cache=False`.")
    if differs and differs.kind == "dtype":
        found.append(
            "If FSDP2 casts the inputs of a layer (mixed precision): use a newer torch, which is reported to help."
        )
    # Reentrant checkpointing is no fix in general: it does not compare, and trains with other values than were computed.
    found.append(
        "If the cause is not clear: train in `with torch.utils.checkpoint.set_checkpoint_debug_enabled(True):`, which makes "
        "torch list the operators of both runs."
    )
    return found
