"""Output formats are discovered: adding one touches its own file only."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import ckptdoctor.output
from ckptdoctor import diagnose
from ckptdoctor.output import Style, formats, render
from tests.conftest import call
from tests.test_output import healthy

SHOWN = Style(color=False, width=100, verbose=False, unicode=True)
SUBJECTS = sorted(one.parent.name for one in Path(ckptdoctor.output.__path__[0]).glob("*/text.py"))
COMMANDS = {"report": "check", "map": "known", "explanation": "explain", "cache": "cache"}
MADE_UP = """
def render(value, style):
    return f"a made-up format shows a {type(value).__name__}\\n"
"""


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A format that is one file, in a folder of its own, found where the others are."""
    (tmp_path / "made_up.py").write_text(MADE_UP)

    def add(subject):
        folder = importlib.import_module(f"ckptdoctor.output.{subject}")
        monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
        monkeypatch.setitem(sys.modules, f"{folder.__name__}.made_up", None)  # to be gone again after the test
        del sys.modules[f"{folder.__name__}.made_up"]
        if subject in COMMANDS:  # a command asks for the names when it is imported
            monkeypatch.delitem(sys.modules, f"ckptdoctor.cli.{COMMANDS[subject]}", raising=False)

    return add


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_type_has_text_first_and_json(subject):
    assert formats(subject)[0] == "text"
    assert "json" in formats(subject)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_file_is_a_format(subject, made_up):
    before = formats(subject)

    made_up(subject)

    assert set(formats(subject)) - set(before) == {"made_up"}


def test_check_uses_a_format_that_is_its_own_file(made_up, monkeypatch, tmp_path):
    made_up("report")
    monkeypatch.setattr(diagnose, "diagnose", lambda *_: healthy())

    printed = call("check", "--format", "made_up", cwd=tmp_path)
    both = call("check", "--format", "made_up=out.txt", cwd=tmp_path)

    assert (printed.status, printed.out) == (0, "a made-up format shows a Report\n")
    assert (both.status, both.out) == (0, "")
    assert (tmp_path / "out.txt").read_text() == printed.out
    assert render("made_up", healthy(), SHOWN) == printed.out


@pytest.mark.parametrize(
    ("subject", "arguments", "shown"),
    [
        ("map", ("known",), "Map"),
        ("explanation", ("explain", "log.txt"), "Explanation"),
        ("cache", ("cache",), "Cache"),
    ],
)
def test_other_commands_use_one_too(subject, arguments, shown, made_up, tmp_path):
    (tmp_path / "log.txt").write_text("nothing\n")
    made_up(subject)

    assert "made_up" in call(*arguments[:1], *(["show"] if subject == "cache" else []), "--help").out
    assert call(*arguments, "--format", "made_up", cwd=tmp_path).out == f"a made-up format shows a {shown}\n"


def test_the_page_on_formats_says_what_their_files_say():
    lines = (Path(__file__).parent.parent / "docs" / "ci.md").read_text().splitlines()

    for name in formats("report"):
        module = importlib.import_module(f"ckptdoctor.output.report.{name}")
        assert f"| `{name}` | {module.__doc__.splitlines()[0]} |" in lines
