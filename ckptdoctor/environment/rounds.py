"""Runs the probes of one worker until each has its evidence, even if some of them kill the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ckptdoctor.model.evidence import Evidence, Spec
from ckptdoctor.model.workers import Worker

if TYPE_CHECKING:
    from ckptdoctor.environment.session import Session


STARTUP = 600.0
"""Seconds that the target's Python may take to start and to import the stack; a cold network disk takes minutes."""
STUCK = 150.0
"""Seconds on the same line after which an import counts as hanging."""
COMPILES = ("deepspeed",)
"""Packages that may wait for a compiler on one line for minutes."""
GRACE = 30.0
"""Seconds beyond the longest time limit after which a silent worker counts as dead."""


class Extras(NamedTuple):
    """What the probes of an examination get besides their specs."""

    replacements: Mapping[str, str]
    added: Mapping[str, Path]
    each: Callable[[Evidence], None]

    def whole(self, spec: Spec) -> dict[str, Any]:
        """A spec as the environment's side reads it: every field, since that side knows no defaults."""
        fields = {**msgspec.structs.asdict(spec), "setup": msgspec.structs.asdict(spec.setup)}
        paths = [str(self.added[spec.added])] if spec.added else []
        return {**fields, "id": spec.id, "replacement": self.replacements.get(spec.function, ""), "paths": paths}


class Round:
    """The probes of one worker, until all have ended.

    A worker that dies ends its running probes. A new worker runs these suspects one at a time, so that only the probe
    that kills its worker is reported as crashed.
    """

    def __init__(self, session: Session, worker: Worker, specs: list[Spec], more: Extras) -> None:
        self.evidence: list[Evidence] = []
        self._session, self._worker, self._more = session, worker, more
        self._waiting = {spec.id: spec for spec in specs}
        self._started: set[str] = set()
        self._suspects: list[Spec] = []
        self._again: list[Spec] = []
        """Probes that crashed once and will be run again alone."""
        self._crashed: set[str] = set()
        self._busy = 0
        """Requests that the worker has not finished."""
        self._stands_at = ""
        self._stands_since = 0.0
        self._limit = max(spec.timeout for spec in specs) + GRACE
        self._send(list(self._waiting.values()), session.at_once)

    @property
    def is_done(self) -> bool:
        """Whether every probe has its evidence, and the worker has nothing more to say."""
        return not self._waiting and not self._busy and not self._again

    def advance(self, timeout: float) -> None:
        """Take the events that come within ``timeout`` seconds."""
        try:
            while not self.is_done:
                self._run_again()
                event = self._process.read(timeout)
                if event is None:
                    self._check_silence()
                    return
                self._heard = time.monotonic()
                self._handle(event)
        except EOFError:
            self._bury(self._process.death())

    def _send(self, specs: list[Spec], at_once: int) -> None:
        self._was_idle = self._worker in self._session.workers
        self._process = self._session.open(self._worker)
        self._stage = "starting"
        self._started.clear()
        self._busy += 1
        self._heard = time.monotonic()
        self._process.send({"specs": [self._more.whole(spec) for spec in specs], "at_once": at_once})

    def _handle(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "importing":
            self._stage, self._stands_at = event["what"], ""
            self._process.forget_where()
            self._session.progress(f"importing {event['what']}")
        elif kind == "broken":
            self._session.check_broken(event)
        elif kind == "started":
            self._started.add(event["id"])
            self._session.progress(f"running {event['id']}")
        elif kind == "late":
            self._session.progress(f"running {event['id']}, on a busy machine")
        elif kind == "done":
            self._take(event)
        elif kind == "idle":
            self._busy -= 1
            self._session.note(event)

    def _take(self, event: dict[str, Any]) -> None:
        evidence = evidence_of(event["evidence"])
        self._session.note(event)
        if evidence.ended == "crashed" and self._is_first_crash(evidence.id):
            self._started.discard(evidence.id)
            if self._suspects and not self._started and self._waiting:
                self._next_suspect()
        else:
            self._finish(evidence)

    def _is_first_crash(self, name: str) -> bool:
        """Whether to run a probe again, alone, after all others: a machine at its limits kills probes at random."""
        if name not in self._waiting or name in self._crashed:
            return False
        self._crashed.add(name)
        self._again.append(self._waiting.pop(name))
        return True

    def _run_again(self) -> None:
        """Once all others have ended: the next probe that crashed, alone."""
        if self._again and not self._waiting and not self._busy:
            spec = self._again.pop(0)
            self._waiting[spec.id] = spec
            self._send([spec], 1)

    def _finish(self, evidence: Evidence) -> None:
        if self._waiting.pop(evidence.id, None) is not None:
            self._keep(evidence)
        self._started.discard(evidence.id)
        if self._suspects and not self._started and self._waiting:
            self._next_suspect()

    def _keep(self, evidence: Evidence) -> None:
        if evidence.id in self._crashed and evidence.ended != "crashed":
            self._session.crashed_once.append(evidence.id)
        self.evidence.append(evidence)
        self._session.progress.done()
        self._more.each(evidence)

    def _check_silence(self) -> None:
        silent = time.monotonic() - self._heard
        if self._started:
            if silent > self._limit:
                self._bury(f"said nothing for {silent:.0f} s")
            return
        where = self._process.stands_at()
        if where != self._stands_at:
            self._stands_at, self._stands_since = where, time.monotonic()
            self._session.progress(f"importing {self._stage}, at {where}")
        stuck = time.monotonic() - self._stands_since
        if where and stuck > STUCK and self._stage not in COMPILES:
            self._bury(f"hangs at {where}")
        elif silent > STARTUP:
            self._bury(f"said nothing for {silent:.0f} s" + (f", at {where}" if where else ""))

    def _bury(self, how: str) -> None:
        words = "" if self._stands_at else self._process.last_words()
        self._session.discard(self._worker)
        self._busy = 0
        if self._was_idle and self._stage == "starting":
            self._go_on()  # it died before it got the request: with its fork server, or because memory ran out
            return
        during = "with the probe" if self._started else "while it started"
        if not self._started and self._stage != "starting":
            during = f"while importing {self._stage}"
        why = f"its Python {how} {during}" + (f": {words}" if words else "")
        running = [self._waiting[name] for name in self._started if name in self._waiting]
        if not running:
            for name in list(self._waiting):
                self._finish(Evidence(id=name, ended="crashed", why=why, during="load"))
        elif len(running) == 1:
            name = running[0].id
            self._started.clear()
            self._suspects = [spec for spec in self._suspects if spec.id != name]
            if not self._is_first_crash(name):
                self._waiting.pop(name)
                self._keep(Evidence(id=name, ended="crashed", why=why))
            self._go_on()
        else:
            self._suspects = running
            self._next_suspect()

    def _go_on(self) -> None:
        if self._suspects:
            self._next_suspect()
        elif self._waiting:
            self._send(list(self._waiting.values()), self._session.at_once)

    def _next_suspect(self) -> None:
        """Run the next suspect alone; after the last one, all other probes."""
        self._suspects = [spec for spec in self._suspects if spec.id in self._waiting]
        if self._suspects:
            self._send([self._suspects[0]], 1)
        else:
            self._send(list(self._waiting.values()), self._session.at_once)


def evidence_of(told: dict[str, Any]) -> Evidence:
    """Evidence from the environment's side; an event of another form becomes a crash."""
    try:
        return msgspec.convert(told, Evidence, strict=False)
    except msgspec.ValidationError as error:
        why = f"its result is not of the form that was expected: {error}"
        return Evidence(id=str(told.get("id", "")), ended="crashed", why=why)
