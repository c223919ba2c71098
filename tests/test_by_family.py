"""Hundreds of families through one process of the target: what comes back, and what is left to be run apart."""

import msgspec
import pytest

from ckptdoctor.environment import by_family
from ckptdoctor.errors import Interrupted, TargetError
from ckptdoctor.model.evidence import Evidence, Spec

SPECS = [Spec("b", "none"), Spec("a", "none"), Spec("a", "torch:reentrant")]


class Session:
    """A session whose process says what a test wants."""

    at_once = 2
    is_stopped = False

    def __init__(self, *events):
        self.events, self.sent, self.discarded = list(events), None, False

    def open(self, worker):
        return self

    def send(self, request):
        self.sent = request

    def read(self, timeout):
        if not self.events:
            raise EOFError
        return self.events.pop(0)

    def discard(self, worker):
        self.discarded = True

    def check_broken(self, event):
        raise TargetError("torch does not import")


def done(spec, ended="returned"):
    return {"event": "done", "evidence": msgspec.to_builtins(Evidence(id=spec.id, ended=ended)), "files": []}


def run(session):
    told = []
    left = by_family.run(session, SPECS, told.append)
    return [one.id for one in told], left


def test_the_probes_of_a_family_are_sent_one_after_another():
    session = Session(*map(done, SPECS), {"event": "idle"})
    assert run(session) == ([one.id for one in SPECS], [])
    assert [one["model"] for one in session.sent["specs"]] == ["a", "a", "b"]
    assert session.sent["by_family"]
    assert not session.discarded


def test_what_has_no_result_or_is_lost_is_left():
    session = Session(done(SPECS[0]), done(SPECS[1], "crashed"), {"event": "importing", "what": "a"}, {"event": "idle"})
    told, left = run(session)
    assert told == [SPECS[0].id]
    assert {one.id for one in left} == {one.id for one in SPECS[1:]}


@pytest.mark.parametrize("events", [[], [None]])
def test_a_process_that_dies_or_is_silent_leaves_all(events):
    session = Session(*events)
    assert len(run(session)[1]) == len(SPECS)
    assert session.discarded


def test_torch_that_does_not_import_is_an_error_and_a_stop_is_heeded():
    with pytest.raises(TargetError):
        run(Session({"event": "broken", "what": "torch", "error": {}}))
    session = Session({"event": "importing", "what": "a"})
    session.is_stopped = True
    with pytest.raises(Interrupted):
        run(session)


def test_nothing_is_started_for_nothing():
    assert by_family.run(Session(), [], lambda evidence: None) == []
