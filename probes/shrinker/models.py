"""Models are built tiny from their own configuration: same class, same patches, random weights; their files are not read.

The tiny weights are saved to a folder, from which the job's own call loads them: how a release of transformers, or what a
trainer put in its place, loads a model, in which precision, to which device, and shards it, is as in the real job.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from typing import Any, Callable

import torch

from .. import models
from . import configurations, devices, telling
from .wrapping import wrap

OF_FILES = (
    *("revision", "subfolder", "variant", "cache_dir", "force_download", "local_files_only", "token", "use_auth_token"),
    *("use_safetensors", "from_tf", "from_flax", "gguf_file", "state_dict", "code_revision", "proxies", "mirror"),
    *("resume_download", "weights_only", "_adapter_model_path", "adapter_kwargs", "key_mapping", "_commit_hash"),
)
"""Arguments of ``from_pretrained`` that say which files are read; the tiny ones lie elsewhere."""

QUANTIZATION = ("quantization_config", "load_in_4bit", "load_in_8bit")

SEED = 0
"""All ranks build the same weights, as they read the same files."""


def act_on_transformers(module: Any) -> None:
    """Of every class of models."""
    base = module.PreTrainedModel
    wrap(base, "from_pretrained", _from_pretrained)
    wrap(base, "_from_config", _from_config)
    wrap(base, "__init__", _made)
    from . import saving

    saving.act_on_models(base)


def _from_pretrained(original: Callable[..., Any], kind: Any, name: Any, *args: Any, **kwargs: Any) -> Any:
    config, kwargs = _config(kind, name, kwargs)
    kept = {key: value for key, value in kwargs.items() if key not in (*OF_FILES, *QUANTIZATION)}
    bits = _bits(config, kwargs)
    configurations.shrink(config)
    _fit_arguments(kept)
    model = original(kind, _weights(kind, config, name), *args, config=config, **kept)
    module = model[0] if isinstance(model, tuple) else model
    module.name_or_path = module.config._name_or_path = str(name)
    for name_of_bits in bits:  # what prepares a quantized model for training is the job's own code, and asks for this
        setattr(module, name_of_bits, True)
    return model


def _config(kind: Any, name: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The configuration that the model is built from, and what is left of the arguments."""
    kwargs = dict(kwargs)
    config = kwargs.pop("config", None)
    if config is not None and not isinstance(config, (str, os.PathLike)):
        return config, kwargs
    loaded: tuple[Any, dict[str, Any]] = kind.config_class.from_pretrained(
        name if config is None else config, return_unused_kwargs=True, **kwargs
    )
    return loaded


def _bits(config: Any, kwargs: dict[str, Any]) -> list[str]:
    """Which marks of a model loaded in 4 or 8 bits the job's model would have."""
    asked = kwargs.get("quantization_config")
    asked = config.__dict__.get("quantization_config") if asked is None else asked
    if asked is None and not kwargs.get("load_in_4bit") and not kwargs.get("load_in_8bit"):
        return []
    telling.small("Quantization is off: the small weights are not quantized.")
    wanted = asked if isinstance(asked, dict) else getattr(asked, "__dict__", {})
    return [
        f"is_loaded_in_{bits}"
        for bits in ("4bit", "8bit")
        if wanted.get(f"load_in_{bits}") or wanted.get(f"_load_in_{bits}") or kwargs.get(f"load_in_{bits}")
    ]


def _fit_arguments(kwargs: dict[str, Any]) -> None:
    """Arguments as far as this machine can do what they ask for."""
    if "attn_implementation" in kwargs:
        kwargs["attn_implementation"] = configurations.attention(kwargs["attn_implementation"])
    if not devices.on_cpu():
        return
    if kwargs.pop("use_flash_attention_2", False):
        configurations.attention("flash_attention_2")
    for name in configurations.DTYPES:
        if str(kwargs.get(name, "")).rpartition(".")[2] == "float16":
            kwargs[name] = torch.bfloat16
            telling.small("float16 does not train on a CPU: weights are bfloat16.")
    where = kwargs.get("device_map")
    if where is not None and set(map(str, where.values() if isinstance(where, dict) else [where])) != {"cpu"}:
        del kwargs["device_map"]
        telling.small("`device_map` names no device of this machine: the model is on the CPU.")


def _from_config(original: Callable[..., Any], kind: Any, config: Any, *args: Any, **kwargs: Any) -> Any:
    configurations.shrink(config)
    _fit_arguments(kwargs)
    return original(kind, config, *args, **kwargs)


def _made(original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> None:
    """A model that the job makes by its class: every class calls this before it builds its layers."""
    config = args[0] if args else kwargs.get("config")
    if hasattr(config, "model_type"):
        configurations.shrink(config)
    original(model, *args, **kwargs)


def _weights(kind: Any, config: Any, name: Any) -> str:
    """A folder with the files of a tiny model, as the model's own files would lie in theirs."""
    folder = tempfile.mkdtemp(dir=telling.folder("weights"))
    made = copy.deepcopy(config)
    dtype = next((value for one in configurations.DTYPES if (value := made.__dict__.get(one)) is not None), None)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        model: Any = models.initialised(kind, made)
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, None)
    model = model.to(dtype) if isinstance(dtype, torch.dtype) else model
    model.should_save_on_this_rank = lambda *_: True  # from transformers 5.20 on only the first rank would
    model.save_pretrained(folder)
    own = os.path.join(str(name), "generation_config.json")
    if os.path.isfile(own):
        shutil.copy(own, folder)
    return folder


def act_on_peft(module: Any) -> None:
    """An adapter that a job goes on from: made as its configuration says, its weights not read."""
    wrap(module, "load_peft_weights", _no_weights)
    from . import saving

    saving.act_on_models(module.PeftModel)


def _no_weights(original: Callable[..., Any], name: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    telling.small(f"The adapter '{name}' is not loaded: it begins with new weights.")
    return {}
