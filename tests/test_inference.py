"""Which combinations speak for which others, and which of them are run."""

from __future__ import annotations

import pytest

from ckptdoctor.matrix.combination import Combination, combine
from ckptdoctor.matrix.fingerprints import Fingerprint, place_among
from ckptdoctor.matrix.inference import Group, choose, groups, with_models
from ckptdoctor.model.compatibility import Run


def fingerprint(code="a", compared=(), families=("glm4",)):
    return Fingerprint(dict.fromkeys(families, code), compared=tuple(compared))


def trainer(code="a", compared=()):
    return Fingerprint({"llamafactory": code}, compared=tuple(compared))


def run(one, verdict="ok", packages=()):
    return Run(one.stack, one.model, verdict, "", packages=dict(packages))


def measured(*combinations, verdict="ok"):
    return {one: run(one, verdict) for one in combinations}


def names(group):
    return [" ".join(release for _, release in one.releases) for one in group.members]


def grouped(fingerprints, last=(), model="glm4", **axes):
    found = groups(with_models(combine(axes, [model] if model else []), fingerprints), fingerprints, last)
    return {tuple(names(group)): group for group in found}


# -- combinations -----------------------------------------------------------------------------------------------------


def test_all_is_combined_with_all():
    made = combine({"torch": ["2.12.0", "2.13.0"], "transformers": ["4.50", "4.51", "4.52"]}, ["glm4", "llama"])

    assert len(made) == len(set(made)) == 2 * 3 * 2
    assert len({one.base() for one in made}) == 2 * 3  # models share an environment


def test_trainers_are_alternatives_to_each_other():
    axes = {"llamafactory": ["0.9.2", "0.9.3"], "transformers": ["4.50", "4.51"], "axolotl": ["0.8.1"]}
    made = combine(axes)

    assert len(made) == 2 * 3
    assert all(len(one.stack) == 2 and "transformers" in one.stack for one in made)
    assert {one.trainer_requirement for one in made} == {"llamafactory==0.9.2", "llamafactory==0.9.3", "axolotl==0.8.1"}


def test_trainers_alone_are_combinations_too():
    assert [str(one) for one in combine({"llamafactory": ["0.9.2"], "axolotl": ["0.8.1"]})] == [
        "llamafactory 0.9.2",
        "axolotl 0.8.1",
    ]


def test_a_base_is_all_but_the_trainer():
    (one,) = combine({"python": ["3.12"], "torch": ["2.13.0"], "transformers": ["4.51"], "llamafactory": ["0.9.2"]})
    base = one.base(["numpy<2"])

    assert (base.python, base.torch, base.requirements) == ("3.12", "2.13.0", ("transformers==4.51", "numpy<2"))
    assert not base.is_target
    assert Combination((("transformers", "4.51"),)).base().is_target


# -- groups -----------------------------------------------------------------------------------------------------------


def test_releases_with_the_same_code_are_one_group_newest_first():
    fingerprints = {
        "transformers": {
            "4.50": fingerprint("a"),
            "4.51": fingerprint("b"),
            "4.52": fingerprint("b"),
            "4.53": fingerprint("a"),
        }
    }

    assert list(grouped(fingerprints, transformers=["4.50", "4.51", "4.52", "4.53"])) == [
        ("4.53", "4.50"),
        ("4.52", "4.51"),
    ]


def test_releases_that_could_not_be_read_stand_alone():
    fingerprints = {"transformers": {"4.50": fingerprint(), "4.51": None, "4.52": fingerprint()}}

    assert list(grouped(fingerprints, transformers=["4.50", "4.51", "4.52", "4.53"])) == [
        ("4.53",),
        ("4.52", "4.50"),
        ("4.51",),
    ]
    assert len(grouped({}, transformers=["4.50", "4.51"])) == 2


def test_only_the_model_at_hand_matters():
    one, other = Fingerprint({"glm4": "a", "llama": "a"}), Fingerprint({"glm4": "a", "llama": "b"})
    fingerprints = {"transformers": {"4.50": one, "4.51": other}}

    assert len(grouped(fingerprints, transformers=["4.50", "4.51"], model="glm4")) == 1
    assert len(grouped(fingerprints, transformers=["4.50", "4.51"], model="llama")) == 2


def test_models_are_never_one_group():
    fingerprints = {"transformers": {"4.50": Fingerprint({"glm4": "a", "llama": "a"})}}

    assert len(groups(combine({"transformers": ["4.50"]}, ["glm4", "llama"]), fingerprints)) == 2


def test_the_family_that_fits_is_chosen_where_none_was_asked_for():
    fingerprints = {
        "transformers": {
            "4.40": fingerprint(families=("llama",)),
            "4.47": fingerprint(families=("glm", "llama")),
            "4.51": fingerprint(),
        }
    }
    made = with_models(combine({"transformers": ["4.40", "4.47", "4.51", "4.60"]}), fingerprints)

    assert [one.model for one in made] == ["llama", "glm", "glm4", ""]
    assert [one.model for one in with_models(combine({"transformers": ["4.40"]}, ["glm4"]), fingerprints)] == ["glm4"]


@pytest.mark.parametrize("axis", ["torch", "deepspeed", "python"])
def test_packages_that_are_not_read_are_never_inferred(axis):
    fingerprints = {"transformers": {"4.50": fingerprint(), "4.51": fingerprint()}}

    found = grouped(fingerprints, transformers=["4.50", "4.51"], **{axis: ["1", "2"]})

    assert [len(members) for members in found] == [2, 2]


def test_trainers_are_told_apart_by_all_of_their_functions():
    one = Fingerprint({"axolotl:offload": "a"}, ("axolotl:offload",))
    both = Fingerprint(
        {"axolotl:offload": "a", "axolotl:offload-disk": "b"}, ("axolotl:offload", "axolotl:offload-disk")
    )

    assert len(grouped({"axolotl": {"0.8": one, "0.9": both}}, axolotl=["0.8", "0.9"])) == 2
    assert len(grouped({"axolotl": {"0.8": one, "0.9": one}}, axolotl=["0.8", "0.9"])) == 1


def test_trainers_of_the_same_code_are_not_each_other():
    fingerprints = {"llamafactory": {"1": Fingerprint({"f": "a"})}, "axolotl": {"1": Fingerprint({"f": "a"})}}

    assert len(groups(combine({"llamafactory": ["1"], "axolotl": ["1"]}), fingerprints)) == 2


def test_a_version_that_the_trainer_compares_with_parts_what_is_else_alike():
    fingerprints = {
        "transformers": {name: fingerprint() for name in ("4.49.0", "4.50.0", "4.50.3", "4.51.0")},
        "llamafactory": {"0.9.2": trainer("a", ["4.50"]), "0.9.3": trainer("b")},
    }

    found = grouped(fingerprints, transformers=list(fingerprints["transformers"]), llamafactory=["0.9.2", "0.9.3"])

    assert sorted(len(members) for members in found) == [1, 1, 2, 4]
    assert ("4.51.0 0.9.2", "4.50.3 0.9.2") in found


@pytest.mark.parametrize(
    ("version", "place"),
    [("4.49.0", (0, 0)), ("4.50", (0, 1)), ("4.50.0", (0, 1)), ("4.50.3", (1, 1)), ("5.0", (1, 2)), ("5.1", (2, 2))],
)
def test_where_a_version_stands_among_others(version, place):
    assert place_among(version, ["4.50.0", "5.0.0"]) == place


def test_a_version_before_a_release_is_not_the_release():
    assert place_among("4.50.0.dev0", ["4.50.0"]) != place_among("4.50.0", ["4.50.0"])


# -- what speaks for a group ------------------------------------------------------------------------------------------


A, B, C = (Combination((("transformers", release),), "glm4") for release in ("4.52", "4.51", "4.50"))


def test_one_that_was_diagnosed_speaks_for_all():
    group = Group([A, B, C])
    assert (group.evidence({}), group.waiting({})) == (None, [A, B, C])

    assert group.evidence(measured(B)) == B
    assert group.evidence(measured(B, verdict="fail")) == B
    assert group.waiting(measured(B)) == []


def test_one_that_cannot_be_diagnosed_speaks_for_itself_alone():
    group = Group([A, B, C])
    runs = measured(A, verdict="error")
    assert (group.evidence(runs), group.waiting(runs)) == (None, [B, C])

    assert group.evidence(runs | measured(C)) == C
    assert group.waiting(runs | measured(B, C, verdict="error")) == []


def test_that_a_release_has_no_such_model_is_true_of_all_that_have_none():
    fingerprints = {"transformers": {"4.40": fingerprint(families=()), "4.41": fingerprint("b", families=("llama",))}}
    (group,) = grouped(fingerprints, transformers=["4.40", "4.41"]).values()
    newest = group.members[0]
    assert group.lacks_model

    # Installed and without the model; what could not even be installed says nothing of the others.
    assert group.evidence({newest: run(newest, "error", {"transformers": "4.41"})}) == newest
    assert group.evidence({newest: run(newest, "error")}) is None


def test_a_group_that_was_found_to_differ_is_run_as_a_whole():
    group = Group([A, B, C], distrusted=True)
    assert (group.evidence(measured(A)), group.waiting(measured(A))) == (None, [B, C])

    assert choose([group], measured(A)) == [B, C]


# -- what is run ------------------------------------------------------------------------------------------------------


def chosen(fingerprints, runs=None, last=(), **axes):
    found = list(grouped(fingerprints, last, **axes).values())
    return choose([group for group in found if group.waiting(runs or {})], runs or {})


def test_one_of_each_group_is_run():
    fingerprints = {"transformers": {"4.50": fingerprint("a"), "4.51": fingerprint("b"), "4.52": fingerprint("b")}}

    assert sorted(map(str, chosen(fingerprints, transformers=["4.50", "4.51", "4.52"]))) == [
        "transformers 4.50 (glm4)",
        "transformers 4.52 (glm4)",
    ]


def test_few_environments_are_needed():
    versions = [f"4.{minor}" for minor in range(30, 60)]
    fingerprints = {
        "transformers": {version: fingerprint("old" if version < "4.51" else "new") for version in versions},
        "llamafactory": {f"0.{minor}": trainer(str(minor // 4)) for minor in range(12)},
    }

    made = chosen(fingerprints, transformers=versions, llamafactory=[f"0.{minor}" for minor in range(12)])

    assert len(made) == 2 * 3
    assert len({one.base() for one in made}) == 2
    assert len({one.trainer_requirement for one in made}) == 3


def test_an_environment_that_is_there_is_used_again():
    fingerprints = {
        "transformers": {"4.50": fingerprint(), "4.51": fingerprint()},
        "llamafactory": {"1": trainer("a"), "2": trainer("b")},
    }
    axes = {"transformers": ["4.50", "4.51"], "llamafactory": ["1", "2"]}
    (first,) = (one for one in combine(axes, ["glm4"]) if tuple(one.stack.values()) == ("4.50", "1"))

    (made,) = chosen(fingerprints, measured(first), **axes)

    assert made.stack == {"transformers": "4.50", "llamafactory": "2"}


def test_what_was_made_for_another_python_comes_last():
    fingerprints = {"llamafactory": {"0.9.3": trainer(), "0.9.4": trainer()}}
    axes = {"transformers": ["4.51"], "llamafactory": ["0.9.3", "0.9.4"]}
    reserve = {("llamafactory", "0.9.4")}
    (group,) = grouped(fingerprints, reserve, **axes).values()
    newest, oldest = group.members
    assert group.reserve == {newest}

    assert chosen(fingerprints, last=reserve, **axes) == [oldest]
    assert chosen(fingerprints, measured(oldest, verdict="error"), last=reserve, **axes) == [newest]
    assert chosen(fingerprints, measured(oldest), last=reserve, **axes) == []


def test_a_folder_compares_as_its_own_version_does():
    """The mark of its content makes it no later than the release that it says it is."""
    axes = {"transformers": ["4.50.0", "4.50.0+src0123456789abcdef", "4.51.0"], "llamafactory": ["0.9.2"]}
    fingerprints = {
        "transformers": dict.fromkeys(axes["transformers"], fingerprint()),
        "llamafactory": {"0.9.2": trainer(compared=["4.50.0"])},
    }
    grouped = groups(with_models(combine(axes), fingerprints), fingerprints)
    members = [{one.stack["transformers"] for one in group.members} for group in grouped]
    assert {"4.50.0", "4.50.0+src0123456789abcdef"} in members
    assert {"4.51.0"} in members


def test_a_commit_whose_version_is_not_known_is_inferred_from_no_other():
    axes = {"transformers": ["4.50.0", "0+git0123456789abcdef"], "llamafactory": ["0.9.2"]}
    fingerprints = {
        "transformers": dict.fromkeys(axes["transformers"], fingerprint()),
        "llamafactory": {"0.9.2": trainer()},
    }
    assert len(groups(with_models(combine(axes), fingerprints), fingerprints)) == 2
