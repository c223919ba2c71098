"""A map on a real Ray cluster of two nodes: the run is killed, then a node, then the cluster; nothing is lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests import conftest
from tests.real.test_matrix import cells, command, noted, rows, vary, written
from tests.real.test_robust import wait_until

pytest.importorskip("ray")
pytestmark = pytest.mark.real

RELEASES = ("4.50.3", "4.51.3")
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray notices within seconds that a node is gone; it takes half a minute by itself.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}

HELD = """
import os, time
from torch.utils.checkpoint import checkpoint

def held(function, *args, **kwargs):
    while os.path.exists(os.environ.get("HELD_BY", "")):
        time.sleep(0.05)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
"""
"""A checkpoint function that waits on the node which says so."""


class Cluster:
    """A head and two nodes, as processes of their own."""

    def __init__(self, folder, python, other_python):
        self.folder, self.python, self.port = folder, python, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.hold = folder / "hold"
        self.function = folder / "held.py"
        self.function.write_text(HELD)
        self.target = folder / "target"
        self.target.write_text(f'#!/bin/sh\nexec "${{HEADS_PYTHON:-{python}}}" "$@"\n')
        self.target.chmod(0o755)
        self.nodes, self.other_python = [], other_python

    def open(self):
        """Start them."""
        options = ["--head", "--include-dashboard=false", "--temp-dir", self.folder / "ray"]
        self.head = self.started("head", "--port", self.port, *options, HEADS_PYTHON=str(self.other_python))
        self.node = self.started("node", "--address", self.address, HELD_BY=str(self.hold))

    def started(self, name, *arguments, **environ):
        """Start a node; on a busy machine Ray gives up its own processes after 15 s, so that it takes another try."""
        said = self.folder / f"{name}.log"
        for _ in range(4):
            made = self.start(name, *arguments, **environ)
            self.nodes.append(made)
            while made.poll() is None:
                if "runtime started" in said.read_text():
                    return made
                time.sleep(0.1)
        raise AssertionError(said.read_text())

    def start(self, name, *arguments, **environ):
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1", *arguments]
        environ |= {"CKPTDOCTOR_CACHE": str(self.folder / name), **RAY}
        with (self.folder / f"{name}.log").open("wb") as log:
            return psutil.Popen(
                [*map(str, ray), "--object-store-memory", "80000000"],
                env={**os.environ, **environ},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, *nodes):
        """End them at once, with all their processes, as a machine does that loses its power."""
        for one in [one for node in nodes for one in tree(node)]:
            one.kill()
        for node in nodes:
            node.wait()

    def matrix(self, store, python=None):
        options = ["--python", python or self.python, "--store", store, "--exhaustive", "--format", "json"]
        function = f"{self.function}:held"
        where = ["--executor", f"ray={self.address}", "--checkpoint-fn", function, *vary({"transformers": RELEASES})]
        return subprocess.Popen(
            command("matrix", *options, *where),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "5"},
        )


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def tree(process):
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def probes(cluster, name):
    """Processes of the target that run on a node."""
    cache = str(cluster.folder / name)
    return [one.pid for one in tree(getattr(cluster, name)) if cache in environ(one).get("CKPTDOCTOR_BYTECODE", "")]


def environ(process):
    try:
        return process.environ()
    except psutil.Error:
        return {}


def evidence(store):
    return sorted(key for key, (kind, _, _) in rows(store).items() if kind == "evidence") if store.exists() else []


@pytest.fixture(scope="module")
def cluster(torch_python, bare_python):
    # A socket's path may be 107 characters long, and Ray uses most of them.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder), torch_python, bare_python)
        try:
            made.open()
            yield made
        finally:
            made.kill(*made.nodes)


def test_a_map_survives_the_end_of_the_run_and_of_a_node(cluster, tmp_path):
    store = tmp_path / "store"
    noted(store)
    cluster.hold.touch()
    first = cluster.matrix(store)
    # One node waits in the middle of a probe, and the other has done its part.
    assert wait_until(lambda: len(evidence(store)) >= 2 and probes(cluster, "node"), 240)
    first.kill()
    first.communicate()
    before = rows(store)
    assert wait_until(lambda: not probes(cluster, "node") and not probes(cluster, "head"), 60)

    second = cluster.matrix(store)
    assert wait_until(lambda: probes(cluster, "node"), 240)
    cluster.kill(cluster.node)
    out, err = second.communicate(timeout=240)

    ran = conftest.Ran(second.returncode, out, err)
    assert (ran.status, ran.err) == (0, "")
    assert cells(ran) == dict.fromkeys([(one,) for one in RELEASES], "ok")
    assert rows(store).items() >= {key: row for key, row in before.items() if row[0] == "evidence"}.items()
    assert sorted(key for key in written(store) if key in evidence(store)) == evidence(store)  # nothing was run twice
    assert len(list((cluster.folder / "head" / "overlays").iterdir())) == len(RELEASES)  # each was made once


def test_a_node_with_another_torch_is_not_used(cluster, tmp_path):
    process = cluster.matrix(tmp_path / "store", cluster.target)
    out, err = process.communicate(timeout=240)

    assert (process.returncode, out) == (3, "")
    complaint, hint = err.splitlines()
    assert "No node of the Ray cluster can be used in place of this machine" in complaint
    assert "torch missing instead of 2.13.0" in complaint
    assert hint.startswith("hint: start ckptdoctor on a node of the cluster")
    assert not evidence(tmp_path / "store")


def test_a_cluster_that_goes_away_is_told_in_a_sentence(cluster, tmp_path):
    process = cluster.matrix(tmp_path / "store")
    assert wait_until(lambda: any("Actor" in " ".join(one.cmdline()) for one in tree(cluster.head)), 240)
    cluster.kill(cluster.head)
    out, err = process.communicate(timeout=240)

    assert (process.returncode, out) == (3, "")
    complaint, hint = err.splitlines()
    assert complaint.startswith("error: The Ray cluster is gone")
    assert hint == "hint: the results so far are kept: run the same command again to continue"
