"""Fewer rows and workers: data sets end after some rows, and are mapped and loaded in the process itself."""

from __future__ import annotations

from typing import Any, Callable

from . import missing, reductions, telling
from .wrapping import wrap

WORKERS = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "in_order")
"""Arguments of a data loader that mean nothing without workers."""


def act_on_loading(module: Any) -> None:
    """``load_dataset`` and ``load_from_disk``."""
    for name in ("load_dataset", "load_from_disk"):
        wrap(module, name, _loaded)


def act_on_datasets(module: Any) -> None:
    """What is done with rows."""
    for name in ("map", "filter"):
        wrap(module.Dataset, name, _in_this_process)
    wrap(module.Dataset, "select", _select)
    wrap(module.Dataset, "skip", _skip)
    wrap(module.Dataset, "train_test_split", _split)
    wrap(module.Dataset, "save_to_disk", _save_to_disk)


def act_on_data_loader(module: Any) -> None:
    """The ``DataLoader`` of torch."""
    wrap(module.DataLoader, "__init__", _without_workers)


def _loaded(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with missing.naming("dataset", args[0] if args else kwargs.get("path") or kwargs.get("dataset_path")):
        found = original(*args, **kwargs)
    if hasattr(found, "column_names") and isinstance(found, dict):
        for name, rows in found.items():
            found[name] = _cut(rows)
        return found
    return _cut(found)


def _cut(rows: Any) -> Any:
    """Some of the first rows, short ones: few are longer than a sequence may be now, which would cost them what is learned."""
    if not hasattr(rows, "select") or not hasattr(rows, "__len__") or len(rows) <= reductions.ROWS:
        return rows  # a stream ends with the job
    telling.small(f"Data sets have {reductions.ROWS} rows, short ones.")
    seen = min(len(rows), reductions.SEEN)
    by_length = sorted(range(seen), key=_lengths(rows, seen).__getitem__)
    first = min(seen // 4, seen - reductions.ROWS)  # the shortest may be empty
    return rows.select(sorted(by_length[first : first + reductions.ROWS]))


def _lengths(rows: Any, count: int) -> list[int]:
    """Of each of the first rows, how long it is as text; images and sounds, which take long to decode, do not count."""
    text = [name for name, kind in (rows.features or {}).items() if type(kind).__name__ not in MEDIA]
    try:
        return [len(str(row)) for row in rows.select(range(count)).select_columns(text).with_format(None)]
    except Exception:  # older releases have no such methods
        return [0] * count


MEDIA = ("Image", "Audio", "Video", "Pdf")
"""Kinds of columns that are no text."""


def _in_this_process(original: Callable[..., Any], rows: Any, *args: Any, **kwargs: Any) -> Any:
    if (kwargs.get("num_proc") or 1) > 1:
        kwargs["num_proc"] = None
        telling.small("Data sets are prepared in the job's own processes.")
    return original(rows, *args, **kwargs)


def _select(original: Callable[..., Any], rows: Any, indices: Any, *args: Any, **kwargs: Any) -> Any:
    """Scripts select rows by number: those that the small data set lacks are left out."""
    count = len(rows)
    if isinstance(indices, range):
        is_outside = len(indices) > 0 and max(indices[0], indices[-1]) >= count
    else:
        indices = list(indices)
        is_outside = any(index >= count for index in indices)
    if is_outside:
        indices = [index for index in indices if index < count] or [index % count for index in indices][:count]
    return original(rows, indices, *args, **kwargs)


def _skip(original: Callable[..., Any], rows: Any, count: int, *args: Any, **kwargs: Any) -> Any:
    return original(rows, min(count, len(rows) // 2), *args, **kwargs)


def _split(original: Callable[..., Any], rows: Any, *args: Any, **kwargs: Any) -> Any:
    """Sizes in rows are of the whole data set: half of the small one is left for training."""
    sizes = ("test_size", "train_size")
    if args:
        kwargs.update(zip(sizes, args))
        args = args[2:]
    for name in sizes:
        if isinstance(kwargs.get(name), int) and kwargs[name] > len(rows) // 2:
            kwargs[name] = max(1, len(rows) // 2)
    return original(rows, *args, **kwargs)


def _save_to_disk(original: Callable[..., Any], rows: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
    from . import saving

    kwargs.pop("num_proc", None)
    return original(rows, saving.elsewhere(path), *args, **kwargs)


def _without_workers(original: Callable[..., Any], loader: Any, *args: Any, **kwargs: Any) -> None:
    if kwargs.get("num_workers"):
        telling.small("Data loaders have no workers.")
        kwargs["num_workers"] = 0
        for name in WORKERS:
            kwargs.pop(name, None)
    original(loader, *args, **kwargs)
