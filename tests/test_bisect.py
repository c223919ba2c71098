"""The search for the line along an axis: where it ends, what it says, and how many runs it takes."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from ckptdoctor import knowledge
from ckptdoctor.environment.releases import Release
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.matrix import bisect
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.bisect import History
from ckptdoctor.matrix.fingerprints import Fingerprint
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.model.compatibility import SCHEMA, Cell, Map, Run
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.progress import SILENT
from ckptdoctor.planning.options import Options

TRAINER = Axis("llamafactory", (Release("llamafactory", "0.9.2"),))


class Measures:
    """What a session has for the search: it measures, and here it knows all answers beforehand."""

    def __init__(self, truth, options, requirements=()):
        self.target = Environment("3.11.7", "/env/bin/python", "linux x86_64")
        self.truth, self.options, self.requirements = truth, options, requirements
        self.asked, self.progress = [], SILENT

    @property
    def ran(self):
        return len(self.asked)

    def measure(self, combinations):
        self.asked += [one.stack["transformers"] for one in combinations]
        assert len(set(self.asked)) == len(self.asked), "run twice"
        return {one: self._run(one) for one in combinations}

    def _run(self, one):
        verdict = self.truth[one.stack["transformers"]]
        why = {"ok": "It works.", "fail": "It does not work.", "error": "It cannot be imported."}[verdict]
        return Run(one.stack, "glm4", verdict, why, packages=dict(one.stack))


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    """What is known beforehand: nothing, unless a test adds to it."""
    known = Map(SCHEMA, "0", "2026-01-01", "3.11", "2.13.0", "linux", {}, [], [])
    monkeypatch.setattr(knowledge, "load", lambda: known)
    return known


def history(verdicts, code="", **more):
    """Releases 1.0, 1.1, ... with these verdicts, ``+``, ``-`` or ``?`` each, and the code that each has if it was read."""
    words = {"+": "ok", "-": "fail", "?": "error"}
    truth = {f"1.{at}": words[one] for at, one in enumerate(verdicts)}
    fingerprints = {f"1.{at}": Fingerprint({"glm4": one}) if one != " " else None for at, one in enumerate(code)}
    axis = Axis("transformers", tuple(Release("transformers", version) for version in truth))
    options = Options(more.pop("models", ()), **more)
    measuring = Measures(truth, options)
    found = History(
        axis, [TRAINER], {"transformers": fingerprints} if code else {}, MatrixRequest([], options=options), measuring
    )
    return found, measuring


def search(verdicts, code=""):
    found, measuring = history(verdicts, code)
    ends = ("1.0", f"1.{len(verdicts) - 1}")
    good, bad = ends if verdicts[0] == "+" else reversed(ends)
    line = found.search(good, bad)
    return line, measuring, found.as_bisection([line], found.contradictions(line))


def allowed(length):
    """Runs that a binary search needs: both ends, and half of what is left each time."""
    return 2 + math.ceil(math.log2(length - 1))


def is_line(line, verdicts):
    """Whether both sides were run, are next to each other but for what cannot be diagnosed, and differ."""
    before, after = (int(release.partition(".")[2]) for release in (line.before, line.after))
    between = [f"1.{at}" for at in range(before + 1, after)]
    sides = {verdicts[before], verdicts[after]}
    return sides == {"+", "-"} and line.between == between and all(verdicts[int(one[2:])] == "?" for one in between)


@pytest.mark.parametrize("length", range(2, 65))
def test_the_line_is_found_in_no_more_runs_than_a_binary_search_needs(length):
    for at, (first, then) in itertools.product(range(1, length), ["+-", "-+"]):
        verdicts = first * at + then * (length - at)
        line, measuring, made = search(verdicts)

        assert (line.before, line.after) == (f"1.{at - 1}", f"1.{at}")
        assert line.fixes == (first == "-")
        assert (line.run_before.stack["transformers"], line.run_after.stack["transformers"]) == (
            line.before,
            line.after,
        )
        assert measuring.ran <= allowed(length)
        assert (made.runs, made.from_before, made.notes) == (measuring.ran, 0, [])
        assert set(made.measured) == set(measuring.asked)


@pytest.mark.parametrize("length", range(2, 33))
def test_what_is_read_saves_runs_and_is_made_sure_of(length):
    chance = random.Random(length)
    for at in range(1, length):
        verdicts = "+" * at + "-" * (length - at)
        for changes in (0, 2, length):  # how often the code changes without the verdict
            steps = {at, *(chance.randrange(length) for _ in range(changes))}
            code = "".join(chr(65 + sum(step <= here for step in steps)) for here in range(length))
            line, measuring, _ = search(verdicts, code)

            assert (line.before, line.after) == (f"1.{at - 1}", f"1.{at}")
            assert {line.before, line.after} <= set(measuring.asked)
            assert measuring.ran <= min(allowed(length), 2 + 2 * len(steps))


@pytest.mark.parametrize("seed", range(200))
def test_an_inference_that_is_wrong_leads_to_the_right_line_all_the_same(seed):
    chance = random.Random(seed)
    length = chance.randrange(3, 40)
    at = chance.randrange(1, length)
    verdicts = "+" * at + "-" * (length - at)
    # Some groups go across the line: what is said of half of their members is wrong.
    code = "".join(chr(65 + here // chance.choice([3, 7, 50])) for here in range(length))

    line, measuring, made = search(verdicts, code)

    assert (line.before, line.after) == (f"1.{at - 1}", f"1.{at}")
    assert {line.before, line.after} <= set(measuring.asked)
    # Once two of one fingerprint have differed, nothing is said of the others.
    for fingerprint in set(code):
        members = [f"1.{here}" for here in range(length) if code[here] == fingerprint]
        if len({measuring.truth[one] for one in members if one in made.measured}) == 2:
            assert {one for one in members if one in made.verdicts} <= set(made.measured)


@pytest.mark.parametrize("seed", range(200))
def test_releases_that_cannot_be_diagnosed_are_gone_around(seed):
    chance = random.Random(seed)
    length = chance.randrange(4, 40)
    at = chance.randrange(1, length)
    middle = "".join(chance.choice("?xx") for _ in range(length))
    verdicts = "".join(
        ("+" if here < at else "-") if here in (0, length - 1) or middle[here] == "x" else "?" for here in range(length)
    )

    line, measuring, made = search(verdicts)

    assert is_line(line, verdicts)
    assert measuring.ran <= allowed(length) + verdicts.count("?")
    assert made.notes == []


def test_nothing_between_can_be_diagnosed():
    line, _, _ = search("+????-")

    assert (line.before, line.between, line.after) == ("1.0", ["1.1", "1.2", "1.3", "1.4"], "1.5")


@pytest.mark.parametrize("seed", range(200))
def test_whatever_the_history_the_line_is_one(seed):
    chance = random.Random(seed)
    verdicts = "+" + "".join(chance.choice("+-?") for _ in range(chance.randrange(1, 30))) + "-"
    code = "".join(chance.choice("ABC ") for _ in verdicts) if seed % 2 else ""

    line, _, _ = search(verdicts, code)

    assert is_line(line, verdicts)


@pytest.mark.parametrize(
    ("verdicts", "word"), [("--", "1.0 is not good"), ("++", "1.1 is not bad"), ("--------", "1.0 is not good")]
)
def test_ends_that_are_not_what_they_are_said_to_be(verdicts, word):
    found, _ = history(verdicts)

    with pytest.raises(UsageFault, match=word) as fault:
        found.search("1.0", f"1.{len(verdicts) - 1}")

    assert "--good" in fault.value.hint


@pytest.mark.parametrize(("verdicts", "which"), [("?-", "1.0"), ("+?", "1.1")])
def test_ends_that_cannot_be_diagnosed(verdicts, which):
    found, _ = history(verdicts)

    with pytest.raises(TargetError, match=f"{which} cannot be diagnosed: It cannot be imported"):
        found.search("1.0", "1.1")


def test_a_history_that_is_read_to_be_not_monotonic_is_said_to_be():
    # The code of 1.1 to 1.3 is that of the bad end, before the line that the search comes to first.
    found, _ = history("+---+++-", "ABBBAAAB")
    line = found.search("1.0", "1.7")
    made = found.as_bisection([line], found.contradictions(line))

    assert is_line(line, "+---+++-")
    (note,) = made.notes
    assert note.startswith("The history is not monotonic: transformers 1.")


def cell(release, verdict, **more):
    return Cell({"transformers": release, "llamafactory": "0.9.2", **more}, "glm4", verdict, "measured", 0)


@pytest.mark.parametrize(
    ("known", "options", "said"),
    [
        (cell("1.1", "fail"), {}, True),
        (cell("1.1", "fail"), {"engines": ["none"]}, True),
        (cell("1.1", "ok"), {}, False),
        (cell("1.1", "error"), {}, False),
        (cell("1.1", "fail", deepspeed="0.16.4"), {}, False),
        (cell("1.1", "fail"), {"functions": ["torch"]}, False),
        (cell("1.1", "fail"), {"engines": ["zero3"]}, False),
        (cell("1.1", "fail"), {"models": ["llama"]}, False),
    ],
)
def test_what_is_shipped_contradicts_only_where_it_is_about_the_same(shipped, known, options, said):
    shipped.cells.append(known)
    found, _ = history("++++----", **options)

    line = found.search("1.0", "1.7")

    assert bool(found.contradictions(line)) == said


# -- all lines --------------------------------------------------------------------------------------------------------


def all_lines(verdicts, code=""):
    found, measuring = history(verdicts, code)
    lines = found.all_lines()
    return [(line.before, line.after) for line in lines], measuring, found.as_bisection(lines, [])


@pytest.mark.parametrize(
    ("verdicts", "lines"),
    [
        ("++--", [("1.1", "1.2")]),
        ("--++", [("1.1", "1.2")]),
        ("+-+-", [("1.0", "1.1"), ("1.1", "1.2"), ("1.2", "1.3")]),
        ("++?--", [("1.1", "1.3")]),
        ("+?+", []),
        ("++++", []),
        ("????", []),
    ],
)
@pytest.mark.parametrize("code", [False, True])
def test_all_lines_are_found(verdicts, lines, code):
    found, _, made = all_lines(verdicts, verdicts.replace("?", " ") if code else "")

    assert found == lines
    assert bool(made.notes) == (len(lines) > 1)
    if made.notes:
        assert made.notes == [f"The history is not monotonic: the verdict changes {len(lines)} times."]


def test_only_one_of_each_kind_and_both_sides_of_each_line_are_run():
    verdicts = "+" * 20 + "-" * 20 + "+" * 20
    found, measuring, made = all_lines(verdicts, "A" * 20 + "B" * 20 + "C" * 20)

    assert found == [("1.19", "1.20"), ("1.39", "1.40")]
    assert measuring.ran <= 3 + 4
    assert len(made.verdicts) == 60


@pytest.mark.parametrize("seed", range(100))
def test_all_lines_have_two_measured_sides_whatever_is_inferred(seed):
    chance = random.Random(seed)
    verdicts = "".join(chance.choice("+-?") for _ in range(chance.randrange(2, 25)))
    code = "".join(chance.choice("ABC ") for _ in verdicts)
    found, measuring = history(verdicts, code)

    for line in found.all_lines():
        assert {line.before, line.after} <= set(measuring.asked)
        assert line.run_before.verdict != line.run_after.verdict


# -- what is asked for ------------------------------------------------------------------------------------------------


def axis(*versions, name="transformers"):
    return Axis(name, tuple(Release(name, version) for version in versions))


def test_the_axis_goes_from_the_one_release_to_the_other():
    whole = axis("4.49.0", "4.50.0", "4.51.0", "4.52.0")

    assert bisect._between(whole, "4.50.0", "4.51.0") == bisect._between(whole, "4.51.0", "4.50.0")
    assert bisect._between(whole, "4.50.0", "4.51.0") == axis("4.50.0", "4.51.0")
    with pytest.raises(UsageFault, match="the same"):
        bisect._between(whole, "4.50.0", "4.50.0")


def test_a_release_may_be_written_shorter():
    assert bisect._there(axis("4.50.0", "4.51.0"), "4.51") == "4.51.0"


def test_a_run_has_one_trainer():
    bisect._require_one_trainer(axis("4.51.0"), [TRAINER])
    with pytest.raises(UsageFault, match="one trainer, not axolotl and llamafactory"):
        bisect._require_one_trainer(axis("0.8.1", name="axolotl"), [TRAINER])
    with pytest.raises(UsageFault, match="both varied and added"):
        bisect._require_one_trainer(axis("0.9.2", name="llamafactory"), [TRAINER])
