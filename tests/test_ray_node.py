"""A node of a cluster, without the cluster: what it must have in common with the machine that asks, and what it is given."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from ckptdoctor.environment import copies
from ckptdoctor.environment.copies import Kept
from ckptdoctor.environment.session import Session
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.matrix import machine, ray_node, ray_sources, ray_target
from ckptdoctor.matrix.combination import Combination
from ckptdoctor.matrix.executor import Ended, Refused, Task
from ckptdoctor.matrix.machine import Machine
from ckptdoctor.matrix.ray_messages import Answer, Begin, Failed, Joined, Joining, Unfit
from ckptdoctor.matrix.ray_node import Node
from ckptdoctor.model.encoding import encode
from ckptdoctor.model.evidence import Environment, Package
from ckptdoctor.planning.options import Options
from tests.real.test_matrix import wheel
from tests.test_executor import FULL, Fails, task

HERE = Machine(
    "linux x86_64", "x86_64", "3.11.7", {"torch": "2.13.0", "numpy": "2.3"}, {"peft": "1"}, {"f.py:f": "1"}, []
)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"system": "linux aarch64", "processor": "aarch64"}, "linux aarch64 instead of linux x86_64"),
        ({"python": "3.10.2"}, "Python 3.10.2 instead of 3.11.7"),
        ({"packages": {"torch": "2.12.0+cu126", "numpy": "2.3"}}, "torch 2.12.0+cu126 instead of 2.13.0"),
        ({"packages": {}}, "torch missing instead of 2.13.0, numpy missing instead of 2.3"),
        (
            {"packages": {**HERE.packages, "a": "1", "b": "1", "c": "1"}},
            "a 1 instead of none, b 1 instead of none, 1 more package in other releases",
        ),
        ({"code": {"peft": "2"}}, "other code in peft"),
        ({"files": {"f.py:f": "2"}}, "another file for f.py:f"),
        ({"files": {"f.py:f": ""}}, "no file for f.py:f"),
        ({"devices": ["/dev/nvidia0"]}, "GPUs"),
    ],
)
def test_in_what_a_machine_differs_is_said(changed, said):
    assert machine.difference(HERE, msgspec.structs.replace(HERE, **changed)) == said


@pytest.fixture
def joining(cache, tmp_path):
    """What a node is told whose target is the Python that runs the tests."""
    with Session(Path(sys.executable), None, 1, cache) as session:
        target = session.look()
    options = Options(functions=[f"{Path(__file__)}:f"])
    return Joining(sys.executable, target, machine.of(target, options), options, str(tmp_path), ray_node.variables(), 2)


@pytest.fixture
def own_environment(monkeypatch):
    """What a node sets in its process is undone."""
    monkeypatch.chdir(Path.cwd())
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("own_environment")
def test_a_node_like_this_machine_joins_and_gets_its_variables(joining, tmp_path):
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "7", "HF_TOKEN": "its own", "PIP_TIMEOUT": "3"}
    asked = msgspec.structs.replace(joining, variables={**joining.variables, "NCCL_DEBUG": "INFO", "PIP_TIMEOUT": "9"})
    node, answer = ray_node.join("id", "10.0.0.1", 8, encode(asked))

    assert msgspec.json.decode(answer, type=Answer) == Joined("id", "10.0.0.1", 2)
    assert node is not None
    node.close()
    assert Path.cwd() == tmp_path
    # Ray sets the first two; what is the node's own stays.
    assert {"CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"} - set(joining.variables) == {
        "CUDA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
    } - set(os.environ)
    assert (os.environ["NCCL_DEBUG"], os.environ["HF_TOKEN"], os.environ["PIP_TIMEOUT"]) == ("INFO", "its own", "3")


@pytest.mark.usefixtures("own_environment")
def test_a_node_with_other_packages_does_not_join(joining):
    other = msgspec.structs.replace(joining.machine, packages={**joining.machine.packages, "msgspec": "0.1"})
    node, answer = ray_node.join("id", "10.0.0.1", 8, encode(msgspec.structs.replace(joining, machine=other)))

    assert node is None
    said = msgspec.json.decode(answer, type=Answer)
    assert isinstance(said, Unfit)
    assert said.why.startswith("msgspec ")
    assert said.why.endswith(" instead of 0.1")


def test_secrets_are_not_sent(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HF_HOME", "/hf")

    assert "HF_TOKEN" not in ray_node.variables()
    assert ray_node.variables()["HF_HOME"] == "/hf"


# -- the target -------------------------------------------------------------------------------------------------------


@pytest.fixture
def only_one_wheel(tmp_path, monkeypatch):
    """An index with one package."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "wheels").mkdir()
    wheel(tmp_path / "wheels", "tiny_package", "1.0", {"tiny_package.py": ""})
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


def target(*packages, python=None):
    running = ".".join(map(str, sys.version_info[:3]))
    return Environment(python or running, "/none/bin/python", "linux x86_64", packages)


@pytest.mark.usefixtures("only_one_wheel")
def test_a_target_that_is_not_at_its_path_is_made_once_with_the_same_packages(tmp_path):
    facts = target(Package("tiny-package", "1.0"))
    made = ray_target.find(Path("/none/bin/python"), facts, tmp_path)
    with Session(made, None, 1, tmp_path) as session:
        there = session.look()

    assert [(one.name, one.version) for one in there.packages] == [("tiny-package", "1.0")]
    (tmp_path / "wheels").rename(tmp_path / "gone")
    assert ray_target.find(Path("/none/bin/python"), facts, tmp_path) == made


@pytest.mark.usefixtures("only_one_wheel")
@pytest.mark.parametrize(
    ("facts", "said"),
    [(target(Package("tiny-package", "2.0")), "tiny-package"), (target(python="3.99.0"), "Python 3.99.0")],
)
def test_a_target_that_cannot_be_made_is_why_a_node_is_left_out(tmp_path, facts, said):
    with pytest.raises(TargetError, match=said):
        ray_target.find(Path("/none/bin/python"), facts, tmp_path)
    assert not list((tmp_path / "environments").glob("*"))


# -- tasks ------------------------------------------------------------------------------------------------------------


def events(node, enough):
    found = []
    while len(found) < enough:
        found += [msgspec.json.decode(line, type=Answer) for line in node.poll()]
    return found


def test_events_come_as_they_happen_and_carry_the_tasks_number():
    node = Node("id", Fails(FULL), 2)
    node.begin(encode(Begin("id", 7, task(), 1)), {})
    found = events(node, 3)
    node.close()

    assert {(one.node, one.number) for one in found} == {("id", 7)}
    assert [type(one.event) for one in found[1:]] == [Refused, Ended]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UsageFault("There is no such function.", "look"), Failed("There is no such function.", "look", True)),
        (ZeroDivisionError("by nought"), Failed("A node failed: ZeroDivisionError: by nought.")),
    ],
)
def test_what_cannot_go_on_is_said_and_not_swallowed(error, said):
    node = Node("id", Fails(error), 1)
    node.begin(encode(Begin("id", 1, task(), 1)), {})
    found = events(node, 2)
    node.close()

    assert found[-1] == said


def test_a_question_for_events_is_answered_even_if_there_are_none(monkeypatch):
    monkeypatch.setattr(ray_node, "POLL", 0.01)
    node = Node("id", Fails(FULL), 1)

    assert node.poll() == []
    node.close()


def test_a_question_for_events_ends_when_the_node_does():
    node = Node("id", Fails(FULL), 1)
    asked = ThreadPoolExecutor(1).submit(node.poll)
    node.close()

    assert asked.result(timeout=ray_node.POLL / 2) == []


def test_the_copy_of_a_source_goes_to_a_node_that_lacks_it(tmp_path):
    ours, theirs, content = tmp_path / "ours", tmp_path / "theirs", "src0123456789abcdef"
    (copies.place(ours, content) / "code").mkdir(parents=True)
    (copies.place(ours, content) / "code" / "setup.py").write_text("x")
    copies.note(ours, content, Kept("transformers", "5.24.0", "code"))
    fetched = []

    def fetch():
        fetched.append(1)
        return ray_sources.archive(ours, content)

    for _ in range(2):
        ray_sources.take(theirs, content, fetch)

    assert (copies.place(theirs, content) / "code" / "setup.py").read_text() == "x"
    assert copies.known(theirs, content) == copies.known(ours, content)
    assert fetched == [1]


def test_the_sources_of_a_task_are_those_of_its_base_and_its_trainers():
    stack = (("transformers", "5.24.0.dev0+src0123456789abcdef"), ("llamafactory", "0.9.5+cpu.gitfedcba9876543210"))
    one = Combination(stack)
    base = one.base(["peft==0.15"])

    assert ray_sources.marks(Task(base, (one,), Options())) == ["src0123456789abcdef", "gitfedcba9876543210"]
