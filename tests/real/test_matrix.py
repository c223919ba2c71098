"""Many combinations of real releases, through the command line: the verdicts, what is kept, and what bad luck does."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import threading
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from ckptdoctor.matrix.store import Store
from tests import conftest
from tests.real.test_robust import processes, wait_until

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / "cases"
TRANSFORMERS = ("4.50.3", "4.51.0", "4.51.3", "4.52.4", "4.57.6", "5.8.1", "5.23.0")
LLAMAFACTORY = ("0.9.2", "0.9.3", "0.9.5")
FEW = {"transformers": ("4.50.3", "4.51.3"), "llamafactory": ("0.9.2", "0.9.3")}


def expected(transformers, llamafactory):
    """LLaMA-Factory up to 0.9.2 takes a bound method, later ones a partial of one; the newest transformers has neither."""
    taken = {"0.9.2": ("4.50.3",)}.get(llamafactory, TRANSFORMERS[:-1])
    return "ok" if transformers in taken else "fail"


def vary(axes):
    return [
        argument for name, releases in axes.items() for one in releases for argument in ("--vary", f"{name}=={one}")
    ]


def command(*arguments):
    return [sys.executable, "-m", "ckptdoctor", *map(str, arguments)]


def matrix(python, store, *arguments, **more):
    options = ["--python", python, "--store", store, "--exhaustive", "--format", "json"]
    return conftest.run("matrix", *options, *arguments, **more)


def cells(ran):
    assert "Traceback" not in ran.err
    return {tuple(cell["stack"].values()): cell["verdict"] for cell in ran.report["cells"]}


def why(ran):
    """What each combination that cannot be diagnosed says of itself."""
    return {tuple(run["stack"].values()): run["summary"] for run in ran.report["runs"] if run["verdict"] == "error"}


def judged(ran):
    """All that a run says of its combinations, but for the day."""
    return {
        tuple(run["stack"].values()): {key: value for key, value in run.items() if key not in ("date", "stack")}
        for run in ran.report["runs"]
    }


def rows(store):
    """Every row of a store, to the last byte: one that was run again has other times in it."""
    with closing(sqlite3.connect(store)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = database.execute("SELECT base, item, kind, made, body FROM results").fetchall()
    return {(base, item): (kind, made, body) for base, item, kind, made, body in found}


def probed(store):
    """How many results a store that may still be being made has: its file is there before its table."""
    try:
        return sum(kind == "evidence" for kind, _, _ in rows(store).values()) if store.exists() else 0
    except sqlite3.OperationalError:
        return 0


@pytest.fixture(scope="module")
def whole(torch_python, tmp_path_factory):
    """The matrix that this is about, run once, and its store."""
    store = tmp_path_factory.mktemp("whole") / "store"
    return matrix(torch_python, store, *vary({"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY})), store


@pytest.fixture
def own_tmp(tmp_path):
    """A folder for temporary files of a run, under which its processes work."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def start(torch_python, tmp_path, own_tmp):
    """Start a matrix in the background; what it leaves behind fails the test."""
    started = []

    def begun(*arguments, store=tmp_path / "store"):
        options = ["--python", torch_python, "--store", store, "--exhaustive", "--format", "json"]
        started.append(
            subprocess.Popen(
                command("matrix", *options, *arguments),
                env={**os.environ, "TMPDIR": str(own_tmp)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield begun
    for process in started:
        process.kill()
        process.communicate()
    left = processes(own_tmp)
    for number in left:
        os.kill(int(number), signal.SIGKILL)


# -- shards -----------------------------------------------------------------------------------------------------------


def test_shards_share_a_map_and_their_stores_make_the_whole(torch_python, tmp_path):
    axes = vary({"transformers": TRANSFORMERS[:2], "llamafactory": LLAMAFACTORY[:1]})
    parts = [matrix(torch_python, tmp_path / str(at), *axes, "--shard", f"{at}/3") for at in (1, 2, 3)]
    names = [str(tmp_path / str(at)) for at in (1, 2, 3)]
    merged = conftest.run("matrix", "merge", *names, "--store", str(tmp_path / "all"))
    results = (tmp_path / "all").read_bytes()
    together = matrix(torch_python, tmp_path / "all", *axes)

    assert merged.status == 0
    assert [len(cells(ran)) for ran in parts] == [1, 1, 0]
    assert parts[2].status == 0  # there is nothing for it to do
    assert cells(together) == {**cells(parts[0]), **cells(parts[1])}
    assert (tmp_path / "all").read_bytes() == results  # nothing was run again


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_every_combination_is_measured_and_judged_as_it_is(whole):
    ran, _ = whole

    assert (ran.status, ran.err) == (1, "")
    assert cells(ran) == {(one, other): expected(one, other) for one in TRANSFORMERS for other in LLAMAFACTORY}
    assert {cell["how"] for cell in ran.report["cells"]} == {"measured"}
    assert len({cell["run"] for cell in ran.report["cells"]}) == len(ran.report["runs"]) == 21


def test_the_evidence_names_who_reads_what_from_whom(whole):
    ran, _ = whole
    runs = {tuple(run["stack"].values()): run for run in ran.report["runs"]}
    for stack, run in runs.items():
        assert [fault["rule"] for fault in run.get("faults", [])] == (["CKPT001"] if run["verdict"] == "fail" else [])
        assert dict(zip(("transformers", "llamafactory"), stack, strict=True)).items() <= run["packages"].items()

    (fault,) = runs["4.51.3", "0.9.2"]["faults"]
    assert "__self__" in fault["error"]
    assert (fault["culprit"]["package"], fault["culprit"]["version"]) == ("llamafactory", "0.9.2")
    assert (fault["passed_by"]["package"], fault["passed_by"]["version"]) == ("transformers", "4.51.3")
    assert "Glm4DecoderLayer" in fault["callable"]


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_a_second_run_runs_nothing_and_says_the_same(whole, torch_python):
    first, store = whole
    before = rows(store)

    again = matrix(torch_python, store, *vary({"transformers": TRANSFORMERS, "llamafactory": LLAMAFACTORY}))

    assert rows(store) == before
    assert (again.status, cells(again), judged(again)) == (1, cells(first), judged(first))


def test_a_run_that_is_killed_again_and_again_loses_nothing_and_runs_nothing_twice(whole, start, own_tmp, tmp_path):
    uninterrupted, _ = whole
    store, before = tmp_path / "store", {}
    for enough in (1, 7):
        process = start(*vary(FEW))
        assert wait_until(lambda enough=enough: probed(store) >= enough, 120)
        process.kill()
        process.wait()
        assert wait_until(lambda: not processes(own_tmp), 10), processes(own_tmp)
        after = rows(store)
        assert after.items() >= before.items()
        before = after

    process = start(*vary(FEW))
    out, err = process.communicate(timeout=300)

    assert (process.returncode, err) == (1, "")
    assert rows(store).items() > before.items()
    ran = conftest.Ran(process.returncode, out, err)
    assert judged(ran) == {stack: run for stack, run in judged(uninterrupted).items() if stack in cells(ran)}
    assert len(cells(ran)) == 4


def noted(store):
    """Have a new store note all that is ever written to it."""
    Store(store).__exit__(None, None, None)
    with closing(sqlite3.connect(store)) as database:
        database.execute("CREATE TABLE written (base TEXT, item TEXT)")
        note = "INSERT INTO written VALUES (new.base, new.item)"
        database.execute(f"CREATE TRIGGER notes AFTER INSERT ON results BEGIN {note}; END")


def written(store):
    with closing(sqlite3.connect(store)) as database:
        return database.execute("SELECT base, item FROM written").fetchall()


def test_two_runs_at_once_run_nothing_twice_agree_and_leave_the_store_whole(whole, start, tmp_path):
    uninterrupted, store = whole
    noted(tmp_path / "store")
    both = [start(*vary(FEW)) for _ in range(2)]
    ran = [conftest.Ran(process.wait(), *process.communicate()) for process in both]

    assert [(one.status, one.err) for one in ran] == [(1, "")] * 2
    assert judged(ran[0]) == judged(ran[1])
    assert judged(ran[0]).items() <= judged(uninterrupted).items()
    assert 0 < len(rows(tmp_path / "store").keys() & rows(store).keys()) == len(rows(tmp_path / "store"))
    assert sorted(written(tmp_path / "store")) == sorted(rows(tmp_path / "store"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind_but_results(start, own_tmp, tmp_path, number):
    process = start(*vary(FEW))
    if number == signal.SIGINT:
        assert wait_until(lambda: probed(tmp_path / "store") >= 2, 120)
    else:  # while torch is being imported
        assert wait_until(lambda: any(b"--fork-server" in said for said in processes(own_tmp).values()), 120)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err.strip()) == (130, "", "interrupted")
    assert wait_until(lambda: not processes(own_tmp), 5), processes(own_tmp)
    assert list(own_tmp.iterdir()) == []
    assert (probed(tmp_path / "store") >= 2) == (number == signal.SIGINT)


# -- the line ---------------------------------------------------------------------------------------------------------


def bisect(python, store, *arguments):
    return conftest.run("bisect", *arguments, "--python", python, "--store", store, "--format", "json", timeout=600)


def sides(ran):
    return [
        [(line[side], line[f"run_{side}"]["verdict"]) for side in ("before", "after")] for line in ran.report["lines"]
    ]


def test_the_first_release_that_fails_is_found(torch_python, whole):
    _, store = whole
    options = ["transformers>=4.49,<=4.52.4", "--good", "4.49.0", "--bad", "4.52.4", "--with", "llamafactory==0.9.2"]
    ran = bisect(torch_python, store, *options)

    assert (ran.status, ran.err) == (0, "")
    assert sides(ran) == [[("4.50.3", "ok"), ("4.51.0", "fail")]]
    assert ran.report["stack"] == {"llamafactory": "0.9.2"}
    releases = len(ran.report["releases"])
    assert releases >= 12
    assert ran.report["runs"] <= 2 + (releases - 2).bit_length()
    assert ran.report["from_before"] >= 2  # the line itself was in the matrix
    (line,) = ran.report["lines"]
    assert [fault["rule"] for fault in line["run_after"]["faults"]] == ["CKPT001"]
    assert "faults" not in line["run_before"]
    assert not any("monotonic" in note for note in ran.report.get("notes", []))

    again = bisect(torch_python, store, *options)
    assert sides(again) == sides(ran)
    assert again.report["from_before"] == again.report["runs"]


def test_the_first_release_that_mends_it_is_found(torch_python, whole):
    options = ["--good", "0.9.3", "--bad", "0.9.2", "--with", "transformers==4.51.3"]
    ran = bisect(torch_python, whole[1], "llamafactory", *options)

    assert (ran.status, ran.err) == (0, "")
    assert sides(ran) == [[("0.9.2", "fail"), ("0.9.3", "ok")]]
    assert ran.report["runs"] == 2


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--good", "4.50.3"], 2, "--good and --bad belong together"),
        (["--good", "4.51.0", "--bad", "4.50.3"], 2, "is not good"),
        (["--good", "4.51.0", "--bad", "4.51.0"], 2, "the same"),
        (["--good", "4.50.3", "--bad", "4.51.99"], 2, "4.51.99"),
        (["--good", "old", "--bad", "new"], 2, "old"),
        (["--good", "4.50.3", "--bad", "4.51.0", "--with", "axolotl==0.8.1"], 2, "one trainer"),
    ],
)
def test_ends_that_make_no_sense_are_said_to(torch_python, whole, arguments, status, said):
    ran = bisect(torch_python, whole[1], "transformers>=4.50.3,<=4.51.0", *arguments, "--with", "llamafactory==0.9.2")

    assert (ran.status, ran.out) == (status, "")
    complaint, *_ = ran.err.splitlines()
    assert complaint.startswith(("error: ", "Usage: "))
    assert said in ran.err
    assert "Traceback" not in ran.err


# -- bad luck ---------------------------------------------------------------------------------------------------------


def wheel(folder, name, version, files, metadata=""):
    """A wheel of a package that is on no index."""
    about = f"{name}-{version}.dist-info"
    members = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)


def source(folder, name, version, setup):
    """A source archive whose build does what it is told to."""
    inside = folder / f"{name}-{version}"
    inside.mkdir()
    (inside / "setup.py").write_text(setup)
    (inside / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        archive.add(inside, inside.name)


@pytest.fixture
def odd_releases(tmp_path):
    """A folder with releases of LLaMA-Factory that are no good, each in its own way."""
    folder = tmp_path / "releases"
    folder.mkdir()
    module = "llamafactory/model/model_utils/checkpointing.py"
    function = (
        "def get_custom_gradient_checkpointing_func(*_): ...\ndef _gradient_checkpointing_enable(*_, **__): 1 / 0\n"
    )
    wheel(folder, "llamafactory", "99.1", {module: f"raise RuntimeError('not today')\n{function}"})
    wheel(folder, "llamafactory", "99.2", {module: function}, "Requires-Dist: no-such-package-as-this\n")
    source(folder, "llamafactory", "99.3", "raise SystemExit('there is no compiler')")
    return {"PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {folder}".strip()}


def test_releases_that_are_no_good_are_results_of_their_own_and_the_rest_goes_on(torch_python, tmp_path, odd_releases):
    axes = {"transformers": ["4.51.3"], "llamafactory": ["0.9.3", "99.1", "99.2", "99.3"]}
    ran = matrix(torch_python, tmp_path / "store", *vary(axes), environ=odd_releases)

    assert ran.err == ""
    # A function that cannot be loaded is no trigger; what a trainer requires beside it is not needed for it.
    assert cells(ran) == dict(
        zip([("4.51.3", one) for one in axes["llamafactory"]], ["ok", "error", "fail", "error"], strict=True)
    )
    said = why(ran)
    assert "not today" in said["4.51.3", "99.1"]
    assert "could not be built" in said["4.51.3", "99.3"]
    assert ran.status == 1
    assert all(len(text.splitlines()) == 1 for text in said.values())


def test_another_torch_is_an_axis_with_an_environment_of_its_own(torch_python, cache, tmp_path):
    release = conftest.TORCH.partition("==")[2]
    ran = matrix(torch_python, tmp_path / "store", "--vary", f"torch=={release}", "--checkpoint-fn", "torch")

    assert (ran.status, ran.err) == (0, "")
    assert set(cells(ran).values()) == {"ok"}
    (run,) = ran.report["runs"]
    assert run["packages"]["torch"].partition("+")[0] == release
    assert list((cache / "environments").glob("*/bin/python"))


def test_a_function_of_the_users_own(torch_python, tmp_path):
    axes = vary({"transformers": ["4.50.3", "4.51.3"]})
    function = f"{CASES / 'ckpt001_bad.py'}:checkpoint_function"
    ran = matrix(torch_python, tmp_path / "store", *axes, "--checkpoint-fn", function)

    assert (ran.status, ran.err) == (1, "")
    assert cells(ran) == {("4.50.3",): "ok", ("4.51.3",): "fail"}


def test_an_engine_that_is_not_there_is_why_nothing_can_be_diagnosed(torch_python, tmp_path):
    ran = matrix(torch_python, tmp_path / "store", *vary({"llamafactory": ["0.9.3"]}), "--engine", "zero3")

    assert ran.status == 3
    assert cells(ran) == {("0.9.3",): "error"}
    assert "deepspeed" in why(ran)["0.9.3",]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--vary", "no-such-package-as-this"], 2, "No package index in use has no-such-package-as-this."),
        (["--vary", "llamafactory>99"], 2, "No release of llamafactory matches >99."),
        (["--vary", "nonsense!!"], 2, "'nonsense!!' is no requirement."),
        (["--vary", "llamafactory==0.9.3", "--with", "nonsense!!"], 2, "'nonsense!!' is not a requirement."),
        (["--vary", "llamafactory==0.9.3", "--engine", "steam"], 2, "'steam' is not one of"),
        (
            ["--vary", "llamafactory==0.9.3", "--checkpoint-fn", "lamafactory"],
            2,
            "no checkpoint function 'lamafactory'",
        ),
        (["--vary", "llamafactory==0.9.3", "--checkpoint-fn", "none.py:f"], 2, "none.py"),
        (["--vary", "llamafactory==0.9.3", "--output", "/no/such/folder/map.json"], 2, "cannot be written"),
        ([], 2, "--vary"),
    ],
)
def test_what_makes_no_sense_is_said_to(torch_python, tmp_path, arguments, status, said):
    ran = matrix(torch_python, tmp_path / "store", *arguments)

    assert (ran.status, ran.out) == (status, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
    if ran.err.startswith("error: "):
        assert len(ran.err.splitlines()) == 2
        assert ran.err.splitlines()[1].startswith("hint: ")


def test_a_store_that_is_something_else_is_named(torch_python, tmp_path):
    (tmp_path / "store").write_text("my notes\n" * 100)
    ran = matrix(torch_python, tmp_path / "store", "--vary", "llamafactory==0.9.3")

    assert (ran.status, ran.out) == (2, "")
    assert "--store" in ran.err
    assert (tmp_path / "store").read_text() == "my notes\n" * 100


@pytest.fixture
def silent_index():
    """An index that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("index", ["down", "slow"])
def test_an_index_that_does_not_answer_is_named(torch_python, tmp_path, silent_index, index):
    port = 9 if index == "down" else silent_index
    settings = {key: "" for key in os.environ if key.startswith(("UV_", "PIP_"))}
    settings |= {"PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_TIMEOUT": "1"}
    settings |= {"PIP_DEFAULT_TIMEOUT": "1"}
    ran = matrix(torch_python, tmp_path / "store", "--vary", "transformers>=4.46", environ=settings)

    assert (ran.status, ran.out) == (3, "")
    complaint, hint = ran.err.splitlines()
    assert complaint == f"error: 127.0.0.1:{port} cannot be reached."
    assert hint.startswith("hint: ")


# -- the live view ----------------------------------------------------------------------------------------------------


def test_who_watches_sees_how_many_are_done(torch_python, tmp_path):
    ours, theirs = pty.openpty()
    options = ["--python", torch_python, "--store", tmp_path / "store", "--exhaustive", "--format", "json"]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "140", "NO_COLOR": "1", "CKPTDOCTOR_NO_PROGRESS": ""}
    process = subprocess.Popen(
        command("matrix", *options, *vary({"llamafactory": ["0.9.2", "0.9.3"]})),
        env=environ,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""

    def watch():
        nonlocal seen
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # the other side is gone
                return
            seen += data

    thread = threading.Thread(target=watch)
    thread.start()
    out, _ = process.communicate(timeout=300)
    thread.join(10)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode("utf-8", "replace"))

    assert len(json.loads(out)["cells"]) == 2
    assert "0 of 2 combinations" in text
    assert re.search(r"\d+ of \d+ probes with", text)  # how the line counts on is in tests/test_progress.py


def test_a_trainer_that_the_target_has_in_that_very_release(demo_python):
    """Nothing has to be added then, and its checkpoint function is judged all the same."""
    axes = ("--vary", "transformers==4.51.3", "--vary", "llamafactory==0.9.2")
    ran = conftest.run("matrix", "--python", demo_python, *axes, "--exhaustive", "--format", "json")
    assert ran.status == 1
    [one] = ran.report["runs"]
    assert {judged["function"] for judged in one["functions"]} >= {"llamafactory", "llamafactory:unsloth"}


def test_what_is_not_known_is_measured_here_once_and_marked(torch_python, tmp_path):
    """A release of ms-swift that no shipped map has, with transformers that is at hand."""
    cache = tmp_path / "cache"
    question = ("known", "--format", "json", "--python", torch_python, "ms-swift==4.5.2", "transformers==4.51.3")

    def ask(*more):
        return conftest.run(*question, *more, environ={"CKPTDOCTOR_CACHE": str(cache)})

    assert ask().status == 3
    first, again = ask("--extend"), ask("--extend")

    [pair] = first.report["pairs"]
    assert (first.status, pair["works"], pair["how"], pair["here"]) == (0, True, "measured", True)
    assert pair["torch"].startswith("2.")
    assert "3 combinations added to what is known (3 run here)" in first.err
    assert "nothing was run" in again.err
    assert again.report == first.report
