"""Transformers' configurations made tiny: every architecture stays, with as few layers and heads as it can have."""

from __future__ import annotations

import contextlib
from typing import Any

from .tiny_inputs import SPECIAL, VOCABULARY

LAYERS = 2
"""Decoder layers of a model, where a probe does not need more."""

TINY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    # mixtures of experts
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    # multi-head latent attention
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    # older names
    "n_embd": 32,
    "n_layer": LAYERS,
    "n_head": 4,
    "d_head": 8,
    "n_inner": 64,
    "n_positions": 128,
    "ffn_dim": 64,
    "sliding_window": 8,
    # Which layers a step skips is left to chance: steps that are compared must run the same.
    "layerdrop": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "speech_encoder_layerdrop": 0.0,
}
"""Values for the settings that a configuration has."""

TINY_PARTS: dict[str, Any] = {
    # towers for images and sound
    "depth": 2,
    "num_heads": 4,
    "embed_dim": 32,
    "out_hidden_size": 32,
    "output_dim": 32,
    "projection_dim": 32,
    "projector_input_dim": 32,
    "projector_output_dim": 32,
    "vision_output_dim": 32,
    "multi_modal_projector_bias": True,
    "image_size": 28,
    "patch_size": 14,
    "max_num_tiles": 2,
    "num_global_layers": 2,
    "attention_heads": 4,
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "num_blocks": 2,
    "linear_units": 64,
    "ext_pw_out_channel": 32,
    "deepstack_visual_indexes": [0],
    "fullatt_block_indexes": [1],
    "intermediate_layers_indices": [0],
    "cross_attention_layers": [1],
    # linear attention, and embeddings by layer
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_heads": 4,
    "linear_head_dim": 8,
    # state-space layers: without kernels they compute whole chunks, however short the text
    "mamba_chunk_size": 8,
    "mamba_d_state": 16,
    "ssm_state_size": 16,
    "global_head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "intermediate_size_mlp": 64,
    "num_kv_shared_layers": 0,
    "num_position_embeddings": 16,
    "decoder_vocab_size": VOCABULARY,
    "use_mamba_kernels": False,
    "default_output_length": 4,
    "mm_hidden_size": 32,
    "mm_tokens_per_image": 4,
    "max_source_positions": 16,
    "scale_factor": 2,
    "image_grid_pinpoints": [[28, 28]],
}
"""The same for models of several parts."""


def shrink_all(config: Any, layers: int = LAYERS, kept: frozenset[str] = frozenset()) -> None:
    """Make a configuration and those of its parts tiny, in place.

    Args:
        config: A configuration of transformers.
        layers: Decoder layers.
        kept: Settings that stay as they are; with the vocabulary, all tokens stay.
    """
    _shrink_parts(config, layers, kept)
    if "vocab_size" not in kept:
        _shrink_tokens(config, {})


def parts_of(config: Any) -> list[Any]:
    """The configurations that a configuration holds: of text, images, sound."""
    return [value for value in vars(config).values() if hasattr(value, "model_type") and hasattr(value, "to_dict")]


def _shrink_parts(config: Any, layers: int, kept: frozenset[str]) -> None:
    for part in parts_of(config):
        _shrink_parts(part, layers, kept)
    for name, value in TINY_PARTS.items():
        was = _setting(config, name)
        if was is not None and name not in kept:
            with contextlib.suppress(AttributeError, NotImplementedError):
                setattr(config, name, _alike(value, was))
    shrink(config, layers, kept)
    _fit(config)


def _alike(value: Any, was: Any) -> Any:
    """A value in the form of the one that it replaces: some are given as one number, or as one for each side or layer."""
    return [value] * len(was) if isinstance(was, (list, tuple)) and isinstance(value, int) else value


def _shrink_tokens(config: Any, known: dict[str, int]) -> None:
    """Give the tokens that stand for images and the like numbers at the end of the tiny vocabulary, the same in every part."""
    if getattr(config, "vision_config", None) is not None:
        for name in OF_IMAGES:
            if not hasattr(config, name) and not hasattr(config, name.replace("_token_id", "_token_index")):
                with contextlib.suppress(AttributeError, NotImplementedError):
                    setattr(config, name, VOCABULARY - 1)  # a number to be replaced below
    for name, value in list(vars(config).items()):
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            _shrink_tokens(value, known)
        elif (
            name.endswith(("_token_id", "_token_index"))
            and name not in TINY
            and (isinstance(value, int) or name in NEEDED_TOKENS)
        ):
            key = name.rpartition("_token_")[0]
            with contextlib.suppress(AttributeError, NotImplementedError):
                setattr(config, name, known.setdefault(key, VOCABULARY - 1 - len(known) % SPECIAL))


OF_IMAGES = ("image_token_id", "video_token_id", "vision_start_token_id")
"""Tokens that published configurations have, and some classes have no default for."""

NEEDED_TOKENS = ("image_token_id", "image_token_index", "audio_token_id", "audio_token_index")
"""Tokens that a model cannot do without where images or sound come in; defaults of classes leave some out."""


def _fit(config: Any) -> None:
    """Settings that depend on others: heads of state-space layers, rotated parts of heads, experts for each token."""
    expand, size = _setting(config, "expand"), _setting(config, "hidden_size")
    fitted: dict[str, Any] = {}
    if isinstance(expand, int) and isinstance(size, int) and _setting(config, "state_size"):
        fitted.update(num_heads=4, head_dim=expand * size // 4, n_groups=1)
    if _setting(config, "n_mamba_heads") and _setting(config, "mamba_headdim") and isinstance(size, int):
        fitted.update(
            n_mamba_heads=4, mamba_headdim=(_setting(config, "mamba_expand") or 1) * size // 4, mamba_ngroups=1
        )
    heads = _setting(config, "num_attention_heads")
    if isinstance(size, int) and isinstance(heads, int) and vars(config).get("head_dim", 0) is None:
        fitted["head_dim"] = size // heads
    if vars(config).get("num_key_value_heads", 0) is None and isinstance(heads, int):
        fitted["num_key_value_heads"] = heads
    if getattr(config, "is_encoder_decoder", False) and _setting(config, "decoder_start_token_id") is None:
        config.decoder_start_token_id = 0
    if _setting(config, "mamba_n_heads") and isinstance(size, int):
        width = int(_setting(config, "mamba_expand") or 1) * size
        fitted.update(mamba_n_heads=4, mamba_d_head=width // 4, mamba_n_groups=1)
        if _setting(config, "mamba_d_ssm"):
            fitted["mamba_d_ssm"] = width
    if _setting(config, "mamba_num_heads") and _setting(config, "mamba_head_dim") and isinstance(size, int):
        fitted.update(mamba_num_heads=4, mamba_head_dim=int(_setting(config, "expand") or 1) * size // 4, n_groups=1)
    if any(_setting(config, name) for name in ("state_size", "ssm_state_size", "mamba_d_state")):
        fitted["chunk_size"] = TINY_PARTS["mamba_chunk_size"]
    if isinstance(ratio := _setting(config, "pixel_shuffle_ratio"), float) and isinstance(size, int):
        fitted["intermediate_size"] = int(size / ratio**2)  # pixels become channels
    if _setting(config, "intermediate_layers_indices") and isinstance(size, int):
        fitted["vision_output_dim"] = size * (1 + len(config.intermediate_layers_indices))
    if _setting(config, "attention_type") == "block_sparse":
        # BigBird goes over to it by itself in its first step on short text: random numbers are drawn, and the steps differ.
        fitted["attention_type"] = "original_full"
    if _setting(config, "rotary_dim"):
        fitted["rotary_dim"] = TINY["head_dim"]
    if hasattr(config, "n_routed_experts") and hasattr(config, "num_experts_per_tok"):
        fitted.update(n_routed_experts=TINY["n_routed_experts"], num_experts_per_tok=TINY["num_experts_per_tok"])
    for name, value in fitted.items():
        if hasattr(config, name):
            with contextlib.suppress(AttributeError, NotImplementedError):
                setattr(config, name, value)


def shrink(config: Any, layers: int = LAYERS, kept: frozenset[str] = frozenset()) -> None:
    """Make a configuration tiny and keep its architecture, in place."""
    before = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layer", None)
    count = {"num_hidden_layers": layers, "n_layer": layers}
    for name, value in {**TINY, **count, **_key_value_heads(config)}.items():
        was = _setting(config, name)
        if was is not None and name not in kept:
            try:
                setattr(config, name, _alike(value, was))
            except (AttributeError, NotImplementedError):  # an alias or a computed value
                continue
    for name, value in list(vars(config).items()):
        # What lists one value a layer is cut to the layers that are left, or goes on where a small model gets more layers.
        if isinstance(value, list) and before and len(value) == before != layers:
            setattr(config, name, [value[index % before] for index in range(layers)])
    _plain_rope(config)
    if "use_cache" not in kept:
        config.use_cache = False


def _key_value_heads(config: Any) -> dict[str, int]:
    """As many key-value heads as heads, one, or some: whichever kind of attention the architecture has."""
    heads, shared = getattr(config, "num_attention_heads", None), getattr(config, "num_key_value_heads", None)
    if shared is not None and shared in (1, heads):
        return {"num_key_value_heads": 1 if shared == 1 else TINY["num_attention_heads"]}
    return {}


def _plain_rope(config: Any) -> None:
    """Drop rotary scaling, whose tables are as long as the real model's heads; the rest of the rotation stays."""
    if hasattr(config, "rope_scaling") and not getattr(config, "rope_parameters", None):
        config.rope_scaling = _rope_scaling(config)
    rope = getattr(config, "rope_parameters", None)
    # Where the configuration does not say it, models have a default as long as the real heads.
    if isinstance(rope, dict) and ("mrope_section" in rope or str(config.model_type) in THREE_WAY):
        rope["mrope_section"] = _sections(config, rope)
    if isinstance(rope, dict) and rope.get("rope_type", "default") not in PLAIN_ROPES:
        kept = {key: rope[key] for key in KEPT_OF_ROPES if rope.get(key) is not None}
        config.rope_parameters = {"rope_type": "default", "rope_theta": ROPE_THETA, **kept}


KEPT_OF_ROPES = ("rope_theta", "partial_rotary_factor", "llama_4_scaling_beta", "original_max_position_embeddings")
"""What of a rotation does not depend on the length of heads, or is read whatever the kind of rotation."""

ROPE_THETA = 10000.0

THREE_WAY = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen2_vl_text",
    "qwen2_5_vl_text",
    "qwen2_5_omni_text",
    "glm4v_text",
    "glm4v_moe_text",
    "glm_ocr_text",
    "paddleocr_vl_text",
)
"""Language models that rotate by time, height and width."""

PLAIN_ROPES = ("default", "axial")
"""Kinds of rotation that are as long as the heads are."""


def _rope_scaling(config: Any) -> dict[str, Any] | None:
    """What older releases keep apart: nothing, but for models that read it whatever it says."""
    if str(config.model_type) in THREE_WAY:
        return {"type": "default", "rope_type": "default", "mrope_section": _sections(config, {})}
    return {"rope_type": "default"} if config.model_type == "mllama_text_model" else None


def _sections(config: Any, rope: dict[str, Any]) -> list[int]:
    """How many of a tiny head's frequencies go by time, height and width: as many as there are, shared out."""
    share = float(rope.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None) or 1.0))
    pairs = int((_setting(config, "head_dim") or TINY["head_dim"]) * share) // 2
    side = pairs // 3
    return [pairs - 2 * side, side, side]


def _setting(config: Any, name: str) -> Any:
    """A setting of a configuration, or nothing where it has none, or one for each layer."""
    try:
        return getattr(config, name, None)
    except (AttributeError, ValueError, RuntimeError, NotImplementedError):
        return None
