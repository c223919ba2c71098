"""What is written in Chinese says what the English says: all that is not prose is the same in both."""

import posixpath
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
DOCUMENTS = ROOT / "docs"
PAGES = sorted((DOCUMENTS / "zh").rglob("*.md"))
CHINESE = {ROOT / "README_zh.md": ROOT / "README.md", **{page: DOCUMENTS / page.name for page in PAGES}}
"""Each text with the English one."""

SWITCHES = {"README.md": "\nEnglish | [中文](README_zh.md)\n", "README_zh.md": "\n[English](README.md) | 中文\n"}
NEEDED = {"index.md", "start.md", "error.md", "offline.md", "slurm.md"}

texts = pytest.mark.parametrize("chinese", CHINESE, ids=lambda file: file.relative_to(ROOT).as_posix())


def tokens(file, *kinds):
    """The tokens of these kinds, in the order in which they stand in the file."""
    text = re.sub(r"\A---\n.*?\n---\n", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    blocks = MarkdownIt("commonmark").enable("table").parse(text)
    flat = [token for block in blocks for token in (block, *(block.children or ()))]
    return [token for token in flat if token.type in kinds]


def headings(file):
    return [token.tag for token in tokens(file, "heading_open")]


def code_blocks(file):
    return [(token.info, token.content) for token in tokens(file, "fence", "code_block")]


def links(file):
    """What a text leads to, by the English page where there is a Chinese one. Parts of Chinese pages have other names."""
    found = []
    for href in [token.attrs["href"] for token in tokens(file, "link_open")]:
        if href in SWITCHES or re.match("[a-z]+:", href):
            found += [] if href in SWITCHES else [href]
            continue
        page, _, part = href.partition("#")
        path = posixpath.normpath(posixpath.join(file.parent.relative_to(ROOT).as_posix(), page))
        english = path.replace("docs/zh/", "docs/")
        found.append(english if (ROOT / english.replace("docs/", "docs/zh/")).exists() else f"{english}#{part}")
    return found


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


@texts
@pytest.mark.parametrize("part", [headings, code_blocks, links, rows, rule_codes, code_spans, versions, emphases])
def test_both_have_the_same(chinese, part):
    assert part(chinese) == part(CHINESE[chinese])


def test_the_parts_are_there():
    for part in (headings, code_blocks, links, rows, rule_codes, code_spans, versions, emphases):
        assert part(ROOT / "README.md")


def test_what_people_need_first_is_there_in_chinese():
    assert {page.name for page in PAGES} == NEEDED


@texts
def test_a_chinese_page_is_linked_where_there_is_one(chinese):
    for href in [token.attrs["href"].partition("#")[0] for token in tokens(chinese, "link_open")]:
        file = (chinese.parent / href).resolve()
        if file.parent == DOCUMENTS:
            assert not (DOCUMENTS / "zh" / file.name).exists(), href


@pytest.mark.parametrize("name", SWITCHES)
def test_each_leads_to_the_other(name):
    assert (ROOT / name).read_text(encoding="utf-8").count(SWITCHES[name]) == 1


@texts
def test_what_is_marked_as_strong_shows_as_strong(chinese):
    """Beside Chinese punctuation, asterisks may mark nothing and be shown as they are."""
    assert not [token.content for token in tokens(chinese, "text") if "*" in token.content]


@texts
def test_lines_do_not_break_within_a_paragraph(chinese):
    """A line break is shown as a blank, which Chinese has none of."""
    assert not tokens(chinese, "softbreak")
