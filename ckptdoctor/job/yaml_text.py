"""Settings in YAML, read exactly as the trainers' own loaders read them."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ckptdoctor.errors import UsageFault
from ckptdoctor.job.settings_text import StrictFault, key_shown, mapping

DEEPEST = 50
"""Levels of nesting."""

MOST_NODES = 20_000
"""Values in a YAML file, with every alias written out."""

_QUOTED = re.compile(r"""'[^']*'|"[^"]*"?""")

_TOKEN = re.compile(r"'(?:<[a-z ]+>|..?)'")

_TAB = re.compile(r"\t+")

_MOST_TABS = 200
"""Places at which tabs are read as blanks."""

_TIMESTAMP = "tag:yaml.org,2002:timestamp"

_MERGE = "tag:yaml.org,2002:merge"


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
        # A value that does not fit its tag, or a number that is too large.
        raise UsageFault(
            f"{path} has a value that YAML cannot read.", "leave out explicit tags such as !!int"
        ) from error
    return mapping(values, path)


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
        return "trainers read one document: remove the `---` between them"
    return "fix it there; trainers read it the same way"


def _harmless(problem: str) -> str:
    """A parser's complaint without what it quotes from the file; names of tokens and single signs may stay."""
    return _QUOTED.sub(lambda found: found[0] if _TOKEN.fullmatch(found[0]) else "...", problem)


class _Refused(yaml.MarkedYAMLError):
    """YAML that is valid, but not accepted in a job."""


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
                raise _Refused(problem=f"has {key_shown(key.value)} twice", problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return node
