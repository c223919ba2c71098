"""Which class of transformers a trainer builds for a model's configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

SEVERAL = ("ImageTextToText", "MultimodalLM", "Vision2Seq", "Seq2SeqLM", "TextToWaveform", "CausalLM")
"""Auto classes in the order in which a model of several parts is looked up where no trainer says otherwise."""

ALONE = ("CausalLM", "ImageTextToText", "MultimodalLM", "Seq2SeqLM", "SpeechSeq2Seq", "TextToWaveform")
"""The same for a model of one part."""

MAPPINGS = {
    "CausalLM": "CAUSAL_LM",
    "ImageTextToText": "IMAGE_TEXT_TO_TEXT",
    "MultimodalLM": "MULTIMODAL_LM",
    "Seq2SeqLM": "SEQ_TO_SEQ_CAUSAL_LM",
    "SpeechSeq2Seq": "SPEECH_SEQ_2_SEQ",
    "TextToWaveform": "TEXT_TO_WAVEFORM",
    "Vision2Seq": "VISION_2_SEQ",
}
"""Names of mappings in ``transformers.models.auto.modeling_auto`` by auto class."""

OWN_CLASS = "architectures"
"""Stands for the class that a configuration names itself, which some trainers build whatever the mappings say."""


def classes(config: Any, auto_classes: Sequence[str] = ()) -> Iterator[tuple[Any, type]]:
    """The configuration and the class that a trainer builds for a model, the first choice first.

    Args:
        config: The configuration of the whole model.
        auto_classes: Auto classes in the trainer's order, ``ImageTextToText`` for ``AutoModelForImageTextToText``;
            ``architectures`` for the class that the configuration names. Empty: no trainer is known.
    """
    import transformers

    # What is trained of a model that thinks and talks is the part that thinks.
    whole = getattr(config, "thinker_config", config)
    for auto_class in auto_classes or (SEVERAL if is_of_several_parts(whole) else ALONE):
        if auto_class == OWN_CLASS:
            names = list(getattr(config, "architectures", None) or ()) if whole is config else []
        else:
            names = _mapped(auto_class, str(whole.model_type))
        for name in names:
            kind = getattr(transformers, name, None)
            if isinstance(kind, type) and not _wants_more(kind, whole):
                yield _part_for(kind, whole), kind


def _part_for(kind: type, config: Any) -> Any:
    """The configuration that a class takes: an auto class gives a language model the part that is about text."""
    wanted: Any = getattr(kind, "config_class", None)
    text: Any = (getattr(config, "sub_configs", None) or {}).get("text_config")
    if wanted is not None and wanted is text and not isinstance(config, wanted):
        return config.text_config
    return config


def _wants_more(kind: type, config: Any) -> bool:
    """Whether a class is made of several parts, and the configuration describes one of them, such as a tower alone."""
    wanted: Any = getattr(kind, "config_class", None)
    return bool(getattr(wanted, "sub_configs", None)) and not isinstance(config, wanted)


def is_of_several_parts(config: Any) -> bool:
    """Whether a configuration holds others: of text, images, sound."""
    return any(getattr(config, f"{name}_config", None) is not None for name in ("text", "vision", "audio"))


def _mapped(auto_class: str, family: str) -> list[str]:
    from transformers.models.auto import modeling_auto

    found = getattr(modeling_auto, f"MODEL_FOR_{MAPPINGS[auto_class]}_MAPPING_NAMES", {}).get(family)
    return list(found) if isinstance(found, (tuple, list)) else [found] if found else []


def config_of(family: str) -> Any:
    """The configuration of a family, with the values that its class has by default, and with all of its parts.

    Raises:
        KeyError: The installed transformers has no such family.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    made = getattr(transformers, CONFIG_MAPPING_NAMES[family])
    config = made()
    parts = {
        name: kind for name, kind in (getattr(made, "sub_configs", None) or {}).items() if _is_missing(config, name)
    }
    with contextlib.suppress(Exception):
        return made(**{name: kind() for name, kind in parts.items()}) if parts else config
    return config


def _is_missing(config: Any, part: str) -> bool:
    return hasattr(config, part) and getattr(config, part) is None
