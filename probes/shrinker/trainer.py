"""Transformers' ``Trainer``: begins anew, saves to the temporary folder, evaluates on two rows if a script calls it."""

from __future__ import annotations

from typing import Any, Callable

from . import reductions, saving, telling
from .wrapping import wrap


def act_on_trainer(module: Any) -> None:
    """The class that trainers derive theirs from."""
    wrap(module.Trainer, "train", _train)
    wrap(module.Trainer, "save_model", _save_model)
    wrap(module.Trainer, "push_to_hub", saving.upload_nothing)
    wrap(module.Trainer, "evaluate", _evaluate)
    wrap(module.Trainer, "predict", _evaluate)


def _train(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    args = args[1:]
    if kwargs.pop("resume_from_checkpoint", None):
        telling.small("The job begins anew: it does not resume from a checkpoint.")
    return original(trainer, *((None, *args) if args else ()), **kwargs)


def _save_model(original: Callable[..., Any], trainer: Any, output_dir: Any = None, *args: Any, **kwargs: Any) -> Any:
    where = None if output_dir is None else saving.elsewhere(output_dir)
    return original(trainer, where, *args, **kwargs)


def _evaluate(original: Callable[..., Any], trainer: Any, rows: Any = None, *args: Any, **kwargs: Any) -> Any:
    rows = getattr(trainer, "eval_dataset", None) if rows is None else rows
    if hasattr(rows, "select") and hasattr(rows, "__len__"):
        rows = rows.select(range(min(reductions.BATCH, len(rows))))
    return original(trainer, rows, *args, **kwargs)
