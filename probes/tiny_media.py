"""Tiny images and sound for models of several parts, built from the configuration alone, without a processor."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from . import families
from .tiny_inputs import fresh

IMAGES, SOUND = "images", "sound"

TOKEN = {
    IMAGES: re.compile(r"(image|img_context|media_placeholder)_token_(id|index)"),
    SOUND: re.compile(r"audio_token_(id|index)"),
}
"""Settings that say which token stands for a piece of an image or of sound."""

STARTS, ENDS = ("vision_start_token_id", "image_start_token_id"), ("vision_end_token_id", "image_end_token_id")
"""Settings that say which tokens stand before and after an image."""

TYPES = {IMAGES: 1, SOUND: 3}
"""What ``mm_token_type_ids`` says of a token."""

FRAMES = 32
"""Frames of sound, where the model does not say how many it takes."""

MOST_TOKENS = 64
"""Tokens of one image or sound."""

TRIES = 6
"""Numbers of tokens that are tried for media of one shape."""

WRONG_COUNT = re.compile(
    r"features?[^\d\n]{1,12}(\d+)|(?:value tensor of shape \[|projector returned )(\d+)", re.IGNORECASE
)
"""How models say how many tokens an image or a sound comes to."""


class Fed(NamedTuple):
    """A batch, and what of a model's kinds of input is in it."""

    inputs: dict[str, Any]
    tried: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    """``images`` or ``sound``: the model takes them, and no tiny ones could be made."""


def feed(module: torch.nn.Module, inputs: dict[str, Any]) -> Fed:
    """Add images and sound to a batch of text, as far as the model takes them and a forward pass with them works."""
    takes = set(inspect.signature(type(module).forward).parameters)
    tried: list[str] = []
    untried: list[str] = []
    for kind, main in ((IMAGES, "pixel_values"), (SOUND, "input_features")):
        if main not in takes or _lacks_tower(module.config, kind):
            continue
        candidates = (
            _images(module.config, takes, len(inputs["input_ids"])) if kind == IMAGES else _sounds(module, takes)
        )
        found = next((made for one in candidates if (made := _placed(module, kind, one, inputs, takes))), None)
        if found is None:
            untried.append(kind)
        else:
            inputs = found
            tried.append(kind)
    if families.is_of_several_parts(module.config):
        for name in takes & {"token_type_ids", "mm_token_type_ids"}:  # some models want them in training, of text too
            inputs.setdefault(name, torch.zeros_like(inputs["input_ids"]))
    return Fed(inputs, tuple(tried), tuple(untried))


def _lacks_tower(config: Any, kind: str) -> bool:
    """Whether a model of this configuration is made without the part that images or sound go through."""
    name = {IMAGES: "vision_config", SOUND: "audio_config"}[kind]
    return hasattr(config, name) and getattr(config, name) is None


def _placed(
    module: torch.nn.Module, kind: str, media: dict[str, Any], inputs: dict[str, Any], takes: set[str]
) -> dict[str, Any] | None:
    """The batch with media and as many tokens for them as the model wants; nothing if no forward pass works."""
    batch = len(inputs["input_ids"])
    counts = [_count(module, kind, media, batch)]
    for count in counts:
        made = _with_tokens(module.config, kind, media, inputs, takes, count)
        try:
            _try(module, made)
            return made
        except Exception as error:
            told = WRONG_COUNT.search(str(error))
            more = _other_counts(told, media, made, module)
            counts += [each for each in more if each not in counts and len(counts) < TRIES]
    return None


def _other_counts(told: re.Match[str] | None, media: dict[str, Any], inputs: dict[str, Any], module: Any) -> list[int]:
    """How many tokens to try next, for one sequence: what an error says, or what encoders of sound usually come to."""
    batch = len(inputs["input_ids"])
    if told:
        found = int(told.group(1) or told.group(2)) // batch
        width = module.get_input_embeddings().weight.shape[-1]  # some say how many numbers the features are
        return [each for each in (found, found // width) if 0 < each <= MOST_TOKENS]
    sound = media.get("input_features")
    return [] if sound is None else [max(sound.shape[1:]) // share for share in (4, 2, 8)]


def _try(module: torch.nn.Module, inputs: dict[str, Any]) -> None:
    """A forward pass that leaves nothing behind; raises where there is no finite loss."""
    was_training = module.training
    module.eval()  # norms keep no statistics
    try:
        with torch.no_grad():
            loss = module(**fresh(inputs)).loss
    finally:
        module.train(was_training)
    if not math.isfinite(float(loss)):
        raise ValueError("the loss is not finite")


def _count(module: torch.nn.Module, kind: str, media: dict[str, Any], batch: int) -> int:
    """How many tokens the media of one sequence come to, by the model's own method; 0 where it has none."""
    name = "get_image_features" if kind == IMAGES else "get_audio_features"
    method = getattr(module, name, None) or getattr(getattr(module, "model", None), name, None)
    if method is None:
        return 0
    known = inspect.signature(method).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in known.values())
    given = {key: value for key, value in media.items() if key in known or (takes_all and key in MAIN)}
    try:
        with torch.no_grad():
            features = method(**fresh(given))
    except Exception:
        return 0
    rows = sum(int(one.numel()) // int(one.shape[-1]) for one in _tensors(features))
    return int(rows) // batch


MAIN = ("pixel_values", "input_features")


def _tensors(found: Any) -> Iterator[torch.Tensor]:
    pooled = getattr(found, "pooler_output", None)
    if pooled is not None:
        yield from _tensors(pooled)
    elif torch.is_tensor(found):
        yield found
    elif isinstance(found, (list, tuple)):
        first = found[0] if found else None
        # Of several outputs the first is what goes into the text; a list has one entry an image.
        yield from (one for one in found if torch.is_tensor(one)) if isinstance(found, list) else _rows(found, first)
    elif hasattr(found, "last_hidden_state"):
        yield found.last_hidden_state


def _rows(found: tuple[Any, ...], first: Any) -> Iterator[torch.Tensor]:
    if isinstance(first, (list, tuple)):
        yield from (one for one in first if torch.is_tensor(one))
    elif all(torch.is_tensor(one) and one.shape[-1] == first.shape[-1] and one.dim() == 2 for one in found):
        yield from found
    elif torch.is_tensor(first):
        yield first


def _with_tokens(
    config: Any, kind: str, media: dict[str, Any], inputs: dict[str, Any], takes: set[str], count: int
) -> dict[str, Any]:
    """The batch with tokens for media in front of each sequence's text, which are not learned."""
    token = next(
        (value for name, value in vars(config).items() if TOKEN[kind].fullmatch(name) and value is not None), None
    )
    made = {**inputs, **media}
    before = [value for name in STARTS if kind == IMAGES and isinstance(value := getattr(config, name, None), int)][:1]
    after = [value for name in ENDS if kind == IMAGES and isinstance(value := getattr(config, name, None), int)][:1]
    row = [] if token is None or not count else [*before, *[int(token)] * count, *after]
    if row:
        batch = len(inputs["input_ids"])
        front = torch.tensor([row] * batch)  # [B, K]
        made["input_ids"] = torch.cat([front, inputs["input_ids"]], 1)
        made["attention_mask"] = torch.cat([torch.ones_like(front), inputs["attention_mask"]], 1)
        made["labels"] = torch.cat([torch.full_like(front, -100), inputs["labels"]], 1)
    is_media = made["input_ids"] == (-1 if token is None else int(token))
    for name, value in (("token_type_ids", 1), ("mm_token_type_ids", TYPES[kind])):
        if name in takes:
            known = torch.zeros_like(made["input_ids"])
            if name in inputs:
                known[:, len(row) :] = inputs[name]
            made[name] = known.masked_fill(is_media, value)
    return made


def _images(config: Any, takes: set[str], batch: int) -> Iterator[dict[str, Any]]:
    """One image for each sequence, in the shapes that models take, the most telling first."""
    vision = _part(config, ("vision_config", "vision", "vq_config", "image_config"))
    size, patch = (_number(getattr(vision, name, None), 14) for name in ("image_size", "patch_size"))
    size = size if getattr(vision, "image_size", None) else 2 * patch
    channels = _number(getattr(vision, "num_channels", None) or getattr(vision, "in_channels", None), 3)
    side = size // patch
    if "image_grid_thw" in takes:
        yield from _patches(config, vision, channels, patch, batch)
        return
    if "aspect_ratio_ids" in takes:
        tiles = _number(getattr(vision, "max_num_tiles", None), 1)
        pixels = torch.randn(batch, 1, tiles, channels, size, size)
        ones = torch.ones(batch, 1, tiles, dtype=torch.long)
        yield {"pixel_values": pixels, "aspect_ratio_ids": ones[..., 0], "aspect_ratio_mask": ones}
        return
    sizes = {"image_sizes": torch.tensor([[size, size]] * batch)} if "image_sizes" in takes else {}
    flat = torch.rand(batch, side * side, channels * patch * patch)
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side)).repeat(batch, 1, 1)  # [B, P, 2]
    for name in ("image_position_ids", "pixel_position_ids"):
        if name in takes:
            yield {"pixel_values": flat, name: places}
    if "spatial_shapes" in takes:
        shapes, seen = torch.tensor([[side, side]] * batch), torch.ones(batch, side * side, dtype=torch.long)
        yield {"pixel_values": flat, "spatial_shapes": shapes, "pixel_attention_mask": seen}
    for shape in ((batch, channels, size, size), (batch, 2, channels, size, size), (batch, 1, channels, size, size)):
        for more in (sizes, {}) if sizes else ({},):
            yield {"pixel_values": torch.randn(shape), **more}


def _patches(config: Any, vision: Any, channels: int, patch: int, batch: int) -> Iterator[dict[str, Any]]:
    """An image cut into patches, each a row, with the grid that they make."""
    merge = _number(getattr(vision, "spatial_merge_size", None) or getattr(config, "spatial_merge_size", None), 2)
    times = _number(getattr(vision, "temporal_patch_size", None), 1)
    side = 2 * merge
    grid = torch.tensor([[1, side, side]] * batch)
    rows = batch * side * side
    yield {"pixel_values": torch.randn(rows, channels * times * patch * patch), "image_grid_thw": grid}
    yield {"pixel_values": torch.randn(rows, channels * patch * patch), "image_grid_thw": grid}
    yield {"pixel_values": torch.randn(rows, channels, patch, patch), "image_grid_thw": grid}
    yield {"pixel_values": torch.randn(1, rows, channels, patch, patch), "image_grid_thw": grid}


def _sounds(module: torch.nn.Module, takes: set[str]) -> Iterator[dict[str, Any]]:
    """One piece of sound for each sequence, as frequencies by time, and as time by frequencies."""
    audio = _part(module.config, ("audio_config", "encoder_config", "audio_encoder_config"))
    names = ("num_mel_bins", "input_feat_size", "feature_size", "input_dim", "n_mels")
    bins = next((int(value) for name in names if isinstance(value := getattr(audio, name, None), int)), 80)
    longest = getattr(audio, "max_source_positions", None)
    masks = [name for name in takes if "mask" in name and ("feature" in name or "audio" in name)]
    for frames in dict.fromkeys((2 * longest if isinstance(longest, int) else FRAMES, FRAMES)):
        for shape in ((2, bins, frames), (2, frames, bins)):
            seen = torch.ones(2, frames, dtype=torch.bool)
            for more in (dict.fromkeys(masks, seen), dict.fromkeys(masks, seen.long()), {}):
                yield {"input_features": torch.randn(shape), **more}


def _part(config: Any, names: tuple[str, ...]) -> Any:
    return next((part for name in names if (part := getattr(config, name, None)) is not None), config)


def _number(value: Any, default: int) -> int:
    """A setting of a configuration that may be one number, a pair of them, or missing."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return value if isinstance(value, int) and not isinstance(value, bool) else default
