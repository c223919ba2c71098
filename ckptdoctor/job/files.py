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
_STRING = r'(?P<string>"(?:\\.|[^"\\])*")'
_COMMENT = re.compile(rf"{_STRING}|(?://|#)[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])")
"""Strings are matched first, so that nothing in one is taken for a comment or a comma."""
_TAB = re.compile(r"\t+")
_MOST_TABS = 200
"""Places at which tabs are read as blanks."""
SCRIPTS = (".sh", ".bash", ".zsh", ".slurm", ".sbatch", ".py", ".ps1")
"""How the names of files end that start a job and are none."""
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"


class StrictFault(UsageFault):
    """A file that a strict reader refuses, and some trainer's more lenient one takes.

    Attributes:
        values: What the lenient one reads.
        is_json: Whether it is JSON, else YAML.
    """

    def __init__(self, message: str, hint: str, values: dict[str, Any], is_json: bool) -> None:
        super().__init__(message, hint)
        self.values, self.is_json = values, is_json


def load(path: str) -> dict[str, Any]:
    """The settings in a job file, YAML or JSON by its name as the trainers tell it, otherwise by how it begins.

    Raises:
        StrictFault: It is JSON with comments, which DeepSpeed reads, or YAML with tabs between words, as OmegaConf takes it.
        UsageFault: It cannot be read, or holds no settings.
    """
    text = _text(path, "a training job")
    if path.endswith(SCRIPTS) or text.startswith("#!"):
        hint = "give the YAML or JSON file that it passes to the trainer, or write its arguments into one"
        raise UsageFault(f"{path} is a script, not a job file.", hint)
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
    if not path:
        raise UsageFault(f"The path of {kind} is empty.", f"give the path of {kind}")
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
        message = f"{path} is not valid JSON: {_first_down(error.msg)} (line {error.lineno}, column {error.colno})."
        hint = "take out comments and trailing commas: trainers read JSON strictly"
        relaxed = _with_comments(text)
        raise (
            UsageFault(message, hint) if relaxed is None else StrictFault(message, hint, relaxed, is_json=True)
        ) from error
    except _DuplicateKeyError as error:
        raise UsageFault(f"{path} has {_key(error.args[0])} twice in one object.", "keep one of them") from error
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{path} holds a number or a nesting beyond all measure.", "give a training job") from error
    return _mapping(values, path)


def _with_comments(text: str) -> dict[str, Any] | None:
    """The object in a text that is JSON but for comments and trailing commas; nothing where there is none."""
    bare = _COMMENT.sub(lambda found: found["string"] or " ", text)
    plain = _TRAILING_COMMA.sub(lambda found: found["string"] or "", bare)
    try:
        values = json.loads(plain, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError, _DuplicateKeyError):
        return None
    return values if isinstance(values, dict) else None


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
        values = _single_document(text)
    except yaml.MarkedYAMLError as error:
        message, hint = f"{path} {_fault(error)}.", _hint(error)
        relaxed = _with_tabs(text, error)
        raise (
            UsageFault(message, hint) if relaxed is None else StrictFault(message, hint, relaxed, is_json=False)
        ) from error
    except yaml.YAMLError as error:
        raise UsageFault(f"{path} has characters that YAML does not allow.", "give a training job") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # A value that does not fit the tag that stands before it, or a number beyond all measure.
        raise UsageFault(
            f"{path} has a value that YAML cannot read.", "leave out explicit tags such as !!int"
        ) from error
    return _mapping(values, path)


def _single_document(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _with_tabs(text: str, error: yaml.MarkedYAMLError) -> dict[str, Any] | None:
    """What OmegaConf reads in a text with tabs between words; nothing where they indent, or are not all that is wrong.

    OmegaConf uses libyaml, which takes a tab for a blank there; PyYAML's own scanner stops at it.
    """
    for _ in range(_MOST_TABS):
        mark = error.problem_mark
        tabs = _TAB.match(text, mark.index) if mark and isinstance(error, yaml.scanner.ScannerError) else None
        if not mark or not tabs or not text[mark.index - mark.column : mark.index].strip(" -\t"):
            return None
        text = f"{text[: tabs.start()]}{' ' * len(tabs[0])}{text[tabs.end() :]}"
        try:
            values = _single_document(text)
        except yaml.MarkedYAMLError as next_error:
            error = next_error
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):
            return None
        else:
            return values if isinstance(values, dict) else None
    return None


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
    return "fix it there; trainers read it the same way"


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
