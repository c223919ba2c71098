"""One type holds all exit statuses, and every list of them says the same."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from ckptdoctor.cli import COMMANDS, group
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.report import STATUS

ROOT = Path(__file__).parent.parent
DIAGNOSED = [ExitStatus.OK, ExitStatus.FOUND, ExitStatus.USAGE, ExitStatus.UNDIAGNOSED]
IN_WORDS = ", ".join(f"{status.value} {status.meaning}" for status in DIAGNOSED)


def command(name):
    return importlib.import_module(f"ckptdoctor.cli.{name}").command


def test_the_statuses_of_a_diagnosis_are_listed_alike():
    for text in (group.help, command("check").help, (ROOT / "README.md").read_text()):
        assert IN_WORDS in " ".join(text.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_only_statuses_that_there_are(name):
    stated = " ".join((command(name).help or "").split()).partition("Exit status: ")[2]

    assert {int(number) for number in re.findall(r"(?:^|[,;] )(\d+) ", stated)} <= set(ExitStatus)


def test_the_page_on_ci_has_a_row_for_each_status_of_a_diagnosis():
    rows = re.findall(r"^\| (\d) \|", (ROOT / "docs" / "ci.md").read_text(), re.MULTILINE)

    assert rows == [str(status.value) for status in DIAGNOSED]


def test_every_verdict_has_a_status():
    assert STATUS == {
        "ok": ExitStatus.OK,
        "fail": ExitStatus.FOUND,
        "not judged": ExitStatus.UNDIAGNOSED,
        "error": ExitStatus.UNDIAGNOSED,
    }


def test_every_status_says_what_it_means():
    assert all(status.meaning for status in ExitStatus)


@pytest.mark.parametrize("path", sorted((ROOT / "ckptdoctor" / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_no_command_returns_a_bare_number(path):
    for node in ast.walk(ast.parse(path.read_text())):
        value = getattr(node, "value", None) if isinstance(node, ast.Return) else None
        value = (
            node.args[0]
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("exit") and node.args
            else value
        )
        is_number = (
            isinstance(value, ast.Constant) and isinstance(value.value, int) and not isinstance(value.value, bool)
        )
        assert not is_number, f"{path.name}:{node.lineno}"
