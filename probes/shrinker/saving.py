"""What a job saves goes to the temporary folder of the rehearsal: nothing of the user's is overwritten, nothing is uploaded."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Callable

from . import telling
from .wrapping import wrap


def act_on_models(owner: Any) -> None:
    """Of a class with ``save_pretrained`` and ``push_to_hub``."""
    wrap(owner, "save_pretrained", save_elsewhere)
    wrap(owner, "push_to_hub", upload_nothing)


def act_on_configurations(module: Any) -> None:
    """Configurations; their class changed its name with transformers 5."""
    for name in ("PreTrainedConfig", "PretrainedConfig"):
        if hasattr(module, name):
            act_on_models(getattr(module, name))


def act_on_tokenizers(module: Any) -> None:
    """Tokenizers."""
    act_on_models(module.PreTrainedTokenizerBase)


def act_on_processors(module: Any) -> None:
    """Processors."""
    act_on_models(module.ProcessorMixin)


def act_on_torch(module: Any) -> None:
    """``torch.save``, as far as it is called by this name."""
    wrap(module, "save", _save)


def save_elsewhere(original: Callable[..., Any], owner: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
    """Save to the temporary folder."""
    kwargs.pop("push_to_hub", None)
    return original(owner, elsewhere(path), *args, **kwargs)


def upload_nothing(original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Upload nothing."""
    telling.small("Nothing is uploaded.")


def _save(original: Callable[..., Any], value: Any, file: Any, *args: Any, **kwargs: Any) -> Any:
    is_path = isinstance(file, (str, os.PathLike)) and not _is_temporary(os.fspath(file))
    return original(value, elsewhere(file) if is_path else file, *args, **kwargs)


def _is_temporary(path: str) -> bool:
    """Whether a file lies in a folder of Python's ``tempfile``: who saves there loads it again."""
    base = os.path.realpath(tempfile.gettempdir()) + os.sep
    path = os.path.realpath(path)
    return path.startswith(base) and path[len(base) :].startswith(tempfile.gettempprefix())


def elsewhere(wanted: Any) -> str:
    """A path in the folder of the rehearsal, for one of the job's."""
    path: str = os.path.realpath(os.path.expanduser(os.fspath(wanted)))
    if path.startswith(os.path.realpath(telling.folder()) + os.sep):
        return path
    telling.small("What the job saves goes to a temporary folder.")
    return os.path.join(telling.folder("saved"), os.path.basename(path))
