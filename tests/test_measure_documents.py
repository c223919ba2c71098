"""What the documents say of the map is what the map says."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner

from ckptdoctor import knowledge, measure, measure_documents
from ckptdoctor.environment.releases import File, Release
from ckptdoctor.knowledge import layers, packed
from ckptdoctor.measure_documents import LANGUAGES, Verdicts, facts, table
from tests.test_extending import cache, measured_here  # noqa: F401 - a fixture

ROOT = Path(__file__).parent.parent


def test_the_documents_are_as_they_are_written_from_the_shipped_map():
    for file, text in measure_documents.written(ROOT).items():
        assert file.read_text(encoding="utf-8") == text, f"{file.name}: python -m ckptdoctor.measure_documents"


def with_newest(verdict, release="98.0.0"):
    """The shipped map with a release of transformers that behaves like the newest, or works with all."""
    whole = knowledge.shipped()
    newest = whole.axes["transformers"][-1]
    made = layers.part(whole, [cell for cell in whole.cells if cell.stack["transformers"] == newest])
    runs, cells = [], []
    for cell in made.cells:
        run = made.run_of(cell)
        stack = {**cell.stack, "transformers": release}
        runs.append(msgspec.structs.replace(run, stack=stack, verdict=verdict or run.verdict, date="2030-01-01"))
        cells.append(
            msgspec.structs.replace(cell, stack=stack, verdict=runs[-1].verdict, run=len(runs) - 1, how="measured")
        )
    axes = {**made.axes, "transformers": [release]}
    return layers.together(whole, msgspec.structs.replace(made, axes=axes, runs=runs, cells=cells))


def test_a_new_release_that_fails_too_extends_the_last_row():
    old, new = (table(Verdicts(one), LANGUAGES[0]).splitlines() for one in (knowledge.shipped(), with_newest("")))

    assert new[:-1] == old[:-1]
    assert new[-1].startswith("| 5.23.0 to 98.0.0 |")


def test_a_new_release_that_works_gets_a_row_and_the_facts_say_so():
    made = Verdicts(with_newest("ok"))

    assert table(made, LANGUAGES[0]).splitlines()[-1].startswith("| 98.0.0 |")
    assert table(made, LANGUAGES[0]).splitlines()[-1].endswith("| works | works | works | works |")
    assert "with 5.23.0 and 5.24.0, works with 98.0.0." in "\n".join(facts(made))
    assert "last measured on 2030-01-01" in "\n".join(facts(made))


def test_a_document_without_the_place_is_an_error(tmp_path):
    for name in ("README.md", "README_zh.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "facts.md").write_text("# Facts\n")
    with pytest.raises(ValueError, match=r"facts\.md has 0 places"):
        measure_documents.written(tmp_path)


def test_what_was_measured_here_becomes_a_part_of_what_ships(cache, tmp_path, monkeypatch):  # noqa: F811
    for file in (knowledge.TRAINERS_FILE, knowledge.FAMILIES_FILE):
        shutil.copy(knowledge.FOLDER / file, tmp_path)
    layers.keep(knowledge.TRAINERS_FILE, measured_here())
    before = knowledge.shipped()
    monkeypatch.setattr(knowledge, "FOLDER", tmp_path)
    monkeypatch.setattr(measure_documents, "main", lambda: None)
    came = Release("transformers", "99.0.0", (File("a", "b", is_wheel=True, uploaded="2027-01-01"),))
    monkeypatch.setattr(measure, "index", lambda: nullcontext(SimpleNamespace(releases=lambda _: [came])))
    monkeypatch.setattr(measure.released_files, "complete", lambda made, _: made)

    ran = CliRunner().invoke(measure.main, ["--take-in"])

    assert ran.exit_code == 0, ran.output
    made = packed.read(tmp_path / knowledge.TRAINERS_FILE)
    assert len(made.cells) == len(before.cells) + 3
    assert made.axes["transformers"] == [*before.axes["transformers"], "99.0.0"]
    assert not any(run.here for run in made.runs)
    assert made.date == "2027-01-02"
    assert made.released["transformers"]["99.0.0"] == "2027-01-01"
    assert made.released["transformers"]["4.51.0"] == before.released["transformers"]["4.51.0"]
    knowledge.shipped.cache_clear()


def test_to_measure_takes_a_python_and_to_take_in_takes_none():
    for arguments in ([], ["--take-in", "--python", "python"]):
        assert CliRunner().invoke(measure.main, arguments).exit_code == 2
