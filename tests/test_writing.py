"""What happens to what is there already when a file is written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import pytest

from ckptdoctor.cli import printing
from ckptdoctor.errors import UsageFault
from ckptdoctor.store import writing
from ckptdoctor.verdict import gate
from tests.conftest import as_root, call, on_linux


def write(path, text="new"):
    """As every command writes."""
    writing.require_writable(str(path))
    printing.write(text, str(path))


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def left_overs(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_gets_what_the_umask_leaves(umask, expected, tmp_path):
    old = os.umask(umask)
    try:
        write(tmp_path / "report.json")
        gate.write(str(tmp_path / "baseline.json"), [])
    finally:
        os.umask(old)

    assert {mode(path) for path in tmp_path.iterdir()} == {expected}


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o755, 0o666])
def test_a_file_that_is_replaced_keeps_its_permissions(kept, tmp_path):
    file = tmp_path / "report.json"
    file.write_text("old")
    file.chmod(kept)

    write(file)

    assert (file.read_text(), mode(file), left_overs(tmp_path)) == ("new", kept, [])


@as_root
def test_a_file_of_another_user_stays_theirs(tmp_path):
    file = tmp_path / "report.json"
    file.write_text("old")
    os.chown(file, 65534, 65534)

    write(file)

    assert (file.stat().st_uid, file.stat().st_gid, file.read_text()) == (65534, 65534, "new")


@pytest.mark.parametrize("target", ["there.json", "not there.json", "../outside.json"])
def test_a_link_stays_a_link(target, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "there.json").write_text("old")
    link, second = folder / "link", folder / "second"
    second.symlink_to(target)
    link.symlink_to("second")

    write(link)

    assert link.is_symlink()
    assert second.is_symlink()
    assert (folder / target).read_text() == "new"


@as_root
def test_a_link_of_another_user_does_not_choose_what_is_overwritten(tmp_path):
    """As one that was put into a shared folder, where the report was going to be written."""
    precious, link = tmp_path / "precious", tmp_path / "report.json"
    precious.write_text("mine")
    link.symlink_to(precious)
    os.chown(link, 65534, 65534, follow_symlinks=False)

    for act in (writing.require_writable, lambda path: writing.write(path, b"new")):
        with pytest.raises(UsageFault, match="a link that belongs to another user"):
            act(str(link))

    assert precious.read_text() == "mine"


@as_root
def test_a_device_stays_a_device(tmp_path):
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.open("wb").close()
    except OSError:
        pytest.skip("devices cannot be made here")

    write(null)
    gate.write(str(null), [])

    assert stat.S_ISCHR(null.stat().st_mode)


@as_root
def test_a_disk_is_not_written_to(tmp_path):
    disk = tmp_path / "disk"
    try:
        os.mknod(disk, 0o666 | stat.S_IFBLK, os.makedev(7, 200))
    except OSError:
        pytest.skip("devices cannot be made here")

    with pytest.raises(UsageFault, match="it is a disk"):
        writing.write(disk, b"new")


def test_a_fifo_is_written_to(tmp_path):
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()

    write(fifo)

    reader.join(10)
    assert (read, fifo.is_fifo()) == (["new"], True)


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", pytest.param("/proc/self/fd/1", marks=on_linux)])
@pytest.mark.parametrize("is_file", [True, False])
def test_standard_output_by_its_names(path, is_file, tmp_path):
    file = tmp_path / "out"
    file.write_text("before\n")
    command = [sys.executable, "-m", "ckptdoctor", "known", "deepspeed", "--format", "json", "-o", path]
    with file.open("a") as stream:
        done = subprocess.run(command, stdout=stream if is_file else subprocess.PIPE, text=True, check=True)

    printed = file.read_text().removeprefix("before\n") if is_file else done.stdout
    assert printed == call("known", "deepspeed", "--format", "json").out


@pytest.mark.parametrize("kind", ["folder", "link to itself", "missing/folder"])
def test_what_cannot_be_written_is_said_before_anything_is_run(kind, tmp_path):
    place = tmp_path / kind
    if kind == "folder":
        place.mkdir()
    elif kind == "link to itself":
        place.symlink_to(place)

    with pytest.raises(UsageFault, match="cannot be written: ") as raised:
        writing.require_writable(str(place), "--constraints")

    assert raised.value.hint == "choose another --constraints"


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "report.json"
    file.write_text("old")
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )

    with pytest.raises(UsageFault, match="No space left on device"):
        writing.write(file, b"new")

    assert (file.read_text(), left_overs(tmp_path)) == ("old", [])
