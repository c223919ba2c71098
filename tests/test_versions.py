import msgspec
import pytest

from ckptdoctor import knowledge
from ckptdoctor.model import pins
from ckptdoctor.model.compatibility import SCHEMA, Cell, Judged, Map, Run
from ckptdoctor.model.evidence import Error, Evidence, Place, Spec
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED
from ckptdoctor.planning.plan import Planned
from ckptdoctor.remedies import candidates, search, versions
from ckptdoctor.rules import Case
from tests.test_plan import environment
from tests.values import changed


def measured(
    transformers, version, verdict="ok", function="llamafactory", model="glm4", forward_only=False, how="measured"
):
    stack = {"transformers": transformers, "llamafactory": version}
    judged = Judged(function, verdict, forward_only=forward_only)
    run = Run(stack if how == "measured" else {**stack, "transformers": "4.51.1"}, model, verdict, "", [judged])
    run.date = "2026-01-02"
    return Cell(stack, model, verdict, how, 0), run


def case(function="llamafactory", model="glm4"):
    spec = Spec(model, function)
    return Case(Planned(spec, "subject", WITHOUT_DEEPSPEED), Evidence(id=spec.id, ended="raised"), {})


def offered(looked_for):
    return list(versions.find(looked_for).remedies) if looked_for is not None else []


@pytest.fixture
def known(monkeypatch):
    def remember(*measurements, requires=None):
        runs = [run for _, run in measurements]
        cells = [msgspec.structs.replace(cell, run=at) for at, (cell, _) in enumerate(measurements)]
        found = Map(SCHEMA, "0.1.0", "2026-01-02", "3.11", "2.13.0", "linux", {}, runs, cells, requires or {})
        monkeypatch.setattr(knowledge, "load", lambda: found)

    return remember


STACK = ("torch==2.13.0", "transformers==4.51.3", "llamafactory==0.9.2", "pip==25.0")


def find(cases, target, edited=()):
    return offered(search.search(list(cases), target, edited))


def remedies(*cases, stack=STACK, edited=()):
    return find(cases or [case()], environment(*stack), edited)


def test_the_nearest_release_that_was_measured_with_this_stack(known):
    known(measured("4.51.3", "0.9.5"), measured("4.51.3", "0.9.3"), measured("4.51.3", "0.9.1"))
    [remedy] = remedies()
    assert list(remedy.commands) == ["/envs/train/bin/python -m pip install --no-deps 'llamafactory==0.9.3'"]
    assert "2026-01-02" in remedy.evidence
    assert "transformers 4.51.3" in remedy.evidence
    assert remedy.is_measured


def test_what_is_inferred_was_not_measured(known):
    known(measured("4.51.3", "0.9.3", how="inferred"))
    [remedy] = remedies()
    assert remedy.evidence.startswith("inferred from ")
    assert not remedy.is_measured


def test_a_release_below_when_there_is_none_above(known):
    known(measured("4.51.3", "0.9.1"))
    [remedy] = remedies()
    assert "down from 0.9.2" in remedy.title


@pytest.mark.parametrize(
    "other",
    [
        measured("4.51.3", "0.9.3", verdict="fail"),
        measured("4.51.3", "0.9.3", verdict="error"),
        measured("4.51.3", "0.9.3", model="llama"),
        measured("4.51.3", "0.9.3", function="llamafactory:unsloth"),
    ],
)
def test_nothing_is_offered_that_was_not_measured_to_work_with_this_very_stack(known, other):
    known(other)
    assert remedies() == []


def test_all_functions_of_a_finding_must_have_been_ok(known):
    known(
        measured("4.51.3", "0.9.3"),
        measured("4.51.3", "0.9.4"),
        measured("4.51.3", "0.9.4", function="llamafactory:other"),
    )
    [remedy] = remedies(case(), case("llamafactory:other"))
    assert "0.9.4" in remedy.title


def test_a_variant_that_stays_broken_is_named_and_hinders_nothing(known):
    known(measured("4.51.3", "0.9.3"))
    [remedy] = remedies(case(), case("llamafactory:unsloth"))
    assert "0.9.3" in remedy.title
    assert "still failing: llamafactory:unsloth" in remedy.cost


def test_either_package_may_change_and_the_one_that_breaks_no_pin_comes_first(known):
    known(
        measured("4.50.3", "0.9.2"),
        measured("4.51.3", "0.9.3"),
        requires={"llamafactory": {"0.9.3": ["transformers<=4.51.0"]}},
    )
    first, second = remedies()
    assert list(first.commands) == ["/envs/train/bin/python -m pip install 'transformers==4.50.3'"]
    assert first.title.startswith("transformers 4.50.3")
    assert list(first.breaks) == []
    assert list(second.breaks) == ["llamafactory 0.9.3 requires transformers<=4.51.0"]


def test_a_pin_of_another_installed_package_is_named(known):
    known(measured("4.50.3", "0.9.2"))
    target = environment("torch==2.13.0", "transformers==4.51.3", "llamafactory==0.9.2")
    pinning = type(target.packages[0])("trl", "0.9.6", requires=["transformers>=4.51; python_version > '3'"])
    target = changed(target, "packages", (*target.packages, pinning))
    [remedy] = find([case()], target)
    assert list(remedy.breaks) == ["trl 0.9.6 requires transformers>=4.51"]


def test_requirements_of_extras_and_of_other_pythons_bind_nobody():
    target = environment("torch==2.13.0", "transformers==4.51.3")
    requires = ["transformers<4; extra == 'old'", "transformers<4; python_version < '3.10'", "not a requirement !"]
    target = changed(target, "packages", (*target.packages, type(target.packages[0])("trl", "1", requires=requires)))
    assert pins.unmet(target) == []


def test_a_forward_pass_alone_is_said_to_be_that(known):
    known(measured("4.51.3", "0.9.3", forward_only=True))
    [remedy] = remedies()
    assert "backward simulated on CPU" in remedy.evidence


def test_what_is_inferred_is_said_to_be_that(known):
    known(measured("4.51.3", "0.9.3", how="inferred"))
    [remedy] = remedies()
    assert "inferred from transformers 4.51.1 and llamafactory 0.9.3" in remedy.evidence


def test_nothing_is_claimed_for_a_fault_that_was_not_looked_for_when_measuring(known):
    """Measured is the usual step without an engine: a release that is ok there may have the fault under ZeRO 3 all the same."""
    known(measured("4.51.3", "0.9.3"))
    target = environment("torch==2.13.0", "transformers==4.51.3", "llamafactory==0.9.2")
    for spec in (Spec("glm4", "llamafactory", "zero3"), Spec("glm4", "llamafactory", variant="dropout")):
        elsewhere = Case(Planned(spec, "subject", WITHOUT_DEEPSPEED), Evidence(id=spec.id, ended="raised"), {})
        assert find([elsewhere], target) == []
        assert find([elsewhere, case()], target)


def test_what_another_release_requires_is_told_even_if_the_installed_one_is_not_satisfied_either(known):
    known(measured("4.51.3", "0.9.3"), requires={"llamafactory": {"0.9.3": ["transformers<=4.51.0", "peft<=0.15"]}})
    target = environment(*STACK, "peft==0.17.0")
    trainer = next(one for one in target.packages if one.name == "llamafactory")
    target = changed(target, "packages", [one for one in target.packages if one is not trainer])
    target = changed(
        target,
        "packages",
        (*target.packages, type(trainer)("llamafactory", "0.9.2", requires=["transformers<=4.49.0"])),
    )
    [remedy] = find([case()], target)
    assert list(remedy.breaks) == [
        "llamafactory 0.9.3 requires transformers<=4.51.0",
        "llamafactory 0.9.3 requires peft<=0.15",
    ]


# -- several models, others than were measured, edited packages ----------------------------------------------------------


def test_a_release_must_work_with_each_of_several_models(known):
    known(
        measured("4.51.3", "0.9.3"),
        measured("4.51.3", "0.9.4"),
        measured("4.51.3", "0.9.4", model="llama"),
    )
    [remedy] = remedies(case(), case(model="llama"))
    assert remedy.changes == {"llamafactory": "0.9.4"}


def test_a_model_that_trains_today_must_still_train(known):
    known(measured("4.51.3", "0.9.3"), measured("4.51.3", "0.9.4"), measured("4.51.3", "0.9.4", model="llama"))
    looked_for = search.search([case()], environment(*STACK), (), [case(), case("torch:reentrant", "llama")])
    assert [one.changes for one in offered(looked_for)] == [{"llamafactory": "0.9.4"}]


def searched(*cases, edited=(), stack=STACK):
    return search.search(list(cases), environment(*stack), edited)


def test_for_a_family_that_was_not_measured_nothing_is_known_and_what_works_with_others_is_tried(known):
    known(measured("4.51.3", "0.9.3"), measured("4.51.3", "0.9.4"), measured("4.51.3", "0.9.4", model="llama"))
    looked_for = searched(case(model="qwen3"))
    assert offered(looked_for) == []
    assert looked_for.impasse() == ""
    guesses = looked_for.trainer_releases(candidates.nothing_newer)
    assert [(one.changes, one.works) for one in guesses] == [({"llamafactory": "0.9.4"}, ())]
    assert "none" not in looked_for.impasse(tried=["0.9.4"])
    assert "qwen3 was not measured" in looked_for.impasse(tried=["0.9.4"])


def test_what_is_known_of_a_release_is_not_known_of_an_edited_copy(known):
    known(measured("4.51.3", "0.9.3"), measured("4.50.3", "0.9.2"))
    assert [one.changes for one in remedies()] == [{"llamafactory": "0.9.3"}, {"transformers": "4.50.3"}]
    assert [one.changes for one in remedies(edited=["transformers"])] == [{"transformers": "4.50.3"}]
    assert [one.changes for one in remedies(edited=["llamafactory"])] == [{"llamafactory": "0.9.3"}]
    assert remedies(edited=["transformers", "llamafactory"]) == []
    assert searched(case(), edited=["transformers"]).impasse() == ""


def test_the_release_itself_takes_the_place_of_an_edited_copy(known):
    known(measured("4.51.3", "0.9.2"))
    [remedy] = remedies(edited=["transformers"])
    assert "instead of the edited copy" in remedy.title
    assert list(remedy.commands) == [
        "/envs/train/bin/python -m pip install --force-reinstall --no-deps 'transformers==4.51.3'"
    ]
    assert remedies() == []


def test_both_change_where_neither_alone_helps(known):
    known(measured("4.50.3", "0.9.1"))
    [remedy] = remedies()
    assert remedy.changes == {"transformers": "4.50.3", "llamafactory": "0.9.1"}


def test_a_fault_of_packed_sequences_alone_was_not_measured_so_releases_are_tried(known):
    """A function that ends for want of a GPU stops at the same line in the usual step, which may be sound."""
    known(measured("4.51.3", "0.9.3"), measured("4.50.3", "0.9.2"))
    usual, packed = case(), Spec("glm4", "llamafactory", variant="packed")
    frame = Place("/torch/cuda/__init__.py", 1)
    error = Error("AssertionError", "Torch not compiled with CUDA enabled", [frame], needs_cuda=True)
    evidence = {spec.id: Evidence(id=spec.id, ended="raised", error=error) for spec in (usual.spec, packed)}
    others = {
        spec.id: (Planned(spec, "subject", WITHOUT_DEEPSPEED), evidence[spec.id]) for spec in (usual.spec, packed)
    }
    looked_for = search.search([Case(*others[packed.id], others)], environment(*STACK))
    assert offered(looked_for) == []
    assert looked_for.impasse() == ""
    assert [one.changes for one in looked_for.trainer_releases(candidates.nothing_newer)] == [{"llamafactory": "0.9.3"}]


DECLARED = {
    "llamafactory": {
        "0.9.3": ["transformers<=4.52.4,>=4.45.0", "deepspeed<=0.16.9,>=0.10.0; extra == 'deepspeed'"],
        "0.9.5": ["transformers<=5.6.0,>=4.51.0"],
    }
}


def test_a_bound_of_an_extra_that_the_trainers_command_checks_is_broken(known):
    known(measured("4.51.3", "0.9.5"), measured("4.51.3", "0.9.3"), requires=DECLARED)
    [first] = remedies(stack=(*STACK, "deepspeed==0.16.9"))
    [second] = remedies(stack=(*STACK, "deepspeed==0.19.2"))
    assert first.changes == second.changes == {"llamafactory": "0.9.3"}
    assert first.breaks == ()
    assert second.breaks == ("llamafactory 0.9.3 requires deepspeed<=0.16.9,>=0.10.0",)


def test_a_release_that_does_not_admit_what_every_job_uses_is_no_answer(known):
    known(measured("4.51.3", "0.9.5"), measured("4.51.3", "0.9.3"), requires=DECLARED)
    looked_for = search.search([case()], environment(*STACK, "deepspeed==0.19.2"), ())
    [remedy] = versions.find(looked_for, {"deepspeed"}).remedies
    assert remedy.changes == {"llamafactory": "0.9.5"}
