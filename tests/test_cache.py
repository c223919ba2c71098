"""The cache is the user's alone: code that runs comes out of it, and so do verdicts."""

from __future__ import annotations

import os
import py_compile
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ckptdoctor.errors import UsageFault
from ckptdoctor.store import locations
from tests.conftest import as_root, call
from tests.test_cli import is_a_complaint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def loose_umask():
    old = os.umask(0)
    yield
    os.umask(old)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_the_user_alone_whatever_the_umask(folder, loose_umask):
    assert locations.cache() == folder
    inside = [path for path in folder.iterdir() if path.name != locations.TAG]
    assert {mode(path) for path in (folder, *inside)} == {0o700}
    assert mode(folder / locations.TAG) == 0o600


@pytest.mark.parametrize("place", ["", *locations.FOLDERS, "matrix.sqlite", "matrix.sqlite-wal"])
def test_what_others_may_write_is_not_used(place, folder):
    locations.cache()
    path = folder / place
    if not path.exists():
        path.touch()
    path.chmod(0o777)

    with pytest.raises(UsageFault, match="is not used as a cache: every user may write it") as raised:
        locations.cache()

    assert str(path) in raised.value.message
    assert mode(path) == 0o777  # a folder that the user named by mistake, such as /tmp, stays as it is


@as_root
@pytest.mark.parametrize("place", ["", "results", "matrix.sqlite"])
@pytest.mark.parametrize("is_link", [False, True])
def test_what_belongs_to_another_user_is_not_used(place, is_link, folder):
    locations.cache()
    path = folder / place
    path.touch()
    if is_link:
        path.rename(folder.parent / "kept")
        path.symlink_to(folder.parent / "kept")
    os.chown(path, 65534, 65534, follow_symlinks=False)

    with pytest.raises(UsageFault, match="belongs to"):
        locations.cache()


def test_a_folder_that_others_may_replace_is_not_used(folder):
    folder.parent.chmod(0o777)
    with pytest.raises(UsageFault, match="every user may replace what lies in"):
        locations.cache()

    folder.parent.chmod(0o1777)  # as /tmp
    assert locations.cache() == folder


def test_a_folder_of_an_earlier_release_is_closed_to_readers_and_one_that_holds_more_stays_open(folder):
    (folder / "results").mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "results").chmod(0o755)

    locations.cache()

    assert mode(folder / "results") == 0o700
    assert mode(folder) == 0o755


def test_no_room_for_a_cache_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", "/proc/nowhere")

    assert locations.cache() == Path("/proc/nowhere")


def test_a_check_says_it_before_it_runs_anything(folder, tmp_path):
    folder.mkdir()
    folder.chmod(0o777)

    ran = call("check", "--python", sys.executable, cwd=tmp_path)

    assert is_a_complaint(ran, 2)
    assert f"{folder} is not used as a cache: every user may write it." in ran.err


def test_bytecode_that_nobody_checks_is_not_run_from_the_cache(tmp_path):
    """A pyc that says of itself that it is not to be compared with its source (PEP 552)."""
    packages, cache = tmp_path / "packages", tmp_path / "bytecode"
    (packages / "torch").mkdir(parents=True)
    source = packages / "torch" / "__init__.py"
    source.write_text("print('as written')")
    evil = tmp_path / "evil.py"
    evil.write_text("print('EVIL')")
    planted = Path(f"{cache}{source.with_suffix('')}.{sys.implementation.cache_tag}.pyc")
    planted.parent.mkdir(parents=True)
    py_compile.compile(
        str(evil), cfile=str(planted), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH, doraise=True
    )
    main = locations.probes() / "__main__.py"
    script = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('entry', sys.argv[1]);"
        "entry = importlib.util.module_from_spec(spec); spec.loader.exec_module(entry);"
        "entry.keep_bytecode_out_of_the_target(('/nowhere',), sys.argv[2]); import torch"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(main), str(cache)],
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout.split("\n")[0], done.stderr) == ("as written", "")
