"""Axolotl's configuration: a file of settings, of which it makes arguments of its own."""

from __future__ import annotations

from typing import Any, Callable

from . import configurations, devices, reductions, telling
from .reductions import always, at_most
from .wrapping import wrap

REDUCED = {
    **reductions.OF_DATA,
    **dict.fromkeys(("micro_batch_size", "eval_batch_size"), at_most(reductions.BATCH)),
    "gradient_accumulation_steps": at_most(reductions.ACCUMULATION),
    **dict.fromkeys(("dataset_processes", "dataloader_num_workers", "dataloader_prefetch_factor"), always(None)),
    **dict.fromkeys(("resume_from_checkpoint", "auto_resume_from_checkpoints", "hub_model_id"), always(None)),
    "torch_compile": always(None),
}
LOGGERS = ("wandb", "mlflow", "comet", "swanlab", "trackio", "tensorboard")
"""Of each: its settings, such as ``wandb_project``, and the switch ``use_wandb``."""

ATTENTIONS = ("flash_attention", "xformers_attention", "sage_attention", "s2_attention")
KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel")
PLUGINS = ("liger", "cut_cross_entropy")
"""Parts of names of plugins that need a GPU."""


def act_on_configuration(module: Any) -> None:
    """Settings are made small before they are checked."""
    wrap(module, "validate_config", _checked)
    act_on_command(module)


def act_on_command(module: Any) -> None:
    """A CPU has bfloat16: where axolotl asks for GPUs that have, jobs would run in float16."""
    wrap(module, "is_torch_bf16_gpu_available", lambda original: devices.on_cpu() or original())


def _checked(original: Callable[..., Any], settings: Any, *args: Any, **kwargs: Any) -> Any:
    shrink(settings)
    return original(settings, *args, **kwargs)


def shrink(settings: Any) -> None:
    """Make settings small, in place.

    Args:
        settings: A dictionary; what it lacks is none.
    """
    for name, reduce in REDUCED.items():
        value = settings.get(name)
        used = None if value is None else reduce(value)
        if used != value:
            settings[name] = used
            telling.small(f"`{name}` is {'unset' if used is None else used} instead of {value}.")
    for name in list(settings):
        if name.startswith(tuple(f"{logger}_" for logger in LOGGERS)) or name in [f"use_{one}" for one in LOGGERS]:
            settings[name] = None
    settings["output_dir"] = telling.folder("output")
    settings["dataset_prepared_path"] = telling.folder("prepared")
    if devices.on_cpu():
        _run_on_cpu(settings)


def _run_on_cpu(settings: Any) -> None:
    if settings.get("attn_implementation"):
        settings["attn_implementation"] = configurations.attention(settings["attn_implementation"])
    for name in ATTENTIONS:
        if settings.get(name):
            settings[name], settings["sdp_attention"] = None, True
            telling.small(f"`{name}` needs a GPU: `sdp_attention` is used.")
    if settings.get("adapter"):
        for name in KERNELS:
            if settings.get(name):
                telling.small(f"`{name}` needs a GPU and is off.")
            settings[name] = False  # where nothing is said, axolotl may switch it on
    plugins = [str(one) for one in settings.get("plugins") or ()]
    kept = [one for one in plugins if not any(part in one for part in PLUGINS)]
    if kept != plugins:
        settings["plugins"] = kept
        telling.small(f"The plugins {', '.join(one for one in plugins if one not in kept)} need a GPU and are off.")
    settings["tf32"] = None
