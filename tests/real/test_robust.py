"""Whatever happens, the doctor says what it was, leaves nothing behind, and leaves the target as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TORCH, build, check

pytestmark = pytest.mark.real

QUICK = ("--engine", "none", "--model", "tiny-glm4", "--convention", "partial-bound")
WORKS = """\
from torch.utils.checkpoint import checkpoint

def f(function, *args, **kwargs):
    {before}
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
"""


def mine(folder, before="pass"):
    """A file with a checkpoint function that does something before it does its work."""
    file = folder / "mine.py"
    file.write_text(WORKS.replace("{before}", before))
    return file


def processes(folder):
    """Processes that run in a folder or name it in their command line or environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(folder).encode() in said or str((process / "cwd").readlink()).startswith(str(folder)):
                found[process.name] = said
        except OSError:
            continue
    return found


def wait_until(holds, seconds):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


@pytest.fixture
def own_tmp(tmp_path):
    """A folder for temporary files of a run, under which its processes work."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def hanging(torch_python, tmp_path, own_tmp):
    """A run whose probe hangs, with a child that has left its session, once both are there."""
    marker = tmp_path / "hangs"
    before = "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); "
    before += f"open({str(marker)!r}, 'w').close(); time.sleep(600)"
    command = [sys.executable, "-m", "ckptdoctor", "check", "--python", str(torch_python), *QUICK, "--no-cache"]
    command += ["--checkpoint-fn", f"{mine(tmp_path, before)}:f"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(own_tmp)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_until(marker.exists, 120)
    assert len(processes(own_tmp)) >= 3
    yield process
    process.kill()
    process.communicate()
    for number in processes(own_tmp):
        os.kill(int(number), signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(hanging, own_tmp, number):
    hanging.send_signal(number)
    out, err = hanging.communicate(timeout=20)

    assert hanging.returncode == 130
    assert (out, err.strip()) == ("", "interrupted")
    assert list(own_tmp.iterdir()) == []
    assert wait_until(lambda: not processes(own_tmp), 3), processes(own_tmp)


def test_a_second_interrupt_leaves_nothing_behind_either(hanging, own_tmp):
    hanging.send_signal(signal.SIGINT)
    time.sleep(0.2)
    hanging.send_signal(signal.SIGINT)
    hanging.communicate(timeout=20)

    assert list(own_tmp.iterdir()) == []
    assert wait_until(lambda: not processes(own_tmp), 3), processes(own_tmp)


def test_being_killed_leaves_no_process_behind(hanging, own_tmp):
    hanging.kill()

    assert wait_until(lambda: not processes(own_tmp), 10), processes(own_tmp)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ImportError('libcudart.so.99: cannot open shared object file')", "libcudart.so.99"),
        ("raise SystemExit(5)", ""),
        ("import os; os._exit(7)", "exit status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import sys; print('no such driver', file=sys.stderr); import os; os._exit(7)", "no such driver"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", ""),
        ("", "torch"),
    ],
)
def test_a_torch_that_does_not_import(bare_python, tmp_path, body, said):
    packages = tmp_path / "packages"
    (packages / "torch").mkdir(parents=True)
    (packages / "torch" / "__init__.py").write_text(body + "\n")
    (packages / "torch-9.9.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n"
    (packages / "torch-9.9.dist-info" / "METADATA").write_text(metadata)

    ran = check(bare_python, *QUICK, "--checkpoint-fn", "torch", environ={"PYTHONPATH": str(packages)})

    assert ran.status == 3
    assert "Traceback" not in ran.err
    if ran.out:
        assert ran.rules == ["CKPT900"]
        assert "torch" in ran.report["findings"][0]["detail"]
        assert said in ran.report["findings"][0]["detail"]
    else:
        complaint, hint = ran.err.splitlines()
        assert complaint.startswith("error: ")
        assert "torch" in complaint
        assert said in complaint
        assert hint.startswith("hint: ")


@pytest.mark.parametrize("variable", [{}, {"PYTHONPATH": ""}, {"PYTHONPATH": os.pathsep}], ids=repr)
def test_nothing_is_imported_from_the_current_folder(torch_python, tmp_path, variable):
    names = ["torch", "transformers", "deepspeed", "numpy", "sympy", "probes", "watch"]
    # With an empty entry the Python that runs the doctor, too, looks for modules here, before any code of ours runs.
    names += [] if variable.get("PYTHONPATH") else ["json", "msgspec", "click", "ckptdoctor"]
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')\n")
    script = Path(sys.executable).with_name("ckptdoctor")

    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(script), "check", "--python", str(torch_python), *QUICK, "--checkpoint-fn", "torch", "--no-cache"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environ, **variable},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def state(folder):
    """Every file, folder and link of an environment, with size and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        at = path.lstat()
        found[str(path)] = (at.st_mode, at.st_size if path.is_file() else 0, at.st_mtime_ns)
    return found


def test_the_target_is_unchanged_byte_for_byte(environments, tmp_path):
    python = build(environments / "unchanged", [TORCH, "numpy"])
    before = state(python.parent.parent)

    for more in ([], ["--with", "llamafactory==0.9.2"]):
        ran = check(python, *QUICK, "--checkpoint-fn", f"{mine(tmp_path)}:f", "--no-cache", *more)
        assert ran.status == 0, ran.err
        assert state(python.parent.parent) == before


# -- checkpoint functions that misbehave ------------------------------------------------------------------------------


def misbehave(python, folder, before, own_tmp):
    function = f"{mine(folder, before)}:f"
    options = [*QUICK, "--checkpoint-fn", function, "--no-cache", "--timeout", "40"]
    ran = check(python, *options, environ={"TMPDIR": str(own_tmp)})
    assert "Traceback" not in ran.err
    assert list(own_tmp.iterdir()) == []
    assert wait_until(lambda: not processes(own_tmp), 3), processes(own_tmp)
    controls = {probe["outcome"] for probe in ran.report["probes"] if probe["role"] == "control"}
    assert controls == {"ok"}
    (subject,) = (one for one in ran.report["probes"] if one["role"] == "subject" and not one["variant"])
    return ran, subject


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("import os; os.kill(os.getppid(), 9)", "SIGKILL"),
        ("import os; os._exit(7)", "exit status 7"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import os; os.closerange(0, 1000); os._exit(0)", "no result"),
    ],
)
def test_a_function_that_takes_processes_down(torch_python, tmp_path, own_tmp, before, said):
    ran, subject = misbehave(torch_python, tmp_path, before, own_tmp)

    assert ran.status == 1
    assert subject["outcome"] == "crashed"
    assert said in subject["error"]


def test_a_function_that_closes_every_file(torch_python, tmp_path, own_tmp):
    ran, subject = misbehave(torch_python, tmp_path, "import os; os.closerange(0, 1000)", own_tmp)

    assert ran.status == 1
    assert subject["outcome"] == "crashed"


def test_a_function_that_raises_what_is_no_exception(torch_python, tmp_path, own_tmp):
    ran, subject = misbehave(torch_python, tmp_path, "raise SystemExit(0)", own_tmp)

    assert ran.status == 1
    assert subject["outcome"] not in ("ok", "skipped")


def test_a_function_that_leaves_a_daemon(torch_python, tmp_path, own_tmp):
    daemon = "os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(600))"
    ran, subject = misbehave(torch_python, tmp_path, f"import os, time; {daemon}", own_tmp)

    assert ran.status == 0
    assert subject["outcome"] == "ok"


def test_a_function_that_prints_without_end(torch_python, tmp_path, own_tmp):
    before = "import os; [os.write(1, b'x' * 65536) for _ in range(2000)]; print('the end', flush=True); 1 / 0"
    ran, subject = misbehave(torch_python, tmp_path, before, own_tmp)

    assert ran.status == 1
    assert len(subject["evidence"]["output"]) < 20_000
    assert "the end" in subject["evidence"]["output"]


# -- the cache --------------------------------------------------------------------------------------------------------


def test_an_unchanged_environment_is_answered_from_the_cache(torch_python, tmp_path):
    file = mine(tmp_path)
    function = f"{file}:f"
    first, second = (check(torch_python, *QUICK, "--checkpoint-fn", function) for _ in range(2))
    assert [ran.status for ran in (first, second)] == [0, 0]
    assert [ran.report["cached"] for ran in (first, second)] == [False, True]
    assert second.report["probes"] == first.report["probes"]

    assert not check(torch_python, *QUICK, "--checkpoint-fn", function, "--no-cache").report["cached"]

    mine(tmp_path, "raise ValueError('changed')")
    changed = check(torch_python, *QUICK, "--checkpoint-fn", function)
    assert (changed.status, changed.report["cached"]) == (1, False)

    variable = {"TORCH_OF_NO_MEANING": "1"}
    assert not check(torch_python, *QUICK, "--checkpoint-fn", function, environ=variable).report["cached"]


def test_a_probe_that_was_killed_is_tried_again(torch_python, tmp_path):
    function = f"{mine(tmp_path, 'import os; os._exit(7)')}:f"
    assert check(torch_python, *QUICK, "--checkpoint-fn", function).status == 1

    mine(tmp_path)

    assert check(torch_python, *QUICK, "--checkpoint-fn", function).status == 0
