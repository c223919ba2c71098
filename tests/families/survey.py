"""Builds every language model of an environment's transformers tiny, and takes a plain and a checkpointed step with it.

Run it in that environment, beside this project; one line of JSON for each family goes into the table::

    PYTHONPATH=. ENVIRONMENT/bin/python tests/families/survey.py survey.jsonl [FAMILY ...]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto import modeling_auto

from probes import families, models, switching_on, tiny_inputs, watch  # noqa: F401  imported once for all children

SECONDS = 120
"""What a family gets before it is given up."""

COMMON = (
    "LlamaForCausalLM",
    "LlavaForConditionalGeneration",
    "BartForConditionalGeneration",
    "Qwen2AudioForConditionalGeneration",
)
"""Classes whose modules are imported once for all families."""


def every_family() -> list[str]:
    """Families with a class that learns a language."""
    found = {family for name in families.MAPPINGS.values() if name != "SPEECH_SEQ_2_SEQ" for family in _mapping(name)}
    return sorted(found)


def _mapping(name: str) -> dict[str, str]:
    return getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES", {})


def take(family: str) -> dict[str, Any]:
    """Build a family and take the steps; what was seen."""
    torch.manual_seed(0)
    model = models.build(family, "model", "")
    insides = watch.Insides(model.layers)
    plain = _step(model)
    seen = insides.take()
    linear = {name.rpartition(".")[2] for name, one in model.module.named_modules() if isinstance(one, torch.nn.Linear)}
    found = {
        "class": model.name,
        "parameters": sum(one.numel() for one in model.module.parameters()),
        "layers": list(model.layers),
        "idle": [name for name in model.layers if not any(child.startswith(f"{name}.") for child in seen.calls)],
        "media": model.media,
        "media_untried": model.media_untried,
        "linear": sorted(name for name in linear if not name.isdigit()),
        "loss": plain,
        "can_checkpoint": bool(getattr(model.module, "supports_gradient_checkpointing", False)),
    }
    if found["can_checkpoint"]:
        model.module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        found["checkpointed_loss"] = _step(model)
    return found


def _step(model: models.Model) -> float:
    torch.manual_seed(0)
    model.module.zero_grad(set_to_none=True)
    loss = model.module(**tiny_inputs.fresh(model.inputs)).loss
    loss.backward()
    return float(loss.detach())


def _in_child(family: str) -> dict[str, Any]:
    """The same in a process of its own, which may die."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        try:
            found = take(family)
        except BaseException as error:
            found = {"error": f"{type(error).__name__}: {str(error)[:400]}"}
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else {"error": "no result"}


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for name in COMMON:
        getattr(transformers, name, None)
    table, *chosen = sys.argv[1:]
    with Path(table).open("w", encoding="utf-8") as file:
        for family in chosen or every_family():
            file.write(json.dumps({"family": family, **_in_child(family)}) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
