"""The Chinese README says what the English one says: all that is not prose is the same in both."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README_zh.md"
SWITCHES = {ENGLISH: "\nEnglish | [中文](README_zh.md)\n", CHINESE: "\n[English](README.md) | 中文\n"}


def tokens(file, *kinds):
    """The tokens of these kinds, in the order in which they stand in the file."""
    blocks = MarkdownIt("commonmark").enable("table").parse(file.read_text(encoding="utf-8"))
    flat = [token for block in blocks for token in (block, *(block.children or ()))]
    return [token for token in flat if token.type in kinds]


def headings(file):
    return [token.tag for token in tokens(file, "heading_open")]


def code_blocks(file):
    return [(token.info, token.content) for token in tokens(file, "fence", "code_block")]


def links(file):
    hrefs = [token.attrs["href"] for token in tokens(file, "link_open")]
    return [href for href in hrefs if href not in (ENGLISH.name, CHINESE.name)]


def rows(file):
    """How many rows each table has."""
    counts = []
    for token in tokens(file, "table_open", "tr_open"):
        if token.type == "table_open":
            counts.append(0)
        else:
            counts[-1] += 1
    return counts


def rule_codes(file):
    return re.findall(r"CKPT\d{3}", file.read_text(encoding="utf-8"))


def code_spans(file):
    """Word order differs between the two, so in no order."""
    return sorted(token.content for token in tokens(file, "code_inline"))


def versions(file):
    """Version numbers in prose and tables, in no order."""
    text = " ".join(token.content for token in tokens(file, "text"))
    return sorted(re.findall(r"\d+(?:\.\d+)+", text))


def emphases(file):
    return [token.type for token in tokens(file, "strong_open", "em_open")]


@pytest.mark.parametrize("part", [headings, code_blocks, links, rows, rule_codes, code_spans, versions, emphases])
def test_both_have_the_same(part):
    assert part(ENGLISH)
    assert part(CHINESE) == part(ENGLISH)


@pytest.mark.parametrize("file", SWITCHES, ids=lambda file: file.stem)
def test_each_leads_to_the_other(file):
    assert file.read_text(encoding="utf-8").count(SWITCHES[file]) == 1


def test_what_is_marked_as_strong_shows_as_strong():
    """Beside Chinese punctuation, asterisks may mark nothing and be shown as they are."""
    assert not [token.content for token in tokens(CHINESE, "text") if "*" in token.content]


def test_lines_do_not_break_within_a_paragraph():
    """A line break is shown as a blank, which Chinese has none of."""
    assert not tokens(CHINESE, "softbreak")
