"""One fork server from which workers are forked: they see their own packages, and one that dies takes no other along."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress

import psutil
import pytest

from ckptdoctor import catalog
from ckptdoctor.environment.fork_server import Forked, ForkServer
from ckptdoctor.environment.process import Process
from ckptdoctor.environment.session import Session
from ckptdoctor.errors import Interrupted
from ckptdoctor.model.evidence import Spec
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED
from ckptdoctor.planning.options import OWN_MODEL
from tests.real.test_robust import WORKS, processes, wait_until

pytestmark = pytest.mark.real

GOOD, MINE = "torch:non-reentrant", "mine_of_the_overlay:f"


@pytest.fixture
def own_tmp(tmp_path, monkeypatch):
    """A folder for temporary files of the run, under which its processes work."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def fork_server(torch_python, cache, own_tmp):
    with ForkServer(torch_python, cache) as made:
        yield made
    assert list(own_tmp.iterdir()) == []
    assert wait_until(lambda: not processes(own_tmp), 3), processes(own_tmp)


def overlay(folder, before="pass", release="9.9"):
    """A folder of packages with a checkpoint function of its own, which does something before it does its work."""
    (folder / "mine_of_the_overlay-1.dist-info").mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: mine-of-the-overlay\nVersion: {release}\n"
    (folder / "mine_of_the_overlay-1.dist-info" / "METADATA").write_text(metadata)
    (folder / "mine_of_the_overlay.py").write_text(WORKS.replace("{before}", before))
    return folder


@pytest.fixture
def examine(torch_python, cache, fork_server):
    """Open a session on a fork server, and run probes in it."""
    opened = []

    def made(folder, on=fork_server, **more):
        session = Session(torch_python, folder, 2, cache, fork_server=on, **more)
        opened.append(session)
        return session

    yield made
    for session in opened:
        session.__exit__(None, None, None)


def specs(*functions):
    return {WITHOUT_DEEPSPEED: [Spec(OWN_MODEL, function, convention="partial-bound") for function in functions]}


def run(session, *functions):
    return {one.id.split("/")[1]: one for one in session.examine(specs(*functions))}


def is_dead(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def is_forked(session):
    return isinstance(session.workers[WITHOUT_DEEPSPEED]._process, Forked)


def test_each_worker_sees_its_own_overlay(examine, tmp_path):
    sessions = {release: examine(overlay(tmp_path / release, release=release)) for release in ("1.0", "2.0")}

    for release, session in sessions.items():
        assert session.look().version("mine-of-the-overlay") == release
        assert is_forked(session)
        found = run(session, MINE, GOOD)
        assert {one.ended for one in found.values()} == {"returned"}
        assert found[MINE].loaded.place.file == str(tmp_path / release / "mine_of_the_overlay.py")


def test_a_worker_that_dies_is_reported_and_the_others_go_on(examine, tmp_path):
    kills = examine(overlay(tmp_path / "kills", "import os; os.kill(os.getppid(), 9)"))
    other = examine(overlay(tmp_path / "other"))
    other.look()
    others = threading.Thread(target=lambda: results.update(run(other, MINE, GOOD)))
    results = {}
    others.start()
    found = run(kills, GOOD, MINE, "none")
    others.join(120)

    assert (found[MINE].ended, "SIGKILL" in found[MINE].why) == ("crashed", True)
    assert {found[name].ended for name in (GOOD, "none")} == {"returned"}
    # Where the one that kills came to an end last, there was nothing more to open a worker for.
    assert WITHOUT_DEEPSPEED not in kills.workers or is_forked(kills)
    assert {name: one.ended for name, one in results.items()} == {MINE: "returned", GOOD: "returned"}


def test_a_probe_that_dies_in_a_forked_worker_says_how(examine, tmp_path):
    found = run(examine(overlay(tmp_path / "overlay", "import os; os.kill(os.getpid(), 11)")), MINE)

    assert found[MINE].ended == "crashed"
    assert "SIGSEGV" in found[MINE].why


def test_a_fork_server_that_dies_is_done_without(examine, fork_server, tmp_path):
    first = examine(overlay(tmp_path / "first"))
    assert run(first, MINE)[MINE].ended == "returned"
    assert is_forked(first)

    os.kill(fork_server._process.pid, signal.SIGKILL)
    fork_server._process.wait(60)
    assert wait_until(lambda: is_dead(first.workers[WITHOUT_DEEPSPEED]._process.pid), 60)

    second = examine(overlay(tmp_path / "second"))
    for session in (first, second):
        found = run(session, MINE, GOOD)
        assert {one.ended for one in found.values()} == {"returned"}
    assert not is_forked(second)


def test_a_fork_server_that_dies_while_workers_are_at_work_costs_no_result(examine, fork_server, tmp_path):
    marker = tmp_path / "marker"
    before = f"import os, time; os.path.exists({str(marker)!r}) or (open({str(marker)!r}, 'w').close(), time.sleep(2))"
    session = examine(overlay(tmp_path / "overlay", before))
    results = {}
    thread = threading.Thread(target=lambda: results.update(run(session, MINE, GOOD)))
    thread.start()
    assert wait_until(marker.exists, 120)
    os.kill(fork_server._process.pid, signal.SIGKILL)
    thread.join(120)

    assert {name: one.ended for name, one in results.items()} == {MINE: "returned", GOOD: "returned"}


def test_an_overlay_with_what_is_imported_already_gets_a_fresh_interpreter(
    examine, fork_server, torch_python, tmp_path
):
    folder = overlay(tmp_path / "overlay", "import typing_extensions; assert typing_extensions.OF_THE_OVERLAY")
    assert fork_server.suits(folder)
    where = "import typing_extensions; print(typing_extensions.__file__)"
    done = subprocess.run([torch_python, "-c", where], capture_output=True, text=True, check=True)
    other = overlay(tmp_path / "other", "import typing_extensions; assert typing_extensions.OF_THE_OVERLAY")
    shutil.copy(done.stdout.strip(), other)
    with (other / "typing_extensions.py").open("a") as file:
        file.write("\nOF_THE_OVERLAY = True\n")
    assert not fork_server.suits(other)

    session = examine(other)

    assert run(session, MINE)[MINE].ended == "returned"
    assert not is_forked(session)
    assert run(examine(folder), MINE)[MINE].ended == "raised"


def test_what_is_stopped_ends_and_leaves_no_process(examine, fork_server, own_tmp, tmp_path):
    marker, stop = tmp_path / "hangs", threading.Event()
    hangs = f"import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); open({str(marker)!r}, 'w')"
    session = examine(overlay(tmp_path / "overlay", f"{hangs}; time.sleep(600)"), stop=stop)
    threading.Thread(target=lambda: (wait_until(marker.exists, 120), stop.set())).start()

    with pytest.raises(Interrupted):
        session.examine(specs(MINE))
    session.__exit__(None, None, None)

    alone = processes(own_tmp)
    assert wait_until(lambda: set(processes(own_tmp)) == {str(fork_server._process.pid)}, 3), alone


def test_closing_a_fork_server_ends_its_workers(torch_python, cache, own_tmp, tmp_path):
    marker, stop, ended = tmp_path / "hangs", threading.Event(), []
    folder = overlay(tmp_path / "overlay", f"import time; open({str(marker)!r}, 'w').close(); time.sleep(600)")

    def examine(fork_server):
        with (
            Session(torch_python, folder, 1, cache, fork_server=fork_server, stop=stop) as session,
            suppress(Interrupted),
        ):
            ended.append(session.examine(specs(MINE)))

    with ForkServer(torch_python, cache) as made:
        thread = threading.Thread(target=examine, args=[made])
        thread.start()
        assert wait_until(marker.exists, 120)
    stop.set()
    thread.join(30)

    assert ended == []
    assert wait_until(lambda: not processes(own_tmp), 3), processes(own_tmp)
    assert list(own_tmp.iterdir()) == []


def test_a_fork_server_whose_torch_does_not_import_leaves_it_to_the_workers(bare_python, cache, own_tmp, tmp_path):
    with (
        ForkServer(bare_python, cache) as made,
        Session(bare_python, overlay(tmp_path / "o"), 1, cache, fork_server=made) as session,
    ):
        assert session.look().version("mine-of-the-overlay") == "9.9"


def test_many_threads_may_ask_at_once(fork_server, tmp_path):
    assert fork_server.suits(overlay(tmp_path / "overlay"))
    opening = {"hide": [], "paths": [], "facts": True, "catalog": catalog.sent()}
    seen, guard = [], threading.Lock()

    def ask():
        process = Process(fork_server.fork(), opening)
        event = process.read(60)
        with guard:
            seen.append((process._process.pid, event["event"]))
        process.hang_up()
        process.close()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len({pid for pid, _ in seen}) == 12
    assert {event for _, event in seen} == {"facts"}
    assert wait_until(lambda: len(fork_server._ended) == 12, 3)
