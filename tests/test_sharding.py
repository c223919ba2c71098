"""A matrix in several jobs: which part each runs, and how their results come together."""

from __future__ import annotations

import pytest

from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix import costs, sharding
from ckptdoctor.matrix.combination import Combination
from ckptdoctor.matrix.inference import Group
from ckptdoctor.matrix.sharding import Shard
from ckptdoctor.matrix.store import Store
from ckptdoctor.model.evidence import Evidence
from tests.conftest import run


def groups(sizes):
    return [
        Group([Combination((("transformers", f"4.{number}.0"), ("llamafactory", f"0.{at}.0")), "glm4")])
        for number, size in enumerate(sizes)
        for at in range(size)
    ]


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40])
def test_each_group_is_run_by_one_shard(parts):
    all_groups = groups([3, 1, 8, 2, 5, 5, 1])

    shares = [sharding.own(all_groups, Shard(number, parts)) for number in range(1, parts + 1)]

    assert sorted(id(one) for share in shares for one in share) == sorted(map(id, all_groups))


def test_a_release_of_transformers_stays_in_one_shard():
    shares = [sharding.own(groups([4, 4, 4, 4]), Shard(number, 3)) for number in (1, 2, 3)]
    homes = [{one.members[0].stack["transformers"] for one in share} for share in shares]

    assert sum(map(len, homes)) == 4


def test_shards_cost_alike():
    shares = [sharding.own(groups([9, 7, 6, 5, 4, 3, 2, 1]), Shard(number, 2)) for number in (1, 2)]
    expected = [seconds(share) for share in shares]

    assert max(expected) <= 1.1 * min(expected)


def seconds(share):
    """What a shard takes, by what was measured."""
    releases = {one.members[0].stack["transformers"] for one in share}
    return sum(
        sharding.cost([one for one in share if one.members[0].stack["transformers"] == release]) for release in releases
    )


def test_a_trainer_whose_probes_take_longer_counts_for_more():
    known = costs.shipped()
    dear = max(known.trainers, key=lambda name: known.of_trainer(name, ["none"]))
    cheap = min(known.trainers, key=lambda name: known.of_trainer(name, ["none"]))
    one, other = (
        [Group([Combination((("transformers", "4.1.0"), (name, f"0.{at}.0")), "glm4")]) for at in range(4)]
        for name in (dear, cheap)
    )

    assert sharding.cost(one) > 1.2 * sharding.cost(other)
    assert sharding.cost(one, ["none", "ddp"]) > 1.5 * sharding.cost(one)
    assert known.of_trainer("overbake", ["none"]) > 0


def test_costs_are_medians_of_what_a_store_holds(tmp_path):
    with Store(tmp_path / "store") as store:
        for base, seconds_taken in (("one", 1.0), ("two", 2.0), ("three", 6.0)):
            store.keep_evidence(base, Evidence(id="glm4/none/none", ended="returned", seconds=0.5))
            store.keep_evidence(base, Evidence(id="glm4/torch:reentrant/none", ended="returned", seconds=0.5))
            own = "glm4/axolotl/none/axolotl==0.8.1"
            store.keep_evidence(base, Evidence(id=own, ended="returned", seconds=seconds_taken))

    found = costs.measured([tmp_path / "store"])

    assert (found.shared, found.trainers) == ({"none": 1.0}, {"axolotl": {"none": 2.0}})


def test_the_order_of_the_groups_does_not_matter():
    all_groups = groups([3, 1, 8])

    first, again = (sharding.own(each, Shard(1, 2)) for each in (all_groups, all_groups[::-1]))

    assert {id(one) for one in first} == {id(one) for one in again}


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UsageFault, match="is no shard"):
        sharding.parse(text)


def test_results_of_several_files_come_together(tmp_path):
    for name in ("one", "two"):
        with Store(tmp_path / name) as store:
            store.keep_evidence(f"base {name}", Evidence(id="probe", ended="returned", why=name))
            store.keep_evidence("base of both", Evidence(id="probe", ended="returned", why=name))

    ran = run("matrix", "merge", str(tmp_path / "one"), str(tmp_path / "two"), "--store", str(tmp_path / "all"))

    assert ran.status == 0
    assert ran.out.splitlines() == [f"{tmp_path / 'one'}: 2 results added", f"{tmp_path / 'two'}: 1 results added"]
    with Store(tmp_path / "all") as store:
        assert store.known("base two").evidence["probe"].why == "two"
        assert store.known("base of both").evidence["probe"].why == "one"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["merge", "nowhere", "--store", "all"], "no file of results"),
        (["merge", "text", "--store", "all"], "cannot be added"),
        (["merge", "text"], "needs a file to write to"),
        (["merge"], "is not understood"),
        (["marge", "text", "--store", "all"], "is not understood"),
        (["--shard", "3/2", "--vary", "transformers"], "is no shard"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no database")

    ran = run("matrix", *words)

    assert ran.status == 2
    assert says in ran.err
    assert "Traceback" not in ran.err
