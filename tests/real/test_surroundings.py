"""Surroundings that are hostile, with a real torch: verdicts stay true, and what is wrong is named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import check

pytestmark = pytest.mark.real

QUICK = ("--engine", "none", "--model", "tiny-glm4", "--convention", "partial-bound")
SOUND = "from torch.utils.checkpoint import checkpoint\n"
CALL = "    return checkpoint(function, *args, use_reentrant=False, **kwargs)\n"


def own(folder, body, before="", name="mine.py"):
    """A file with a checkpoint function ``f`` that does something first."""
    (folder / name).write_text(f"{SOUND}{before}\ndef f(function, *args, **kwargs):\n    {body}\n{CALL}")
    return f"{folder / name}:f"


READS = """\
    os.environ.get('MINE') == 'bad' and 1 / 0
    'bad' in Path(__file__).with_name('table').read_text() and [][0]
    os.path.exists('bad') and {}['']
    neighbour.BAD and int('')
"""


def test_a_cached_ok_does_not_survive_a_change_of_what_the_function_reads(torch_python, tmp_path):
    (tmp_path / "table").write_text("good")
    (tmp_path / "neighbour.py").write_text("BAD = False\n")
    function = own(tmp_path, READS.strip(), "import os, neighbour\nfrom pathlib import Path\n")

    def checked(**variables):
        ran = check(torch_python, *QUICK, "--checkpoint-fn", function, environ={"MINE": "good", **variables})
        return ran.report["cached"], {probe["error"] for probe in ran.report["probes"] if not probe["variant"]} - {None}

    assert checked() == (False, set())
    assert checked(OTHER="1") == (True, set())
    assert checked(MINE="bad") == (False, {"ZeroDivisionError: division by zero"})
    (tmp_path / "table").write_text("bad")
    assert checked() == (False, {"IndexError: list index out of range"})
    (tmp_path / "table").write_text("good")
    (tmp_path / "bad").touch()
    assert checked() == (False, {"KeyError: ''"})
    (tmp_path / "bad").unlink()
    (tmp_path / "neighbour.py").write_text("BAD = True\n")
    assert checked() == (False, {"ValueError: invalid literal for int() with base 10: ''"})


def test_a_good_function_says_nothing_of_a_bad_one_in_the_same_file(torch_python, tmp_path):
    own(tmp_path, "pass")
    with (tmp_path / "mine.py").open("a") as file:
        file.write("def bad(function, *args, **kwargs):\n    raise ValueError('mine')\n")
    functions = [f"{tmp_path}/mine.py:f", f"{tmp_path}/mine.py:bad"]

    conventions = ("--convention", "bound-method", "--convention", "partial-bound")
    more = [word for name in functions for word in ("--checkpoint-fn", name)]
    ran = check(torch_python, *QUICK[:4], *conventions, *more, "--no-cache")

    assert ran.rules == ["CKPT010"]


def test_a_crash_is_reported_only_when_it_comes_again(torch_python, tmp_path):
    crash = f"p = {str(tmp_path / 'crashed')!r}; os.path.exists(p) or (open(p, 'w').close(), os.kill(os.getpid(), 11))"

    ran = check(torch_python, *QUICK, "--checkpoint-fn", own(tmp_path, crash, "import os"), "--no-cache")

    assert ran.status == 0
    assert any("crashed once" in note for note in ran.report["notes"])


LITTLE_ROOM = """\
import resource, threading
threading.stack_size(1 << 30)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 29),) * 2)
"""


def test_a_step_for_which_the_machine_has_no_room_is_not_left_out(torch_python, tmp_path):
    """The step with backward in another thread: no thread can be started for want of memory."""
    ran = check(torch_python, *QUICK, "--checkpoint-fn", own(tmp_path, "pass", LITTLE_ROOM), "--no-cache")

    assert (ran.status, ran.report["verdict"], ran.rules) == (3, "error", ["CKPT900"])
    [finding] = ran.report["findings"]
    assert [name.rpartition("/")[2] for name in finding["probes"]] == ["course"]
    assert "can't start new thread" in finding["detail"]


def test_one_packages_latin_1_stops_nothing(torch_python, tmp_path):
    folder = tmp_path / "old-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_bytes("Name: old\nVersion: 1.0\nAuthor: Jörg\n".encode("latin-1"))

    ran = check(torch_python, *QUICK, "--checkpoint-fn", "torch", "--no-cache", environ={"PYTHONPATH": str(tmp_path)})

    assert ran.status == 0
    assert ("old", "1.0") in {(one["name"], one["version"]) for one in ran.report["environment"]["packages"]}


def test_an_import_that_hangs_is_given_up_with_the_line_at_which_it_stands(bare_python, tmp_path, monkeypatch):
    from ckptdoctor.environment import rounds, session
    from ckptdoctor.model.evidence import Spec
    from ckptdoctor.model.progress import Progress
    from ckptdoctor.model.workers import FULL_STACK

    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("import time\n\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(rounds, "STUCK", 2)
    monkeypatch.setattr(session, "LOOK", 1)
    told = []

    class Watches(Progress):
        def __call__(self, text):
            told.append(text)

    with session.Session(bare_python, None, 1, tmp_path / "cache", Watches()) as target:
        (evidence,) = target.examine({FULL_STACK: [Spec("tiny-glm4", "none")]})

    assert evidence.ended == "crashed"
    where = f"{tmp_path}/torch/__init__.py:3 in <module>"
    assert evidence.why == f"its Python hangs at {where} while importing torch"
    assert f"importing torch, at {where}" in told


def test_a_model_that_leaves_layers_to_chance_and_changes_its_inputs_is_no_fault(torch_python, tmp_path):
    """XGLM moves the positions that it is given, and skips layers at random."""
    (tmp_path / "config.json").write_text('{"model_type": "xglm", "layerdrop": 0.5}')
    stack = ("--with", "transformers==4.57.6", "--model", tmp_path, "--engine", "none")

    ran = check(torch_python, *stack, "--checkpoint-fn", own(tmp_path, "pass"), "--no-cache")

    assert (ran.status, ran.rules, ran.report["notes"]) == (0, [], [])


def test_deepspeed_without_a_loopback_interface_is_told_as_that(demo_python):
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a network namespace")
    options = [*QUICK[2:], "--engine", "none", "--engine", "zero2", "--checkpoint-fn", "torch:reentrant", "--no-cache"]
    command = [sys.executable, "-m", "ckptdoctor", "check", "--python", str(demo_python), "--format", "json", *options]

    done = subprocess.run(["unshare", "-n", *command], capture_output=True, text=True, check=False, timeout=120)

    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"]) == (3, "error")
    [finding] = report["findings"]
    assert (finding["rule"], finding["title"]) == ("CKPT900", "This machine cannot run the step under real ZeRO 2")
    assert "no working loopback interface" in finding["detail"]
    assert finding["remedies"] == []
    assert finding["searched"] == []
