"""What is shown while a run goes on: on a terminal, in a log, and between the lines of a job."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pyte
import pytest

from ckptdoctor.cli import progress
from ckptdoctor.cli.progress import Told, fitting, in_words
from ckptdoctor.environment.session import Session
from ckptdoctor.model.evidence import Spec
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED
from ckptdoctor.store import durations
from ckptdoctor.store.durations import Durations


@pytest.fixture(autouse=True)
def on(monkeypatch):
    """All other tests run without it."""
    monkeypatch.delenv(progress.OFF)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def told(clock):
    return Told(clock)


# -- the line ---------------------------------------------------------------------------------------------------------


def test_the_line_says_how_many_of_how_many_and_what_runs_now(told, clock):
    assert told.line() == "starting"
    told("inspecting /env/bin/python")
    assert told.line() == "inspecting /env/bin/python"
    told.begins(3, "probe")
    told("importing torch")
    assert told.line() == "0 of 3 probes: importing torch"
    clock.now += 12.4
    told.done()
    told("running glm4/none/none")
    assert told.line() == "1 of 3 probes, 12 s: running glm4/none/none"
    told.last = LAST
    assert told.line() == "1 of 3 probes, 12 s, about 12 s left: running glm4/none/none"
    assert told.line(is_narrow=True) == "1/3, 12 s, 12 s left: running glm4/none/none"


def test_each_part_is_counted_by_itself(told):
    told.begins(2, "probe")
    told.done()
    told.done()
    told.part("trying a patch")
    assert told.line() == "trying a patch"
    told.begins(1, "probe")
    told("running glm4/none/none")
    assert told.line() == "0 of 1 probe: trying a patch, running glm4/none/none"


def test_verdicts_are_counted(told):
    told.begins(4, "combination")
    for verdict in ("ok", "fail", "ok"):
        told.done(verdict)
    assert told.line().startswith("3 of 4 combinations (2 ok, 1 fail)")


def test_a_text_that_acts_on_terminals_is_escaped(told):
    told("running \x1b[2Jmine\nnew")
    assert told.line() == r"running \x1b[2Jmine new"


@pytest.mark.parametrize(
    ("seconds", "exact", "coarse"),
    [
        (0.2, "1 s", "1 s"),
        (59.4, "59 s", "59 s"),
        (59.6, "1 min", "1 min"),
        (61, "1 min 1 s", "1 min"),
        (150, "2 min 30 s", "3 min"),
        (3599.6, "1 h", "1 h"),
        (3900, "1 h 5 min", "1 h 5 min"),
    ],
)
def test_times_are_said_as_people_do(seconds, exact, coarse):
    assert (in_words(seconds), in_words(seconds, coarse=True)) == (exact, coarse)


def test_a_line_is_cut_to_the_cells_that_there_are():
    text = "3 of 9 probes: inspecting /home/环境/训练用的虚拟环境/bin/python"
    for width in range(90):
        assert len(shown := fitting(text, width)) <= width
        assert sum(2 if ord(one) > 0x2E80 else 1 for one in shown) <= width
    assert fitting(text, 90) == text
    assert fitting("环境" * 9, 12) == "环境环境..."
    assert fitting("环境", 80, is_unicode=False) == r"\u73af\u5883"  # which takes more cells


# -- the estimate -----------------------------------------------------------------------------------------------------

LAST = Durations(seconds=20.0, times=(8.0, 9.0, 15.0))


def test_the_first_run_has_no_estimate(told, clock):
    told.begins(3, "probe")
    for _ in range(3):
        assert "left" not in told.line()
        clock.now += 5
        told.done()
    assert "left" not in told.line()


def test_the_next_run_has_one_that_follows_what_has_ended(told, clock):
    told.last = LAST
    told.begins(3, "probe")
    assert "about 20 s left" in told.line()
    clock.now += 3
    assert "3 s, about 17 s left" in told.line()
    clock.now += 27  # the first step takes longer than it did: what came after it is still to come
    assert "30 s, about 12 s left" in told.line()
    told.done()
    clock.now += 1
    told.done()
    assert "about 11 s left" in told.line()
    told.done()
    assert "about 5 s left" in told.line()
    clock.now += 5
    assert "left" not in told.line()


@pytest.mark.parametrize("now", [0, 1, 7.9, 8, 14, 30])
@pytest.mark.parametrize("times", [(), (1.0,), (8.0, 9.0), (8.0, 9.0, 20.0)])
def test_no_estimate_is_longer_than_the_last_run_or_less_than_nothing(times, now):
    left = LAST.left([one for one in times if one <= now], now)
    assert left is None or 0 < left <= LAST.seconds


def test_a_run_with_more_steps_than_the_last_one_has_no_estimate():
    assert LAST.left([1.0, 2.0, 3.0, 4.0], 5.0) is None


def test_combinations_go_at_the_pace_of_the_last_run_and_then_at_their_own(told, clock):
    told.begins(10, "combination")
    clock.now += 60
    told.done("ok")
    assert "left" not in told.line()  # one tells nothing: it made the environments
    told.last = Durations(300.0, (100.0, 200.0))
    assert "about 15 min left" in told.line()
    for _ in range(4):
        clock.now += 10
        told.done("ok")
    assert "about 2 min left" in told.line()  # 100 s for 5


def test_what_was_run_decides_which_run_was_the_last_one(tmp_path, monkeypatch, clock):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / "cache"))
    with progress.reporter("check", ["/env", "glm4"]) as reporter:
        reporter.begins(2, "probe")
        reporter.done()
        reporter.done()

    found = durations.load(durations.key("check", ["/env", "glm4"]))
    assert found is not None
    assert len(found.times) == 2
    assert found.seconds >= found.times[-1]
    for other in (durations.key("check", ["/env", "llama"]), durations.key("fix", ["/env", "glm4"])):
        assert durations.load(other) is None


def test_a_run_that_ran_nothing_or_was_stopped_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / "cache"))
    with progress.reporter("check", ["answered from the cache"]):
        pass
    with suppress(KeyboardInterrupt), progress.reporter("check", ["stopped"]) as reporter:
        reporter.done()
        raise KeyboardInterrupt
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"seconds": "long", "times": []}', b"\xff"])
def test_a_damaged_note_is_no_estimate(content, tmp_path, monkeypatch):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path))
    name = durations.key("check")
    durations.keep(name, 2.0, [1.0])
    [file] = tmp_path.rglob(f"{name}.json")
    file.write_bytes(content)
    assert durations.load(name) is None


# -- the count --------------------------------------------------------------------------------------------------------


class Worker:
    """A process of the target of which some probes kill the process, or say that they crashed."""

    def __init__(self, kills, crashes):
        self.kills, self.crashes, self.events = kills, crashes, []

    def send(self, request):
        for one in request["specs"]:
            self.events.append({"event": "started", "id": one["id"]})
            if one["id"] in self.kills:
                self.events.append(EOFError())
                return
            ended = "crashed" if one["id"] in self.crashes else "ok"
            self.events.append({"event": "done", "evidence": {"id": one["id"], "ended": ended}, "files": []})
        self.events.append({"event": "idle", "files": []})

    def read(self, timeout):
        event = self.events.pop(0)
        if isinstance(event, EOFError):
            raise event
        return event

    def death(self):
        return "was killed"

    last_words = hang_up = close = kill = lambda self: ""


@pytest.mark.parametrize(
    ("kills", "crashes"), [((), ()), ((1,), ()), ((0, 2), ()), ((), (1, 3)), ((0,), (1,)), ((0, 1, 2, 3), ())]
)
def test_the_count_reaches_the_total_whatever_happens_to_probes(kills, crashes, tmp_path, monkeypatch, told):
    specs = [Spec("glm4", f"mine.py:f{number}") for number in range(4)]
    counted = []
    monkeypatch.setattr(told, "done", lambda: counted.append(1))
    with Session(Path(sys.executable), None, 4, tmp_path, told) as session:
        worker = lambda: Worker([specs[at].id for at in kills], [specs[at].id for at in crashes])  # noqa: E731
        monkeypatch.setattr(session, "open", lambda name: session.workers.setdefault(name, worker()))
        evidence = session.examine({WITHOUT_DEEPSPEED: specs})

    assert {one.id for one in evidence} == {one.id for one in specs}
    assert len(evidence) == len(counted) == told.total == 4


# -- a terminal -------------------------------------------------------------------------------------------------------

RUN = """
import sys, time
from ckptdoctor.cli import main, progress
with progress.reporter("check", first=lambda: "Looked up, not run: it works") as told:
    told("inspecting " + sys.argv[1])
    time.sleep(0.4)
    told.begins(6, "probe")
    for number in range(6):
        told(f"running 模型/{number}/" + "x" * 200)
        time.sleep(0.15)
        told.done()
    print("printed between", file=sys.stderr)
    time.sleep(float(sys.argv[2]))
print("the end")
"""


class Terminal:
    """A program in a terminal, and all that was ever to be seen there."""

    def __init__(self, script, *arguments, columns=80, environ=None):
        self.screen = pyte.Screen(columns, 24)
        self._stream = pyte.ByteStream(self.screen)
        self._ours, theirs = pty.openpty()
        self.frames = []
        self.resize(columns)
        kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**kept, "TERM": "xterm", "PYTHONUTF8": "1", **(environ or {})},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def resize(self, columns):
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.screen.resize(24, columns)

    def key(self, key):
        os.write(self._ours, key)

    def read(self, until=None):
        """Until something is to be seen, or the program has ended."""
        with suppress(OSError):  # Linux's way to say that the other side has been closed
            while data := os.read(self._ours, 65536):
                self._stream.feed(data)
                self.frames.append(self.lines)
                if until and until in self.text:
                    return self
        self.process.wait(30)
        os.close(self._ours)
        return self

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    @property
    def text(self):
        return "\n".join(self.lines)

    @property
    def live(self):
        """The lines that were replaced, in all frames."""
        stays = ("Looked up", "it works", "printed between", "the end", "^C", "Traceback")
        return [line for frame in self.frames for line in frame if not line.startswith(stays)]


@pytest.mark.parametrize("columns", [24, 44, 80, 200])
def test_on_a_terminal_one_line_is_replaced_and_gone_at_the_end(columns):
    seen = Terminal(RUN, "/env/环境/bin/python", "0", columns=columns).read()

    assert seen.process.returncode == 0
    assert " ".join(seen.lines) == "Looked up, not run: it works printed between the end"
    assert not seen.screen.cursor.hidden
    assert any(line.startswith("inspecting /env") for line in seen.live)
    count = r"[1-6]/6" if columns < progress.NARROW else r"[1-6] of 6 probes"
    assert any(re.match(count, line) for line in seen.live)
    for frame in seen.frames:
        live = [line for line in frame if line in seen.live and not line.startswith(("Looked", "not", "it"))]
        assert len(live) <= 1 or columns == 24, frame


def test_a_narrower_window_gets_a_shorter_line():
    terminal = Terminal(RUN, "/env", "0.5", columns=100).read(until="of 6 probes")
    terminal.resize(40)
    terminal.frames.clear()
    terminal.read()
    assert max(map(len, terminal.live)) <= 100
    assert any(0 < len(line) < 40 and line.endswith("...") for line in terminal.live)
    assert terminal.text.endswith("the end")


def test_what_ends_at_once_shows_nothing():
    script = (
        'from ckptdoctor.cli import progress\nwith progress.reporter("check") as told: told("inspecting")\nprint("end")'
    )
    seen = Terminal(script).read()
    assert seen.lines == ["end"]
    assert {line for frame in seen.frames for line in frame} == {"end"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_however_it_is_stopped_the_terminal_is_as_it_was(number):
    terminal = Terminal(RUN, "/env", "60").read(until="of 6 probes")
    if number == signal.SIGINT:
        terminal.key(b"\x03")
    else:
        terminal.process.kill()
    terminal.read()
    assert not terminal.screen.cursor.hidden
    if number == signal.SIGINT:
        assert "of 6 probes" not in terminal.text


# -- a log ------------------------------------------------------------------------------------------------------------


def run_in_a_log(told, clock, seconds):
    """What is said, with the times at which it is."""
    with progress._now_and_then(told, "check") as show:
        for _ in range(seconds):
            clock.now += 1
            show()


def test_a_log_gets_nothing_of_a_short_run(told, clock, capsys):
    run_in_a_log(told, clock, 19)
    assert capsys.readouterr().err == ""


def test_a_log_gets_lines_after_ever_longer_times(told, clock, capsys):
    told.begins(9, "probe")
    told("importing torch")
    run_in_a_log(told, clock, 3600)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "ckptdoctor check: 0 of 9 probes, 20 s: importing torch"
    times = [re.search(r"probes, (.*): importing", line)[1] for line in lines]
    assert times[:6] == ["20 s", "1 min", "2 min 20 s", "5 min", "10 min", "15 min"]
    assert len(lines) == 15


def test_without_a_terminal_nothing_is_drawn(monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST", 0.2)
    with progress.reporter("check") as told:
        told("importing torch")
        time.sleep(0.5)
    assert capsys.readouterr().err == "ckptdoctor check: importing torch\n"


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {progress.OFF: "1"}])
def test_a_terminal_that_cannot_replace_a_line_is_a_log_and_progress_can_be_switched_off(environ):
    assert Terminal(RUN, "/env", "0", environ=environ).read().lines == ["printed between", "the end"]


# -- a job on the same terminal ---------------------------------------------------------------------------------------

JOB = """
import sys, time
from ckptdoctor.cli import progress, watch
progress.FIRST = 0.3
print("a line of the job", flush=True)
with progress.reporter("watch", between=True) as told:
    told.begins(2, "step")
    told("waiting for the first step")
    print(" 10%|###       | 1/10", end="", flush=True)
    time.sleep(0.6)
    print("\\r 20%|######    | 2/10", end="", flush=True)
watch.say("watch", "ok: 2 steps were observed")
watch.say("watch", "and more")
"""


def test_the_lines_of_a_job_stay_whole():
    seen = Terminal(JOB).read()
    assert seen.lines == [
        "a line of the job",
        " 10%|###       | 1/10",
        "ckptdoctor watch: 0 of 2 steps: waiting for the first step",
        " 20%|######    | 2/10",
        "ckptdoctor watch: ok: 2 steps were observed",
        "ckptdoctor watch: and more",
    ]
