"""Every rule has a page for the person who pastes an error message into a search engine, and it says what is true."""

import ast
import re
import shlex
import textwrap
from pathlib import Path

import click
import pytest

from ckptdoctor.cli import group
from ckptdoctor.rules import RULES

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "rules"
INDEX = FOLDER / "README.md"
PAGES = sorted(FOLDER.glob("*.md"))
CASES = ROOT / "tests" / "cases"
WIDTH = 126
SECTIONS = [
    "What happens",
    "Whose fault it is",
    "Which releases",
    "Fixes",
    "See it yourself",
    "Wrong and right",
]

rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def text_of(rule):
    return (FOLDER / f"{rule.code}.md").read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(text):
    for block in blocks(text, "console"):
        yield from (shlex.split(line[2:], comments=True) for line in block.splitlines() if line.startswith("$ "))


def test_every_rule_has_a_page_and_every_page_a_rule():
    assert {page.stem for page in PAGES} == {*RULES, INDEX.stem}


@rules
def test_a_page_has_its_rules_title_meaning_and_links(rule):
    text = text_of(rule)
    assert text.startswith(f"# {rule.code} {rule.name}\n")
    assert f"\n{rule.meaning}\n" in text
    for link in rule.links:
        assert f"<{link}>" in text
    assert set(re.findall(r"<(https?:[^>]+)>", text)) == set(rule.links)


@rules
def test_a_page_begins_with_what_people_see_and_goes_on_in_the_usual_order(rule):
    text = text_of(rule)
    headings = re.findall(r"^## (.+)$", prose(text), re.MULTILINE)
    assert headings[: len(SECTIONS)] == SECTIONS
    begins = text[: text.index(f"\n{rule.meaning}\n")]
    assert blocks(begins, "") or "What people say of it:" in begins


@rules
def test_every_rule_has_a_bad_and_a_good_case(rule):
    for kind in ("bad", "good"):
        assert list(CASES.glob(f"{rule.code.lower()}_{kind}*.py")), kind


def test_no_other_file_compares_the_code_of_a_rule():
    package = ROOT / "ckptdoctor"
    for file in {*package.rglob("*.py")} - {*(package / "rules").rglob("*.py")}:
        texts = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
        assert not [text for text in texts if isinstance(text, str) and re.fullmatch(r"CKPT\d+", text)], file
    for file in package.rglob("*.js"):
        assert not re.search(r"CKPT\d", file.read_text()), file


@rules
def test_what_a_rule_implies_are_rules(rule):
    assert {*rule.implies} <= {*RULES} - {rule.code}


@pytest.mark.parametrize("message", ["'functools.partial' object", "'function' object"])
def test_the_page_of_the_contract_has_both_messages_in_full(message):
    assert f"\nAttributeError: {message} has no attribute '__self__'\n" in text_of(RULES["CKPT001"])


def test_messages_that_a_rule_quotes_stand_on_its_page():
    for rule in RULES.values():
        for line in re.findall(r"^ {4}(\S*Error: .+)$", rule.explanation, re.MULTILINE):
            assert line.rpartition("Error: ")[2] in text_of(rule)


def test_the_index_lists_every_rule_twice():
    text = INDEX.read_text()
    for rule in RULES.values():
        link = f"[{rule.code}]({rule.code}.md)"
        assert f"| {link} | {rule.meaning} |" in text
        assert f" | {link} |\n" in text


@pages
def test_relative_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


@pages
def test_pages_are_wrapped_and_name_no_machines_paths(page):
    text = page.read_text()
    assert all(len(line) <= WIDTH for line in prose(text).splitlines())
    assert not re.search(r"(?<![\w.:/])/(?:home|opt|root|tmp|usr|work)/", text)
    assert "site-packages" not in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pages
def test_commands_are_ones_that_the_doctor_takes_and_quick(page):
    for program, name, *arguments in commands(page.read_text()):
        assert program == "ckptdoctor"
        context = click.Context(group, **group.context_settings)
        command = group.get_command(context, name)
        command.make_context(name, list(arguments), parent=context)
        if name == "check":
            assert "--engine none" in " ".join(arguments)


@rules
def test_examples_are_those_that_are_run_against_the_rule(rule):
    """``tests/real/test_rules.py`` runs these very lines and sees that the first trips the rule and the second none."""
    wrong, right = blocks(text_of(rule), "python")
    assert is_in(wrong, CASES.glob(f"{rule.code.lower()}_bad*.py"))
    assert is_in(right, CASES.glob("*_good*.py"))


def is_in(example, files):
    wanted = textwrap.dedent(example).strip()
    return any(wanted in textwrap.dedent(text) or example.rstrip() in text for text in map(Path.read_text, files))
