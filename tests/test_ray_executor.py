"""Tasks on a cluster of which only the answers are here: who gets which task, and what is done when nodes go away."""

from __future__ import annotations

import socket
from itertools import islice

import msgspec
import pytest

from ckptdoctor.errors import TargetError, UnobtainableError, UsageFault
from ckptdoctor.matrix import ray_errors, ray_executor
from ckptdoctor.matrix.combination import combine
from ckptdoctor.matrix.executor import Ended, Refused
from ckptdoctor.matrix.machine import Machine
from ckptdoctor.matrix.measuring import Measuring
from ckptdoctor.matrix.ray_connection import Connection
from ckptdoctor.matrix.ray_executor import RayExecutor
from ckptdoctor.matrix.ray_messages import Connect, Failed, Happened, Joined, Joining, Lost, Release, Seen, Unfit
from ckptdoctor.matrix.store import Store
from ckptdoctor.model.version import __version__
from ckptdoctor.planning.options import Options
from tests.conftest import call
from tests.test_executor import task
from tests.test_measuring import AXES, EXPECTED, TARGET, Answers, Watches, verdicts

HERE = Machine("linux x86_64", "x86_64", "3.11.7", {}, {}, {}, [])
JOINING = Joining("/env/bin/python", TARGET, HERE, Options(), "/", {})
RELEASES = ("4.50.3", "4.51.3", "4.52.4", "4.53.3")


class Cluster:
    """A connection that answers as a cluster does, at once."""

    def __init__(self, nodes=("a", "b"), slots=2, first=(), losses=(), answers=None):
        self.slots, self.losses = slots, list(losses)
        """For each task that is begun on them, nodes that go away in the middle of it."""
        self.answers = answers or Answers()
        self.begun, self.released, self.is_closed = [], [], False
        joined = [Joined(name, f"10.0.0.{name}", slots) for name in nodes]
        self.told = [*first, Seen(len(nodes)), *joined]

    def ask(self, request):
        if isinstance(request, Release):
            self.released.append(request.base)
            return
        self.begun.append(request)
        is_lost = request.node in self.losses
        events = islice(self.answers._perform(request.task), 4 if is_lost else None)
        happened = [Happened(request.node, request.number, one) for one in events]
        if is_lost:
            self.losses.remove(request.node)
            self.told += [*happened, Lost(request.node), Joined(f"{request.node}'", "10.0.0.9", self.slots)]
        else:
            self.told += [*happened, Happened(request.node, request.number, Ended(request.task.base))]

    def hear(self, timeout):
        return self.told.pop(0) if self.told else None

    def close(self):
        self.is_closed = True


def run(cluster, releases=RELEASES, claim=lambda one: one):
    return list(RayExecutor(cluster).run([task(release) for release in releases], claim))


def test_every_node_gets_its_share_and_every_task_ends_once():
    cluster = Cluster(slots=4)
    events = run(cluster)

    assert sorted(event.base for event in events if isinstance(event, Ended)) == [task(one).base for one in RELEASES]
    assert sorted(one.node for one in cluster.begun) == ["a", "a", "b", "b"]
    assert {one.at_once for one in cluster.begun} == {2}


def test_what_a_lost_node_had_found_is_kept_and_the_rest_is_run_elsewhere(tmp_path):
    cluster, observer = Cluster(losses=["a"]), Watches()
    with (
        Store(tmp_path / "store") as store,
        Measuring(TARGET, Options(), store, RayExecutor(cluster), observer) as session,
    ):
        runs = session.measure(combine(AXES))

    assert verdicts({tuple(run.stack.values()): run for run in runs.values()}) == EXPECTED
    assert len(cluster.begun) == 3
    again = cluster.begun[-1]
    assert again.node != "a"
    assert again.task.done  # what had come from the lost node
    assert (session.ran, len(observer.ended)) == (4, 4)
    assert set(cluster.answers.probed.values()) == {1}
    assert cluster.is_closed


def test_a_task_that_ends_every_node_is_given_up():
    cluster = Cluster(nodes=["a"], losses=["a", "a'", "a''"])
    events = run(cluster, ["4.50.3"])

    assert len(cluster.begun) == ray_executor.TRIES
    assert [event.base for event in events if isinstance(event, Ended)] == [task("4.50.3").base]


def test_what_another_run_measures_is_waited_for():
    asked = []

    def claim(one):
        asked.append(one)
        return None if len(asked) < 3 else msgspec.structs.replace(one, combinations=())

    cluster = Cluster()
    events = run(cluster, ["4.50.3"], claim)

    assert not cluster.begun
    assert [getattr(event, "text", "") for event in events][-2:] == [
        "waiting for another run, which measures transformers==4.50.3",
        "",
    ]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ([Unfit("a", "10.0.0.1", "torch 2.12.0 instead of 2.13.0")], "10.0.0.1: torch 2.12.0 instead of 2.13.0"),
        ([], "no node with CPUs"),
        ([Failed("The cluster runs other releases.", "install them")], "runs other releases"),
    ],
)
def test_a_cluster_that_cannot_run_anything_is_told_in_a_sentence(first, said):
    with pytest.raises(TargetError, match=said):
        run(Cluster(nodes=[], first=first))


def test_a_source_that_cannot_be_copied_is_a_result_of_its_own_and_the_rest_goes_on():
    def located(requirement):
        if requirement == "transformers==4.50.3":
            raise UnobtainableError("The commit is gone.")
        return requirement

    cluster = Cluster()
    events = list(RayExecutor(cluster, located).run([task("4.50.3"), task("4.51.3")], lambda one: one))

    assert [event for event in events if isinstance(event, Refused)] == [
        Refused(task("4.50.3").base, "", "The commit is gone.", True)
    ]
    assert [one.task for one in cluster.begun] == [task("4.51.3")]


def test_what_makes_no_sense_ends_the_run():
    with pytest.raises(UsageFault, match="no such function"):
        run(Cluster(first=[Failed("There is no such function.", is_usage=True)]))


def test_nodes_that_took_no_part_are_named_with_the_reason():
    unfit = [
        Unfit(str(at), f"10.0.0.{min(at, 3)}", "no GPUs" if at > 1 else "torch 2.12.0 instead of 2.13.0")
        for at in range(5)
    ]
    executor = RayExecutor(Cluster(first=unfit))
    list(executor.run([task()], lambda one: one))

    assert executor.notes() == [
        "Not used: nodes 10.0.0.0, 10.0.0.1: torch 2.12.0 instead of 2.13.0.",
        "Not used: nodes 10.0.0.2, 10.0.0.3 (2 nodes): no GPUs.",
    ]


# -- what is said before anything runs --------------------------------------------------------------------------------

MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.44.1
    Python: 3.11.9
This process on node 10.0.0.2 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""
NONE_RUNNING = (
    "Could not find any running Ray instance. Please specify the one to connect to by setting `--address` flag or "
    "`RAY_ADDRESS` environment variable."
)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            RuntimeError(MISMATCH),
            "The cluster runs Ray 2.44.1 on Python 3.11.9, and this machine Ray 2.60.0 on Python 3.11.7: "
            "Ray connects equal releases only.",
            f"install ckptdoctor {__version__} beside the cluster's Ray, in its Python",
        ),
        (
            ConnectionError(NONE_RUNNING),
            "No Ray cluster is running on this machine.",
            "start one with `ray start --head`, or name one: --executor ray=HOST:PORT",
        ),
        (ValueError(), "The Ray cluster cannot be reached: ValueError.", "see `ray status` on this machine"),
    ],
)
def test_why_ray_does_not_connect_is_told_in_a_sentence(error, message, hint):
    assert ray_errors.failure(error) == Failed(message, hint)


def test_an_address_at_which_nothing_answers_is_refused_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UsageFault, match=f"No Ray cluster answers at 127.0.0.1:{port}"):
        Connection(Connect(f"127.0.0.1:{port}", JOINING, "/cache"))


@pytest.mark.parametrize("address", ["10.0.0.1:port", ":6379", "ray://"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageFault, match="is no address"):
        Connection(Connect(address, JOINING, "/cache"))


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageFault, match="Ray is not installed") as error:
        Connection(Connect("auto", JOINING, "/cache"))
    assert error.value.hint == "install it: pip install 'ckptdoctor[ray]'"


@pytest.mark.parametrize("name", ["dask", "local=here", ""])
def test_another_executor_is_refused(name):
    ran = call("matrix", "--vary", "transformers==4.51.3", "--executor", name)

    assert ran.status == 2
    assert "is no executor" in ran.err
