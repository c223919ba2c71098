"""What a rule of a scan is, and what it says of a place in the code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ckptdoctor.model.impact import Watched
from ckptdoctor.model.scan import Certainty
from ckptdoctor.scan.interpreter import Interpreter
from ckptdoctor.scan.module import Module
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import Facts
from ckptdoctor.scan.telling import Test


@dataclass(frozen=True)
class ScanHit:
    """A place that a rule found.

    Attributes:
        node: The code.
        title: What it does, in one line.
        assumes: What has to be true for it to work.
        breaks: What goes wrong, by release; releases where nothing does are left out.
        certainty: How sure it is that this happens.
        reason: Why it is as sure as that.
        function: The definition of the checkpoint function that is meant, and its file, if there is one.
    module: The file that the code stands in, if that is another than the one that was searched.
    """

    node: ast.AST
    title: str
    assumes: str
    breaks: Mapping[str, str]
    certainty: Certainty
    reason: str
    function: tuple[Module, ast.AST] | None = None
    module: Module | None = None


Find = Callable[[Module, Project, Mapping[str, Facts]], Iterator[ScanHit]]
"""Finds the places in one file. The last argument has the facts of every release that is looked at."""


@dataclass(frozen=True)
class ScanRule:
    """One rule.

    Attributes:
        code: ``SCAN001`` and so on.
        name: In words with dashes.
        meaning: One line.
        explanation: Why it matters and what to do.
        telling: Whether the rule may find something in a file with these bytes.
        find: Finds the places.
        links: Public reports of it.
        watched: The contracts of transformers that code relies on in which the rule finds something.
    """

    code: str
    name: str
    meaning: str
    explanation: str
    telling: Test
    find: Find
    links: tuple[str, ...] = ()
    watched: tuple[Watched, ...] = ()


def breaks_where(
    module: Module,
    project: Project,
    node: ast.AST,
    releases: Mapping[str, Facts],
    consequence: Callable[[Facts], str],
) -> dict[str, str]:
    """What goes wrong by release, without releases for which a condition around the code says that it is not run.

    Args:
        module: The file.
        project: All files.
        node: The code.
        releases: The releases that are looked at.
        consequence: What goes wrong with a release of these facts; empty if nothing does.
    """
    found = {release: said for release, facts in releases.items() if (said := consequence(facts))}
    if not any(isinstance(outer, ast.If) for outer in module.around(node)):
        return found
    return {release: said for release, said in found.items() if Interpreter(project, release).is_reached(module, node)}
