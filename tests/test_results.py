"""Which reports are kept, and what makes a kept one stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptdoctor import results
from ckptdoctor.model.evidence import Environment, Evidence
from ckptdoctor.model.report import SCHEMA, Finding, ProbeResult, Report
from ckptdoctor.planning.options import Options
from ckptdoctor.planning.request import Request
from tests.values import changed


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / "cache"))


def report(verdict="ok", ended="returned", model="glm4", **more):
    probe = ProbeResult("p", model, "torch", "none", "model", "", "subject", "ok", None, Evidence("p", ended, **more))
    return Report(SCHEMA, "0", verdict, "", Environment("3.11", "python", "linux"), [probe], [])


def test_a_kept_report_says_that_it_comes_from_the_cache():
    results.store("key", report(), [__file__], [str(Path(__file__).parent)])

    assert results.load("key").cached
    assert results.load("other") is None


@pytest.mark.parametrize("change", ["file", "file gone", "folder", "config.json"])
def test_what_it_rests_on_makes_it_stale(tmp_path, change):
    folder, file, config = tmp_path / "packages", tmp_path / "packages" / "file.py", tmp_path / "model" / "config.json"
    for path in (file, config):
        path.parent.mkdir()
        path.write_text("{}")
    results.store("key", report(model=str(config.parent)), [str(file)], [str(folder)])
    assert results.load("key")

    if change == "file gone":
        file.unlink()
    elif change == "folder":
        (folder / "other.py").touch()
    else:
        (file if change == "file" else config).write_text("{ }")

    assert results.load("key") is None


@pytest.mark.parametrize(
    "made",
    [{"verdict": "error"}, {"ended": "crashed"}, {"ended": "timeout"}, {"ended": "skipped", "unfit": True}],
    ids=str,
)
def test_what_rests_on_more_than_files_is_not_kept(made):
    results.store("key", report(**made), [], [])

    assert results.load("key") is None


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b"[1]"])
def test_a_damaged_file_is_no_report(tmp_path, text):
    results.store("key", report(), [], [])
    (file,) = (tmp_path / "cache" / "results").iterdir()
    file.write_bytes(text)

    assert results.load("key") is None


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")

    results.store("key", report(), [], [])

    assert results.load("key") is None


def test_another_overlay_and_a_run_without_remedies_are_other_results(tmp_path):
    from ckptdoctor.planning.request import Request

    python = Path("python")
    keys = {
        results.key(python, None, Request()),
        results.key(python, tmp_path / "one", Request()),
        results.key(python, tmp_path / "another", Request()),
        results.key(python, None, Request(find_remedies=False)),
        results.key(python, None, Request(verify=True)),
    }
    assert len(keys) == 5
    assert results.key(python, None, Request()) in keys


@pytest.mark.parametrize("option", [{"functions": ["mine.py:checkpoint"]}, {"models": ["model"]}])
def test_a_file_of_the_same_name_in_another_folder_is_another_question(tmp_path, monkeypatch, option):
    keys = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "model").mkdir(parents=True)
        (folder / "mine.py").touch()
        monkeypatch.chdir(folder)
        keys.append(results.key(Path("python"), None, Request(options=Options(**option))))
    assert keys[0] != keys[1]


def test_a_remedy_that_could_not_be_tried_is_looked_for_anew():
    """An offline run must not tell an online one that releases could not be tried."""
    for unsearched, kept in (("", True), ("axolotl could not be tried: no network", False)):
        made = report("fail")
        made = changed(
            made, "findings", [Finding("CKPT001", "name", "error", "title", "", ["p"], unsearched=unsearched)]
        )
        results.store(f"key{kept}", made, [__file__], [str(Path(__file__).parent)])
        assert (results.load(f"key{kept}") is not None) == kept


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "UV_INDEX_URL", "UV_OFFLINE"])
def test_where_packages_come_from_is_part_of_the_question(monkeypatch, name):
    before = results.key(Path("python"), None, Request("python"))
    monkeypatch.setenv(name, "https://example.org/simple")
    assert results.key(Path("python"), None, Request("python")) != before
