"""Which issues are opened and closed for breaks on the main branch of transformers."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from ckptdoctor import upstream
from ckptdoctor.upstream import LONGEST_BODY, Issue, breaks, to_close, to_open
from tests.test_ci_formats import NASTY, tokens
from tests.test_output import acting, failing, healthy, plant, undiagnosed
from tests.values import changed


def opened(report):
    """The issues as they would be after their opening."""
    return [Issue(number, body) for number, (_, body) in enumerate(to_open(report, []), 1)]


def test_a_new_break_gets_one_issue_with_its_patch():
    [(title, body)] = to_open(failing(), [])

    assert title.startswith("transformers main: ")
    assert "```diff" in body
    assert to_open(failing(), opened(failing())) == []


def test_a_break_that_the_newest_release_has_as_well_is_none():
    accepted = changed(failing(), "findings[0].accepted", "baseline")

    assert breaks(accepted) == {}
    assert to_open(accepted, []) == []


def test_a_warning_is_no_break():
    assert to_open(changed(failing(), "findings[0].severity", "warning"), []) == []


def test_an_issue_is_closed_when_its_function_is_judged_and_works():
    issues = opened(failing())

    assert to_close(failing(), issues) == []
    assert to_close(changed(failing(), "findings[0].accepted", "baseline"), issues) == []
    working = healthy()
    functions = {probe.checkpoint_function for probe in working.probes if probe.role == "subject"}
    marked = upstream.Break("0" * 32, tuple(sorted(functions)))
    issue = Issue(7, f"<!-- ckptdoctor-break {msgspec.json.encode(marked).decode()} -->")
    assert to_close(working, [issue]) == [7]
    other = upstream.Break("0" * 32, ("not-tried",))
    assert to_close(working, [Issue(8, f"<!-- ckptdoctor-break {msgspec.json.encode(other).decode()} -->")]) == []


def test_nothing_is_opened_or_closed_by_a_check_that_could_not_judge():
    issues = opened(failing())

    assert to_open(undiagnosed(), []) == []
    assert to_close(undiagnosed(), issues) == []


@pytest.mark.parametrize("body", ["", "text", "<!-- ckptdoctor-break {} -->", "<!-- ckptdoctor-break {broken -->"])
def test_an_issue_without_our_mark_is_left_alone(body):
    assert to_close(healthy(), [Issue(1, body)]) == []
    assert len(to_open(failing(), [Issue(1, body)])) == 1


def test_nothing_in_an_issue_acts_on_github():
    report = changed(plant(failing()), "verdict", "fail")
    function = f"--> {NASTY}"
    report = changed(report, "findings[0].title", f"title {NASTY}")
    for at in range(len(report.probes)):
        report = changed(report, f"probes[{at}].checkpoint_function", function)
        report = changed(report, f"probes[{at}].id", f"{at}")
    report = changed(report, "findings[0].probes", ("2",))
    [(title, body)] = to_open(report, [])

    assert "\n" not in title
    assert not acting(title)
    assert Issue(1, body).about.functions == (function,)
    assert "<script" not in "".join(
        token.content for token in tokens(body) if token.type in ("html_inline", "html_block")
    )


def test_an_issue_fits_github():
    [(title, body)] = to_open(changed(failing(), "findings[0].detail", "x" * 10**6), [])

    assert len(title) <= 256
    assert len(body) < LONGEST_BODY + 1000


def test_the_command_writes_files_and_prints_numbers(tmp_path):
    for name, report in (("broken", failing()), ("fine", healthy())):
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(report))
    issues = opened(failing())
    (tmp_path / "none.json").write_bytes(b"[]")
    (tmp_path / "open.json").write_bytes(msgspec.json.encode(issues))

    def plan(report, known):
        arguments = [str(tmp_path / report), str(tmp_path / known), str(tmp_path / "to-open")]
        ran = CliRunner().invoke(upstream.main, arguments)
        assert ran.exit_code == 0, ran.output
        return ran.output

    assert plan("broken.json", "open.json") == ""
    assert not list((tmp_path / "to-open").iterdir())
    assert plan("broken.json", "none.json") == ""
    [file] = (tmp_path / "to-open").iterdir()
    title, _, body = file.read_text().partition("\n\n")
    assert title.startswith("transformers main: ")
    assert upstream.Issue(1, body).about is not None
