"""Settings as ``KEY=VALUE`` beside a job's file, as LLaMA-Factory and Hydra take them on their command lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from ckptdoctor.errors import UsageFault

_ONE = re.compile(r"\+{0,2}(?P<key>[A-Za-z_][\w-]*(?:\.[\w-]+)*)=(?P<value>.*)", re.DOTALL)

_LONGEST = 10_000


def is_one(text: str) -> bool:
    """Whether a text sets a setting, and is no file of that name."""
    return bool(_ONE.fullmatch(text)) and not os.path.exists(text)  # noqa: PTH110 - it takes any text


def applied(texts: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a job with those of some texts in them, the last one counting; ``a.b=1`` sets ``b`` in ``a``.

    Raises:
        UsageFault: A value cannot be read, or stands in a setting that is no section.
    """
    made = dict(values)
    for text in texts:
        found = _ONE.fullmatch(text)
        if found is None:
            continue
        *sections, last = found["key"].split(".")
        place = made
        for name in sections:
            inner = place.get(name)
            if not isinstance(inner, (Mapping, type(None))):
                raise UsageFault(f"`{found['key']}` cannot be set: `{name}` is no section.", "give another key")
            place[name] = dict(inner or {})
            place = place[name]
        place[last] = value_of(found["value"], found["key"])
    return made


def value_of(text: str, key: str) -> Any:
    """A value as YAML reads it, without objects and aliases.

    Raises:
        UsageFault: It is not a value.
    """
    try:
        if len(text) > _LONGEST:
            raise ValueError(text)
        return _Plain(text).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UsageFault(f"The value of `{key}` cannot be read.", "write it as YAML") from error


def lenient_value_of(text: str) -> Any:
    """The same; a text that is no YAML stays as it is, as Hydra's own grammar takes more."""
    try:
        return value_of(text, "")
    except UsageFault:
        return text


def require_job(text: str) -> UsageFault:
    """The fault of a setting without a job."""
    key = text.partition("=")[0].lstrip("+")
    return UsageFault(f"--job sets `{key}`, and names no job.", f"add the job: --job train.yaml --job {key}=...")


class _Plain(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, for one value."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; an alias would have to refer to something in the same value."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)
