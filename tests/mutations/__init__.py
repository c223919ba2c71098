"""Checkpoint functions that are broken in one way each, and sound ones beside them.

``RULE`` is the rule that must catch a broken one. ``CAUGHT = False`` says that none does, and ``WHY``. ``SOUND = True`` says
that there is nothing to catch.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Mutation(NamedTuple):
    """One function, as its file describes it."""

    name: str
    says: str
    rule: str
    """Empty where none catches it, or where it is sound."""
    is_sound: bool
    why: str
    """Why none catches it."""

    @property
    def function(self) -> str:
        """As ``--checkpoint-fn`` takes it."""
        return f"{FOLDER / self.name}.py:checkpoint_function"


def read() -> list[Mutation]:
    """All of them, by name."""
    return [_read(file) for file in sorted(FOLDER.glob("*.py")) if file.stem != "__init__"]


def _read(file: Path) -> Mutation:
    tree = ast.parse(file.read_text())
    said = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.targets[0], ast.Name)
    }
    is_sound = bool(said.get("SOUND", False))
    rule, why = str(said.get("RULE", "")), str(said.get("WHY", ""))
    assert bool(rule) + is_sound + (said.get("CAUGHT") is False and bool(why)) == 1, file
    return Mutation(file.stem, str(ast.get_docstring(tree)), rule, is_sound, why)


def table() -> str:
    """The Markdown page that lists all of them."""
    mutations = read()
    broken = [one for one in mutations if not one.is_sound]
    caught = [one for one in broken if one.rule]
    lines = [
        "# Broken on purpose",
        "",
        f"{len(broken)} checkpoint functions are broken in one way each; `ckptdoctor check` catches {len(caught)} of them.",
        f"{len(mutations) - len(broken)} sound ones are there for comparison; none of them may be an error. The files are in",
        "`tests/mutations`, and `tests/real/test_mutations.py` runs all of them on real torch and checks this page.",
        "",
        "| function | what is broken | caught |",
        "|---|---|---|",
        *(f"| `{one.name}` | {one.says} | {one.rule or f'no: {one.why}'} |" for one in broken),
        "",
        "| function | what it does | |",
        "|---|---|---|",
        *(f"| `{one.name}` | {one.says} | sound |" for one in mutations if one.is_sound),
        "",
    ]
    return "\n".join(lines)
