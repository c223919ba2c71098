"""``ckptdoctor known`` with a question: does this work together?"""

from __future__ import annotations

import json

import msgspec
import pytest
from packaging.requirements import Requirement

from ckptdoctor import knowledge
from ckptdoctor.knowledge import answering, asking
from ckptdoctor.knowledge.pairs import Pairs
from tests.conftest import run


def answer(*words):
    ran = run("known", "--format", "json", *words)
    return ran.status, json.loads(ran.out)


@pytest.mark.parametrize(
    ("words", "status", "known"),
    [
        (["llamafactory==0.9.3", "transformers==4.51.3"], 0, "works"),
        (["llamafactory==0.9.2", "transformers==4.51.3"], 1, "fails"),
        (["LLaMA-Factory==0.9.2", "Transformers==4.51.3"], 1, "fails"),
        (["llamafactory>=0.9.2,<0.9.4", "transformers==4.51.3"], 1, "some work"),
        (["llamafactory==0.9.2"], 1, "some work"),
        (["llamafactory", "0.9.2", "transformers@4.51.3"], 1, "fails"),
        (["llamafactory=0.9.3", "transformers 4.51.3"], 0, "works"),
        (["llamafactory==99", "transformers==4.51.3"], 3, "not known"),
    ],
)
def test_a_question_has_its_answer_and_status(words, status, known):
    ended, found = answer(*words)

    assert (ended, found["known"]) == (status, known)


def test_the_answer_is_the_maps_for_every_pair():
    known = knowledge.load()
    cells = [cell for cell in known.cells if "llamafactory" in cell.stack]
    _, found = answer("llamafactory", "transformers>=0")

    works = {(one["release"], one["transformers"]): one["works"] for one in found["pairs"]}
    for cell in cells:
        if cell.verdict == "fail":
            assert works[cell.stack["llamafactory"], cell.stack["transformers"]] is False
    assert set(works.values()) == {True, False}


def test_a_pair_that_fails_comes_with_the_nearest_that_works_and_what_its_releases_require():
    _, found = answer("llamafactory==0.9.2", "transformers==4.51.3")

    assert "pip install --no-deps 'llamafactory==0.9.3'" in [one["command"] for one in found["nearest"]]
    assert found["pairs"][0]["rules"] == ["CKPT001"]
    assert "pip does not install them together" in found["summary"]


def test_a_file_and_what_pip_prints_are_read(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(
        "# mine\n-c other.txt\nllamafactory==0.9.2 ; python_version > '3'\ntransformers==4.51.3  # pinned\n???\n"
    )

    by_file = run("known", "-r", str(file))

    assert by_file.status == 1
    assert "FAILS  llamafactory 0.9.2 with transformers 4.51.3 fails (CKPT001)" in by_file.out
    assert "1 line could not be read" in by_file.out


def test_lines_of_pip_freeze_without_a_release_are_named():
    lines = ["llamafactory @ file:///home/me/llamafactory", "transformers==4.51.3", "numpy==2.0"]
    found = asking.ask(asking.requirements_in(lines)[0])

    assert any("comes from a URL or a folder" in note for note in found.notes)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["numpy==1", "pandas==2"], "None of these packages was measured"),
        (["llamafactory==0.9.2", "a b c"], "is not a requirement"),
        (["-r", "nowhere.txt"], "cannot be read"),
        (["--format", "html", "llamafactory==0.9.2", "transformers"], "not answered as html"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run("known", *words)

    assert ran.status == 2
    assert says in ran.err


def test_a_package_alone_is_still_its_map():
    assert "llamafactory" in run("known", "llamafactory").out


def summary_of(*words):
    return answer(*words)[1]["summary"]


def test_what_fails_and_what_trains_is_said_in_plain_sentences():
    said = summary_of("llamafactory==0.9.2", "transformers==4.51.3")

    assert "What fails: llamafactory reads `__self__` from a callable that does not have it." in said
    assert "Functions that train: torch:non-reentrant and torch:reentrant." in said


def test_only_the_families_that_a_pair_was_measured_with_are_named():
    assert "This is known for llama and glm, without an engine such as DeepSpeed; it says nothing of" in summary_of(
        "llamafactory==0.9.2", "transformers==4.50.3"
    )
    assert "llama, glm and glm4, but not every pair for glm4, without" in summary_of(
        "llamafactory==0.9.2", "transformers>=4.50,<=4.51.3"
    )


def test_a_release_that_some_family_lacks_has_its_nearest_too():
    _, found = answer("llamafactory==0.9.2", "transformers==4.51.0")

    assert [one["command"] for one in found["nearest"]] == [
        "pip install --no-deps 'llamafactory==0.9.3'",
        "pip install 'transformers==4.50.3'",
        "pip install 'transformers==4.49.0'",
    ]
    assert ["pip warns of it" in one["sentence"] for one in found["nearest"]] == [False, True, False]


def test_requirements_that_are_not_known_admit_nothing():
    known = msgspec.structs.replace(knowledge.load(), requires={})
    exact = {"llamafactory": "0.9.3", "transformers": "4.51.3"}
    said = answering.of_releases(Pairs(known), {name: [one] for name, one in exact.items()}, exact, "")

    assert "What llamafactory 0.9.3 requires is not known." in said.summary


def test_a_pair_without_a_verdict_says_why():
    known = knowledge.load()
    exact = {"llamafactory": "0.9.3", "transformers": "4.51.3"}
    cell = next(known.matching(exact))
    lost = msgspec.structs.replace(
        known,
        cells=[msgspec.structs.replace(cell, verdict="error")],
        runs=[msgspec.structs.replace(one, summary="It cannot be imported.") for one in known.runs],
    )
    said = answering.of_releases(Pairs(lost), {name: [one] for name, one in exact.items()}, exact, "")

    assert said.known == "not known"
    assert said.summary.startswith(
        "llamafactory 0.9.3 with transformers 4.51.3 was tried and could not be diagnosed: It cannot be imported."
    )


def test_a_family_that_was_not_measured_is_told_so_first():
    said = summary_of("llamafactory==0.9.5", "transformers==5.22.2", "--model", "qwen3")

    assert said.startswith(
        "qwen3 was not measured with a trainer; other families: llamafactory 0.9.5 with transformers"
    )


@pytest.mark.parametrize("transformers", ["5.22.2", "5.23.0"])
def test_what_other_families_do_is_no_verdict_on_one_that_was_not_measured(transformers):
    requirements = [Requirement("llamafactory==0.9.5"), Requirement(f"transformers=={transformers}")]

    assert asking.ask(requirements, "llama").known != "not known"
    assert asking.ask(requirements, "qwen3").known == "not known"


def test_a_family_that_no_trainer_was_measured_with_in_a_release_is_named():
    said = summary_of("llamafactory==0.9.4", "transformers==4.45.2", "--model", "glm4")

    assert said.endswith("glm4 was not measured in transformers 4.45.2 with any trainer: that release may lack it.")
