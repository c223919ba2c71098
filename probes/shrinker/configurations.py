"""What of a model's configuration is made small, and what of it cannot be run on this machine."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from .. import tiny_config
from . import devices, telling

WIDTH, LAYERS = 64, 8
"""A model that is no wider, and has no more layers, is small already."""

LEAST_LAYERS = 4
"""Layers of a small model: where a job trains the last ones, some are left that it freezes."""

MOST_LAYERS = 8
"""Layers of a small model whose layers are of several kinds: as many as it takes to have one of each."""

MOST_POSITIONS = 4096
"""Some releases keep a mask of positions by positions, whatever the length of the batch."""

KEPT = frozenset(
    {
        *("vocab_size", "vocab_size_per_layer_input", "decoder_vocab_size", "use_cache"),
        *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
        *("max_position_embeddings", "n_positions", "sliding_window"),
        # A processor cuts images and sounds as the configuration says.
        *("image_size", "patch_size", "max_num_tiles", "image_grid_pinpoints", "mm_tokens_per_image"),
        *("num_position_embeddings", "max_source_positions", "scale_factor", "default_output_length"),
        *("layerdrop", "encoder_layerdrop", "decoder_layerdrop", "speech_encoder_layerdrop"),
    }
)
"""Settings that stay where a job's own tokenizer makes the batches, and the job itself is run."""

DTYPES = ("dtype", "torch_dtype")
ATTENTIONS = ("_attn_implementation", "_attn_implementation_internal")


def shrink(config: Any) -> None:
    """Make a configuration small, in place, as the model will be that is built from it; and tell so once."""
    run_here(config)
    if is_small(config):
        return
    name = _name(config)
    was = _size(config)
    tiny_config.shrink_all(config, layers(config), KEPT)
    _positions(config)
    telling.small(f"{name} has {_size(config)} instead of {was}, and random weights: its weight files are not read.")


def run_here(config: Any) -> None:
    """Take off what cannot be run on this machine, and what needs the weights' files."""
    if getattr(config, "quantization_config", None) is not None:
        with contextlib.suppress(AttributeError):
            del config.quantization_config
        telling.small("Quantization is off: the small weights are not quantized.")
    for part in (*tiny_config.parts_of(config), config):
        _attention(part)
        for name in DTYPES if devices.on_cpu() else ():
            if str(vars(part).get(name, "")).rpartition(".")[2] == "float16":
                setattr(part, name, torch.bfloat16)
                telling.small("float16 does not train on a CPU: weights are bfloat16.")


def attention(wanted: Any) -> Any:
    """The attention that is used here for one that a job asks for."""
    if isinstance(wanted, str) and devices.on_cpu() and wanted not in ("sdpa", "eager", "flex_attention"):
        telling.small(f"The attention '{wanted}' needs a GPU: 'sdpa' is used.")
        return "sdpa"
    return {key: attention(value) for key, value in wanted.items()} if isinstance(wanted, dict) else wanted


def layers(config: Any) -> int:
    """How many layers a small model gets: one of each kind at least, where the configuration names kinds of layers."""
    kinds = getattr(config, "layer_types", None)
    for part in tiny_config.parts_of(config):
        kinds = kinds or getattr(part, "layer_types", None)
    if not isinstance(kinds, (list, tuple)) or not kinds:
        return LEAST_LAYERS
    needed = max(list(kinds).index(kind) for kind in set(kinds)) + 1
    return max(LEAST_LAYERS, min(needed, MOST_LAYERS))


def is_small(config: Any) -> bool:
    """Whether the model of a configuration is small already: the job's own, or one that was made small before."""
    parts = [*tiny_config.parts_of(config), config]
    return all(_number(part, WIDTHS) <= WIDTH and _number(part, DEPTHS) <= LAYERS for part in parts)


WIDTHS = ("hidden_size", "d_model", "n_embd", "embed_dim", "dim")
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "depth")


def _number(config: Any, names: tuple[str, ...]) -> int:
    found = (_get(config, name) for name in names)
    return next((one for one in found if isinstance(one, int) and not isinstance(one, bool)), 0)


def _get(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except Exception:  # computed from settings that it lacks
        return None


def _attention(config: Any) -> None:
    for name in ATTENTIONS:
        if name in vars(config):
            wanted = vars(config)[name]
            used = attention(wanted)
            if used != wanted:
                setattr(config, name, used)


def _positions(config: Any) -> None:
    for part in (*tiny_config.parts_of(config), config):
        for name in ("max_position_embeddings", "n_positions"):
            if isinstance(vars(part).get(name), int) and vars(part)[name] > MOST_POSITIONS:
                setattr(part, name, MOST_POSITIONS)


def _size(config: Any) -> str:
    text = next((part for part in (config, *tiny_config.parts_of(config)) if _number(part, DEPTHS)), config)
    return f"{_number(text, DEPTHS)} layers of width {_number(text, WIDTHS)}"


def _name(config: Any) -> str:
    return f"The model '{getattr(config, 'model_type', '') or type(config).__name__}'"
