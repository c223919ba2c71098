"""A run of many combinations, with an executor that answers at once: what is run, kept, judged, and never twice."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from ckptdoctor.environment.releases import Release
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.combination import combine
from ckptdoctor.matrix.executor import Doing, Ended, Looked, Probed, Refused, TrainerAdded
from ckptdoctor.matrix.executor import _specs as wanted
from ckptdoctor.matrix.fingerprints import Fingerprint
from ckptdoctor.matrix.measuring import Measuring
from ckptdoctor.matrix.questions import Trainer
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.run import Work
from ckptdoctor.matrix.store import Store, key
from ckptdoctor.model.compatibility import Run
from ckptdoctor.model.evidence import Environment, Package
from ckptdoctor.model.progress import Progress
from ckptdoctor.planning.options import Options
from tests.test_claims import Holder, held
from tests.test_findings import raised, sound

TARGET = Environment("3.11.7", "/env/bin/python", "linux x86_64", (Package("torch", "2.13.0"),), ("torch",))
AXES = {"transformers": ["4.50.3", "4.51.3"], "llamafactory": ["0.9.2", "0.9.3"]}
FAILS = {("4.51.3", "0.9.2")}


class Answers:
    """An executor that knows all answers, and tells what it was asked."""

    def __init__(self, **more):
        self.refused, self.ended, self.lost, self.dies_after, self.fails = {}, {}, set(), None, FAILS
        self.__dict__.update(more)
        self.probed = Counter()
        self.closed = False

    def run(self, tasks, claim):
        for waiting in tasks:
            while (task := claim(waiting)) is None:
                yield Doing(waiting.base, "waiting")
            if task.combinations:
                yield Doing(task.base, "preparing")
                yield from self._perform(task)
            yield Ended(task.base)

    def _perform(self, task):
        name, release = task.base.requirements[0].split("==")
        if (name, release) in self.refused:
            yield Refused(task.base, "", *self.refused[name, release])
            return
        packages = (*TARGET.packages, Package("transformers", release))
        facts = msgspec.structs.replace(TARGET, packages=packages, stack=("torch", "transformers"), families=("glm4",))
        yield Looked(task.base, facts)
        trainers = {}
        for requirement in {combination.trainer_requirement for combination in task.combinations}:
            trainer, version = requirement.split("==")
            if (trainer, version) in self.refused:
                yield Refused(task.base, requirement, *self.refused[trainer, version])
            else:
                trainers[requirement] = Trainer(trainer, version, [trainer])
                yield TrainerAdded(task.base, requirement, trainers[requirement])
        for spec in wanted(task, facts, trainers):
            if spec.id not in self.lost:
                yield self._probe(task, spec, release)

    def _probe(self, task, spec, release):
        if self.dies_after is not None and self.probed.total() >= self.dies_after:
            raise KeyboardInterrupt
        name = f"{release}: {spec.id}"
        self.probed[name] += 1
        made = raised(spec) if (release, spec.added.partition("==")[2]) in self.fails else sound(spec)
        return Probed(task.base, msgspec.structs.replace(made, ended=self.ended.get(name, made.ended)))

    def notes(self):
        return []

    def close(self):
        self.closed = True


class Watches(Progress):
    def __init__(self, told=None):
        self.total, self.ended, self.texts, self.told = 0, [], [], told

    def begins(self, total, what):
        assert what == "combination"
        self.total += total

    def __call__(self, text):
        self.texts.append(text)
        if self.told:
            self.told(text)

    def done(self, verdict=""):
        self.ended.append(verdict)


@pytest.fixture
def measure(tmp_path):
    """Measure all combinations of some axes; what came of it, and the session."""

    def measured(executor, axes=AXES, **more):
        with Store(tmp_path / "store") as store, Measuring(TARGET, Options(), store, executor, **more) as session:
            runs = session.measure(combine(axes))
            return {tuple(run.stack.values()): run for run in runs.values()}, session

    return measured


def verdicts(runs):
    return {stack: run.verdict for stack, run in runs.items()}


EXPECTED = {
    ("4.50.3", "0.9.2"): "ok",
    ("4.50.3", "0.9.3"): "ok",
    ("4.51.3", "0.9.2"): "fail",
    ("4.51.3", "0.9.3"): "ok",
}


def test_every_combination_is_judged_and_every_probe_run_once(measure):
    executor, progress = Answers(), Watches()
    runs, session = measure(executor, progress=progress)

    assert verdicts(runs) == EXPECTED
    assert [fault.rule for fault in runs["4.51.3", "0.9.2"].faults] == ["CKPT001"]
    assert set(executor.probed.values()) == {1}
    # Beside one for each trainer's release there are three that all share: without checkpointing, and torch's two.
    assert len(executor.probed) == 2 * (3 + 2)
    assert (progress.total, len(progress.ended), session.ran) == (4, 4, 4)
    assert executor.closed


def test_it_is_told_how_many_probes_of_how_many_have_ended(measure):
    class Counts(Answers):
        def _perform(self, task):
            yield Doing(task.base, "with it", 4)
            yield from super()._perform(task)

    measure(Counts(), progress=(progress := Watches()))

    told = [text for text in progress.texts if text.endswith("with it")]
    assert told[:3] == ["0 of 4 probes with it", "1 of 4 probes with it", "2 of 4 probes with it"]


def test_what_is_known_is_not_run_again(measure):
    first, _ = measure(Answers())
    again = Answers()
    second, session = measure(again, progress=(progress := Watches()))

    assert second == first
    assert (again.probed.total(), session.ran, progress.total) == (0, 0, 0)


@pytest.mark.parametrize("after", range(10))
def test_a_run_that_was_cut_off_goes_on_where_it_was(measure, after):
    cut = Answers(dies_after=after)
    with pytest.raises(KeyboardInterrupt):
        measure(cut)
    rest = Answers()
    runs, _ = measure(rest)

    assert cut.closed
    assert verdicts(runs) == EXPECTED
    assert cut.probed.total() == after
    assert cut.probed + rest.probed == Counter(dict.fromkeys(cut.probed + rest.probed, 1))
    assert (cut.probed + rest.probed).total() == 10


def test_what_was_found_out_keeps_its_date_when_a_run_goes_on(measure, tmp_path):
    def rows():
        with Store(tmp_path / "store") as store:
            return store._database.execute("SELECT base, item, made, body FROM results").fetchall()

    with pytest.raises(KeyboardInterrupt):
        measure(Answers(dies_after=4))
    with Store(tmp_path / "store") as store:
        store._database.execute("UPDATE results SET made = '2001-01-01T00:00:00+00:00'")
    before = rows()
    measure(Answers())

    assert set(before) < set(rows())


def test_asked_to_run_again_it_runs_what_is_asked_again_and_leaves_the_rest(measure):
    measure(Answers())
    again = Answers(fails=set())
    runs, _ = measure(again, {**AXES, "llamafactory": ["0.9.2"]}, refresh=True)
    assert verdicts(runs) == {("4.50.3", "0.9.2"): "ok", ("4.51.3", "0.9.2"): "ok"}
    assert len(again.probed) == 2 * (3 + 1)

    last = Answers()
    runs, _ = measure(last)

    assert set(verdicts(runs).values()) == {"ok"}
    assert last.probed.total() == 0


@pytest.mark.parametrize("ended", ["crashed", "timeout"])
def test_what_may_be_the_machines_doing_is_a_result_today_and_tried_again_tomorrow(measure, ended):
    name = "4.51.3: glm4/llamafactory/none/llamafactory==0.9.3"
    runs, _ = measure(Answers(ended={name: ended}))
    assert verdicts(runs) != EXPECTED
    assert runs["4.51.3", "0.9.3"].date

    again = Answers()
    runs, _ = measure(again)

    assert verdicts(runs) == EXPECTED
    assert again.probed == {name: 1}


@pytest.mark.parametrize("ended", ["crashed", "timeout"])
def test_such_a_result_ends_what_was_known_before(measure, ended):
    measure(Answers())
    name = "4.51.3: glm4/llamafactory/none/llamafactory==0.9.3"
    measure(Answers(ended={name: ended}), refresh=True)

    again = Answers()
    measure(again)

    assert again.probed == {name: 1}


@pytest.mark.parametrize("for_good", [True, False])
@pytest.mark.parametrize("what", [("transformers", "4.51.3"), ("llamafactory", "0.9.3")])
def test_what_cannot_be_had_is_a_result_of_its_own(measure, what, for_good):
    runs, _ = measure(Answers(refused={what: ("There is no such wheel.", for_good)}))
    errors = {stack for stack, run in runs.items() if run.verdict == "error"}
    assert errors == {stack for stack in EXPECTED if what[1] in stack}
    assert {runs[stack].summary for stack in errors} == {"There is no such wheel."}
    assert all(runs[stack].date for stack in errors)
    assert verdicts(runs).items() >= {stack: one for stack, one in EXPECTED.items() if stack not in errors}.items()

    again = Answers()
    runs, _ = measure(again)

    if for_good:
        assert again.probed.total() == 0
        assert {runs[stack].summary for stack in errors} == {"There is no such wheel."}
    else:
        assert verdicts(runs) == EXPECTED


@pytest.fixture
def another_run(tmp_path):
    """Another process, which is measuring all that ``AXES`` has."""
    keys = {key(one.base(), TARGET, Options()) for one in combine(AXES)}
    with held(tmp_path / "store", *keys) as holder:
        yield holder


def test_what_another_run_is_measuring_is_waited_for_and_used(measure, another_run, tmp_path):
    said = []

    def told(text):
        said.append(text)
        if len(said) == 3:  # the other run ends with all that it was asked
            with Store(tmp_path / "elsewhere") as elsewhere:
                with Measuring(TARGET, Options(), elsewhere, Answers()) as session:
                    session.measure(combine(AXES))
                found = elsewhere._database.execute("SELECT * FROM results").fetchall()
            with Store(tmp_path / "store") as store:
                store._database.executemany("INSERT INTO results VALUES (?, ?, ?, ?, ?)", found)
            another_run.kill()

    executor, progress = Answers(), Watches(told)
    runs, session = measure(executor, progress=progress)

    assert verdicts(runs) == EXPECTED
    assert set(said) == {"waiting"}
    assert (executor.probed.total(), session.ran) == (0, 0)
    assert (progress.total, len(progress.ended)) == (4, 4)


@pytest.mark.parametrize("refresh", [True, False])
def test_what_another_run_did_not_end_is_run(measure, another_run, refresh):
    executor = Answers()
    runs, session = measure(executor, progress=Watches(lambda _: another_run.kill()), refresh=refresh)

    assert verdicts(runs) == EXPECTED
    assert (executor.probed.total(), session.ran) == (10, 4)


def test_what_is_known_is_had_while_another_run_measures(measure, another_run, tmp_path):
    another_run.kill()
    measure(Answers())
    keys = {key(one.base(), TARGET, Options()) for one in combine(AXES)}
    with held(tmp_path / "store", *keys):
        runs, _ = measure(Answers())

    assert verdicts(runs) == EXPECTED


def test_a_run_lets_go_of_what_it_has_measured(measure, tmp_path):
    keys = {key(one.base(), TARGET, Options()) for one in combine(AXES)}
    executor = Answers()

    def told(_):
        if executor.probed.total() == 5:  # the first base is done, the second begins
            other = Holder(tmp_path / "store", *keys)
            other.kill()
            seen.append(sorted(other.taken))

    seen = []
    measure(executor, progress=Watches(told))

    assert seen == [["False", "True"]]


def test_a_probe_that_gets_lost_leaves_no_hole(measure):
    runs, _ = measure(Answers(lost={"glm4/llamafactory/none/llamafactory==0.9.3"}))

    assert [stack for stack, run in runs.items() if run.verdict == "error"] == [
        ("4.50.3", "0.9.3"),
        ("4.51.3", "0.9.3"),
    ]
    assert verdicts(measure(Answers())[0]) == EXPECTED


def work(tmp_path, executor, page_count=None, fingerprints=None, **more):
    axes = [Axis(name, tuple(Release(name, version) for version in versions)) for name, versions in AXES.items()]
    with Store(tmp_path / "store") as store, Measuring(TARGET, Options(), store, executor) as session:
        if page_count:
            store._database.execute(f"PRAGMA max_page_count = {page_count}")
        made = Work(axes, fingerprints or {}, MatrixRequest([], **more), session)
        made.run()
        return made.as_map()


def test_the_map_has_a_measured_cell_for_every_combination(tmp_path):
    made = work(tmp_path, Answers())

    assert {tuple(cell.stack.values()): cell.verdict for cell in made.cells} == EXPECTED
    assert {cell.how for cell in made.cells} == {"measured"}
    assert all(isinstance(made.run_of(cell), Run) and made.run_of(cell).stack == cell.stack for cell in made.cells)


def test_the_map_has_what_wheels_say_of_releases_that_were_not_laid(tmp_path):
    alike = {
        "0.9.2": Fingerprint({"llamafactory": "x"}, requires=("transformers<=4.50.3", "rich")),
        "0.9.3": Fingerprint({"llamafactory": "x"}, requires=("transformers>=4.51",)),
    }
    made = work(tmp_path, Answers(), fingerprints={"llamafactory": alike})

    # What was installed says by itself that it requires nothing.
    assert made.requires == {"llamafactory": {"0.9.2": ["transformers<=4.50.3"], "0.9.3": []}}
    assert [tuple(cell.stack.values()) for cell in made.cells if cell.unmet] == [("4.51.3", "0.9.2")]


def test_the_map_says_that_results_could_not_be_kept(tmp_path):
    made = work(tmp_path, Answers(), page_count=2)

    assert {tuple(cell.stack.values()): cell.verdict for cell in made.cells} == EXPECTED
    (note,) = made.notes
    assert str(tmp_path / "store") in note
    assert "full" in note
