"""Hostile surroundings that need no environment: closed streams, narrow encodings, folders that are gone."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys

import pytest

from ckptdoctor import encoding, output
from ckptdoctor.evidence import Environment, Evidence
from ckptdoctor.output import Style
from ckptdoctor.report import SCHEMA, ProbeResult, Report
from ckptdoctor.target.process import Process

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


def test_a_closed_standard_input_is_an_empty_log():
    done = shell("$CK explain - <&-")

    assert done.returncode == 3
    assert "the text is empty" in done.stdout


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
        ("$CK rule > /dev/full", "No space left on device.", "free some space"),
    ],
)
def test_an_error_of_the_operating_system_comes_with_what_to_do(tmp_path, line, said, hint):
    done = shell(f"cd {tmp_path}; {line}", TMPDIR=str(tmp_path))

    assert done.returncode in (2, 3)
    assert said in done.stderr
    assert hint in done.stderr.splitlines()[-1]
    assert "itself failed" not in done.stderr


@pytest.mark.parametrize("name", output.FORMATS)
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
    found = probes("isolate").ran_out(error)

    assert said in found
    assert bool(found) == bool(said)


def probes(name):
    """A module of the patient's side."""
    import importlib.util

    from ckptdoctor import locations

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
        ("open('/proc/self/stat').read()", "files", ""),
        ("x = 1", "variables", ""),
    ],
)
def test_what_a_function_reads_is_noted(tmp_path, code, kind, noted):
    from ckptdoctor import locations

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
