"""The probes of a family share a process; what happens to it is that family's alone."""

import os
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="nothing is forked on macOS")


class Told:
    def __init__(self):
        self.ids = []

    def send(self, event, **fields):
        self.ids.append(fields["evidence"]["id"])


class Nobody:
    """Requests that never come."""

    closed = False

    def __init__(self, closes=False):
        self.pipe, self._end = os.pipe()
        self._closes = closes

    def fileno(self):
        return self.pipe

    def look(self):
        self.closed = self._closes


@pytest.fixture(scope="module")
def survey():
    sys.path.insert(0, str(ROOT))
    from probes import survey

    return survey


def specs(*names, timeout=20.0):
    return [{"model": name.partition("/")[0], "id": name, "timeout": timeout} for name in names]


def run(spec, note):
    if spec["id"].endswith("dies"):
        os._exit(1)
    if spec["id"].endswith("hangs"):
        time.sleep(60)
    return {"id": spec["id"], "pid": os.getpid()}


def test_probes_run_in_order_family_by_family(survey):
    told = Told()
    assert survey.serve(specs("a/1", "a/2", "b/1"), 1, told, Nobody(), run=run)
    assert told.ids == ["a/1", "a/2", "b/1"]


def test_a_probe_that_kills_its_process_takes_only_what_follows_in_its_family(survey):
    told = Told()
    assert survey.serve(specs("a/1", "a/dies", "a/2", "b/1"), 2, told, Nobody(), run=run)
    assert sorted(told.ids) == ["a/1", "b/1"]


def test_a_family_that_hangs_is_ended(survey):
    told = Told()
    assert survey.serve(specs("a/1", "a/hangs", timeout=0.5), 1, told, Nobody(), run=run)
    assert told.ids == ["a/1"]


def test_nothing_more_is_run_once_the_doctor_is_gone(survey):
    assert not survey.serve(specs("a/hangs"), 1, Told(), Nobody(closes=True), run=run)
