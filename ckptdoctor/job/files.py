"""Job files, loaded so that whatever stands in them does no harm, and said clearly where they cannot be.

Nothing of a file's content goes into a message but the names of its keys: there may be tokens in it.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from ckptdoctor.errors import UsageFault

LARGEST = 256 * 1024
"""Bytes; real jobs have some thousand."""
DEEPEST = 50
"""Levels of nesting."""
MOST_NODES = 20_000
"""Values in a YAML file, with every alias written out."""

_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]{0,59}", re.ASCII)
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"?""")
_TOKEN = re.compile(r"'(?:<[a-z ]+>|..?)'")
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"


def load(path: str) -> dict[str, Any]:
    """The settings in a job file, YAML or JSON by its name as the trainers tell it, otherwise by how it begins.

    Raises:
        UsageFault: It cannot be read, or holds no settings.
    """
    text = _text(path, "a training job")
    is_json = path.endswith(".json") or (not path.endswith((".yaml", ".yml")) and text.lstrip().startswith("{"))
    return parse_json(text, path) if is_json else parse_yaml(text, path)


def load_json(path: str, kind: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: Where it lies.
        kind: What it should be, for a message: ``a configuration of DeepSpeed``.

    Raises:
        UsageFault: It cannot be read, or holds no object.
    """
    return parse_json(_text(path, kind), path)


def _text(path: str, kind: str) -> str:
    try:
        content = _content(Path(path), path, kind)
    except FileNotFoundError as error:
        hint = "paths are taken from the folder that the job is started in"
        raise UsageFault(f"There is no file {path}.", hint) from error
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or "it is no path"
        raise UsageFault(f"{path} cannot be read: {reason}.", f"give the path of {kind}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageFault(f"{path} is not a text file in UTF-8.", f"give the path of {kind}") from error
    if "\0" in text:
        raise UsageFault(f"{path} is a binary file.", f"give the path of {kind}")
    return text


def _content(file: Path, path: str, kind: str) -> bytes:
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageFault(f"{path} is {what}.", f"give the path of {kind}")
    with file.open("rb") as handle:
        content = handle.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UsageFault(f"{path} is larger than {LARGEST // 1024} KiB, which is no job's size.", f"give {kind}")
    return content


def parse_json(text: str, path: str) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
        UsageFault: It is not valid JSON, or not an object.
    """
    try:
        values = json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageFault(
            f"{path} is not valid JSON: {_first_down(error.msg)} ({where}).",
            "JSON knows neither comments nor trailing commas, and trainers read it strictly",
        ) from error
    except _DuplicateKeyError as error:
        raise UsageFault(f"{path} has {_key(error.args[0])} twice in one object.", "keep one of them") from error
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{path} holds a number or a nesting beyond all measure.", "give a training job") from error
    return _mapping(values, path)


class _DuplicateKeyError(Exception):
    """An object of JSON has a key twice."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKeyError(key)
        found[key] = value
    return found


def parse_yaml(text: str, path: str) -> dict[str, Any]:
    """The mapping that a YAML text holds, as the trainers' own loaders read it: YAML 1.1, one document, no objects.

    Raises:
        UsageFault: It is not valid YAML, not a mapping, or not of a job's measure.
    """
    try:
        loader = _Loader(text)
        try:
            values = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise UsageFault(f"{path} {_fault(error)}.", _hint(error)) from error
    except yaml.YAMLError as error:
        raise UsageFault(f"{path} has characters that YAML does not allow.", "give a training job") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # A value that does not fit the tag that stands before it, or a number beyond all measure.
        raise UsageFault(
            f"{path} has a value that YAML cannot read.", "leave out explicit tags such as !!int"
        ) from error
    return _mapping(values, path)


def _fault(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    if isinstance(error, _Refused):
        return f"{error.problem}{where}"
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"has a value that is not plain YAML, such as an object of Python's{where}"
    if error.context and error.context.startswith("expected a single document"):
        return f"has more than one document{where}"
    return f"is not valid YAML: {_harmless(error.problem or error.context or 'it cannot be parsed')}{where}"


def _hint(error: yaml.MarkedYAMLError) -> str:
    if isinstance(error, _Refused) and "twice" in (error.problem or ""):
        return "keep one of them"
    if error.context and error.context.startswith("expected a single document"):
        return "trainers read one: leave the `---` out between them"
    return "mend it there; trainers read it the same way"


def _harmless(problem: str) -> str:
    """A parser's complaint without what it quotes from the file; names of tokens and single signs may stay."""
    return _QUOTED.sub(lambda found: found[0] if _TOKEN.fullmatch(found[0]) else "...", problem)


def _first_down(text: str) -> str:
    return text[:1].lower() + text[1:]


def is_plain(name: object) -> bool:
    """Whether a key may stand in a message."""
    return isinstance(name, str) and bool(_PLAIN_NAME.fullmatch(name))


def _key(name: object) -> str:
    return f"`{name}`" if is_plain(name) else "a key"


def _mapping(values: object, path: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        what = {type(None): "is empty", list: "holds a list", str: "holds a text"}.get(type(values), "holds a value")
        raise UsageFault(f"{path} {what}, not settings by name.", "give a training job")
    return {key: value for key, value in values.items() if isinstance(key, str)}


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that no job has."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that stands twice, and what grows beyond measure.

    Aliases cost nothing while they are loaded, and everything once somebody walks along them; merge keys even before.
    """

    # A date is a text for trainers too, and an impossible one would be an error.
    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._total = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node, counted with all that it refers to."""
        is_alias = self.check_event(yaml.AliasEvent)
        before = self._total
        self._depth += 1
        if self._depth > DEEPEST:
            raise _Refused(
                problem=f"is nested more than {DEEPEST} levels deep", problem_mark=parent.start_mark if parent else None
            )
        node = super().compose_node(parent, index)
        mark = node.start_mark if node else None
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _Refused(problem="has a value that contains itself", problem_mark=mark)
        self._total += self._sizes[id(node)] if is_alias else 1
        if self._total > MOST_NODES:
            raise _Refused(problem=f"has more than {MOST_NODES} values, its aliases written out", problem_mark=mark)
        if not is_alias:
            self._sizes[id(node)] = self._total - before
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The next mapping, each of whose keys stands once."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in seen:
                raise _Refused(problem=f"has {_key(key.value)} twice", problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return node
