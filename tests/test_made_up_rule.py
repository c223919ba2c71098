"""A rule is its own file: one that does not exist is seen in every command, and missed where its page is not there."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from ckptdoctor import rules
from ckptdoctor.explain.explain import explain
from ckptdoctor.model.evidence import Layer
from ckptdoctor.model.report import SCHEMA, Report
from ckptdoctor.output import Style, render
from ckptdoctor.rules import RULES
from ckptdoctor.verdict import gate
from tests import test_bundle, test_findings, test_rule_pages
from tests.conftest import call
from tests.test_plan import FULL

FOLDER = Path(__file__).parent / "made_up_rule"
CODE = "CKPT950"
PLAIN = Style(color=False, width=100, verbose=False, unicode=True)


@pytest.fixture(autouse=True)
def rule(monkeypatch):
    """The rule that does not exist, found in one more folder."""
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(FOLDER / "rules")])
    found = rules.discover()
    assert list(found) == [*RULES, CODE]
    monkeypatch.setitem(RULES, CODE, found[CODE])
    return found[CODE]


# rule


def test_it_is_listed_and_told(rule):
    listed = call("rule").out.splitlines()
    assert [CODE, "called-too-often", rule.meaning] in [line.split(maxsplit=2) for line in listed]
    for name in (CODE.lower(), rule.name):
        told = call("rule", name).out
        assert told.startswith(f"{CODE} {rule.name}\n{rule.meaning}\n")
        assert rule.links[0] in told


# check


def bad(spec):
    """Called twice for its only layer, and so run three times, which CKPT003 has to say nothing of."""
    return test_findings.sound(spec, function_called=2, layers=[Layer("layers.0", "L", 1, 3, 1)])


def report_of(found):
    verdict, summary = found.verdict()
    return Report(SCHEMA, "0", verdict, summary, FULL, found.probes, found.findings)


def test_it_fires_on_a_bad_step_and_takes_the_place_of_what_it_implies():
    found = test_findings.judge(make=bad)
    assert [(one.rule, one.name, one.culprit) for one in found.findings] == [
        (CODE, "called-too-often", test_findings.MODEL)
    ]
    assert found.verdict()[0] == "fail"


def test_it_does_not_fire_on_a_good_step():
    assert test_findings.judge().findings == ()


def test_what_could_not_be_judged_implies_it_too():
    assert CODE in rules.implied(["CKPT900"])


def test_it_can_be_selected_and_ignored():
    assert gate.codes([CODE.lower()], "--select") == (CODE,)
    assert gate.codes(["CKPT95"], "--ignore") == ("CKPT95",)


@pytest.mark.parametrize(
    ("format_", "label"),
    [("text", "^ called here"), ("markdown", "Called at"), ("sarif", CODE), ("junit", "called at ")],
)
def test_every_format_names_it_and_its_line_by_its_label(format_, label):
    text = render(format_, report_of(test_findings.judge(make=bad)), PLAIN)
    assert CODE in text
    assert label in text


# explain

TRACEBACK = """Traceback (most recent call last):
  File "/v/site-packages/transformers/modeling_layers.py", line 93, in __call__
    return self._gradient_checkpointing_func(partial(super().__call__, **kwargs), *args)
RuntimeError: layer 3 is checkpointed already
"""


def test_it_is_recognised_in_a_log():
    found = explain(TRACEBACK)
    assert (found.verdict, found.rule) == ("ours", CODE)
    assert found.fixes == ["If a trainer and a script both switch checkpointing on: leave it to the trainer."]
    shown = render("text", found, PLAIN)
    assert "called at    transformers, transformers/modeling_layers.py:93" in shown


def test_its_message_without_a_type_is_a_suspicion():
    found = explain("training stops: layer 3 is checkpointed already")
    assert (found.verdict, found.rule) == ("suspected", CODE)
    assert "only mentions it" in found.summary


def test_its_warning_alone_is_a_suspicion_and_beside_another_error_a_doubt():
    warning = "UserWarning: Checkpointing a layer twice is slow\n"
    assert (explain(warning).verdict, explain(warning).rule) == ("suspected", CODE)
    other = explain(f"{warning}ValueError: no data\n")
    assert (other.verdict, other.rule) == ("not ours", "")
    assert f"A library warns of layers that are checkpointed twice ({CODE})." in other.doubts


# report


def test_a_reproduction_asserts_what_the_rule_says():
    silent = test_bundle.probe("torch:reentrant", ended="returned", error=None, layers=test_bundle.LAYERS)
    made = test_bundle.script_of(silent, rule=CODE, error=None)
    assert made.expected.error == "AssertionError: calls of the checkpoint function"
    assert f"({CODE})" in made.source
    lines = made.source.splitlines()
    assert lines.index("calls = []") < next(at for at, line in enumerate(lines) if line.startswith("assert len(calls)"))
    ast.parse(made.source)


# The documentation


def pages(rule):
    """What the documents' own tests ask of one rule."""
    test_rule_pages.test_every_rule_has_a_page_and_every_page_a_rule()
    test_rule_pages.test_a_page_has_its_rules_title_meaning_and_links(rule)
    test_rule_pages.test_a_page_begins_with_what_people_see_and_goes_on_in_the_usual_order(rule)
    test_rule_pages.test_the_index_lists_every_rule_twice()
    test_rule_pages.test_every_rule_has_a_bad_and_a_good_case(rule)
    test_rule_pages.test_examples_are_those_that_are_run_against_the_rule(rule)


@pytest.fixture
def documents(rule, tmp_path, monkeypatch):
    """Copies of the documents and the cases, with those of the rule."""
    for name, folder, more in (
        ("FOLDER", test_rule_pages.FOLDER, [FOLDER / f"{CODE}.md"]),
        ("CASES", test_rule_pages.CASES, (FOLDER / "cases").glob("*.py")),
    ):
        copied = shutil.copytree(folder, tmp_path / name)
        for file in more:
            shutil.copy(file, copied)
        monkeypatch.setattr(test_rule_pages, name, copied)
    index = tmp_path / "FOLDER" / "README.md"
    link = f"[{CODE}]({CODE}.md)"
    index.write_text(f"{index.read_text()}| {link} | {rule.meaning} |\n| `checkpointed already` | {link} |\n")
    monkeypatch.setattr(test_rule_pages, "INDEX", index)
    monkeypatch.setattr(test_rule_pages, "PAGES", sorted(index.parent.glob("*.md")))
    return tmp_path


def test_its_documents_are_complete(rule, documents):
    pages(rule)


@pytest.mark.parametrize("missing", [f"FOLDER/{CODE}.md", "CASES/ckpt950_bad.py", "CASES/ckpt950_good.py"])
def test_a_document_or_a_case_that_is_missing_is_missed(rule, documents, missing, monkeypatch):
    (documents / missing).unlink()
    monkeypatch.setattr(test_rule_pages, "PAGES", sorted((documents / "FOLDER").glob("*.md")))
    with pytest.raises((AssertionError, OSError)):
        pages(rule)
