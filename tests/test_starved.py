"""The time limit of a probe on a machine that is busy with something else."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from probes import isolate, starved

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux tells it")

WORKS = "import time\nwhile time.process_time() < 0.6: pass\n"
HANGS = "import time\ntime.sleep(60)\n"
SPINS = "while True: pass\n"


@contextmanager
def busy(others):
    """Other processes that share one processor with this one."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    # In sessions of their own: Linux shares a processor between sessions first.
    hogs = [subprocess.Popen([sys.executable, "-c", SPINS], start_new_session=True) for _ in range(others)]
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        for hog in hogs:
            hog.kill()
            hog.wait()


def ended(code, timeout):
    """How a probe that runs some code ends, and after how many seconds."""

    def run(spec, note):
        exec(code)
        return {"id": spec["id"], "ended": "returned"}

    started = time.monotonic()
    child = isolate.Child({"id": "a/b", "timeout": timeout}, run, fork=True)
    while (envelope := child.poll()) is None:
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        child.kill()
    return envelope["evidence"], time.monotonic() - started


def test_a_step_that_waits_for_the_processor_does_not_hang():
    with busy(4):
        evidence, seconds = ended(WORKS, 1.2)

    assert seconds > 1.2  # the limit would have ended it
    assert evidence["ended"] == "returned"


def test_one_that_waits_for_something_else_does():
    with busy(2):
        evidence, seconds = ended(HANGS, 0.5)

    assert evidence["ended"] == "timeout"
    assert evidence["why"] == "no result after 0.5 s"
    assert seconds < 5


def test_one_that_works_for_ever_is_ended_when_it_has_had_its_time():
    with busy(4):
        evidence, seconds = ended(SPINS, 0.8)

    assert evidence["ended"] == "timeout"
    assert "besides" in evidence["why"]
    assert 1.6 < seconds < 20


def test_that_a_step_is_late_is_said_now_and_then():
    limit = starved.Limit(2.0, now=100.0)

    assert [second for second in range(100, 120) if limit.is_news(float(second))] == [107, 112, 117]
