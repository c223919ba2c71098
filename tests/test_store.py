"""Results on disk: whole, kept whatever happens, and found again only for the very same question."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix import store
from ckptdoctor.matrix.combination import Base
from ckptdoctor.matrix.questions import Trainer
from ckptdoctor.matrix.store import FACTS, Store, key
from ckptdoctor.model.evidence import Environment, Evidence, Package
from ckptdoctor.planning.options import Options
from ckptdoctor.store import locations

TARGET = Environment("3.11.7", "/env/bin/python", "linux x86_64", (Package("torch", "2.13.0"),), ("torch",))
BASE = Base(requirements=("transformers==4.51.3",))
LARGE = os.urandom(20_000).hex()
"""Does not get smaller by much."""
WRITES = """
import sys
from pathlib import Path
from ckptdoctor.model.evidence import Evidence
from ckptdoctor.matrix.store import Store
with Store(Path(sys.argv[1])) as store:
    for number in range(int(sys.argv[3])):
        store.keep_evidence("base", Evidence(f"{sys.argv[2]}/{number}", "returned", output=sys.argv[4]))
        print(number, flush=True)
"""


def start_writing(path, name, rows, output="x"):
    command = [sys.executable, "-c", WRITES, str(path), name, str(rows), output]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_whole(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_is_kept_is_there_the_next_time(tmp_path):
    evidence = Evidence("glm4/torch/none", "returned", loss=4.0)
    trainer = Trainer("llamafactory", "0.9.2", ["llamafactory"], ["transformers<=4.49"])
    with Store(tmp_path / "new" / "store") as first:
        first.keep_facts("base", TARGET)
        first.keep_evidence("base", evidence)
        first.keep_trainer("base", "llamafactory==0.9.2", trainer)
        first.keep_refusal("base", "llamafactory==0.9.9", "There is none.")
        first.keep_refusal("other", FACTS, "No such torch.")

    with Store(tmp_path / "new" / "store") as second:
        kept, other, unknown = (second.known(name) for name in ("base", "other", "third"))

    assert kept.facts == TARGET
    assert kept.evidence == {evidence.id: evidence}
    assert kept.trainers == {"llamafactory==0.9.2": trainer}
    assert kept.refused == {"llamafactory==0.9.9": "There is none."}
    assert set(kept.made) == {FACTS, evidence.id, "llamafactory==0.9.2", "llamafactory==0.9.9"}
    assert (other.facts, other.refused) == (None, {FACTS: "No such torch."})
    assert (unknown.facts, unknown.evidence, unknown.made) == (None, {}, {})


def test_a_later_result_takes_the_place_of_an_earlier_one(tmp_path):
    with Store(tmp_path / "store") as kept:
        kept.keep_refusal("base", "llamafactory==0.9.2", "It was away.")
        kept.keep_trainer("base", "llamafactory==0.9.2", Trainer("llamafactory", "0.9.2"))
        assert kept.known("base").refused == {}

        kept.forget("base", "llamafactory==0.9.2")
        assert kept.known("base").trainers == {}


def test_runs_that_write_at_once_lose_nothing(tmp_path):
    writers = [start_writing(tmp_path / "store", name, 60) for name in ("a", "b", "c")]

    assert [(process.communicate(timeout=120)[1], process.returncode) for process in writers] == [("", 0)] * 3
    with Store(tmp_path / "store") as kept:
        assert len(kept.known("base").evidence) == 180
    assert is_whole(tmp_path / "store")


def test_being_killed_while_writing_leaves_every_row_that_was_written(tmp_path):
    chance = random.Random(0)
    written = set()
    for turn in range(8):
        process = start_writing(tmp_path / "store", str(turn), 100_000, LARGE[:2000])
        told = process.stdout.readline()
        time.sleep(chance.random() / 10)
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read()
        process.communicate()
        written |= {f"{turn}/{number}" for number in told.split("\n")[:-1]}

        with Store(tmp_path / "store") as kept:
            found = kept.known("base").evidence
        assert written <= found.keys()
        assert len(found) <= len(written) + turn + 1  # one that was not yet told of
        assert all(one.output == LARGE[:2000] for one in found.values())
    assert is_whole(tmp_path / "store")


def test_a_full_disk_costs_nothing_that_was_found_out(tmp_path):
    with Store(tmp_path / "store") as kept:
        kept._database.execute("PRAGMA max_page_count = 5")
        kept.keep_evidence("base", Evidence("small", "returned"))
        assert kept.lost == ""
        kept.keep_evidence("base", Evidence("large", "returned", output=LARGE))

        assert "full" in kept.lost
        assert kept.known("base").evidence.keys() == {"small", "large"}
        assert kept.known("base").made.keys() == {"small", "large"}
    with Store(tmp_path / "store") as again:
        assert again.known("base").evidence.keys() == {"small"}
        assert again.lost == ""


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path):
    limited = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    said = 'print(store.lost, len(store.known("base").evidence))\n'
    script = limited + WRITES.replace("        print(number, flush=True)\n", "") + "    " + said

    command = [sys.executable, "-c", script, str(tmp_path / "store"), "a", "20", LARGE[:6000]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""
    assert done.stdout.endswith(" 20\n")
    assert len(done.stdout) > len(" 20\n")
    with Store(tmp_path / "store") as again:
        assert 0 < len(again.known("base").evidence) < 20
    assert is_whole(tmp_path / "store")


@pytest.mark.parametrize("content", [b"no database at all, but long enough to look at" * 40, b"SQLite format 3\0" * 99])
def test_a_file_that_is_something_else_is_left_alone(tmp_path, content):
    (tmp_path / "store").write_bytes(content)

    with pytest.raises(UsageFault, match="cannot be used to keep results") as fault:
        Store(tmp_path / "store")

    assert "--store" in fault.value.hint
    assert (tmp_path / "store").read_bytes() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()

    for path in (tmp_path / "file" / "store", tmp_path):
        with pytest.raises(UsageFault, match="cannot be used to keep results"):
            Store(path)


def test_a_table_of_somebody_elses_is_no_crash(tmp_path):
    with closing(sqlite3.connect(tmp_path / "store")) as database:
        database.execute("CREATE TABLE results (name TEXT)")

    with Store(tmp_path / "store") as kept, pytest.raises(UsageFault, match="cannot be read"):
        kept.known("base")


@pytest.mark.parametrize("body", [b"", b"garbage", "text", 7, zlib.compress(b'{"id"'), zlib.compress(b'{"id": 1}')])
@pytest.mark.parametrize("item", [FACTS, "one"])
def test_a_damaged_row_is_run_again(tmp_path, item, body):
    with Store(tmp_path / "store") as kept:
        kept.keep_facts("base", TARGET)
        kept.keep_evidence("base", Evidence("one", "returned"))
        kept.keep_evidence("base", Evidence("two", "returned"))
        kept._database.execute("UPDATE results SET body = ? WHERE item = ?", (body, item))

        found = kept.known("base")

    assert found.evidence.keys() == {"one", "two"} - {item}
    assert (found.facts is None) == (item == FACTS)
    assert item not in found.made


# -- what a result is kept under --------------------------------------------------------------------------------------


def changed(**changes):
    return msgspec.structs.replace(TARGET, **changes)


def with_package(*packages, stack=("torch",), **changes):
    return changed(packages=[*TARGET.packages, *packages], stack=list(stack), **changes)


@pytest.mark.parametrize(
    "other",
    [
        (Base(requirements=("transformers==4.52.4",)), TARGET),
        (Base("3.12", "", BASE.requirements), TARGET),
        (Base("", "2.12.0", BASE.requirements), TARGET),
        (Base(requirements=(*BASE.requirements, "deepspeed")), TARGET),
        (BASE, changed(python="3.12.1")),
        (BASE, changed(platform="darwin arm64")),
        (BASE, changed(packages=[Package("torch", "2.12.0")])),
        (BASE, with_package(Package("numpy", "2.0"))),
    ],
)
def test_the_key_changes_with_releases_and_target(other):
    assert key(BASE, TARGET, Options()) != key(*other, Options())


def test_the_key_does_not_change_with_what_has_no_say():
    first = key(BASE, TARGET, Options())

    assert first == key(BASE, changed(executable="/elsewhere/bin/python", paths=["/elsewhere"]), Options())
    assert first == key(
        BASE, TARGET, Options(["glm4"], ["torch", "torch:reentrant", "llamafactory:unsloth"], ["zero3"], timeout=5)
    )


def test_the_key_changes_with_our_probes(tmp_path, monkeypatch):
    (tmp_path / "step.py").write_text("one")
    monkeypatch.setattr(locations, "probes", lambda: tmp_path)
    first = key(BASE, TARGET, Options())
    (tmp_path / "notes.txt").write_text("no code")
    assert key(BASE, TARGET, Options()) == first

    (tmp_path / "step.py").write_text("two")

    assert key(BASE, TARGET, Options()) != first


def test_the_key_changes_with_its_format(monkeypatch):
    first = key(BASE, TARGET, Options())

    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)

    assert key(BASE, TARGET, Options()) != first


def test_the_key_changes_with_variables_that_matter(monkeypatch):
    first = key(BASE, TARGET, Options())
    monkeypatch.setenv("EDITOR", "ed")
    assert key(BASE, TARGET, Options()) == first

    monkeypatch.setenv("TORCH_OF_NO_MEANING", "1")

    assert key(BASE, TARGET, Options()) != first


@pytest.mark.parametrize("named", ["absolute", "relative", "home", "module", "package"])
def test_the_key_changes_with_the_users_own_function(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ("mine/__init__.py" if named == "package" else "mine.py")
    file.parent.mkdir(exist_ok=True)
    file.write_text("one")
    where = {"absolute": str(file), "relative": "mine.py", "home": "~/mine.py"}.get(named, "mine")
    asked, target = Options(functions=[f"{where}:f"]), changed(paths=["/nowhere", str(tmp_path)])
    first = key(BASE, target, asked)
    assert key(BASE, target, asked) == first

    file.write_text("two")

    assert key(BASE, target, asked) != first


@pytest.mark.parametrize("named", ["absolute", "home"])
def test_the_key_changes_with_the_users_own_model(tmp_path, monkeypatch, named):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    asked = Options(models=["~/model" if named == "home" else str(tmp_path / "model")])
    first = key(BASE, TARGET, asked)

    (tmp_path / "model" / "config.json").write_text("{ }")

    assert key(BASE, TARGET, asked) != first


def test_the_key_changes_with_a_local_archive(tmp_path):
    archive = tmp_path / "mine-1.0.tar.gz"
    archive.write_text("one")
    base = Base(requirements=(f"mine @ {archive.as_uri()}",))
    first = key(base, TARGET, Options())
    assert key(base, TARGET, Options()) == first

    os.utime(archive, ns=(1, 1))

    assert key(base, TARGET, Options()) != first


@pytest.mark.parametrize("base", [BASE, Base()])
def test_the_key_changes_with_a_package_that_is_edited_where_it_lies(tmp_path, base):
    module = tmp_path / "transformers" / "models" / "modeling.py"
    module.parent.mkdir(parents=True)
    module.write_text("one")
    target = with_package(Package("transformers", "4.51.3", str(tmp_path)), stack=["torch", "transformers"])
    first = key(base, target, Options())

    module.write_text("another")

    # Where another release is added to it, what lies below has no say.
    assert (key(base, target, Options()) == first) == (base == BASE)


def test_the_probes_code_is_there():
    assert len(list(Path(locations.probes()).glob("*.py"))) > 10
    assert store.probes_code() == store.probes_code()


def test_what_a_requirement_without_a_release_stands_for_is_looked_up_anew_each_day(monkeypatch):
    days = iter(["2026-01-02", "2026-01-02", "2026-01-03"])
    monkeypatch.setattr(store, "_today", lambda: next(days))
    floating = Base(requirements=("transformers==4.51.3", "accelerate"))
    first, same, next_day = (key(floating, TARGET, Options()) for _ in range(3))
    assert first == same != next_day
    assert key(BASE, TARGET, Options()) == key(BASE, TARGET, Options())
