"""A job in one line."""

from __future__ import annotations

from ckptdoctor import catalog
from ckptdoctor.job.formats import formats
from ckptdoctor.job.job import Job
from ckptdoctor.model.evidence import Setup

TARGETS_SHOWN = 4


def summary(job: Job) -> str:
    """What was read, for a report: ``train.yaml: LLaMA-Factory, LoRA on q_proj, v_proj, ZeRO 3, bf16, non-reentrant``."""
    if not formats()[job.trainer].is_read:
        return f"{job.source}: {formats()[job.trainer].title}"
    tuned = [_tuning(job.setup)] if formats()[job.trainer].names_model else []
    engine = [title] if (title := _engine(job)) else []
    parts = [formats()[job.trainer].title, *tuned, *engine, job.setup.precision, *_checkpointing(job)]
    return f"{job.source}: {', '.join(parts)}"


def _engine(job: Job) -> str:
    title = catalog.engines()[job.engine].title
    return f"one process or {catalog.engines()[job.on_several].title}" if job.on_several else title


def _tuning(setup: Setup) -> str:
    if setup.tuning == "lora":
        return f"LoRA on {_shown(setup.lora_targets) if setup.lora_targets else 'every linear layer'}"
    if setup.tuning == "freeze":
        count = abs(setup.trainable_layers)
        return f"{'last' if setup.trainable_layers > 0 else 'first'} {count} layer{'s' if count != 1 else ''}"
    return "full"


def _shown(targets: tuple[str, ...]) -> str:
    more = len(targets) - TARGETS_SHOWN
    return ", ".join([*targets[:TARGETS_SHOWN], *([f"{more} more"] if more > 0 else [])])


def _checkpointing(job: Job) -> list[str]:
    if not job.is_checkpointed:
        return ["no checkpointing"]
    return {True: ["reentrant"], False: ["non-reentrant"], None: []}[job.setup.reentrant]
