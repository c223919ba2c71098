"""Markdown and annotations as GitHub shows them: by its own parser, and by what its documents say of annotations."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cmarkgfm
import msgspec
import pytest
from cmarkgfm.cmark import Options

from ckptdoctor.model.impact import NotCompared
from ckptdoctor.output import render
from ckptdoctor.output.report import github
from tests.test_ci_formats import NASTY, commands, planted
from tests.test_impact import SHOWN, WHOLE, change, contract, made
from tests.test_output import PLAIN, failing, finding
from tests.values import changed

KEPT = frozenset(
    "b blockquote br code details em h3 h4 hr i li ol p pre strong sub summary table tbody td th thead tr ul".split()  # noqa: SIM905
)
"""Elements that we may use, all of them on the list of GitHub's sanitiser: it takes out others."""


class Page(HTMLParser):
    """Counts elements, and fails on one that is closed where another is open."""

    def __init__(self, markdown):
        super().__init__()
        self.open, self.starts, self.texts = [], [], {}
        self.feed(cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE))
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.starts.append(tag)
        if tag not in ("br", "hr", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts.setdefault(tag, []).append(data)

    def text(self, tag):
        return " ".join("".join(self.texts.get(tag, [])).split())


def test_an_impact_has_its_folds_lists_and_code():
    page = Page(render("markdown", WHOLE, SHOWN))

    assert set(page.starts) <= KEPT
    assert page.starts.count("details") == page.starts.count("summary") == 4  # two changes, a contract, what is unknown
    assert page.text("h3").startswith("ckptdoctor impact: transformers 5.22.2 -> 5.23.0")
    assert page.text("summary").endswith("1 combination of which nothing is known, for 1 reason")
    assert "It cannot be installed." in page.text("details")
    assert "__self__" in page.text("code")
    assert page.text("pre")


def test_the_counts_stand_out_and_the_rest_is_a_sentence_of_its_own():
    page = Page(render("markdown", made(changes=[change()]), SHOWN))
    assert page.text("strong").startswith("1 newly broken.")
    assert "The releases' own requirements admit" in page.text("p")


def test_contracts_of_several_families_are_told_apart_without_opening_them():
    two = [contract(), msgspec.structs.replace(contract(), models=["llama"])]
    page = Page(render("markdown", made(contracts=two), SHOWN))
    assert "changed in glm4;" in page.text("summary")
    assert "changed in llama;" in page.text("summary")


def test_what_is_unknown_leaves_room_for_what_changed():
    many = [NotCompared(f"It cannot be made tiny: {'x' * 300} {at}", "head", [f"family{at}"]) for at in range(400)]
    text = render("markdown", made(changes=[change()], not_compared=many), SHOWN)
    page = Page(text)
    assert len(text) < 65_536
    assert page.starts.count("details") == 2
    assert "400 combinations of which nothing is known, for 400 reasons" in page.text("summary")
    assert "more; the JSON has them" in page.text("li")


@pytest.mark.parametrize("hostile", [False, True])
def test_a_report_has_its_tables_whatever_stands_in_them(hostile):
    clean = Page(render("markdown", planted(" x"), PLAIN))
    page = Page(render("markdown", planted(NASTY), PLAIN)) if hostile else clean

    assert set(page.starts) <= KEPT
    for tag in ("table", "tr", "td", "th", "pre", "details", "h3"):
        assert page.starts.count(tag) == clean.starts.count(tag), tag
    assert page.starts.count("table") == 2
    assert "a" not in page.starts
    assert "img" not in page.starts


# -- annotations ------------------------------------------------------------------------------------------------------


def shown_on_a_runs_page(report):
    """Level, title and message, ten of each level at most, as GitHub keeps them; the page collapses white space."""
    found, room = [], {"error": 10, "warning": 10, "notice": 10}
    for level, properties, message in commands(render("github", report, PLAIN)):
        room[level] -= 1
        if room[level] >= 0:
            assert len(properties["title"]) <= 255
            assert len(message.encode()) < 65_536
            found.append((level, properties["title"], " ".join(message.split())))
    return found


def test_an_annotation_reads_well_on_one_line():
    level, title, message = shown_on_a_runs_page(failing())[0]

    assert (level, title) == ("error", f"CKPT001 {finding().name} (ckptdoctor)")
    first, *others = message.split(" • ")
    assert first == finding().title
    assert any(one.startswith("read by ") for one in others)
    assert any(one.startswith("fix [") and one.endswith("`") for one in others)  # with its command


@pytest.mark.parametrize("count", [1, 9, 10, 30])
def test_the_verdict_is_shown_however_many_findings_there_are(count):
    report = changed(failing(), "findings", (finding(),) * count)
    assert len([*commands(render("github", report, PLAIN))]) == min(count, github.MOST - 1) + 1

    *_, (level, title, message) = shown_on_a_runs_page(report)

    assert (level, title) == ("error", "ckptdoctor")
    assert ("not annotated" in message) == (count > 9)
    assert count <= 9 or f"{count - 9} more not annotated" in message


def test_a_long_diff_and_a_long_table_show_by_a_click():
    long = changed(failing(), "findings[0].remedies[0].diff", "--- a\n+++ b\n" + "+x\n" * 30)
    long = changed(long, "probes", failing().probes * 30)
    page = Page(render("markdown", long, PLAIN))
    assert page.starts.count("details") == 2
    assert re.search(r"diff, 32 lines *\d+ probes", page.text("summary"))
    assert "details" not in Page(render("markdown", failing(), PLAIN)).starts
