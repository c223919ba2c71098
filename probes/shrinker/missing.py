"""Configurations, tokenizers and data sets that a job cannot load: named for the doctor; the job gets its own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

from . import telling
from .wrapping import wrap


def act_on_configurations(module: Any) -> None:
    """``AutoConfig``."""
    wrap(module.AutoConfig, "from_pretrained", _naming("configuration"))


def act_on_tokenizers(module: Any) -> None:
    """``AutoTokenizer``."""
    wrap(module.AutoTokenizer, "from_pretrained", _naming("tokenizer"))


def _naming(kind: str) -> Callable[..., Any]:
    def load(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        name = args[1] if len(args) > 1 else kwargs.get("pretrained_model_name_or_path")
        with naming(kind, name):
            return original(*args, **kwargs)

    return load


@contextmanager
def naming(kind: str, name: Any) -> Iterator[None]:
    """Tell what could not be loaded, should it end in an error of files or of the network."""
    try:
        yield
    except (OSError, ValueError) as error:  # the hub's errors are of these types
        telling.missing(kind, str(name), error)
        raise
