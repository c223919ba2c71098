"""The page of a map answers what ``known`` answers."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import msgspec
import pytest
from packaging.requirements import Requirement

from ckptdoctor import catalog, knowledge
from ckptdoctor.knowledge import asking
from ckptdoctor.knowledge.pairs import MODEL_LIBRARY
from ckptdoctor.output import render
from ckptdoctor.output.views.choices import FAMILY_MARK, LIBRARY_MARK, NONE, TRAINER_MARK
from tests.conftest import call
from tests.test_maps import build, data_of, readme, static_of, style


@functools.cache
def page() -> str:
    """The page of what ships."""
    ran = call("known", "--format", "html", "--offline")
    assert ran.status == 0, ran.err
    return ran.out


@functools.cache
def data() -> dict[str, Any]:
    return data_of(page())


class Reader:
    """What a page says to a question, read from its data."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._trainers = [
            "",
            *(f"{name} {one}".strip() for name, each in data["trainers"].items() for one in ("", *each)),
        ]

    def answer(
        self, library: str = "", trainer: str = "", release: str = "", family: str = "", extra: Sequence[str] = ()
    ) -> tuple[str, str, list[tuple[str, str]], list[str]]:
        """Whether it works, the summary, what works nearby with its commands, and notes."""
        data, torch = self._data, self._data["torch"]
        models = ["", *data["models"]]
        at = data["library"].index(library) + 1 if library else 0
        if not trainer and family and family not in models:
            is_there = not library or library in torch["library"]
            place = torch["library"].index(library) + 1 if library and is_there else 0
            number = torch["families"][family][place] if is_there else torch["unmeasured"]
            return *self._read(number, library, "", family), []
        [tables] = [tables for key, tables in data["tables"] if key == list(extra)]
        table = tables[models.index(family) if family in models else len(models)]
        row = self._trainers.index(f"{trainer} {release}".strip())
        known, summary, nearest = self._read(table[row][at], library, f"{trainer} {release}", family)
        return known, summary, nearest, self._notes(library, family) if library and torch else []

    def _notes(self, library: str, family: str) -> list[str]:
        torch = self._data["torch"]
        at = torch["library"].index(library) if library in torch["library"] else None
        if at is None:
            return []
        if not family:
            number = torch["remarks"][at]
            return [self._data["texts"][number]] if number != NONE else []
        if family not in torch["families"]:
            return []
        number = torch["families"][family][at + 1]
        known, [first, *_], _ = self._data["answers"][number]
        return [self._text(first, library, "", family)] if known == "fails" else []

    def _read(self, number: int, library: str, trainer: str, family: str) -> tuple[str, str, list[tuple[str, str]]]:
        known, parts, nearest = self._data["answers"][number]

        def text(at: int) -> str:
            return self._text(at, library, trainer, family)

        return known, " ".join(map(text, parts)), [(text(sentence), text(command)) for sentence, command in nearest]

    def _text(self, at: int, library: str, trainer: str, family: str) -> str:
        marks = {LIBRARY_MARK: f"{MODEL_LIBRARY} {library}", TRAINER_MARK: trainer, FAMILY_MARK: family}
        return re.sub("[\x01-\x03]", lambda match: marks[match[0]], self._data["texts"][at])


def asked_of_known(library: str = "", trainer: str = "", release: str = "", family: str = ""):
    """The same as ``known`` has it."""
    texts = [
        f"{MODEL_LIBRARY}=={library}" if library else MODEL_LIBRARY,
        f"{trainer}=={release}" if release else trainer,
    ]
    said = asking.ask([requirement(text) for text in texts if text], family)
    return said.known, said.summary, [(one.sentence, one.command) for one in said.nearest], list(said.notes)


@functools.cache
def requirement(text: str) -> Requirement:
    return Requirement(text)


def every_pair():
    axes = knowledge.load().axes
    for trainer in filter(catalog.is_trainer, axes):
        yield from ((library, trainer, release) for release, library in product(axes[trainer], axes[MODEL_LIBRARY]))


def test_the_page_answers_every_pair_as_known_does():
    reader = Reader(data()["choices"])
    for library, trainer, release in every_pair():
        assert reader.answer(library, trainer, release) == asked_of_known(library, trainer, release)


@pytest.mark.parametrize("family", ["llama", "glm", "glm4", "gemma3n_text", "cpmant", "nanochat"])
def test_the_page_answers_for_a_family_as_known_does(family):
    reader = Reader(data()["choices"])
    for library, trainer, release in list(every_pair())[:: 61 + len(family)]:
        assert reader.answer(library, trainer, release, family) == asked_of_known(library, trainer, release, family)
    for library in knowledge.load().axes[MODEL_LIBRARY][::13]:
        assert reader.answer(library, family=family)[:3] == asked_of_known(library, family=family)[:3]


def test_the_page_answers_questions_that_leave_releases_open_as_known_does():
    reader, axes = Reader(data()["choices"]), knowledge.load().axes
    for trainer in filter(catalog.is_trainer, axes):
        assert reader.answer(trainer=trainer) == asked_of_known(trainer=trainer)
        for release in axes[trainer][::3]:
            assert reader.answer("", trainer, release) == asked_of_known("", trainer, release)
        for library in axes[MODEL_LIBRARY][::11]:
            assert reader.answer(library, trainer) == asked_of_known(library, trainer)
    for library in axes[MODEL_LIBRARY][::7]:
        assert reader.answer(library) == asked_of_known(library)


def test_every_family_in_every_release_is_answered_as_known_does():
    reader, known = Reader(data()["choices"]), knowledge.load(knowledge.FAMILIES_FILE)
    for cell in known.cells[::31]:
        if cell.model not in knowledge.load().models():
            library = cell.stack[MODEL_LIBRARY]
            assert reader.answer(library, family=cell.model) == asked_of_known(library, family=cell.model)


def test_the_page_stays_small():
    assert len(page().encode()) < 500_000


def test_each_cell_of_the_page_has_the_requirements_of_exactly_its_own_release():
    requires = knowledge.load().requires
    for sheet in data()["sheets"]:
        for row in sheet["single"]["rows"]:
            trainer, _, release = row["label"].partition(" ")
            own = [one for one in requires[trainer][release] if one.startswith(MODEL_LIBRARY)]
            for number, library in zip(row["cells"], sheet["single"]["columns"], strict=True):
                if number == NONE:
                    continue
                required, (outside, _), *_ = data()["kinds"][number][6:]
                texts = [data()["words"][one] for one in required]
                assert all(text.startswith(f"{trainer} {release} requires ") for text in texts)
                admitted = [Requirement(one) for one in own if _applies(Requirement(one))]
                assert outside == (not all(one.specifier.contains(library, prereleases=True) for one in admitted))


@pytest.mark.parametrize(
    ("trainer", "release", "library", "admits"),
    [  # as these releases are published
        ("llamafactory", "0.9.2", "4.49.0", True),
        ("llamafactory", "0.9.2", "4.50.0", False),
        ("llamafactory", "0.9.3", "4.52.4", True),
        ("llamafactory", "0.9.3", "4.53.0", False),
        ("llamafactory", "0.9.5", "5.6.0", True),
        ("axolotl", "0.9.0", "4.51.3", True),
        ("axolotl", "0.9.0", "4.51.2", False),
        ("axolotl", "0.6.0", "5.24.0", True),
        ("axolotl", "0.14.0", "5.0.0", True),
        ("ms-swift", "4.6.0", "5.19.0", True),
        ("ms-swift", "4.6.0", "5.20.0", False),
    ],
)
def test_what_is_published_decides_whether_requirements_admit_a_pair(trainer, release, library, admits):
    _, summary, *_ = Reader(data()["choices"]).answer(library, trainer, release)

    assert ("Their own requirements admit it." in summary) == admits
    assert ("pip does not install them together" in summary) != admits


def test_the_line_of_time_has_what_was_measured():
    lines = re.findall(r'<li><h3>([\d.]+) <time datetime="(\d{4}-\d\d-\d\d)">', page())

    assert ("4.51.0", "2025-04-05") in lines
    assert lines[-1][0] == "5.23.0"
    assert "pass the checkpoint function <code>functools.partial</code> of a plain function instead of" in page()
    assert page().count('class="mark"') == len(knowledge.load().axes[MODEL_LIBRARY])


def test_a_map_without_dates_has_a_line_of_time_in_order():
    text = render("html", readme(), style())

    assert "in their order" in text
    assert "llamafactory 0.9.1 - 0.9.2 begin to fail (CKPT001)." in text
    assert "<time" not in text


def test_other_packages_that_were_varied_are_part_of_the_question():
    axes = {"transformers": ["4.50.3", "4.51.3"], "python": ["3.10", "3.12"], "llamafactory": ["0.9.2"]}
    found = build(axes, lambda stack, model: "fail" if stack["python"] == "3.12" else "ok")
    reader = Reader(data_of(render("html", found, style()))["choices"])

    assert reader.answer("4.51.3", "llamafactory", "0.9.2", extra=["3.10"])[0] == "works"
    assert reader.answer("4.51.3", "llamafactory", "0.9.2", extra=["3.12"])[0] == "fails"


def test_a_map_of_transformers_alone_answers_for_its_families():
    whole = knowledge.load(knowledge.FAMILIES_FILE)
    cells = [cell for cell in whole.cells if cell.model in ("ctrl", "gpt2")]
    choices = data_of(render("html", msgspec.structs.replace(whole, cells=cells), style()))["choices"]

    assert choices["trainers"] == {}
    for library in whole.axes[MODEL_LIBRARY][::9]:
        assert Reader(choices).answer(library, family="ctrl")[:3] == asked_of_known(library, family="ctrl")[:3]


def test_without_scripts_failing_cells_say_what_fails_and_what_fixes_it():
    static = static_of(page())

    assert "<span>llamafactory reads <code>__self__</code> from a callable that does not have it</span>" in static
    assert "<span>fix: llamafactory 0.9.3 or transformers 4.50.3</span>" in static
    assert "requirements forbid" in static


def _applies(one: Requirement) -> bool:
    return one.marker is None or one.marker.evaluate({"extra": "", "python_version": "3.11", "sys_platform": "linux"})
