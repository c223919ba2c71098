"""What is measured on this machine: it adds to what ships, is marked wherever it is used, and nothing known is run again."""

import sys
from contextlib import nullcontext

import msgspec
import pytest
from packaging.specifiers import SpecifierSet

from ckptdoctor import knowledge, results
from ckptdoctor.environment.releases import Release
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.knowledge import layers, packed
from ckptdoctor.matrix import extending, extending_families
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.combination import combine
from ckptdoctor.matrix.fingerprints import Fingerprint
from ckptdoctor.matrix.measuring import Measuring
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.run import Work
from ckptdoctor.matrix.store import Store
from ckptdoctor.planning.options import Options
from tests.conftest import call
from tests.test_measuring import AXES, TARGET, Answers

PAIR = ("llamafactory==0.9.3", "transformers==99.0.0")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and nothing of another one remembered."""
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / "cache"))
    knowledge.load.cache_clear()
    yield tmp_path / "cache"
    knowledge.load.cache_clear()


def measured_here(verdict="ok", release="99.0.0", torch="2.99.0", trainer="0.9.3"):
    """A layer: the newest transformers as if it were another release, with some release of a trainer."""
    shipped = knowledge.shipped()
    newest = shipped.axes["transformers"][-1]
    stack = {"transformers": newest, "llamafactory": "0.9.5"}
    made = layers.part(shipped, list(shipped.matching(stack)))
    stack = {"transformers": release, "llamafactory": trainer}
    changed = {"stack": stack, "date": "2027-01-02", "here": True, "verdict": verdict, "packages": {"torch": torch}}
    runs = [msgspec.structs.replace(run, **changed) for run in made.runs]
    cells = [msgspec.structs.replace(cell, stack=stack, verdict=verdict, how="measured") for cell in made.cells]
    axes = {name: [one] for name, one in stack.items()}
    return msgspec.structs.replace(made, axes=axes, runs=runs, cells=cells)


def test_what_was_measured_here_is_known_and_marked(cache):
    assert call("known", *PAIR).status == 3
    layers.keep(knowledge.TRAINERS_FILE, measured_here())
    knowledge.load.cache_clear()

    ran = call("known", *PAIR)

    assert ran.status == 0
    text = " ".join(ran.out.split())
    assert "works, measured here on 2027-01-02 with torch 2.99.0." in text
    several = " ".join(call("known", "llamafactory==0.9.3", "transformers>=5.24").out.split())
    assert "1 of them here" in several
    assert "99.0.0 works; measured here" in several
    assert "3 combinations rest on runs made here" in " ".join(call("known").out.split())


def test_what_ships_is_not_replaced_by_what_was_measured_here(cache):
    own = measured_here("ok", "5.23.0")
    shipped = {
        cell.verdict for cell in knowledge.shipped().matching({"transformers": "5.23.0", "llamafactory": "0.9.3"})
    }
    layers.keep(knowledge.TRAINERS_FILE, own)
    knowledge.load.cache_clear()

    assert shipped == {"fail"}
    assert call("known", "llamafactory==0.9.3", "transformers==5.23.0").status == 1
    assert len(knowledge.load().cells) == len(knowledge.shipped().cells)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8b nothing", packed.pack(measured_here())[:-30]])
def test_a_damaged_file_adds_nothing(cache, content):
    path = layers.keep(knowledge.TRAINERS_FILE, measured_here())
    path.write_bytes(content)
    knowledge.load.cache_clear()

    assert knowledge.load() == knowledge.shipped()


def test_what_another_user_may_write_is_not_believed(cache):
    path = layers.keep(knowledge.TRAINERS_FILE, measured_here())
    path.chmod(0o666)
    knowledge.load.cache_clear()

    assert knowledge.load() == knowledge.shipped()


def test_a_kept_report_is_not_used_once_more_is_known(cache):
    before = results._own_code()
    layers.keep(knowledge.TRAINERS_FILE, measured_here())
    assert results._own_code() != before
    assert any(name == knowledge.TRAINERS_FILE for name, _ in before[1])  # what ships counts too


def test_a_part_and_what_adds_to_it_make_the_whole():
    whole = knowledge.shipped()
    newest = whole.axes["transformers"][-1]
    old = layers.part(whole, [cell for cell in whole.cells if cell.stack["transformers"] != newest])
    new = layers.part(whole, [cell for cell in whole.cells if cell.stack["transformers"] == newest])

    made = layers.together(old, new)

    assert newest not in old.axes["transformers"]
    assert made.axes == whole.axes
    facts = {(frozenset(c.stack.items()), c.model): (c.verdict, c.how, whole.run_of(c).stack) for c in whole.cells}
    assert {
        (frozenset(c.stack.items()), c.model): (c.verdict, c.how, made.run_of(c).stack) for c in made.cells
    } == facts


class Index:
    """An index with the releases that are known, and some more."""

    def __init__(self, **more):
        self.more = {name.replace("_", "-"): releases for name, releases in more.items()}

    def releases(self, name):
        versions = [*knowledge.shipped().axes[name], *self.more.get(name, ())]
        return [Release(name, one, yanked=one == "98.0.0") for one in versions]


def missing(index, **wanted):
    specifiers = {name: SpecifierSet(text) for name, text in wanted.items()}
    known = knowledge.shipped()
    found = extending._missing(extending._axes(specifiers, known, index), known)
    return {(one.stack["transformers"], *(pair for pair in one.releases[1:])) for one in found}


def test_nothing_is_missing_where_nothing_came():
    assert missing(Index()) == set()
    assert missing(Index(), llamafactory="==0.9.3", transformers="==5.23.0") == set()


def test_a_new_release_is_missing_with_every_release_of_every_trainer_but_no_special_one():
    found = missing(Index(transformers=["97.0.0", "98.0.0", "99.0.0rc1"]))

    assert {transformers for transformers, _ in found} == {"97.0.0"}
    trainers = {
        (name, one) for name, each in knowledge.shipped().axes.items() if name != "transformers" for one in each
    }
    assert {trainer for _, trainer in found} == trainers


def test_a_question_is_about_its_own_releases():
    index = Index(transformers=["97.0.0", "99.0.0rc1"], llamafactory=["97.0"])

    assert missing(index, llamafactory="==0.9.3", transformers="==99.0.0rc1") == {
        ("99.0.0rc1", ("llamafactory", "0.9.3"))
    }
    assert missing(index, llamafactory="==97.0", transformers=">5.23,<90") == {("5.24.0", ("llamafactory", "97.0"))}
    assert {trainer for _, (trainer, _) in missing(index, llamafactory="")} == {"llamafactory"}


def test_only_what_is_not_known_is_run_and_what_is_known_speaks_for_the_same_code(tmp_path):
    """The code of 4.51.3 is that of 4.50.3 here, and 4.50.3 is known with one of two releases of the trainer."""
    fingerprints = {
        "transformers": {one: Fingerprint({"glm4": "same"}) for one in AXES["transformers"]},
        "llamafactory": {one: Fingerprint({"llamafactory": one}) for one in AXES["llamafactory"]},
    }
    axes = [Axis(name, tuple(Release(name, one) for one in each)) for name, each in AXES.items()]
    request = MatrixRequest((), options=Options(models=("glm4",)))
    [first] = combine({"transformers": ["4.50.3"], "llamafactory": ["0.9.2"]}, ["glm4"])
    with (
        Store(tmp_path / "store") as store,
        Measuring(TARGET, Options(models=("glm4",)), store, Answers(fails=set())) as session,
    ):
        known = session.measure([first])
        work = Work(axes, fingerprints, request, session, known, lambda one: one.stack["transformers"] == "4.51.3")
        work.run()
        made = work.as_map()

    assert session.ran == 2
    assert {(*cell.stack.values(), cell.how, made.run_of(cell).stack["transformers"]) for cell in made.cells} == {
        ("4.50.3", "0.9.2", "measured", "4.50.3"),
        ("4.51.3", "0.9.2", "inferred", "4.50.3"),
        ("4.51.3", "0.9.3", "measured", "4.51.3"),
    }


@pytest.mark.parametrize("ended", ["timeout", "crashed"])
def test_what_the_machine_may_have_broken_off_is_not_known_nor_what_is_inferred_from_it(tmp_path, ended):
    """A step that ran out of time looks like one that hangs; on a busy machine it is neither."""
    axes = [Axis(name, tuple(Release(name, one) for one in each)) for name, each in AXES.items()]
    request = MatrixRequest((), options=Options(models=("glm4",)))
    same = {
        "transformers": {one: Fingerprint({"glm4": one}) for one in AXES["transformers"]},
        "llamafactory": {one: Fingerprint({"llamafactory": "same"}) for one in AXES["llamafactory"]},
    }

    def extend(executor, fingerprints, store):
        with Store(tmp_path / store) as kept, Measuring(TARGET, request.options, kept, executor) as session:
            work = Work(axes, fingerprints, request, session)
            work.run()
            return extending.extended(work, session, lambda _: True, {})

    sound = Answers(fails=set())
    whole = extend(sound, {}, "whole")
    [slow] = [name for name in sound.probed if name.startswith("4.51.3") and "0.9.3" in name]
    for fingerprints in ({}, same):
        found = extend(Answers(fails=set(), ended={slow: ended}), fingerprints, f"slow{len(fingerprints)}")
        left = {tuple(cell.stack.values()) for cell in whole.added.cells}
        left -= {("4.51.3", "0.9.3"), *([("4.51.3", "0.9.2")] if fingerprints else [])}
        assert {tuple(cell.stack.values()) for cell in found.added.cells} == left
        assert len(found.failed) == 4 - len(left)


def test_an_environment_without_torch_is_named_before_anything_is_installed(cache, monkeypatch):
    class Local(Index):
        session = None

    monkeypatch.setattr(extending, "index", lambda: nullcontext(Local(transformers=["99.0.0"])))
    with pytest.raises(TargetError, match="torch is not installed for"):
        extending.extend({"llamafactory": SpecifierSet("==0.9.3")}, sys.executable)


def test_an_index_without_a_package_is_named(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(UsageFault, match="No package index in use has transformers"):
        extending.extend({})


def test_a_family_that_is_not_measured_is_refused():
    ran = call("known", "--extend", "--model", "qwen2", "llamafactory==0.9.3", "transformers==4.51.3")

    assert ran.status == 2
    assert "--extend measures trainers with the families glm4, glm and llama, not with qwen2" in " ".join(
        ran.err.split()
    )


def test_a_family_is_missing_in_releases_that_the_map_of_families_lacks(cache, monkeypatch):
    asked = []

    def measured(new, known, found, request, observer):
        asked.extend((one, *request.options.models) for one in new)
        return extending.Extended(layers.part(knowledge.shipped(knowledge.FAMILIES_FILE), []))

    known = knowledge.shipped(knowledge.FAMILIES_FILE).axes["transformers"][-1]
    releases = Index(transformers=["97.0.0", "98.0.0", "99.0.0rc1"])
    monkeypatch.setattr(extending_families, "index", lambda: nullcontext(releases))
    monkeypatch.setattr(extending_families, "_measured", measured)
    for specifier in ("", f"=={known}", "==99.0.0rc1"):
        extending_families.extend("qwen2", SpecifierSet(specifier))
    extending_families.extend("all", SpecifierSet())

    assert asked == [("97.0.0", "qwen2"), ("99.0.0rc1", "qwen2"), ("97.0.0", "all")]
