"""Tiny models: real ones from transformers, and our own."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from . import families, surroundings, tiny_config, tiny_media, variants
from .layers import decoder, layers_of

OWN = "tiny-glm4"
"""The name of our own model."""

MOST_PARAMETERS = 9_000_000
"""A model that does not get smaller than this is not tried."""

TEXT_ALONE = ("packed", "course")
"""Variants in which a model gets text alone: batches of packed text, or of many shapes."""

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
    media: tuple[str, ...] = ()
    """What the inputs hold beside text: ``images``, ``sound``."""
    media_untried: tuple[str, ...] = ()
    """What the model takes besides, and the inputs do not hold."""


class ModelUnavailableError(Exception):
    """The target cannot build the model that was asked for."""


def build(
    name: str, convention: str, variant: str, layers: int = tiny_config.LAYERS, auto_classes: Sequence[str] = ()
) -> Model:
    """Build the model of that name: ``tiny-glm4``, a transformers family, or a folder with a ``config.json``.

    Args:
        name: What to build.
        convention: The calling convention of our own model; others have theirs.
        variant: What differs from the usual step, see ``variants``; ``course`` for the model of a course.
        layers: Decoder layers; at least ``variants.SHARED`` where layers share keys and values.
        auto_classes: The order of auto classes in which the job's trainer looks a model up; empty: no trainer is known.

    Raises:
        ModelUnavailableError: The installed transformers has no such family, or the folder no usable configuration.
    """
    module = (
        _own(convention, variant, layers) if name == OWN else _from_transformers(name, variant, layers, auto_classes)
    )
    module = module.float().train()
    found = layers_of(module)
    variants.freeze(module, list(found.values()), variant)
    family = name if name == OWN else str(module.config.model_type)
    with torch.random.fork_rng(devices=()):
        # Ranks share the model and not the batch: what reduces gradients wrongly must show.
        surroundings.seed_torch(torch.initial_seed() + int(os.environ.get("RANK", "0")))
        inputs = with_settings(name, variants.inputs(variant), use_cache=variant == "cache")
        fed = tiny_media.Fed(inputs) if name == OWN or variant in TEXT_ALONE else tiny_media.feed(module, inputs)
    return Model(module, found, fed.inputs, type(module).__name__, family, fed.tried, fed.untried)


def _own(convention: str, variant: str, layers: int) -> torch.nn.Module:
    from .tiny_glm4 import TinyGlm4Config, TinyGlm4ForCausalLM

    config = TinyGlm4Config(num_hidden_layers=layers)
    variants.configure(config, variant)
    return TinyGlm4ForCausalLM(config, "bound-method" if convention == "model" else convention)


def _from_transformers(name: str, variant: str, layers: int, auto_classes: Sequence[str]) -> torch.nn.Module:
    return _tiny(*_whole(_config(name), auto_classes), variant, layers)


def _whole(config: Any, auto_classes: Sequence[str]) -> tuple[Any, type]:
    """The configuration and the class that a trainer builds."""
    import transformers

    for found in families.classes(config, auto_classes):  # what transformers cannot import is an error of its own
        return found
    raise ModelUnavailableError(
        f"transformers {transformers.__version__} has no language model of the family '{config.model_type}'"
    )


def _config(name: str) -> Any:
    """The configuration of a family, or of the model in a folder."""
    import transformers

    if os.path.isabs(name):
        return _local_config(name)
    try:
        return families.config_of(name)
    except KeyError:
        raise ModelUnavailableError(f"transformers {transformers.__version__} has no language model '{name}'") from None
    except Exception as error:
        raise ModelUnavailableError(f"transformers' configuration of '{name}': {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """What an error came of in the first place: transformers wraps what goes wrong in an import, and names it no more."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def _tiny(config: Any, kind: type, variant: str, layers: int) -> torch.nn.Module:
    """A model, counted on the meta device before any memory is taken for it."""
    shared = variants.sharing(config)
    tiny_config.shrink_all(config, variants.layers(variant, layers, shared))
    if why := variants.configure(config, variant, shared):
        raise ModelUnavailableError(f"{kind.__name__} {why}")
    try:
        count = _count(config, kind)
    except ModelUnavailableError:
        raise
    except Exception as error:  # whatever a class makes of values that no release has
        raise ModelUnavailableError(f"{kind.__name__} cannot be made tiny: {_cause(error)}") from error
    if count > MOST_PARAMETERS:
        raise ModelUnavailableError(f"{kind.__name__} does not get tiny: {count:,} parameters")
    return initialised(kind, config)


_COUNTED: dict[tuple[type, str], int] = {}
"""The number of parameters of a class with a configuration, as JSON."""


def _count(config: Any, kind: type) -> int:
    """The number of parameters of a model."""
    try:
        key = kind, str(config.to_json_string(use_diff=False))
    except Exception:  # a configuration may hold anything
        key = kind, ""
    if key in _COUNTED:
        return _COUNTED[key]
    with torch.device("meta"):
        counted = kind(config)
    if not isinstance(counted, torch.nn.Module):
        raise ModelUnavailableError(f"{kind.__name__} is not a PyTorch model")
    count: int = sum(parameter.numel() for parameter in counted.parameters())
    if key[1]:
        _COUNTED[key] = count
    return count


def written(module: torch.nn.Module) -> str:
    """The configuration of a tiny model, as JSON, as far as it differs from its class's; empty where it cannot be written."""
    try:
        config: Any = module.config
        return str(json.dumps(json.loads(config.to_json_string(use_diff=True)), sort_keys=True))
    except Exception:  # a configuration may hold anything
        return ""


def warm_up(family: str) -> None:
    """Import the class of a family and count its parameters, for all processes that are forked: counting is a third of a probe.

    Raises:
        ModelUnavailableError: The installed transformers has no such family, or no class that learns a language.
    """
    config, kind = _whole(_config(family), ())
    with contextlib.suppress(Exception):  # each probe tells
        tiny_config.shrink_all(config, tiny_config.LAYERS)
        _count(config, kind)


def initialised(kind: type, config: Any) -> torch.nn.Module:
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


def tower_parameters(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """What of a model is no part of its language model: towers for images and sound, and what leads from them to the text."""
    language = decoder(module)
    if language is None or language is module:
        return []
    heads = [module.get_input_embeddings(), module.get_output_embeddings()]
    of_language = {id(one) for part in (language, *filter(None, heads)) for one in part.parameters()}
    return [one for one in module.parameters() if id(one) not in of_language]


def with_settings(name: str, inputs: dict[str, Any], use_cache: bool = False) -> dict[str, Any]:
    """A batch, with what a model takes beside it in training."""
    return inputs if name == OWN else {**inputs, "use_cache": use_cache}
