"""Tiny models: real ones from transformers, and our own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

OWN = "tiny-glm4"
"""The name of our own model."""

BATCH, LENGTH, VOCABULARY, PADDING = 2, 16, 64, 3
"""Shape of a batch: sequences, tokens, vocabulary, and padding tokens at the end of the second sequence.

Padding at the beginning would leave rows of the attention mask with nothing to attend to, for which torch 2.13's fused CPU
attention gives wrong gradients: the plain step would be no measure of anything.
"""

LAYERS = 2
"""Decoder layers of a model, where a probe does not need more."""

DROPOUT = 0.1
"""Share of attention weights that is dropped where dropout is tried."""

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
"""What a configuration is cut down to, where it has the setting at all."""

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
    "global_head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "intermediate_size_mlp": 64,
    "num_kv_shared_layers": 0,
    "num_position_embeddings": 16,
}
"""The same for models of several parts."""

MOST_PARAMETERS = 5_000_000
"""Of a model that is built: one that does not get that small is not tried."""


class Model(NamedTuple):
    """A model ready for a training step."""

    module: torch.nn.Module
    layers: dict[str, torch.nn.Module]
    """The decoder layers by name."""
    inputs: dict[str, Any]
    """``input_ids`` and ``labels`` [batch, length] and what else the forward takes."""
    name: str
    """Class name."""
    family: str
    """As transformers names it; our own model's name for that."""


class ModelUnavailableError(Exception):
    """The target cannot build the model that was asked for."""


def build(name: str, convention: str, variant: str, layers: int = LAYERS) -> Model:
    """Build the model of that name: ``tiny-glm4``, a transformers family, or a folder with a ``config.json``.

    Args:
        name: What to build.
        convention: The calling convention of our own model; others have theirs.
        variant: ``packed``: two sequences in one row, with flash-attention's keyword arguments. ``dropout``: in attention.
            ``frozen``: the input embeddings are not trained.
        layers: Decoder layers.

    Raises:
        ModelUnavailableError: The installed transformers has no such family, or the folder no usable configuration.
    """
    dropout = DROPOUT if variant == "dropout" else None
    module = _own(convention, dropout, layers) if name == OWN else _from_transformers(name, dropout, layers)
    module = module.float().train()
    if variant == "frozen":
        module.get_input_embeddings().requires_grad_(False)
    family = name if name == OWN else str(module.config.model_type)
    with torch.random.fork_rng(devices=()):
        # Ranks share the model and not the batch: what reduces gradients wrongly must show.
        torch.manual_seed(torch.initial_seed() + int(os.environ.get("RANK", "0")))
        inputs = _inputs(name, packed=variant == "packed")
    return Model(module, layers_of(module), inputs, type(module).__name__, family)


def _own(convention: str, dropout: float | None, layers: int) -> torch.nn.Module:
    from .tiny_glm4 import TinyGlm4Config, TinyGlm4ForCausalLM

    config = TinyGlm4Config(attention_dropout=dropout or 0.0, num_hidden_layers=layers)
    return TinyGlm4ForCausalLM(config, "bound-method" if convention == "model" else convention)


def model_class(family: str) -> tuple[type, type]:
    """Configuration and causal-LM class of a family, imported from the installed transformers.

    Raises:
        ModelUnavailableError: It has no such family.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config, model = CONFIG_MAPPING_NAMES.get(family), MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(family)
    if not config or not model:
        raise ModelUnavailableError(f"transformers {transformers.__version__} has no causal language model '{family}'")
    return getattr(transformers, config), getattr(transformers, model)


def _from_transformers(name: str, dropout: float | None, layers: int) -> torch.nn.Module:
    if os.path.isabs(name):
        config = _local_config(name)
        family = str(config.model_type)
        candidates = list(_candidates(config))
    else:
        family = name
        config_class, kind = model_class(name)
        candidates = list(_candidates(config_class())) or [(config_class(), kind)]
    failed = ""
    for config, kind in candidates:
        try:
            return _tiny(config, kind, dropout, layers)
        except ModelUnavailableError as error:
            failed = failed or str(error)
    raise ModelUnavailableError(failed or f"transformers has no language model of the family '{family}'")


def _candidates(config: Any) -> Iterator[tuple[Any, type]]:
    """Configurations and classes to try: the whole model, then its language model alone."""
    import transformers
    from transformers.models.auto import modeling_auto

    whole = getattr(config, "thinker_config", config)  # what is trained of a model that thinks and talks
    text = getattr(whole, "text_config", None)
    several = ("IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "VISION_2_SEQ", "SEQ_TO_SEQ_CAUSAL_LM")
    is_several = any(getattr(whole, f"{name}_config", None) is not None for name in ("text", "vision", "audio"))
    for part, names in ((whole, (*several, "CAUSAL_LM") if is_several else ("CAUSAL_LM",)), (text, ("CAUSAL_LM",))):
        if part is None:
            continue
        for mapping in names:
            found = getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES", {}).get(part.model_type)
            kind = getattr(transformers, found[0] if isinstance(found, tuple) else found, None) if found else None
            if kind is not None and isinstance(part, kind.config_class):
                yield part, kind


def _tiny(config: Any, kind: type, dropout: float | None, layers: int) -> torch.nn.Module:
    """A model, counted on the meta device before any memory is taken for it."""
    shrink_all(config, layers)
    if dropout is not None:
        if not hasattr(config, "attention_dropout"):
            raise ModelUnavailableError(f"{kind.__name__} has no dropout in attention")
        config.attention_dropout = dropout
    try:
        with torch.device("meta"):
            counted = kind(config)
        if not isinstance(counted, torch.nn.Module):
            raise ModelUnavailableError(f"{kind.__name__} is not a PyTorch model")
        count = sum(parameter.numel() for parameter in counted.parameters())
    except (NotImplementedError, RuntimeError, ValueError, TypeError, AttributeError, ImportError, IndexError) as error:
        raise ModelUnavailableError(f"{kind.__name__} cannot be made tiny: {error}") from error
    if count > MOST_PARAMETERS:
        raise ModelUnavailableError(f"{kind.__name__} does not get tiny: {count:,} parameters")
    return _initialised(kind, config)


def _initialised(kind: type, config: Any) -> torch.nn.Module:
    """A model all of whose parameters have values: some classes leave experts as they lie in memory, for weights to come."""
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # memory that nobody writes to is filled with NaN
    try:
        module: torch.nn.Module = kind(config)
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])
    with torch.no_grad():
        for parameter in module.parameters():
            if not bool(parameter.isfinite().all()):
                parameter.normal_(0.0, INITIAL)
    return module


INITIAL = 0.02
"""Standard deviation of parameters that a class leaves without values, as transformers' models mostly have it."""


def _local_config(folder: str) -> Any:
    from transformers import AutoConfig

    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise ModelUnavailableError(f"{folder} has no config.json")
    try:
        # Code that comes with a model is never run.
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as error:
        raise ModelUnavailableError(f"transformers cannot read {folder}/config.json: {error}") from error


def shrink_all(config: Any, layers: int = LAYERS) -> None:
    """Make a configuration and those of its parts tiny, in place."""
    parts = [value for value in vars(config).values() if hasattr(value, "model_type") and hasattr(value, "to_dict")]
    for part in parts:
        shrink_all(part, layers)
    for name, value in TINY_PARTS.items():
        if _setting(config, name) is not None:
            with contextlib.suppress(AttributeError, NotImplementedError):
                setattr(config, name, value)
    shrink(config, layers)


def shrink(config: Any, layers: int = LAYERS) -> None:
    """Make a configuration tiny and keep its architecture, in place."""
    before = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layer", None)
    count = {"num_hidden_layers": layers, "n_layer": layers}
    for name, value in {**TINY, **count, **_key_value_heads(config)}.items():
        if _setting(config, name) is not None:
            try:
                setattr(config, name, value)
            except (AttributeError, NotImplementedError):  # an alias or a computed value
                continue
    for name, value in list(vars(config).items()):
        # What lists one value a layer is cut to the layers that are left.
        if isinstance(value, list) and before and len(value) == before and before > layers:
            setattr(config, name, value[:layers])
    _plain_rope(config)
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
        kept = ("rope_theta", "partial_rotary_factor")
        config.rope_parameters = {"rope_type": "default", **{key: rope[key] for key in kept if key in rope}}


THREE_WAY = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen2_vl_text",
    "qwen2_5_vl_text",
    "qwen2_5_omni_text",
    "glm4v_text",
    "glm4v_moe_text",
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


def layers_of(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The layers that checkpointing is about: members of the outermost lists of like modules."""
    layers: dict[str, torch.nn.Module] = {}
    for name, child in module.named_modules():
        inside = any(name.startswith(f"{layer}.") for layer in layers)
        if isinstance(child, torch.nn.ModuleList) and len(child) > 1 and not inside:
            layers.update({f"{name}.{index}": layer for index, layer in enumerate(child)})
    return layers


def _inputs(name: str, packed: bool) -> dict[str, Any]:
    return with_settings(name, _packed_inputs() if packed else padded_inputs())


def with_settings(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """A batch, with what a model takes beside it in training."""
    return inputs if name == OWN else {**inputs, "use_cache": False}


def fresh(inputs: dict[str, Any]) -> dict[str, Any]:
    """A copy of a batch for one forward pass: some models, such as XGLM, change their inputs in place."""
    return {name: value.clone() if torch.is_tensor(value) else value for name, value in inputs.items()}


def padded_inputs(batch: int = BATCH, length: int = LENGTH, padding: int = PADDING) -> dict[str, Any]:
    """Random tokens [batch, length], the last sequence padded."""
    tokens = torch.randint(2, VOCABULARY, (batch, length))  # [B, T]
    mask = torch.ones_like(tokens)
    mask[-1, length - padding :] = 0
    tokens[-1, length - padding :] = 0
    return {"input_ids": tokens, "attention_mask": mask, "labels": tokens.masked_fill(mask == 0, -100)}


def _packed_inputs() -> dict[str, Any]:
    """Two sequences in one row, with the keyword arguments that transformers' packing collator makes for flash-attention."""
    tokens = torch.randint(2, VOCABULARY, (1, BATCH * LENGTH))  # [1, B * T]
    ends = torch.arange(0, BATCH * LENGTH + 1, LENGTH, dtype=torch.int32)  # [B + 1]
    return {
        "input_ids": tokens,
        "labels": tokens,
        "position_ids": torch.arange(LENGTH).repeat(1, BATCH),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": LENGTH,
        "max_length_k": LENGTH,
    }
