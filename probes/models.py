"""Tiny models: real ones from transformers, and our own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from . import tiny_config, variants

OWN = "tiny-glm4"
"""The name of our own model."""

MOST_PARAMETERS = 5_000_000
"""A model that does not get smaller than this is not tried."""

INITIAL = 0.02
"""Standard deviation of parameters that a class leaves without values, as transformers' models mostly have it."""


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


def build(name: str, convention: str, variant: str, layers: int = tiny_config.LAYERS) -> Model:
    """Build the model of that name: ``tiny-glm4``, a transformers family, or a folder with a ``config.json``.

    Args:
        name: What to build.
        convention: The calling convention of our own model; others have theirs.
        variant: What differs from the usual step, see ``variants``.
        layers: Decoder layers.

    Raises:
        ModelUnavailableError: The installed transformers has no such family, or the folder no usable configuration.
    """
    count = variants.layers(variant, layers)
    module = _own(convention, variant, count) if name == OWN else _from_transformers(name, variant, count)
    module = module.float().train()
    variants.freeze(module, list(layers_of(module).values()), variant)
    family = name if name == OWN else str(module.config.model_type)
    with torch.random.fork_rng(devices=()):
        # Ranks share the model and not the batch: what reduces gradients wrongly must show.
        torch.manual_seed(torch.initial_seed() + int(os.environ.get("RANK", "0")))
        inputs = with_settings(name, variants.inputs(variant), use_cache=variant == "cache")
    return Model(module, layers_of(module), inputs, type(module).__name__, family)


def _own(convention: str, variant: str, layers: int) -> torch.nn.Module:
    from .tiny_glm4 import TinyGlm4Config, TinyGlm4ForCausalLM

    config = TinyGlm4Config(num_hidden_layers=layers)
    variants.configure(config, variant)
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


def _from_transformers(name: str, variant: str, layers: int) -> torch.nn.Module:
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
            return _tiny(config, kind, variant, layers)
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


def _tiny(config: Any, kind: type, variant: str, layers: int) -> torch.nn.Module:
    """A model, counted on the meta device before any memory is taken for it."""
    shared = variants.sharing(config)
    tiny_config.shrink_all(config, layers)
    if why := variants.configure(config, variant, shared):
        raise ModelUnavailableError(f"{kind.__name__} {why}")
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


def _local_config(folder: str) -> Any:
    from transformers import AutoConfig

    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise ModelUnavailableError(f"{folder} has no config.json")
    try:
        # Code that comes with a model is never run.
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as error:
        raise ModelUnavailableError(f"transformers cannot read {folder}/config.json: {error}") from error


def layers_of(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The layers that checkpointing is about: members of the outermost lists of like modules."""
    layers: dict[str, torch.nn.Module] = {}
    for name, child in module.named_modules():
        inside = any(name.startswith(f"{layer}.") for layer in layers)
        if isinstance(child, torch.nn.ModuleList) and len(child) > 1 and not inside:
            layers.update({f"{name}.{index}": layer for index, layer in enumerate(child)})
    return layers


def with_settings(name: str, inputs: dict[str, Any], use_cache: bool = False) -> dict[str, Any]:
    """A batch, with what a model takes beside it in training."""
    return inputs if name == OWN else {**inputs, "use_cache": use_cache}
