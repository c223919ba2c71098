"""Downloads of whole repositories of models: without the weights, which nothing reads."""

from __future__ import annotations

import inspect
from typing import Any, Callable

from . import telling
from .wrapping import wrap

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.msgpack", "*.h5", "*.onnx")
IGNORED = "ignore_patterns"
"""The argument that names files to leave out, as the hubs' clients have it."""


def act_on_hub(module: Any) -> None:
    """``snapshot_download`` of Hugging Face or of ModelScope."""
    wrap(module, "snapshot_download", _download)


def _download(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    given = kwargs.get(IGNORED) or []
    if kwargs.get("repo_type") in (None, "model") and IGNORED in inspect.signature(original).parameters:
        kwargs[IGNORED] = [*([given] if isinstance(given, str) else given), *WEIGHTS]
        telling.small("Weight files are not downloaded.")
    return original(*args, **kwargs)
