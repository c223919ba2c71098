"""Hostile surroundings that need no environment: closed streams, narrow encodings, folders that are gone."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ckptdoctor import output
from ckptdoctor.environment import process, uv_command
from ckptdoctor.environment.process import Process
from ckptdoctor.errors import TargetError
from ckptdoctor.model import encoding
from ckptdoctor.model.evidence import Environment, Evidence
from ckptdoctor.model.report import SCHEMA, ProbeResult, Report
from ckptdoctor.output import Style
from tests.conftest import on_linux

LONE = "a lone \udcff surrogate"


def shell(line, **environ):
    """A line of shell in which ``$CK`` is ckptdoctor."""
    merged = {**os.environ, "CK": f"{sys.executable} -m ckptdoctor", **environ}
    return subprocess.run(["bash", "-c", line], env=merged, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "status"), [("rule", 0), ("--version", 0), ("env --python /nope", 3)])
def test_a_closed_stream_changes_no_status(arguments, status, streams):
    done = shell(f"$CK {arguments} {streams}")

    assert done.returncode == status
    assert "itself failed" not in done.stderr


def test_an_encoding_without_the_characters_shows_escapes():
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = shell("$CK env --python $'/nope/\\xc3\\xbc\\xff'", **narrow)

    assert done.returncode == 3
    complaint, hint = done.stderr.splitlines()
    assert complaint.startswith("error: There is no Python at /nope/\\udc")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("mkdir gone; cd gone; rmdir ../gone; $CK check --job x.yaml", "The current folder is gone.", "cd"),
        pytest.param("$CK rule > /dev/full", "No space left on device.", "free some space", marks=on_linux),
    ],
)
def test_an_error_of_the_operating_system_comes_with_what_to_do(tmp_path, line, said, hint):
    done = shell(f"cd {tmp_path}; {line}", TMPDIR=str(tmp_path))

    assert done.returncode in (2, 3)
    assert said in done.stderr
    assert hint in done.stderr.splitlines()[-1]
    assert "itself failed" not in done.stderr


@pytest.mark.parametrize("name", output.formats("report"))
def test_every_format_shows_a_lone_surrogate(name):
    evidence = Evidence("p", "raised", why=LONE)
    probe = ProbeResult("p", "tiny-glm4", f"{LONE}.py:f", "none", "model", "", "subject", "failed", LONE, evidence)
    report = Report(SCHEMA, "0", "ok", LONE, Environment("3.11", LONE, "linux"), [probe], [])

    text = output.render(name, report, Style(color=False, width=80, verbose=True, unicode=True))

    text.encode()
    assert "udcff" in text


def test_a_lone_surrogate_in_json_is_shown_or_read_back():
    value = {LONE: [LONE, 1, None], "plain": "ü"}

    assert encoding.encode(value).decode().count(r"a lone \\udcff surrogate") == 2
    assert json.loads(encoding.encode_exactly(value)) == value


# -- the bridge -------------------------------------------------------------------------------------------------------


class Said:
    """A process that has said something and ended."""

    pid = 0

    def __init__(self, events=b"", printed=b""):
        self.stdin = io.BytesIO()
        self.stdout, self.stderr = (self._pipe(data) for data in (events, printed))

    @staticmethod
    def _pipe(data):
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        return os.fdopen(reading, "rb")

    def wait(self, timeout=None):
        return 0


def heard(said):
    process = Process(said, {})
    events = []
    try:
        while event := process.read(1):
            events.append(event)
    except EOFError:
        pass
    return events, process.output


IDLE = b'{"event": "idle", "files": []}\n'


def test_what_the_environment_prints_is_no_event():
    events, output = heard(Said(b"", IDLE))

    assert (events, output) == ([], b"")  # the end of events comes first
    assert heard(Said(IDLE, b"printed"))[0] == [{"event": "idle", "files": []}]


@pytest.mark.parametrize(
    "line",
    [b"[]", b"{}", b'{"event": "facts"}', b'{"event": []}', b'{"event": "other"}', b'{"event": "idle"}', b"[" * 5000],
)
def test_a_line_that_is_no_event_is_passed_over(line):
    assert heard(Said(line + b"\n" + IDLE))[0] == [{"event": "idle", "files": []}]


# -- what runs out, and packages that are damaged ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "memory ran out"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "no more processes"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files"),
        (RuntimeError("can't start new thread"), "no more processes or threads"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes."),
            "memory ran out",
        ),
        (RuntimeError("unable to write to file </torch_7_1>: No space left on device (28)"), "/dev/shm"),
        (OSError(errno.ENOENT, "No such file or directory"), ""),
        (RuntimeError("can't allocate memory: you tried to allocate 9000000000000 bytes."), ""),
        (ValueError("can't start new thread"), ""),
    ],
    ids=repr,
)
def test_what_ran_out_is_named_and_a_functions_own_fault_is_not_taken_for_it(error, said):
    found = probes("shortages").ran_out(error)

    assert said in found
    assert bool(found) == bool(said)


def probes(name):
    """A module of the environment's side."""
    import importlib.util

    from ckptdoctor.store import locations

    spec = importlib.util.spec_from_file_location("probes_main", locations.probes() / "__main__.py")
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    return main.load(name)


# -- what a probe reads beside modules --------------------------------------------------------------------------------

READS = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("probes_main", sys.argv[1])
main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(main)
reads = main.load("reads")
reads.watch_variables()
reads.watch_files()
exec(compile(open(sys.argv[2]).read(), sys.argv[2], "exec"), {"__name__": "mine"})
print("\\n" + json.dumps(reads.told()))
"""


@pytest.mark.parametrize(
    ("code", "kind", "noted"),
    [
        ("import os; os.environ.get('MINE')", "variables", "MINE"),
        ("import os; 'MINE' in os.environ", "variables", "MINE"),
        ("import os; dict(os.environ)", "untraced", "os.environ"),
        ("open('there').read()", "files", "there"),
        ("import os\ntry: os.stat('missing')\nexcept OSError: pass", "files", "missing"),
        ("import os; os.listdir('folder')", "files", "folder"),
        ("from pathlib import Path; list(Path('folder').iterdir())", "files", "folder"),
        ("from pathlib import Path; Path('missing').exists()", "files", "missing"),
        ("import subprocess; subprocess.run(['true'])", "untraced", "subprocess.Popen"),
        ("import os; os.system('true')", "untraced", "os.system"),
        ("open('written', 'w').close()", "files", ""),
        pytest.param("open('/proc/self/stat').read()", "files", "", marks=on_linux),
        ("x = 1", "variables", ""),
    ],
)
def test_what_a_function_reads_is_noted(tmp_path, code, kind, noted):
    from ckptdoctor.store import locations

    (tmp_path / "folder").mkdir()
    (tmp_path / "there").touch()
    (tmp_path / "mine.py").write_text(code)
    script = [sys.executable, "-c", READS, str(locations.probes() / "__main__.py"), str(tmp_path / "mine.py")]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)

    told = json.loads(done.stdout.splitlines()[-1])[kind]
    expected = str(tmp_path / noted) if kind == "files" else noted
    assert (expected in told) if noted else not [one for one in told if one != str(tmp_path / "mine.py")]


def test_an_interpreter_that_ignores_variables_writes_no_bytecode(tmp_path):
    import venv

    venv.create(tmp_path / "venv", symlinks=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "at_start.py").touch()
    (packages / "at_start.pth").write_text("import at_start\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {tmp_path}/venv/bin/python -I "$@"\n')
    python.chmod(0o755)

    assert shell(f"$CK env --python {python}").returncode == 0
    assert not (packages / "__pycache__").exists()


# -- bytecode, and folders that a killed run leaves -------------------------------------------------------------------


def bytecode_of(tmp_path, script):
    """What a Python prints that keeps its compiled files where ours are kept."""
    from ckptdoctor.store import locations

    (tmp_path / "big.py").write_text(f"X = {list(range(30000))!r}\n")
    start = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('m', {str(locations.probes() / '__main__.py')!r}); "
        "m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m); "
        f"m.keep_bytecode_out_of_the_target(('/nowhere',), {str(tmp_path / 'kept')!r}); "
        f"sys.path.insert(0, {str(tmp_path)!r}); import big; print(len(big.X))"
    )
    done = subprocess.run(
        ["bash", "-c", f'{script} {sys.executable} -B -c "$0"', start], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "30000\n"), done.stderr
    return list((tmp_path / "kept").rglob("big.*"))


def test_a_full_disk_leaves_no_part_of_a_compiled_file(tmp_path):
    # A limit on the size of a file cuts a write short, as a full disk does, and like it is told only to who looks.
    assert bytecode_of(tmp_path, "trap '' XFSZ; ulimit -f 40;") == []
    assert len(bytecode_of(tmp_path, "")) == 1


@pytest.mark.parametrize("left", [10, 100, 50_000])
def test_a_damaged_compiled_file_of_ours_is_made_anew(tmp_path, left):
    (file,) = bytecode_of(tmp_path, "")
    whole = file.read_bytes()
    file.write_bytes(whole[:left])

    assert bytecode_of(tmp_path, "") == [file]
    assert len(file.read_bytes()) == len(whole)


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    make = "from ckptdoctor.store.workspace import Workspace; import os, signal; w = Workspace(); print(w.folder, flush=1); "
    environ = {**os.environ, "TMPDIR": str(tmp_path)}

    def ran(more):
        return subprocess.run(
            [sys.executable, "-c", make + more], env=environ, capture_output=True, text=True, check=False
        )

    running = subprocess.Popen([sys.executable, "-c", make + "input()"], env=environ, stdin=-1, stdout=-1, text=True)
    used = running.stdout.readline().strip()
    (tmp_path / "ckptdoctor-of-somebody").mkdir()
    killed = ran("os.kill(os.getpid(), signal.SIGKILL)").stdout.strip()
    assert Path(killed).is_dir()

    assert ran("w.remove()").returncode == 0

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([Path(used).name, "ckptdoctor-of-somebody"])
    running.communicate("")


def test_ctrl_c_does_not_stop_the_clearing_up(tmp_path):
    code = (
        "from ckptdoctor.store.workspace import Workspace; import os, shutil, signal; w = Workspace()\n"
        "rmtree = shutil.rmtree\n"
        "def slow(*a, **k): os.kill(os.getpid(), signal.SIGINT); rmtree(*a, **k)\n"
        "shutil.rmtree = slow\n"
        "w.remove()"
    )
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)

    assert "KeyboardInterrupt" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_a_long_import_stands_is_read_from_what_it_prints():
    dump = (
        'Timeout (0:00:30)!\nThread 0x00007f (most recent call first):\n  File "/a b/torch/x.py", line 7 in <module>\n'
    )
    process = Process(Said(b"", b""), {})
    assert process.stands_at() == ""

    process.output = (dump + "noise\n" + dump.replace("7", "8")).encode()

    assert process.stands_at() == "/a b/torch/x.py:8 in <module>"
    process.forget_where()
    assert process.stands_at() == ""


@pytest.mark.parametrize(("name", "source"), [("json.py", "raise RuntimeError('shadow')"), ("tempfile.py", "1 / 0")])
def test_a_module_that_hides_pythons_own_is_named(tmp_path, name, source):
    (tmp_path / name).write_text(source)

    done = shell("$CK check --python /nowhere", PYTHONPATH=str(tmp_path))

    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == f"error: {tmp_path / name} hides one of Python's own modules from ckptdoctor."


def test_a_folder_that_this_user_may_not_look_into_is_named(monkeypatch):
    from ckptdoctor.environment import interpreter

    closed = PermissionError(errno.EACCES, "Permission denied", "/root/env")

    def deny(*_):
        raise closed

    monkeypatch.setattr(interpreter, "_chosen", deny)
    with pytest.raises(TargetError, match="This user may not look into /root/env"):
        interpreter.find("/root/env", {})


LONG = "x" * 200_000
"""Longer than Linux lets one argument or variable be."""


def starts_with_a_long_variable(folder):
    process.start(Path(sys.executable), {"LONG": LONG}, folder)


def starts_uv_with_a_long_argument(folder):
    uv_command.run_uv([LONG], {})


@on_linux
@pytest.mark.parametrize("start", [starts_with_a_long_variable, starts_uv_with_a_long_argument])
def test_what_is_too_large_for_a_new_process_is_said(tmp_path, start):
    with pytest.raises(TargetError, match="does not start: Argument list too long") as raised:
        start(tmp_path)
    assert "unset large environment variables" in raised.value.hint


def without_network(line):
    if not shutil.which("unshare") or shell("unshare -n true").returncode:
        pytest.skip("this user may not make a network namespace")
    return shell(f"unshare -n $CK {line}")


def test_ranks_without_a_loopback_interface_are_refused_before_anything_is_started():
    done = without_network(f"check --python {sys.executable} --nproc 2")

    complaint, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (3, "")
    assert complaint.startswith("error: Ranks cannot reach each other: this machine has no working loopback interface")
    assert "ip link set lo up" in hint
