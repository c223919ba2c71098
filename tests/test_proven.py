"""What makes a remedy one, and in which order they are offered."""

from __future__ import annotations

import pytest

from ckptdoctor.model import pins
from ckptdoctor.model.evidence import Environment, Evidence, Package, Spec
from ckptdoctor.model.report import Finding, ProbeResult, Remedy
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.planning.request import Request
from ckptdoctor.remedies import proven
from ckptdoctor.remedies import trial as trials
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.remedies.trial import Trial
from ckptdoctor.rules import Case
from ckptdoctor.verdict.findings import Found

USUAL = Spec("glm4", "llamafactory")
DROPOUT = Spec("glm4", "llamafactory", variant="dropout")
OTHER = Spec("glm4", "llamafactory:unsloth")
TORCH = Spec("glm4", "torch:reentrant")


def context(*specs, found=None):
    plan = Plan([Planned(spec, "subject", WITHOUT_DEEPSPEED) for spec in specs])
    return RemedyContext(None, Request(), environment(), plan, found or Found(), None, None)


def environment(*packages):
    return Environment("3.11.7", "/envs/train/bin/python", "linux", packages)


def finding(*specs):
    return Finding("CKPT001", "attribute-contract", "error", "", "", tuple(spec.id for spec in specs))


def trial(fixed=(), failing=(), kept=(), lost=(), now=None):
    ids = [tuple(spec.id for spec in one) for one in (fixed, failing, kept, lost)]
    return Trial(*ids, now={spec.id: (now or {}).get(spec, []) for spec in failing})


@pytest.mark.parametrize(
    ("came", "helps"),
    [
        (trial(fixed=[USUAL, DROPOUT, OTHER], kept=[TORCH]), True),
        (trial(fixed=[USUAL, DROPOUT], failing=[OTHER], kept=[TORCH]), True),  # shares the entry of the first function
        (trial(fixed=[USUAL, DROPOUT, OTHER], lost=[TORCH]), False),
        (trial(fixed=[DROPOUT, OTHER], failing=[USUAL], kept=[TORCH]), False),
        (trial(failing=[USUAL, DROPOUT, OTHER], kept=[TORCH]), False),
        (trial(fixed=[USUAL, OTHER], failing=[DROPOUT], now={DROPOUT: ["CKPT005"]}), True),  # the fault had hidden it
        (trial(fixed=[USUAL, OTHER], failing=[DROPOUT], now={DROPOUT: ["CKPT001"]}), False),
        (trial(fixed=[USUAL, OTHER], failing=[DROPOUT]), False),  # it did not even come to an end
        (trial(fixed=[DROPOUT, OTHER], failing=[USUAL], now={USUAL: ["CKPT005"]}), False),
    ],
)
def test_a_remedy_mends_all_that_matters_and_loses_nothing(came, helps):
    assert came.helps(finding(USUAL, DROPOUT, OTHER), context(USUAL, DROPOUT, OTHER, TORCH)) is helps


def test_what_a_remedy_leaves_is_named_with_the_rule():
    came = trial(fixed=[USUAL], failing=[DROPOUT, OTHER], now={DROPOUT: ["CKPT005"]})
    left = came.left(context(USUAL, DROPOUT, OTHER))
    assert left == ["llamafactory with dropout (CKPT005)", "llamafactory:unsloth (fails)"]


def test_what_a_probe_lost_is_seen_though_it_brought_no_evidence():
    """A step that had passed and of which nothing was heard with the remedy has not passed."""
    planned = Planned(TORCH, "subject", WITHOUT_DEEPSPEED)
    passed = ProbeResult(
        TORCH.id, "glm4", "torch:reentrant", "none", "", "", "subject", "ok", None, Evidence("", "returned")
    )
    found = Found((Case(planned, Evidence(TORCH.id, "returned"), {}),), (passed,))
    on = context(USUAL, TORCH, found=found)
    assert trials.judge_all([], finding(USUAL), on, environment()).lost == (TORCH.id,)


def remedy(kind, breaks=(), changes=(), proven="all"):
    return Remedy(kind, "", "", "", breaks=tuple(breaks), changes=dict.fromkeys(changes, "1"), proven=proven)


def test_the_order_is_by_how_little_changes():
    wanted = [
        remedy("version", changes=["a"]),
        remedy("version", changes=["a", "b"]),
        remedy("version", breaks=["c requires a"], changes=["a"]),
        remedy("version", changes=["a"], proven=""),
        remedy("patch"),
        remedy("adapter"),
        remedy("setting"),
    ]
    shuffled = wanted[::-1]
    assert sorted(shuffled, key=proven._weight) == wanted


# -- declared requirements --------------------------------------------------------------------------------------------

LF = "llamafactory"


def test_only_what_a_change_breaks_is_named():
    before = environment(
        Package(LF, "1", requires=["torch<2", "rich>1"]), Package("torch", "2.1"), Package("rich", "2")
    )
    after = environment(
        Package(LF, "2", requires=["torch<2.0", "rich>2"]), Package("torch", "2.1"), Package("rich", "2")
    )
    assert pins.broken(before, after) == ["llamafactory 2 requires torch<2.0", "llamafactory 2 requires rich>2"]
    stays = environment(Package(LF, "1", requires=["torch<2", "rich>1"]), Package("torch", "2.2"), Package("rich", "1"))
    assert pins.broken(before, stays) == ["llamafactory 1 requires rich>1"]
    assert pins.broken(before, before) == []


def test_what_is_required_anew_and_not_there():
    old = ["absent", "rich"]
    new = [*old, "fresh>=1", "optional; extra == 'more'", "elsewhere; sys_platform == 'nowhere'"]
    before = environment(Package(LF, "1", requires=old), Package("rich", "2"))
    after = environment(Package(LF, "2", requires=new), Package("rich", "2"))
    assert pins.missing(LF, before, after) == ["fresh>=1"]
    assert not pins.is_whole(LF, before)
    assert pins.is_whole(LF, environment(Package(LF, "1", requires=["rich"]), Package("rich", "2")))
