"""``ckptdoctor cache``, and how the cache is kept within its limit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckptdoctor import results
from ckptdoctor.environment.session import Session
from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix.combination import Base
from ckptdoctor.matrix.environments import Environments
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import SCHEMA, Report
from ckptdoctor.store import cache_contents, cache_eviction, durations, locations, workspace
from tests.conftest import call, run
from tests.test_cli import RUN, in_a_terminal, is_a_complaint

DAY = 24 * 3600
SIZE = 1000
OF_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from ckptdoctor.store.workspace import hold, making_in
hold(Path(sys.argv[1]), *sys.argv[2:])
with making_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(locations.LIMIT, raising=False)
    return locations.cache()


def name(number):
    return f"{number:032x}"


def aged(path, days):
    past = time.time() - days * DAY
    os.utime(path, (past, past))
    return path


def overlay(cache, number, days=0.0, python=sys.executable):
    """An overlay of ``SIZE`` bytes, with its record, last used some days ago."""
    folder = cache / "overlays" / name(number)
    (folder / "package").mkdir(parents=True)
    record = cache / "requests" / f"{name(number)}.json"
    told = json.dumps({"overlay": folder.name, "made": 0, "python": str(python)})
    record.write_text(told)
    (folder / "package" / "__init__.py").write_bytes(b"#" * (SIZE - len(told)))
    aged(record, days)
    return aged(folder, days)


def kind(cache, number, days=0.0):
    file = cache / "fingerprints" / f"{name(number)}.json"
    file.write_bytes(b"{" * SIZE)
    return aged(file, days)


def environment(cache, number, python):
    folder = cache / "environments" / name(number)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(python)
    return folder


def bytecode(cache, folder):
    made = cache / "bytecode" / str(folder).lstrip("/")
    made.mkdir(parents=True)
    (made / "module.cpython-311.pyc").write_bytes(b"#" * SIZE)
    return made


def result(number, executable, folders=()):
    of = Environment("3.11", str(executable), "linux")
    results.store(name(number), Report(SCHEMA, "0", "ok", "", of, [], []), [], map(str, folders))
    return locations.cache() / "results" / f"{name(number)}.json"


def everything(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if path.name != locations.LOCK}


@contextmanager
def another_process(cache, *names):
    """A process that uses parts of the cache, and makes something in it."""
    command = [sys.executable, "-c", OF_ANOTHER_PROCESS, str(cache), *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()


# -- what it holds ----------------------------------------------------------------------------------------------------


def test_it_shows_each_kind_with_entries_and_bytes(cache, tmp_path):
    overlay(cache, 1)
    overlay(cache, 2)
    kind(cache, 1)
    environment(cache, 1, sys.executable)
    result(1, sys.executable)
    bytecode(cache, tmp_path / "a" / "site-packages")
    (cache / "extensions" / "op").mkdir()
    (cache / "sources" / "src0123456789abcdef").mkdir()
    (cache / "repositories" / name(1)).mkdir()
    durations.keep(name(1), 2.0, [1.0])
    (cache / "matrix.sqlite").write_bytes(b"#" * 2500)
    (cache / "knowledge").mkdir()
    (cache / "knowledge" / "trainers.json.gz").write_bytes(b"#")
    (cache / ".gone-1").mkdir()

    ran = call("cache")
    told = json.loads(call("cache", "--format", "json").out)

    assert ran.status == 0
    assert ran.out.startswith(f"{cache}\n")
    assert "limit: 10 GB" in ran.out
    lines = {line.split()[0]: line.split()[1:5] for line in ran.out.splitlines() if line}
    assert lines["overlays"] == ["2", "entries", "2", "kB"]
    assert lines["matrix.sqlite"] == ["1", "entry", "2.5", "kB"]
    assert {one["name"]: one["entries"] for one in told["kinds"]} == {
        **dict.fromkeys(cache_contents.KINDS, 1),
        "overlays": 2,
    }
    assert told["bytes"] == sum(one["bytes"] for one in told["kinds"])
    assert (told["cache"], told["limit"], told["made_by_ckptdoctor"]) == (str(cache), 10**10, True)
    assert call("cache", "show").out == ran.out


def test_a_folder_of_compiled_files_is_one_entry_used_when_its_path_was(cache, tmp_path):
    packages = tmp_path / "site-packages"
    for package in ("torch", "torch/nn", "numpy"):
        bytecode(cache, packages / package)
    inside = cache / "bytecode" / str(packages).lstrip("/")
    for folder in (inside / "torch", inside / "numpy", *inside.parents):
        if cache in folder.parents:
            aged(folder, 50)
    aged(inside, 2)

    found = {one.path: one for one in cache_contents.read(cache)}

    assert set(found) == {inside / "torch", inside / "numpy"}
    assert found[inside / "torch"].size == 2 * SIZE
    assert found[inside / "torch"].used == pytest.approx(time.time() - 2 * DAY, abs=60)


# -- prune ------------------------------------------------------------------------------------------------------------


def test_prune_drops_what_was_not_used_for_a_while_with_its_record(cache):
    old, fresh, older_kind = overlay(cache, 1, days=40), overlay(cache, 2, days=20), kind(cache, 1, days=31)

    ran = call("cache", "prune")

    assert (ran.status, ran.err) == (0, "")
    assert "Deleted 2 entries, 2 kB." in ran.out
    assert (old.exists(), older_kind.exists(), fresh.exists()) == (False, False, True)
    assert [file.stem for file in (cache / "requests").iterdir()] == [fresh.name]
    assert not [one for one in cache.iterdir() if one.name.startswith(".gone-")]

    assert "Deleted 1 entry, 1 kB." in call("cache", "prune", "--older-than", "10").out
    assert not fresh.exists()


def test_a_use_of_an_overlay_counts_by_its_record_and_leaves_the_overlay_as_it_is(cache):
    from ckptdoctor.environment.overlay import _known

    folder = overlay(cache, 1, days=40)
    before = folder.stat().st_mtime_ns

    assert _known(cache / "requests" / f"{name(1)}.json", cache, always=True) == folder
    outcome = cache_eviction.prune(cache, 30, 0, dry_run=False)

    assert [one.used for one in outcome.in_use] == [pytest.approx(time.time(), abs=60)]
    assert folder.stat().st_mtime_ns == before  # kept results rest on it


def test_an_environment_made_for_another_torch_is_marked_as_used_and_stays(cache, monkeypatch):
    def build(self, folder, python, torch):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)
        aged(folder, 40)

    monkeypatch.setattr(Environments, "_build", build)
    for _ in range(2):
        with Environments(Path(sys.executable), Environment("3.11", "python", "linux"), cache) as made:
            python = made.python(Base(torch="2.0"))
    outcome = cache_eviction.prune(cache, 30, 0, dry_run=False)

    assert [(one.path, one.used) for one in outcome.in_use] == [
        (python.parent.parent, pytest.approx(time.time(), abs=60))
    ]


def test_a_look_at_an_environment_marks_its_compiled_files_as_used(cache, bare_python):
    with Session(bare_python, None, 1, cache) as session:
        (packages,) = [path for path in session.look().paths if path.endswith("site-packages")]
    compiled = aged(bytecode(cache, packages), 40)
    with Session(bare_python, None, 1, cache) as session:
        session.look()
    outcome = cache_eviction.prune(cache, 30, 0, dry_run=False)

    used = {one.path: one.used for one in outcome.in_use}
    assert used[compiled] == pytest.approx(time.time(), abs=60)


def test_a_use_of_a_result_counts(cache):
    file = aged(result(1, sys.executable), 40)

    assert results.load(name(1)) is not None
    cache_eviction.prune(cache, 30, None, dry_run=False)

    assert file.exists()


def test_prune_drops_what_belongs_to_environments_that_are_gone(cache, tmp_path):
    there, lost = tmp_path / "there", tmp_path / "lost"
    for folder in (there, lost):
        folder.mkdir()
        (folder / "python").touch()
    kept = [
        result(1, there / "python", [there]),
        overlay(cache, 1, python=there / "python"),
        environment(cache, 1, there / "python"),
        bytecode(cache, there),
    ]
    gone = [
        result(2, lost / "python"),
        result(3, there / "python", [lost]),
        overlay(cache, 2, python=lost / "python"),
        environment(cache, 2, lost / "python"),
        bytecode(cache, lost),
        cache / "results" / f"{name(4)}.json",
        cache / "requests" / f"{name(5)}.json",
    ]
    gone[-2].write_text("damaged")
    gone[-1].write_text(json.dumps({"overlay": name(5), "made": time.time()}))
    shutil.rmtree(lost)

    outcome = cache_eviction.prune(cache, 30, None, dry_run=False)

    assert {one.path for one in outcome.dropped} == set(gone)
    assert not any(os.path.lexists(path) for path in gone)
    assert all(path.exists() for path in kept)


def test_the_store_of_the_matrix_is_never_too_old_nor_counted(cache, monkeypatch):
    store = cache / "matrix.sqlite"
    store.write_bytes(b"#" * 10 * SIZE)
    aged(store, 1000)
    fresh = overlay(cache, 1)

    cache_eviction.prune(cache, 0.5, SIZE, dry_run=False)

    assert store.exists()
    assert fresh.exists()


def test_a_dry_run_deletes_nothing_and_tells_what_a_prune_drops(cache, tmp_path):
    overlay(cache, 1, days=40)
    overlay(cache, 2, days=3)
    overlay(cache, 3, days=2)
    kind(cache, 1, days=50)
    result(1, tmp_path / "gone")
    (cache / ".gone-1").mkdir()
    before = everything(cache)
    environ = {locations.LIMIT: str(SIZE)}

    dry = call("cache", "prune", "--dry-run", environ=environ)

    assert everything(cache) == before
    assert "Would delete 4 entries" in dry.out
    assert call("cache", "prune", environ=environ).out == dry.out.replace("Would delete", "Deleted")


def test_what_another_process_uses_stays(cache, tmp_path):
    used, old = overlay(cache, 1, days=40), overlay(cache, 2, days=40)
    compiled = bytecode(cache, tmp_path / "gone")
    store = cache / "matrix.sqlite"
    store.touch()

    with another_process(cache, f"overlays/{name(1)}", "bytecode", "matrix.sqlite"):
        ran = call("cache", "prune", environ={locations.LIMIT: "0"})
        cleared = call("cache", "clear", "--all", "--yes")
        made = [one for one in cache.iterdir() if one.name.startswith(".new-")]
        assert len(made) == 1
        assert (used.exists(), compiled.exists(), store.exists(), old.exists()) == (True, True, True, False)
    assert "2 entries, 2 kB in use: kept." in ran.out
    assert "Nothing to delete." in cleared.out

    call("cache", "clear", "--all", "--yes")
    assert not any(path.exists() for path in (used, compiled, store))


def test_what_this_process_uses_stays(cache):
    used = overlay(cache, 1, days=40)
    workspace.hold(cache, f"overlays/{name(1)}")

    outcome = cache_eviction.prune(cache, 30, 0, dry_run=False)

    assert used.exists()
    assert [one.path for one in outcome.in_use] == [used]


def test_a_process_that_was_killed_uses_nothing_and_leaves_nothing(cache):
    used = overlay(cache, 1, days=40)
    with another_process(cache, f"overlays/{name(1)}") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (cache / ".gone-1" / "inside").mkdir(parents=True)

    call("cache", "prune")

    assert not used.exists()
    assert not [one for one in cache.iterdir() if one.name.startswith((".new-", ".gone-"))]


def test_a_prune_that_was_killed_while_it_deletes_breaks_nothing(cache, monkeypatch):
    folder = overlay(cache, 1, days=40)
    monkeypatch.setattr(workspace, "delete", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    child = os.fork()
    if child == 0:
        cache_eviction.prune(cache, 30, None, dry_run=False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    assert not folder.exists()  # the whole of it, before any part was deleted
    assert "leftovers" in run("cache").out
    assert "Nothing to delete." in run("cache", "prune").out
    assert not [one for one in cache.iterdir() if one.name.startswith(".gone-")]


def test_two_prunes_at_once_drop_each_entry_once(cache):
    for number in range(60):
        overlay(cache, number, days=40)

    with ThreadPoolExecutor(3) as pool:
        rans = list(pool.map(lambda _: run("cache", "prune"), range(3)))

    assert [(ran.status, ran.err) for ran in rans] == [(0, "")] * 3
    assert list((cache / "overlays").iterdir()) == list((cache / "requests").iterdir()) == []
    assert not [one for one in cache.iterdir() if one.name.startswith(".gone-")]
    counts = [line.split()[1] for ran in rans for line in ran.out.splitlines() if line.startswith("Deleted")]
    assert sum(map(int, counts)) == 60


def test_what_goes_while_it_is_looked_at_has_no_size(tmp_path, monkeypatch):
    file = tmp_path / "record.json"
    file.write_text("{}")
    scandir = os.scandir

    def delete_first(path):
        file.unlink(missing_ok=True)
        if str(path) == str(file):
            raise NotADirectoryError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", delete_first)
    assert cache_contents._size(file) == 0


# -- what is not ours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [("prune",), ("prune", "--dry-run"), ("clear", "--yes"), ("clear", "--all", "--yes")]
)
def test_nothing_is_deleted_from_a_folder_that_ckptdoctor_did_not_make(arguments, tmp_path):
    folder = tmp_path / "home"
    (folder / "results").mkdir(parents=True)
    (folder / "thesis.tex").touch()
    mine = folder / "results" / f"{name(1)}.json"
    mine.write_text("{}")
    aged(mine, 100)
    environ = {"CKPTDOCTOR_CACHE": str(folder)}

    ran = call("cache", *arguments, environ=environ)

    assert is_a_complaint(ran, 2)
    assert f"{folder}: ckptdoctor did not make this folder" in ran.err
    assert mine.exists()
    assert "did not make this folder" in call("cache", environ=environ).out


def test_a_foreign_folder_is_not_kept_within_a_limit(cache, monkeypatch):
    file = overlay(cache, 1)
    (cache / locations.TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n")
    monkeypatch.setenv(locations.LIMIT, "0")

    cache_eviction.keep_within_limit(cache)

    assert file.exists()


def test_only_a_new_folder_or_a_whole_cache_of_an_earlier_release_is_marked(tmp_path, monkeypatch):
    made = {
        "none": [],
        "earlier": [*locations.FOLDERS, "matrix.sqlite"],
        "part": ["results"],
        "more": [*locations.FOLDERS, "thesis"],
    }
    for folder, names in made.items():
        monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / folder))
        for one in names:
            (tmp_path / folder / one).mkdir(parents=True)
        locations.cache()

    marked = [folder for folder in made if locations.is_marked(tmp_path / folder)]
    assert marked == ["none", "earlier"]


def test_links_are_not_followed_and_what_is_not_ours_stays(cache, tmp_path):
    outside = tmp_path / "outside"
    precious = outside / "overlays" / name(7) / "precious"
    precious.mkdir(parents=True)
    aged(precious.parent, 100)
    (cache / "overlays" / name(1)).symlink_to(precious)
    (cache / "extensions" / "link").symlink_to(precious)
    (cache / "matrix.sqlite").symlink_to(precious)
    (cache / ".gone-link").symlink_to(precious)
    (cache / "fingerprints" / "notes.txt").touch()
    inside = overlay(cache, 2, days=40)
    (inside / "link").symlink_to(outside)
    aged(inside, 40)
    (cache / "environments").rmdir()
    (cache / "environments").symlink_to(outside / "overlays")

    call("cache", "prune", environ={locations.LIMIT: "0"})
    call("cache", "clear", "--all", "--yes")

    assert not inside.exists()
    assert precious.exists()
    assert (cache / "fingerprints" / "notes.txt").exists()


# -- clear ------------------------------------------------------------------------------------------------------------


def test_clear_empties_it_but_for_the_store_and_all_of_it_if_told_to(cache, tmp_path):
    paths = [overlay(cache, 1), kind(cache, 1), bytecode(cache, tmp_path), result(1, sys.executable)]
    store = cache / "matrix.sqlite"
    store.touch()

    ran = call("cache", "clear", "--yes")

    assert ran.status == 0
    assert "overlays" in ran.out
    assert not any(path.exists() for path in paths)
    assert list((cache / "bytecode").iterdir()) == []
    assert store.exists()
    assert call("cache", "clear", "--all", "--yes").status == 0
    assert not store.exists()
    assert locations.is_marked(cache)
    assert call("cache", "clear").out == "Nothing to delete.\n"  # there is nothing to ask about


def test_without_a_terminal_clear_needs_a_yes(cache):
    folder = overlay(cache, 1)

    for ran in (run("cache", "clear", stdin=subprocess.DEVNULL), run("cache", "clear", preexec_fn=lambda: os.close(0))):
        assert ran.status == 2
        assert ran.err == "error: Nothing was deleted: there is no terminal to confirm on.\nhint: give --yes\n"
        assert name(1) not in ran.out
        assert "overlays  1 entry" in ran.out
    assert folder.exists()


def test_on_a_terminal_clear_asks(cache):
    import pty

    folder = overlay(cache, 1)
    for answer, status in ((b"n\n", 130), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        ran = run("cache", "clear", stdin=theirs)
        os.close(theirs)
        os.close(ours)
        assert ran.status == status
        assert folder.exists() == (status != 0)


@pytest.mark.parametrize("arguments", [(), ("prune",), ("clear", "--yes")])
def test_a_reader_that_has_gone_gets_no_traceback(arguments, cache):
    overlay(cache, 1, days=40)
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [*RUN, "cache", *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)

    assert (process.stderr, process.returncode) == ("", 141)
    assert not [one for one in cache.iterdir() if one.name.startswith(".gone-")]


def test_a_name_that_acts_on_terminals_is_escaped(tmp_path):
    _, said = in_a_terminal("cache", environ={"CKPTDOCTOR_CACHE": str(tmp_path / "a\x1b[31mb")})

    assert "\x1b[31m" not in said


# -- the limit --------------------------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes_first_and_no_more_than_needed(cache, monkeypatch):
    made = {days: overlay(cache, days, days) for days in (3, 1, 5)} | {4: kind(cache, 4, 4), 2: kind(cache, 2, 2)}
    monkeypatch.setenv(locations.LIMIT, str(3 * SIZE))

    cache_eviction.keep_within_limit(cache)

    assert sorted(days for days, path in made.items() if path.exists()) == [1, 2, 3]


def test_another_one_goes_for_one_that_is_in_use(cache, monkeypatch):
    made = {days: overlay(cache, days, days) for days in (1, 2, 3)}
    monkeypatch.setenv(locations.LIMIT, str(2 * SIZE))

    with another_process(cache, f"overlays/{name(3)}"):
        cache_eviction.keep_within_limit(cache)

    assert sorted(days for days, path in made.items() if path.exists()) == [1, 3]


def test_the_size_is_looked_at_once_an_hour(cache, monkeypatch):
    monkeypatch.setenv(locations.LIMIT, "1")
    cache_eviction.keep_within_limit(cache)
    first = overlay(cache, 1)

    cache_eviction.keep_within_limit(cache)
    assert first.exists()

    aged(cache / locations.CHECKED, 1)
    cache_eviction.keep_within_limit(cache)
    assert not first.exists()


def test_a_limit_of_0_keeps_nothing_and_none_keeps_all(cache, monkeypatch):
    for limit, left in (("none", 1), ("0", 0), ("0", 0)):
        overlay(cache, 1)
        monkeypatch.setenv(locations.LIMIT, limit)
        cache_eviction.keep_within_limit(cache)
        assert len(list((cache / "overlays").iterdir())) == left
        shutil.rmtree(cache / "overlays" / name(1), ignore_errors=True)
    assert "limit: none" in call("cache", environ={locations.LIMIT: "None"}).out


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *[("", 10**10), (" 7 ", 7), ("0", 0), ("0 GB", 0), ("500MB", 5 * 10**8), ("1.5 kb", 1500), ("2GiB", 2 * 2**30)],
        *[("3g", 3 * 10**9), ("4Ki", 4096), ("12b", 12), ("none", None)],
    ],
)
def test_sizes(text, size, monkeypatch):
    monkeypatch.setenv(locations.LIMIT, text)
    assert locations.limit() == size


@pytest.mark.parametrize("text", ["much", "-1", "10 XB", "GB", "1e9", "inf", "1,5GB", "10GB\n5", "٣GB", "9" * 400])
def test_what_is_no_size_is_told_before_anything_runs(text, cache, monkeypatch):
    monkeypatch.setenv(locations.LIMIT, text)
    with pytest.raises(UsageFault, match=f"{locations.LIMIT} is not a size"):
        locations.cache()


@pytest.mark.parametrize("command", [("cache",), ("cache", "prune"), ("check", "--python", sys.executable)])
def test_commands_say_in_one_sentence_that_the_limit_is_no_size(command):
    assert is_a_complaint(call(*command, environ={locations.LIMIT: "much"}), 2)


def test_where_no_cache_can_be_made_a_run_goes_on_and_nothing_is_pruned():
    environ = {"CKPTDOCTOR_CACHE": "/proc/nowhere"}
    cache_eviction.keep_within_limit(Path("/proc/nowhere"))

    assert call("cache", environ=environ).status == 0
    assert is_a_complaint(call("cache", "prune", environ=environ), 2)


def test_the_limit_holds_after_a_command_has_added_an_overlay(cache, bare_python, tmp_path):
    old = overlay(cache, 1, days=3)
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[project]\nname = "one"\nversion = "1"\n[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n'
    )
    (package / "b.py").write_text(BACKEND)

    ran = run("env", "--python", bare_python, "--with", package, environ={locations.LIMIT: "1"})

    assert ran.status == 0, ran.err
    assert not old.exists()
    assert len(list((cache / "overlays").iterdir())) == 1  # its own, which it used


BACKEND = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "one-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("one.py", "")
        wheel.writestr("one-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: one\\nVersion: 1\\n")
        wheel.writestr("one-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("one-1.dist-info/RECORD", "")
    return name
"""


def test_what_was_measured_here_is_cleared_only_with_all_and_never_by_age(cache):
    file = cache / "knowledge" / "trainers.json.gz"
    file.parent.mkdir()
    file.write_bytes(b"#")
    os.utime(file, (0, 0))

    call("cache", "prune", "--older-than", "1")
    call("cache", "clear", "--yes")
    assert file.is_file()

    call("cache", "clear", "--all", "--yes")
    assert not file.is_file()
