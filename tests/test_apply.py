"""A patched file is put into an environment and taken back, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import os
import py_compile
import shutil
import stat
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ckptdoctor import __version__
from ckptdoctor.errors import UsageFault
from ckptdoctor.fix import apply as module
from ckptdoctor.fix.apply import Applied, Patch, applied_in, apply, revert, state

OLD = b"def step():\n    return 'old'\n"
NEW = b"def step():\n    return 'new'\n"
MTIME = 1_600_000_000_123_456_789
GIT = shutil.which("git")
needs_git = pytest.mark.skipif(GIT is None, reason="needs git")


class Environment:
    """A folder that looks like an environment, with one module in it."""

    def __init__(self, folder, content=OLD, name="model.py"):
        self.prefix = folder / "env"
        self.packages = self.prefix / "lib" / "python3.11" / "site-packages"
        self.file = self.packages / "trainer" / name
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.write(content)

    def write(self, content):
        self.file.write_bytes(content)
        self.file.chmod(0o640)
        os.utime(self.file, ns=(MTIME, MTIME))

    def patch(self, patched=NEW, **changes):
        given = {"original": self.file.read_bytes(), "file": self.file, "prefix": self.prefix, "overlay": None}
        return Patch(**{**given, "patched": patched, "why": "passes the layer", **changes})

    @property
    def names(self):
        return sorted(path.name for path in self.file.parent.iterdir() if path.name != "__pycache__")


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path)


def is_untouched(environment, content=OLD):
    return environment.file.read_bytes() == content and environment.names == [environment.file.name]


def refused(call, words):
    """The complaint a call ends in: one sentence and a hint."""
    with pytest.raises(UsageFault) as caught:
        call()
    assert words in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    assert not caught.value.hint.endswith(".")
    return caught.value


def compiled(file, mode, tag="cpython-311"):
    """A module's bytecode, as an installer may have left it."""
    pyc = file.parent / "__pycache__" / f"{file.stem}.{tag}.pyc"
    py_compile.compile(str(file), cfile=str(pyc), doraise=True, invalidation_mode=mode)
    return pyc


UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
TIMESTAMP = py_compile.PycInvalidationMode.TIMESTAMP


# -- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [OLD, b"a = 1\r\nb = 2\r\n", b"a = 1", b"", b"\xef\xbb\xbfa = 1\n\x0c\n", b"\xff\x00"]
)
def test_the_original_comes_back_byte_for_byte(tmp_path, content):
    environment = Environment(tmp_path, content)
    before = environment.file.stat()
    apply(environment.patch())
    assert environment.file.read_bytes() == NEW
    assert stat.S_IMODE(environment.file.stat().st_mode) == 0o640
    revert(environment.file)
    after = environment.file.stat()
    assert is_untouched(environment, content)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_the_record_says_what_was_done(environment):
    applied = apply(environment.patch())
    record = json.loads((environment.file.parent / "model.py.ckptdoctor.json").read_text())
    assert record["schema"] == "ckptdoctor/patch/1"
    assert record["version"] == __version__
    assert record["file"] == "model.py"
    assert record["mode"] == 0o640
    assert record["mtime_ns"] == MTIME
    assert record["why"] == "passes the layer"
    assert record["link"] == ""
    assert datetime.fromisoformat(record["date"]).tzinfo == timezone.utc
    assert str(environment.prefix) not in json.dumps(record)
    assert (environment.file.parent / "model.py.ckptdoctor-original").read_bytes() == OLD
    assert state(environment.file) == applied == revert(environment.file)
    assert isinstance(applied, Applied)


def test_files_with_a_record_are_found(environment, tmp_path):
    assert applied_in(environment.prefix) == []
    apply(environment.patch())
    (environment.packages / "linked").symlink_to(tmp_path / "other")
    other = Environment(tmp_path / "other")
    apply(other.patch())
    (environment.packages / "report.ckptdoctor.json").write_text('{"schema": "ckptdoctor/report/1"}')
    (environment.packages / "link.py.ckptdoctor.json").symlink_to(
        environment.file.with_name("model.py.ckptdoctor.json")
    )
    assert applied_in(environment.prefix) == [environment.file]
    assert applied_in(tmp_path / "missing") == []


@pytest.mark.parametrize("name", ["-rf.py", "a*[b] c.py", ":(top)x.py", "ä\n.py"])
def test_a_name_is_a_name(tmp_path, name):
    environment = Environment(tmp_path, name=name)
    apply(environment.patch())
    assert applied_in(environment.prefix) == [environment.file]
    revert(environment.file)
    assert is_untouched(environment)


def test_a_hard_link_keeps_the_old_content(environment, tmp_path):
    cached = tmp_path / "cached.py"
    cached.hardlink_to(environment.file)
    apply(environment.patch())
    assert (cached.read_bytes(), environment.file.read_bytes()) == (OLD, NEW)
    revert(environment.file)
    assert not cached.samefile(environment.file)
    assert (cached.read_bytes(), cached.stat().st_mtime_ns, cached.stat().st_nlink) == (OLD, MTIME, 1)


@pytest.fixture
def linked(environment, tmp_path):
    """The file that the environment's own is a symbolic link to."""
    cached = tmp_path / "cached.py"
    environment.file.rename(cached)
    environment.file.symlink_to(os.path.relpath(cached, environment.file.parent))
    return cached


def test_a_linked_file_is_replaced_and_linked_again(environment, linked):
    link = environment.file.readlink()
    linked.chmod(0o444)
    apply(environment.patch())
    assert not environment.file.is_symlink()
    assert (environment.file.read_bytes(), linked.read_bytes()) == (NEW, OLD)
    revert(environment.file)
    assert environment.file.readlink() == link
    assert is_untouched(environment)
    assert linked.stat().st_mtime_ns == MTIME


def test_a_link_to_what_is_gone_becomes_a_file(environment, linked):
    apply(environment.patch())
    linked.unlink()
    revert(environment.file)
    assert not environment.file.is_symlink()
    assert is_untouched(environment)
    assert environment.file.stat().st_mtime_ns == MTIME


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_kept(environment):
    os.chown(environment.file, 12345, 23456)
    apply(environment.patch())
    assert {(path.stat().st_uid, path.stat().st_gid) for path in environment.file.parent.iterdir()} == {(12345, 23456)}
    revert(environment.file)
    assert (environment.file.stat().st_uid, environment.file.stat().st_gid) == (12345, 23456)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
def test_another_file_than_the_diagnosed_one(environment, force):
    patch = environment.patch(original=OLD + b"\n")
    assert "again" in refused(lambda: apply(patch, force), "is not the file that was diagnosed").hint
    assert is_untouched(environment)


def test_a_file_that_is_gone(environment):
    patch = environment.patch()
    environment.file.unlink()
    refused(lambda: apply(patch), "is not the file that was diagnosed")
    assert environment.names == []


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_what_is_not_writable(environment, monkeypatch, closed, force):
    path = environment.file if closed == "file" else environment.file.parent
    applied = Environment(environment.prefix / "second")
    apply(applied.patch())
    access = os.access
    monkeypatch.setattr(os, "access", lambda asked, mode: asked.name != path.name and access(asked, mode))
    refused(lambda: apply(environment.patch(), force), "not writable")
    refused(lambda: revert(applied.file, force), "not writable")
    assert is_untouched(environment)
    assert state(applied.file)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_is_really_not_writable(environment):
    environment.file.parent.chmod(0o500)
    refused(lambda: apply(environment.patch()), "not writable")
    environment.file.parent.chmod(0o700)
    assert is_untouched(environment)


@pytest.mark.parametrize("call", range(1, 4))
def test_a_disk_that_is_full(environment, monkeypatch, call):
    fsync = os.fsync
    regular = []
    monkeypatch.setattr(os, "fsync", lambda handle: _count_files(handle, regular, call) or fsync(handle))
    refused(lambda: apply(environment.patch()), "No space left")
    monkeypatch.undo()
    assert is_untouched(environment)


def _count_files(handle, regular, last):
    if stat.S_ISREG(os.fstat(handle).st_mode):
        regular.append(handle)
        if len(regular) == last:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("force", [False, True])
def test_the_overlay(environment, tmp_path, force):
    overlay = tmp_path / "overlay"
    (overlay / "trainer").mkdir(parents=True)
    laid_over = overlay / "trainer" / "model.py"
    laid_over.write_bytes(OLD)
    (tmp_path / "link").symlink_to(overlay)
    (overlay / "from_cache").symlink_to(environment.file.parent)
    for file in (laid_over, tmp_path / "link" / "trainer" / "model.py", overlay / "from_cache" / "model.py"):
        patch = environment.patch(file=file, overlay=overlay)
        assert "--with" in refused(lambda patch=patch: apply(patch, force), "comes from the overlay").hint
    assert laid_over.read_bytes() == OLD
    apply(environment.patch(overlay=overlay), force)


def test_a_patched_file(environment):
    patch = environment.patch()
    apply(patch)
    for again in (patch, environment.patch(b"other")):
        for force in (False, True):
            complaint = refused(lambda again=again, force=force: apply(again, force), "is patched already")
            assert "ckptdoctor fix --revert" in complaint.hint
    revert(environment.file)
    assert is_untouched(environment)


# -- whose file it is -------------------------------------------------------------------------------------------------


def git(folder, *arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    subprocess.run([GIT, "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture(params=["model.py", "-model.py", ":(glob)*.py"])
def project(tmp_path, request):
    """A project under git, outside of the environment that it is used in."""
    environment = Environment(tmp_path / "project", name=request.param)
    environment.prefix = tmp_path / "env"
    environment.prefix.mkdir()
    environment.top = tmp_path / "project"
    git(environment.top, "init", "-q")
    git(environment.top, "add", "--all")
    git(environment.top, "commit", "-q", "-m", "x")
    return environment


@needs_git
def test_git_without_local_changes(project):
    (project.file.parent / "other.py").write_text("changed = True\n")
    apply(project.patch())
    revert(project.file)
    assert (
        b"ckptdoctor"
        not in subprocess.run([GIT, "-C", project.top, "status", "--porcelain"], check=True, capture_output=True).stdout
    )


@needs_git
@pytest.mark.parametrize("staged", [False, True])
def test_git_with_local_changes(project, staged):
    project.write(OLD + b"x = 1\n")
    if staged:
        git(project.top, "add", "--all")
    patch = project.patch()
    assert "--force" in refused(lambda: apply(patch), "has local changes").hint
    assert is_untouched(project, OLD + b"x = 1\n")
    apply(patch, force=True)
    revert(project.file)
    assert is_untouched(project, OLD + b"x = 1\n")


@needs_git
def test_git_does_not_know_the_file(project):
    project.prefix = project.top
    git(project.top, "rm", "-q", "--cached", "-r", ".")
    git(project.top, "commit", "-q", "-m", "none")
    git(project.top, "config", "status.showUntrackedFiles", "no")
    refused(lambda: apply(project.patch()), "has local changes")
    (project.top / ".gitignore").write_text("/env\n")
    apply(project.patch())


@needs_git
def test_an_ignored_file_outside_is_not_the_projects(project):
    git(project.top, "rm", "-q", "--cached", "-r", ".")
    (project.top / ".gitignore").write_text("/env\n")
    git(project.top, "add", ".gitignore")
    git(project.top, "commit", "-q", "-m", "none")
    refused(lambda: apply(project.patch()), "lies outside of the environment")


@needs_git
def test_git_is_missing(project, monkeypatch, tmp_path):
    project.write(OLD + b"x = 1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(lambda: apply(project.patch()), "lies outside of the environment")
    project.prefix = project.top
    apply(project.patch())


@needs_git
def test_git_that_cannot_tell(project):
    (project.top / ".git" / "index").write_bytes(b"broken")
    assert "--force" in refused(lambda: apply(project.patch()), "git cannot tell").hint
    apply(project.patch(), force=True)


@needs_git
def test_a_folder_named_git_is_no_repository(environment):
    (environment.packages / ".git").mkdir()
    apply(environment.patch())


@needs_git
def test_a_repository_has_nothing_run(project, tmp_path):
    ran = tmp_path / "ran"
    for setting in ("core.fsmonitor", "filter.x.clean", "filter.x.process", "filter.a=b.clean"):
        git(project.top, "config", setting, f"touch '{ran}'; cat")
    git(project.top, "config", "filter.x.required", "true")
    hook = project.top / ".git" / "hooks" / "post-index-change"
    hook.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    hook.chmod(0o755)
    for driver in ("x", "a=b"):
        (project.top / ".git" / "info" / "attributes").write_text(f"*.py filter={driver}\n")
        os.utime(project.file)  # git has to look into the file
        apply(project.patch())
        revert(project.file)
    assert not ran.exists()


@needs_git
def test_another_repository_in_the_environment_variables(project, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    apply(project.patch())


def test_what_lies_outside_of_the_environment(environment, tmp_path):
    base = Environment(tmp_path / "base")
    patch = base.patch(prefix=environment.prefix)
    assert "--force" in refused(lambda: apply(patch), "lies outside of the environment").hint
    assert is_untouched(base)
    apply(patch, force=True)


def test_a_linked_folder_leads_outside(environment, tmp_path):
    base = Environment(tmp_path / "base")
    shutil.rmtree(environment.file.parent)
    environment.file.parent.symlink_to(base.file.parent)
    refused(lambda: apply(environment.patch()), "lies outside of the environment")
    assert is_untouched(base)
    apply(environment.patch(), force=True)
    assert base.file.read_bytes() == NEW
    revert(environment.file)
    assert is_untouched(base)


def test_a_linked_prefix_is_the_environment(environment, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(environment.prefix)
    (environment.prefix / "lib64").symlink_to("lib")
    inner = environment.file.relative_to(environment.prefix / "lib")
    for file, prefix in (
        (environment.file, link),
        (link / "lib" / inner, environment.prefix),
        (link / "lib64" / inner, link),
    ):
        apply(environment.patch(file=file, prefix=prefix))
        revert(file)
    assert is_untouched(environment)


@pytest.mark.parametrize(
    ("note", "fits"),
    [
        ('{"url": "file://URL", "dir_info": {"editable": true}}', True),
        ('{"url": "file://URL", "dir_info": {}}', False),
        ('{"url": "https://URL", "dir_info": {"editable": true}}', False),
        ('{"url": "file://URL/elsewhere", "dir_info": {"editable": true}}', False),
        ("[", False),
    ],
)
def test_an_editable_project_is_the_users(environment, tmp_path, note, fits):
    project = tmp_path / "my project"
    source = project / "src" / "model.py"
    foreign = project / ".venv" / "lib" / "python3.11" / "site-packages" / "model.py"
    for file in (source, foreign):
        file.parent.mkdir(parents=True)
        file.write_bytes(OLD)
    (environment.packages / "mine-1.dist-info").mkdir()
    url = str(project).replace(" ", "%20")
    (environment.packages / "mine-1.dist-info" / "direct_url.json").write_text(note.replace("URL", url))
    refused(lambda: apply(environment.patch(file=foreign)), "lies outside of the environment")
    if fits:
        apply(environment.patch(file=source))
    else:
        refused(lambda: apply(environment.patch(file=source)), "lies outside of the environment")


# -- taking back ------------------------------------------------------------------------------------------------------


def test_nothing_to_take_back(environment):
    refused(lambda: revert(environment.file, force=True), "carries no record")
    (environment.file.parent / "model.py.ckptdoctor.json").write_text("{")
    refused(lambda: revert(environment.file), "carries no record")
    assert state(environment.file) is None
    assert environment.file.read_bytes() == OLD


@pytest.mark.parametrize("since", [b"reinstalled = True\n", None])
def test_a_file_that_was_changed_since(environment, since):
    apply(environment.patch())
    if since is None:
        environment.file.unlink()
    else:
        environment.file.write_bytes(since)
    assert state(environment.file) is None
    assert "--force" in refused(lambda: revert(environment.file), "was changed since").hint
    assert environment.file.exists() is (since is not None)
    revert(environment.file, force=True)
    assert is_untouched(environment)


def test_a_new_release_is_patched_anew(environment):
    apply(environment.patch())
    environment.write(b"release = 2\n")
    apply(environment.patch(b"release = 2, patched\n"))
    revert(environment.file)
    assert is_untouched(environment, b"release = 2\n")


def test_the_original_was_installed_again(environment):
    apply(environment.patch())
    environment.write(OLD)
    assert state(environment.file) is None
    inode = environment.file.stat().st_ino
    revert(environment.file)
    assert is_untouched(environment)
    assert environment.file.stat().st_ino == inode


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("damage", ["was changed", "is missing"])
def test_a_damaged_original_is_not_put_back(environment, damage, force):
    apply(environment.patch())
    kept = environment.file.parent / "model.py.ckptdoctor-original"
    if damage == "is missing":
        kept.unlink()
    else:
        kept.write_bytes(b"damaged")
    refused(lambda: revert(environment.file, force), damage)
    assert environment.file.read_bytes() == NEW
    assert state(environment.file)


# -- bytecode ---------------------------------------------------------------------------------------------------------


def test_bytecode_goes(environment):
    kept = [compiled(environment.file.with_name(name), UNCHECKED) for name in others(environment.file.parent)]
    for call in (lambda: apply(environment.patch()), lambda: revert(environment.file)):
        gone = [compiled(environment.file, UNCHECKED, tag) for tag in ("cpython-311", "cpython-39.opt-1", "pypy310")]
        call()
        assert not any(pyc.exists() for pyc in gone)
        assert all(pyc.exists() for pyc in kept)


def others(folder):
    for name in ("models.py", "model.inner.py", "my.model.py"):
        (folder / name).write_bytes(OLD)
        yield name


@pytest.mark.parametrize("size", ["same", "other"])
def test_python_runs_what_is_there(environment, size):
    """Bytecode that lies elsewhere is told by the second and the size."""
    now = int(datetime.now(timezone.utc).timestamp()) * 10**9
    os.utime(environment.file, ns=(now, now))
    cache = environment.prefix / "cache"
    new = NEW if size == "same" else NEW + b"\n"

    def step():
        code = "import model; print(model.step())"
        environ = {**os.environ, "PYTHONPATH": str(environment.file.parent), "PYTHONPYCACHEPREFIX": str(cache)}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True).stdout.strip()

    assert step() == "old"
    apply(environment.patch(new))
    assert step() == "new"
    revert(environment.file)
    assert step() == "old"


@pytest.mark.parametrize("mode", [UNCHECKED, TIMESTAMP])
def test_bytecode_that_cannot_be_removed(environment, monkeypatch, mode):
    pyc = compiled(environment.file, mode)
    unlink = Path.unlink

    def protected(path, missing_ok=False):
        if path == pyc:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", protected)
    if mode is UNCHECKED:
        refused(lambda: apply(environment.patch()), "in place of the new source")
    else:
        apply(environment.patch())
        revert(environment.file)
    assert is_untouched(environment)


# -- kills ------------------------------------------------------------------------------------------------------------

# Runs a call in forks, each killed one step later than the one before: before each line of the module, and before each
# change of the file system.
KILLER = """
import os, pathlib, shutil, signal, sys
from ckptdoctor.fix import apply as module
from ckptdoctor.fix import replacing
root, action = pathlib.Path(sys.argv[1]), sys.argv[2]
OLD, NEW = (root / "old").read_bytes(), (root / "new").read_bytes()
CHANGES = {"open", "os.rename", "os.remove", "os.chmod", "os.chown", "os.utime", "os.symlink"}
left = [-1]

def step():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def trace(frame, event, argument):
    if frame.f_code.co_filename not in (module.__file__, replacing.__file__):
        return None
    if event == "line":
        step()
    return trace

os.fsync = lambda _: None  # matters when the power fails, not after a kill, and takes most of the time
sys.addaudithook(lambda event, arguments: step() if event in CHANGES else None)
number, killed = 0, True
while killed:
    number += 1
    folder = root / str(number)
    shutil.copytree(root / "template", folder, symlinks=True)
    file = folder / "model.py"
    child = os.fork()
    if not child:
        left[0] = number
        sys.settrace(trace)
        if action == "apply":
            module.apply(module.Patch(file, OLD, NEW, folder, None, "why"))
        else:
            module.revert(file)
        sys.settrace(None)
        left[0] = -1
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    assert killed or status == 0, status
print(number)
"""


def killed_everywhere(folder, action, link):
    """Environments in each of which a call was killed at another step; in the last it came through."""
    environment = Environment(folder / "made")
    template = folder / "template"
    if link:
        environment.file.rename(folder / "cached.py")
        environment.file.symlink_to("../cached.py")  # where the copies find it
        shutil.copy2(folder / "cached.py", environment.file.parent.parent)
    compiled(environment.file, UNCHECKED)
    if action == "revert":
        apply(environment.patch())
    shutil.copytree(environment.file.parent, template, symlinks=True)
    (folder / "old").write_bytes(OLD)
    (folder / "new").write_bytes(NEW)
    command = [sys.executable, "-c", KILLER, str(folder), action]
    count = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [folder / str(number) / "model.py" for number in range(1, count + 1)]


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("action", ["apply", "revert"])
def test_a_kill_at_any_step(tmp_path, action, link, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)  # as in the processes that are killed
    files = killed_everywhere(tmp_path, action, link)
    assert len(files) > 50
    assert [file.read_bytes() for file in (files[0], files[-1])] == ([OLD, NEW] if action == "apply" else [NEW, OLD])
    seen = set()
    for file in files:
        content = file.read_bytes()
        assert content in (OLD, NEW)
        assert bool(state(file)) is (content == NEW)
        if content == NEW:
            assert not list(file.parent.glob("__pycache__/*.pyc"))
            assert applied_in(file.parent) == [file]
        seen.add(tuple(sorted(path.name.split("ckptdoctor-")[0] for path in file.parent.iterdir())))
        copy = Path(shutil.copytree(file.parent, f"{file.parent}-copy", symlinks=True)) / file.name
        came_back(file, link)
        tried_again(copy, link)
    assert len(seen) > 3, "kills came too late or too early to matter"


def came_back(file, link):
    """Taking back is all that is left to do."""
    if file.with_name("model.py.ckptdoctor.json").exists():
        revert(file)
    else:
        refused(lambda: revert(file), "carries no record")
    is_as_before(file, link)


def tried_again(file, link):
    """The patch is tried once more, and taken back."""
    patch = Patch(file, OLD, NEW, file.parent, None, "why")
    if file.read_bytes() == NEW:
        refused(lambda: apply(patch), "is patched already")
    else:
        apply(patch)
    assert file.read_bytes() == NEW
    revert(file)
    is_as_before(file, link)


def is_as_before(file, link):
    assert file.read_bytes() == OLD
    assert file.is_symlink() is link
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_mtime_ns) == (0o640, MTIME)
    assert [path.name for path in file.parent.iterdir() if path.name != "__pycache__"] == [file.name]


def test_half_written_files_are_swept(environment):
    """Left-over temporary files of another file are none of ours."""
    other = environment.file.with_name(".models.py.ckptdoctor-0123456789abcdef.tmp")
    mine = environment.file.with_name(".model.py.ckptdoctor-0123456789abcdef.tmp")
    for path in (other, mine):
        path.write_bytes(b"half")
    apply(environment.patch())
    assert other.exists()
    assert not mine.exists()
    mine.write_bytes(b"half")
    revert(environment.file)
    assert environment.names == [other.name, "model.py"]
    assert module.state(environment.file) is None


def test_half_written_files_of_a_kill_are_swept_wherever_they_are(environment):
    """A kill before the record leaves nothing that the file could be found by."""
    half = environment.file.with_name(".model.py.ckptdoctor-0123456789abcdef.tmp")
    users = environment.file.with_name(".notes.ckptdoctor-mine.tmp")
    for path in (half, users):
        path.write_bytes(b"half")

    module.sweep(environment.packages)

    assert (half.exists(), users.exists()) == (False, True)


# -- several at once --------------------------------------------------------------------------------------------------

AT_ONCE = """
import sys
from pathlib import Path
from ckptdoctor.errors import UsageFault
from ckptdoctor.fix.apply import Patch, apply
file, prefix = map(Path, sys.argv[1:])
patch = Patch(file, {old!r}, {new!r}, prefix, None, "why")
print("ready", flush=True)
sys.stdin.read(1)
try:
    apply(patch)
    print("patched")
except UsageFault as fault:
    print(fault.message)
"""


def test_of_several_at_once_one_patches_and_the_original_is_kept(environment):
    command = [sys.executable, "-c", AT_ONCE.format(old=OLD, new=NEW), str(environment.file), str(environment.prefix)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    for _ in range(3):
        running = [subprocess.Popen(command, **pipes) for _ in range(3)]
        for one in running:
            assert one.stdout.readline() == "ready\n"
        said = sorted(one.communicate("x")[0].strip() for one in running)

        assert said == [f"{environment.file} is patched already."] * 2 + ["patched"]
        revert(environment.file)
        assert is_untouched(environment)


def test_another_process_at_work_is_waited_for_and_named(environment, monkeypatch):
    import fcntl

    monkeypatch.setattr(module, "PATIENCE", 0.3)
    held = os.open(environment.file.parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(lambda: apply(environment.patch()), "Another process changes files in")
    finally:
        os.close(held)
    apply(environment.patch())


# -- what an installer knows ------------------------------------------------------------------------------------------


def installed(environment, version="0.9.2", ending="\n"):
    """An installer's list, which says what the file is now."""
    import base64

    folder = environment.packages / f"trainer-{version}.dist-info"
    folder.mkdir()
    digest = base64.urlsafe_b64encode(hashlib.sha256(environment.file.read_bytes()).digest()).rstrip(b"=").decode()
    rows = [f"trainer/model.py,sha256={digest},1", f"trainer-{version}.dist-info/RECORD,,"]
    (folder / "RECORD").write_bytes("".join(f"{row}{ending}" for row in rows).encode())
    os.utime(folder / "RECORD", ns=(MTIME, MTIME))
    return folder / "RECORD"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_installers_list_names_what_is_kept_and_comes_back_byte_for_byte(environment, ending):
    record = installed(environment, ending=ending)
    before, when = record.read_bytes(), record.stat().st_mtime_ns

    assert apply(environment.patch()).package == "trainer==0.9.2"

    kept = "".join(f"trainer/model.py{one},,{ending}" for one in (module.ORIGINAL, module.RECORD))
    assert record.read_bytes() == before + kept.encode()
    revert(environment.file)
    assert (record.read_bytes(), record.stat().st_mtime_ns) == (before, when)
    assert is_untouched(environment)


@pytest.mark.parametrize("force", [False, True])
def test_after_an_upgrade_the_old_original_does_not_come_back(environment, force):
    old = installed(environment)
    apply(environment.patch())
    shutil.rmtree(old.parent)
    environment.file.write_bytes(b"newer = 1\n")
    installed(environment, "0.9.3")

    revert(environment.file, force=force)

    assert is_untouched(environment, b"newer = 1\n")


@pytest.mark.parametrize("force", [False, True])
def test_nor_into_a_newer_file_that_was_changed(environment, force):
    old = installed(environment)
    apply(environment.patch())
    shutil.rmtree(old.parent)
    installed(environment, "0.9.3")
    environment.file.write_bytes(b"changed = 1\n")

    found = refused(lambda: revert(environment.file, force=force), "is of trainer==0.9.3 by now and was changed")

    assert "install trainer==0.9.3 again" in found.hint
    assert environment.file.read_bytes() == b"changed = 1\n"


def test_uninstalling_while_patched_leaves_nothing(tmp_path):
    """With pip itself: what is left would make an empty package importable."""
    import venv
    import zipfile

    wheel = tmp_path / "trainer-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("trainer/__init__.py", "")
        archive.writestr("trainer/model.py", OLD.decode())
        archive.writestr("trainer-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: trainer\nVersion: 1\n")
        archive.writestr("trainer-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("trainer-1.dist-info/RECORD", "")
    venv.create(tmp_path / "env", with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "env"), "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "install", "--no-index", str(wheel)], check=True)
    (file,) = (tmp_path / "env").glob("lib/python*/site-packages/trainer/model.py")
    apply(Patch(file, OLD, NEW, tmp_path / "env", None, "why"))

    subprocess.run([*pip, "uninstall", "-y", "trainer"], check=True)

    assert not file.parent.exists()
