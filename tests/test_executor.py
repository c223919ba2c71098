"""Where tasks run: everything is made once, nothing that goes wrong with one costs the others, and it can be ended."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import msgspec
import pytest

from ckptdoctor.errors import Interrupted, TargetError, UnobtainableError, UsageFault
from ckptdoctor.matrix import environments, executor
from ckptdoctor.matrix.combination import Base, Combination
from ckptdoctor.matrix.environments import Environments
from ckptdoctor.matrix.executor import Doing, Ended, Local, Refused, Task, at_once, perform
from ckptdoctor.model.evidence import Environment, Package
from ckptdoctor.planning.options import Options

FACTS = Environment("3.11.7", "/env/bin/python", "linux x86_64", (Package("torch", "2.13.0"), Package("peft", "0.15")))


def task(release="4.51.3"):
    one = Combination((("transformers", release), ("llamafactory", "0.9.2")))
    return Task(one.base(), (one,), Options())


class Fails(Environments):
    """Environments none of which can be made."""

    def __init__(self, error, folder=Path("/none")):
        super().__init__(Path("/none/python"), FACTS, folder)
        self.error, self.tried = error, []

    def overlay(self, base):
        self.tried.append(base)
        raise self.error


FULL = OSError(errno.ENOSPC, "No space left on device", "/cache/overlays")


@pytest.mark.parametrize(
    ("error", "why", "for_good"),
    [
        (UnobtainableError("There is no such wheel."), "There is no such wheel.", True),
        (TargetError("pypi.org cannot be reached."), "pypi.org cannot be reached.", False),
        (FULL, "/cache/overlays: No space left on device.", False),
    ],
)
def test_what_cannot_be_laid_is_told_in_a_sentence(error, why, for_good):
    told = []
    perform(task(), Fails(error), 1, threading.Event(), told.append)

    assert told[1:] == [Refused(task().base, "", why, for_good)]


def test_one_that_cannot_be_had_does_not_keep_the_others_from_being_tried():
    tasks = [task(release) for release in ("4.50.3", "4.51.3", "4.52.4")]
    local = Local(Fails(FULL), 2)
    events = list(local.run(tasks))
    local.close()

    assert {event.base for event in events if isinstance(event, Refused)} == {one.base for one in tasks}
    assert sorted(event.base for event in events if isinstance(event, Ended)) == sorted(one.base for one in tasks)
    for one in tasks:
        assert isinstance([event for event in events if event.base == one.base][-1], Ended)


def test_what_another_run_measures_is_done_last_and_its_end_is_waited_for():
    tasks = [task(release) for release in ("4.50.3", "4.51.3", "4.52.4")]
    begun, said = [], []

    def claim(one):
        if one == tasks[0] and not said:
            return None
        begun.append(one)
        return one if one != tasks[2] else msgspec.structs.replace(one, combinations=())

    local = Local(Fails(FULL), 1)
    try:
        events = []
        for event in local.run(tasks, claim):
            events.append(event)
            if isinstance(event, Doing) and event.text.startswith("waiting"):
                said.append(event.text)
    finally:
        local.close()

    assert begun == [tasks[1], tasks[2], tasks[0]]
    assert said == ["waiting for another run, which measures transformers==4.50.3"]
    assert [one.base for one in events if isinstance(one, Ended)] == [one.base for one in begun]
    # Nothing was added for the task of which nothing was left.
    assert {one.base for one in events if isinstance(one, Refused)} == {tasks[0].base, tasks[1].base}


def test_what_makes_no_sense_ends_the_run():
    local = Local(Fails(UsageFault("There is no such function.")), 2)

    with pytest.raises(UsageFault, match="no such function"):
        list(local.run([task()]))
    local.close()


def test_nothing_more_is_begun_once_it_is_closed():
    class Waits(Fails):
        def overlay(self, base):
            begun.set()
            go_on.wait(30)
            return super().overlay(base)

    begun, go_on = threading.Event(), threading.Event()
    made = Waits(FULL)
    local = Local(made, 1)
    events = local.run([task(release) for release in ("4.50.3", "4.51.3", "4.52.4")])
    next(events)
    begun.wait(30)
    closing = threading.Thread(target=local.close)
    closing.start()
    assert local._stop.wait(30)
    go_on.set()
    closing.join(30)

    assert len(made.tried) == 1


def test_as_many_at_once_as_cores_and_memory_bear(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    for memory, expected in ((float("inf"), 9), (6.5 * executor.MEMORY, 6), (0.1 * executor.MEMORY, 1)):
        monkeypatch.setattr(executor, "_available", lambda memory=memory: memory)
        assert at_once() == expected


# -- what is made once ------------------------------------------------------------------------------------------------


def test_what_many_threads_ask_for_is_made_once(tmp_path):
    made, barrier = [], threading.Barrier(8)
    with Environments(Path("/none"), FACTS, tmp_path) as asked:

        def make():
            made.append(threading.get_ident())
            time.sleep(0.1)  # long enough for the others to come
            return len(made)

        def ask():
            barrier.wait(30)
            seen.append(asked._once("key", make))

        seen = []
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    assert (len(made), seen) == (1, [1] * 8)


def test_what_cannot_be_made_is_tried_once():
    made = []

    def make():
        made.append(1)
        raise TargetError("It cannot be had.")

    with Environments(Path("/none"), FACTS, Path("/none")) as asked:
        for _ in range(3):
            with pytest.raises(TargetError, match="cannot be had"):
                asked._once("key", make)

    assert made == [1]


def test_no_warm_process_is_made_once_all_are_closed(monkeypatch):
    monkeypatch.setattr(environments, "ForkServer", lambda *_: pytest.fail("made"))
    asked = Environments(Path("/none"), FACTS, Path("/none"))
    asked.close()

    with pytest.raises(Interrupted):
        asked.fork_server(Base())


@pytest.mark.parametrize("requirement", ["peft==0.14", "PEFT>=0.13", "peft"])
def test_what_another_torch_gets_from_the_target_gives_way_to_what_is_asked_for(requirement):
    asked = Environments(Path("/none"), FACTS, Path("/none"))

    assert asked._following(Base("", "2.12.0", ("transformers==4.51.3",))) == ["peft==0.15"]
    assert asked._following(Base("", "2.12.0", (requirement,))) == []


@pytest.mark.parametrize("python", ["3.99", "no-such-python"])
def test_a_python_that_is_not_there_is_said_so_and_may_come(tmp_path, python):
    asked = Environments(Path("/none"), FACTS, tmp_path)

    with pytest.raises(TargetError, match=f"There is no Python {python} on this machine") as error:
        asked.python(Base(python))

    assert not isinstance(error.value, UnobtainableError)
    assert list((tmp_path / "environments").iterdir()) == []
