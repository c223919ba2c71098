"""Functions that are broken in one way each are caught by the right rule; no sound function is an error.

All run in one check: one import of torch, a fork for each probe.
"""

from pathlib import Path

import pytest

from tests import mutations
from tests.conftest import judged

pytestmark = pytest.mark.real

ALL = mutations.read()
PAGE = Path(__file__).parents[2] / "docs" / "mutations.md"


@pytest.fixture(scope="module")
def found(torch_python):
    functions = [part for one in ALL for part in ("--checkpoint-fn", one.function)]
    ran = judged(torch_python, "--engine", "none", "--convention", "partial-bound", *functions, timeout=600)
    assert ran.status == 1, ran.err
    return ran.report["findings"]


def rules_of(found, mutation, *severities):
    mine = [one for one in found if any(f"/{mutation.name}.py:" in probe for probe in one["probes"])]
    return {one["rule"] for one in mine if one["severity"] in severities}


@pytest.mark.parametrize("mutation", [one for one in ALL if one.rule], ids=lambda one: one.name)
def test_what_is_broken_is_caught_by_the_right_rule(found, mutation):
    assert mutation.rule in rules_of(found, mutation, "error", "warning")


@pytest.mark.parametrize("mutation", [one for one in ALL if one.why], ids=lambda one: one.name)
def test_what_is_said_to_slip_through_does(found, mutation):
    assert not rules_of(found, mutation, "error", "warning")


@pytest.mark.parametrize("mutation", [one for one in ALL if one.is_sound], ids=lambda one: one.name)
def test_what_is_sound_is_no_error(found, mutation):
    assert not rules_of(found, mutation, "error")


def test_what_is_left_out_on_purpose_or_offloaded_is_a_note(found):
    for one in ALL:
        if one.name in ("sound_every_second", "sound_all_but_last", "sound_save_on_cpu", "sound_offload_hooks"):
            assert rules_of(found, one, "note", "warning") == {"CKPT002"}


def test_the_page_lists_them():
    assert PAGE.read_text() == mutations.table(), "write tests.mutations.table() to docs/mutations.md"


def test_there_are_many_and_most_are_caught():
    broken = [one for one in ALL if not one.is_sound]
    assert len(broken) >= 64
    assert len([one for one in broken if one.rule]) / len(broken) > 50 / 60
    assert len(ALL) - len(broken) >= 12
