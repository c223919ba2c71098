"""What every text of settings has in common: names by key, and a fault where a strict reader refuses it.

A message has nothing of a file's content but the names of its keys: there may be tokens in it.
"""

from __future__ import annotations

import re
from typing import Any

from ckptdoctor.errors import UsageFault

_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]{0,59}", re.ASCII)


class StrictFault(UsageFault):
    """A file that a strict reader refuses, and some trainer's more lenient one takes.

    Attributes:
        values: What the lenient one reads.
        is_json: Whether it is JSON, else YAML.
    """

    def __init__(self, message: str, hint: str, values: dict[str, Any], is_json: bool) -> None:
        super().__init__(message, hint)
        self.values, self.is_json = values, is_json


def is_plain(name: object) -> bool:
    """Whether a key may stand in a message."""
    return isinstance(name, str) and bool(_PLAIN_NAME.fullmatch(name))


def key_shown(name: object) -> str:
    """A key as a message may show it."""
    return f"`{name}`" if is_plain(name) else "a key"


def mapping(values: object, path: str) -> dict[str, Any]:
    """The settings by name that a file holds.

    Raises:
        UsageFault: It holds something else.
    """
    if not isinstance(values, dict):
        what = {type(None): "is empty", list: "holds a list", str: "holds a text"}.get(type(values), "holds a value")
        raise UsageFault(f"{path} {what}, not settings by name.", "give a training job")
    return {key: value for key, value in values.items() if isinstance(key, str)}
