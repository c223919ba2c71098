"""Arguments of a trainer's command line as settings by name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ckptdoctor.job import overrides
from ckptdoctor.job.shell_words import is_open, open_in, shown

_NUMBER = re.compile(r"-\d+(\.\d*)?(e-?\d+)?|-\.\d+", re.IGNORECASE)

MODELS = ("model_name_or_path", "model", "base_model", "pretrain", "path", "partial_pretrain")
"""Settings that name the model: where a script leaves one open, the model alone is not known."""


class Arguments(NamedTuple):
    """Settings on a command line.

    Attributes:
        values: By name. A value is a text, several texts, or true for an option without one.
        unresolved: Settings whose value the script leaves open, with the variable.
        rest: Words that belong to no option.
    """

    values: dict[str, Any]
    unresolved: dict[str, str]
    rest: list[str]


def flags(words: Sequence[str], switches: Collection[str] = ()) -> Arguments:
    """Read ``--name value``, ``--name=value``, ``--name a b``, ``--name`` and ``--no_name``, as argparse takes them.

    Args:
        words: The arguments.
        switches: Names of options that never have a value.
    """
    found = Arguments({}, {}, [])
    name = ""
    for word in words:
        if word.startswith("-") and not _NUMBER.fullmatch(word) and len(word) > 1:
            name, sign, value = word.lstrip("-").partition("=")
            name = name.replace("-", "_")
            if open_in(name):
                found.rest.append(word)
                name = ""
                continue
            if sign:
                _set(found, name, [value])
                name = ""
            else:
                _set(found, name, True)
                name = "" if name in switches else name
        elif name and not (is_open(word) and (name in found.unresolved or found.values.get(name, True) is not True)):
            before = found.values.get(name, [])
            _set(found, name, [*([] if before is True else before if isinstance(before, list) else [before]), word])
        else:
            found.rest.append(word)
    for key in [one for one in found.values if one.startswith("no_") and found.values[one] is True]:
        found.values.setdefault(key.removeprefix("no_"), False)
    return found


def _set(found: Arguments, name: str, value: list[str] | bool) -> None:
    found.values.pop(name, None)
    found.unresolved.pop(name, None)
    if isinstance(value, list) and any(map(open_in, value)):
        found.unresolved[name] = next(filter(None, map(open_in, value)))
        if end := _known_end(name, value[0]):
            found.values[name] = end
        return
    if isinstance(value, bool):
        found.values[name] = value
    else:
        found.values[name] = shown(value[0]) if len(value) == 1 else [shown(one) for one in value]


def _known_end(name: str, value: str) -> str:
    """The end of a model's path that a script leaves open, where that is known: it tells the family."""
    end = value.rpartition("/")[2] if "/" in value else ""
    return end if name.rpartition(".")[2] in MODELS and not open_in(end) else ""


def _put(values: dict[str, Any], keys: Sequence[str], value: object) -> None:
    """Set a value in a section of a section."""
    *sections, last = keys
    for name in sections:
        inner = values.get(name)
        values[name] = inner if isinstance(inner, dict) else {}
        values = values[name]
    values[last] = value


def assignments(words: Sequence[str]) -> Arguments:
    """Read ``a.b=value`` as Hydra and OmegaConf take them: sections by dots, values as YAML."""
    found = Arguments({}, {}, [])
    for word in words:
        key, sign, value = word.lstrip("+").partition("=")
        if not sign or word.startswith("-") or not re.fullmatch(r"[\w@/-]+(\.[\w@/-]+)*", key):
            if not word.startswith("~"):
                found.rest.append(word)
            continue
        if variable := open_in(value):
            found.unresolved[key] = variable
        known = value if not variable else _known_end(key, value)
        if known or not variable:
            _put(found.values, key.split("."), overrides.lenient_value_of(known))
    return found


def as_object(text: object) -> Any:
    """An object that stands in a text as JSON; anything else as it is."""
    if isinstance(text, str) and text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
