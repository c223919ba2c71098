"""The package of a traceback line, and the role of the line in checkpointing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Place
from ckptdoctor.rules.common.log import CROPPED, Frame

_PACKAGES = re.compile(r"(?:site|dist)-packages/(?:[^/]{1,200}\.egg/)?(?P<name>\w{1,80})(?:/|\.py$)")
_SOURCES = re.compile(
    rf"/src/(?P<name>{'|'.join((*catalog.with_functions(), 'transformers', 'peft', 'trl', 'accelerate'))})/"
)
"""Packages installed from a checkout."""

_STANDARD_LIBRARY = re.compile(r"/lib(?:64)?/python3\.\d{1,2}/\w|/Python3\d{1,2}/Lib/|^<frozen ", re.IGNORECASE)

_FUNCTIONS = {
    "torch/utils/checkpoint.py": "torch",
    "torch/distributed/algorithms/_checkpoint/checkpoint_wrapper.py": "torch",
    "deepspeed/runtime/activation_checkpointing/checkpointing.py": "deepspeed",
}
"""Files with checkpoint functions, except those of trainers."""

_TRAINERS = {
    package: re.compile(
        rf"(?:^|/)(?:{'|'.join(re.escape(one.replace('.', '/')) for one in trainer.modules())})(?:/\w{{1,80}})?\.py$"
    )
    for package, trainer in catalog.trainers().items()
    if trainer.modules()
}
"""Modules with checkpoint functions by trainer: a file or a folder."""

_FUNCTION_NAME = re.compile(
    r"(?:gradient|grad|activation)_?checkpoint|checkpoint(?:ing)?_(?:func|fn)|CheckpointFunction"
)
_HANDS_OVER = re.compile(
    r"\b_(?:gradient|activation)_checkpointing_func\(|\btorch\.utils\.checkpoint\.checkpoint\(|\bcheckpointing\.checkpoint\("
    rf"|\b_(?:gradient|activation)_ch\w{{0,16}}{CROPPED}$"
)
_MAY_HAND_OVER = re.compile(r"(?<![\w.])checkpoint\(")
"""Code that saves a checkpoint may look the same."""

_FAMILY = re.compile(r"(?:^|/)transformers/models/(?P<family>\w{1,80})/modeling_")


def path(place: Place) -> str:
    """The file with forward slashes, for comparisons."""
    return place.file.replace("\\", "/")


def owned(place: Place, releases: Mapping[str, str]) -> Place:
    """The place with its package, by the path, and the release if it is known."""
    package = _package(path(place))
    return msgspec.structs.replace(place, package=package, version=releases.get(package, ""))


def frame(place: Place) -> Frame:
    """The line with its role; its package must be known."""
    return Frame(
        place,
        is_checkpoint_file=is_checkpoint_file(place),
        is_checkpoint_function=is_checkpoint_function(place),
        passes_layer=hands_over(place),
        may_pass_layer=may_hand_over(place),
        is_helper=is_helper(place),
        enters_layer=enters_layer(place),
    )


def _package(file: str) -> str:
    found = _PACKAGES.search(file) or _SOURCES.search(file)
    if found:
        return found["name"].replace("_", "-")
    if known := _owner_of_functions(file):
        return known
    if _FAMILY.search(file) or _ends(file, "transformers/modeling_layers.py"):
        return "transformers"
    return "python" if _STANDARD_LIBRARY.search(file) else ""


def _owner_of_functions(file: str) -> str:
    """The package whose checkpoint functions are in a file; empty for any other file."""
    known = next((package for end, package in _FUNCTIONS.items() if _ends(file, end)), "")
    return known or next((package for package, modules in _TRAINERS.items() if modules.search(file)), "")


def _ends(file: str, end: str) -> bool:
    return file == end or file.endswith(f"/{end}")


def is_checkpoint_file(place: Place) -> bool:
    """Whether the file is known to hold checkpoint functions and little else."""
    return bool(_owner_of_functions(path(place)))


def is_checkpoint_function(place: Place) -> bool:
    """Whether the code belongs to a checkpoint function, by its file or its name."""
    return is_checkpoint_file(place) or bool(_FUNCTION_NAME.search(place.function))


def hands_over(place: Place) -> bool:
    """Whether the line certainly calls a checkpoint function."""
    return bool(_HANDS_OVER.search(place.code))


def may_hand_over(place: Place) -> bool:
    """Whether the line may call a checkpoint function."""
    return hands_over(place) or bool(_MAY_HAND_OVER.search(place.code))


def is_helper(place: Place) -> bool:
    """Whether the code belongs to a library, between the line that passes the layer and the function, or below both."""
    return place.package in ("python", "torch") and not is_checkpoint_file(place)


def enters_layer(place: Place) -> bool:
    """Whether the line runs a module: the frames below are the layer's own code."""
    return _ends(path(place), "torch/nn/modules/module.py") or bool(_FAMILY.search(path(place)))


def family(frames: Sequence[Place]) -> str:
    """The model family of the innermost frames."""
    found = (_FAMILY.search(path(frame)) for frame in reversed(frames))
    return next((match["family"] for match in found if match), "")
