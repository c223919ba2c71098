"""The pages of the site for errors: one for each text that a rule names, titled by the text.

What a page says comes from the rule, from ``explain``, which reads the text as it would read a log, and from the maps. The
passages on what happens and whose fault it is are those of the rule's own page.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckptdoctor.documents import blame
from ckptdoctor.documents.markdown import code, fenced, plain, prose, slug
from ckptdoctor.explain.explain import explain
from ckptdoctor.output import Style, render
from ckptdoctor.rules import RULES, implied, in_log
from ckptdoctor.rules.common.log import ErrorText
from ckptdoctor.rules.common.rule import Rule

FOLDER = "errors"
"""Where the pages are, beside the pages of the rules in ``rules``."""

STYLE = Style(color=False, width=80, verbose=False, unicode=True)

_REST = implied(code for code, rule in RULES.items() if not rule.not_judged)
"""Rules that take the errors that no other rule explains: their own pages describe several at once."""


@dataclass(frozen=True)
class ErrorPage:
    """An error, its rule and the name of its page."""

    rule: Rule
    text: ErrorText

    @property
    def name(self) -> str:
        """The file, in ``FOLDER``."""
        return f"{slug(self.text.title)}.md"

    @property
    def is_told_by_title(self) -> bool:
        """Whether the title alone is enough for ``explain``."""
        return bool(explain(self.text.title).rule)


def error_pages() -> list[ErrorPage]:
    """All pages, in the order of the rules."""
    found = sorted(in_log(), key=lambda pair: pair[0].code)
    return [ErrorPage(rule, text) for rule, reader in found for text in reader.texts]


def index(above: str = "") -> str:
    """A list of all errors.

    Args:
        above: What leads to the folder above ``FOLDER``, such as ``../``.
    """
    return "\n".join(f"- [{plain(page.text.title)}]({above}{FOLDER}/{page.name})" for page in error_pages())


def written(page: ErrorPage, rules: Path) -> str:
    """A page as Markdown.

    Args:
        page: The error.
        rules: The folder with the pages of the rules.
    """
    described = (rules / f"{page.rule.code}.md").read_text(encoding="utf-8")
    parts = [
        *_head(page),
        *_commands(page),
        *_blame(page),
        *_fixes(page),
        *_check(page),
        *_examples(page),
        *_details(page, described),
        *_reports(page),
    ]
    return "\n\n".join(parts) + "\n"


def _head(page: ErrorPage) -> Iterator[str]:
    about = page.text.about.replace("`", "")
    yield f"---\ntitle: {json.dumps(page.text.title)}\ndescription: {json.dumps(about)}\n---"
    yield f"# {plain(page.text.title)}"
    yield prose(page.text.about)
    rule = f"[{page.rule.code}](../rules/{page.rule.code}.md): {prose(page.rule.meaning)}"
    yield f"ckptdoctor calls this {rule}" if page.is_told_by_title else f"If checkpointing is the cause, this is {rule}"


def _commands(page: ErrorPage) -> Iterator[str]:
    yield "## One command"
    yield "Give ckptdoctor the log. It reads the text, runs nothing, and needs neither the environment nor a GPU:"
    yield "```console\n$ ckptdoctor explain train.log\n```"
    if not page.is_told_by_title:
        yield "The line alone shows no fault of checkpointing. Give it the whole traceback, or the whole log."
    yield (
        "If you have the environment, let it decide. This runs tiny real training steps in it, takes seconds, needs no GPU and "
        "changes nothing. The report names the line, the release, what is ruled out, and fixes:"
    )
    yield "```console\n$ ckptdoctor check\n```"
    yield "[Install ckptdoctor](../start.md#1-install-it-beside-your-environment) first, beside your environment."


def _blame(page: ErrorPage) -> Iterator[str]:
    yield "## Who is to blame, in which versions"
    rows = _failing(page)
    if rows:
        yield "These releases fail with this error. Each pair was run, or has the same code as one that was run:"
        head = ["| trainer | fails with transformers | at this line of the trainer |", "|---|---|---|"]
        yield "\n".join([*head, *map(_row, rows)])
        yield (
            "This is from [the map](../map.md) that ships with ckptdoctor: trainers' functions with tiny models, without an "
            "engine. `ckptdoctor known` prints it."
        )
    else:
        yield (
            "No release in [the map](../map.md) that ships with ckptdoctor fails with this error. The map holds trainers' "
            "functions with every release of transformers, on tiny models without an engine. It says nothing of an engine, of "
            "a model's own code or of yours: `ckptdoctor check` runs these."
        )


def _examples(page: ErrorPage) -> Iterator[str]:
    yield "## What ckptdoctor says of such a log"
    for example in page.text.examples:
        yield f"The log shows:\n\n{fenced(example, 'text')}\n\n`ckptdoctor explain` says:\n\n{fenced(_said(example), 'text')}"


def _said(example: str) -> str:
    return render("text", explain(example), STYLE).rstrip()


def _details(page: ErrorPage, described: str) -> Iterator[str]:
    if page.rule.code not in _REST:
        yield f"## What happens\n\n{_section(described, 'What happens')}"
    yield f"## How ckptdoctor finds whose fault it is\n\n{_section(described, 'Whose fault it is')}"


def _failing(page: ErrorPage) -> tuple[blame.Failing, ...]:
    return blame.failing(page.rule.code, page.text.title)


def _row(one: blame.Failing) -> str:
    place = code(f"{one.culprit.file}:{one.culprit.line}")
    return f"| {one.trainer} {_span(one.releases)} | {_span(one.libraries)} | {place} |"


def _span(releases: tuple[str, ...]) -> str:
    return releases[0] if len(releases) == 1 else f"{releases[0]} to {releases[-1]}"


def _fixes(page: ErrorPage) -> Iterator[str]:
    yield "## Fix"
    ways = [(one, way) for one in _failing(page) for way in one.ways]
    if ways:
        head = ["| you have | with transformers | what works, by the map |", "|---|---|---|"]
        yield "\n".join([*head, *(_way_out(one, way) for one, way in ways)])
    found = [f"- {prose(fix)}" for fix in dict.fromkeys(_by_explain(page))]
    if found:
        if not page.is_told_by_title:
            yield "If checkpointing is the cause:"
        yield "\n".join(found)
    elif not ways:
        yield "The line alone does not tell what helps."
    yield (
        f"More: [what helps against {page.rule.code}](../rules/{page.rule.code}.md#fixes). `ckptdoctor fix` tries releases, "
        "patches and settings in your environment, and offers only what made the failing steps work."
    )


def _way_out(one: blame.Failing, way: blame.WayOut) -> str:
    works = f"no newer {one.trainer}"
    if way.release:
        works = code(f"pip install --no-deps '{one.trainer}=={way.release}'") + _admitted(way)
    elif way.pair is not None:
        works += f"; the newest pair that works is {one.trainer} {way.pair[0]} with transformers {way.pair[1]}"
    return f"| {one.trainer} {_span(one.releases)} | {_span(way.libraries)} | {works} |"


def _admitted(way: blame.WayOut) -> str:
    """What the release's own requirements say of it: a release may work with more than it declares."""
    if way.admitted == way.libraries:
        return ""
    if not way.admitted:
        return "; its own requirements do not admit these transformers"
    return f"; its own requirements admit {_span(way.admitted)}"


def _by_explain(page: ErrorPage) -> Iterator[str]:
    for example in page.text.examples:
        yield from explain(example).fixes


def _check(page: ErrorPage) -> Iterator[str]:
    releases = [f"{one.trainer}=={way.release}" for one in _failing(page) for way in one.ways if way.release]
    yield "## Check that it is fixed"
    if releases:
        yield "Try a release in an overlay before you install it. Afterwards check the environment as it is:"
        yield f"```console\n$ ckptdoctor check --with {releases[0]}\n$ ckptdoctor check\n```"
    else:
        yield "Check the job with its new settings, or watch the first steps of the real one:"
        commands = ("ckptdoctor check --job train.yaml", "ckptdoctor watch --exit-after -- python train.py")
        yield "\n".join(["```console", *(f"$ {command}" for command in commands), "```"])
    yield "Exit status 0: what was run works. Status 3: something could not be run, and the report says what."


def _reports(page: ErrorPage) -> Iterator[str]:
    if page.text.reports:
        yield "## Reports"
        yield "People who met this line:"
        yield "\n".join(f"- <{link}>" for link in page.text.reports)


def _section(described: str, title: str) -> str:
    """A section of a rule's page, with links that lead on from a page in ``FOLDER``."""
    found = re.search(rf"^## {re.escape(title)}\n\n(.*?)(?=\n## )", described, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"a rule's page has no section {title!r}")

    def moved(link: re.Match[str]) -> str:
        return f"]({posixpath.normpath(posixpath.join('../rules', link[1]))})"

    return re.sub(r"\]\((?!https?:|#)([^)]+)\)", moved, found[1]).rstrip()
