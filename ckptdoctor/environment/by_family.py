"""Runs probes of many model families quickly: those of each family share a process of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptdoctor.environment.rounds import STARTUP, Extras, evidence_of
from ckptdoctor.errors import Interrupted
from ckptdoctor.model.evidence import Evidence, Spec
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED

if TYPE_CHECKING:
    from ckptdoctor.environment.session import Session


def run(session: Session, specs: Sequence[Spec], each: Callable[[Evidence], None]) -> list[Spec]:
    """Run probes without an engine; see ``probes/survey.py``.

    Args:
        session: Where to run them.
        specs: What to run; its worker is the one without DeepSpeed.
        each: Called with each piece of evidence as it comes.

    Returns:
        The specs without a result: they crashed or took too long. Each is to be run again in a process of its own.

    Raises:
        Interrupted: The examination was stopped.
    """
    ordered = sorted(specs, key=lambda spec: spec.model)
    left = {spec.id: spec for spec in ordered}
    if not left:
        return []
    whole = Extras({}, {}, each).whole
    process = session.open(WITHOUT_DEEPSPEED)
    process.send({"specs": [whole(spec) for spec in ordered], "at_once": session.at_once, "by_family": True})
    with suppress(EOFError):
        while (event := process.read(STARTUP)) is not None and event["event"] != "idle":
            if session.is_stopped:
                raise Interrupted
            if event["event"] == "broken":
                session.check_broken(event)
            if event["event"] == "done":
                evidence = evidence_of(event["evidence"])
                if not evidence.is_lost and evidence.id in left:
                    del left[evidence.id]
                    each(evidence)
        if event is not None:
            return list(left.values())
    session.discard(WITHOUT_DEEPSPEED)  # it died, or has said nothing for long
    return list(left.values())
