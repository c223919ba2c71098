"""What processes of a watched job report, and what is made of it; the command that starts one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckptdoctor.errors import UsageFault
from ckptdoctor.observe import folder, judging
from ckptdoctor.observe.folder import ProcessReport
from ckptdoctor.observe.job import Job
from tests.conftest import run

PLACE = {"file": "/site-packages/mine/model.py", "line": 7, "function": "forward", "package": "mine", "version": "1.0"}


def layer(name="layers.0", **changes):
    counts = {"plain": 1, "forwards": 2, "in_forward": 1, "reached": True, "trained": True}
    return {"name": name, "type": "Layer", **counts, **changes}


def step(number=1, **changes):
    return {
        "step": number,
        "function": "torch:non-reentrant",
        "engine": "ddp",
        "fsdp_checkpointing": False,
        "ended": "returned",
        "model_class": "Model",
        "layers": [layer(), layer("layers.1")],
        "function_called": 2,
        "gradients": {"compared": 0},
        **changes,
    }


def process(rank=0, world=2, steps=None, **changes):
    told = [step(1), step(2)] if steps is None else steps
    return ProcessReport(
        1000 + rank, "node", "/env/bin/python", rank, world, tuple(told), **{"ended": "observed", **changes}
    )


def judged(*processes, steps=2, **more):
    return judging.judge(Job(processes, steps, **more))


def test_a_sound_job_is_ok():
    report = judged(process(0), process(1))

    assert report.verdict == "ok"
    assert report.summary.endswith("under DDP. Seen in 4 steps of 2 ranks.")
    assert report.probes[0].id.endswith("2 ranks/rank 0, step 1")


def test_a_rank_that_reported_nothing_leaves_the_job_unjudged():
    report = judged(process(0, world=4), process(2, world=4))

    assert report.verdict == "not judged"
    assert "ranks 1 and 3 of 4 reported nothing" in report.summary


def test_no_process_that_trains_is_no_ok():
    report = judged()

    assert report.verdict == "error"
    assert "No training step was seen" in report.summary


def test_a_job_without_checkpointing_is_not_judged():
    off = [step(function="none", layers=[], function_called=0)]
    report = judged(process(0, world=1, steps=off))

    assert report.verdict == "not judged"
    assert "No layer was checkpointed in the 1 step" in report.summary


def test_an_observer_that_failed_is_no_ok():
    report = judged(process(0), process(1, steps=[], ended="gave up", why="TypeError at runs.py:3: oh"))

    assert report.verdict == "error"
    assert "rank 1" in report.summary
    assert "TypeError" in report.summary


def test_the_command_is_not_said_to_have_been_ended_in_good_order_where_an_error_ended_it():
    error = {**step(ended="raised"), "error": {"type": "ValueError", "message": "no samples", "frames": []}}
    failed = judged(process(0, world=1, steps=[], ended="raised", error=error), stopped="steps")
    sound = judged(process(0, world=1), stopped="steps")

    assert "ckptdoctor ended what was left of the command after its error (--exit-after)." in failed.notes
    assert "ckptdoctor ended the command after the observed steps." in sound.notes


def test_a_rank_that_was_killed_is_no_ok():
    alive, killed = process(0), process(1, steps=[step()], ended="")
    report = judged(alive, killed, over_on="node", status=137)

    assert report.verdict == "error"
    assert "status 137 while rank 1 trained" in report.summary
    assert judged(alive, killed, over_on="another").verdict == "ok"  # it still trains, on its own machine


def test_a_rank_that_was_killed_in_its_first_step_is_told_so():
    report = judged(process(0, world=1, steps=[], ended=""), over_on="node", status=137)

    assert report.verdict == "error"
    assert "status 137 while rank 0 trained" in report.summary


@pytest.mark.parametrize(
    ("error", "verdict", "says"),
    [
        ({"type": "torch.OutOfMemoryError", "message": "CUDA out of memory."}, "error", "ran out of memory"),
        ({"type": "KeyError", "message": "'x'"}, "error", "does not know"),
        (
            {
                "type": "TypeError",
                "message": "gradient_checkpointing_enable() got an unexpected keyword argument 'offload'",
            },
            "fail",
            "CKPT013",
        ),
    ],
)
def test_an_error_is_told_for_what_it_is(error, verdict, says):
    raised = step(ended="raised", during="build", error={**error, "frames": [PLACE]}, function="none", layers=[])
    report = judged(process(0, world=1, steps=[], ended="raised", error=raised))

    assert report.verdict == verdict
    assert says in f"{report.findings[0].rule} {report.findings[0].title}"


def test_a_rank_whose_peer_died_is_not_what_is_told():
    errors = [
        {"type": "RuntimeError", "message": "[gloo] Connection closed by peer [127.0.0.1]:1", "frames": [PLACE]},
        {"type": "ValueError", "message": "no such column", "frames": [PLACE]},
    ]
    raised = [step(ended="raised", during="backward", error=one) for one in errors]
    report = judged(*(process(rank, steps=[], ended="raised", error=one) for rank, one in enumerate(raised)))

    assert [one.error.type for one in report.findings] == ["ValueError"]


def test_two_trainings_in_one_command_are_both_judged():
    first = process(0, world=1, steps=[step(layers=[layer(forwards=1)])])
    second = ProcessReport(2, "node", "/env/bin/python", 0, 1, (step(),), "observed")

    assert [one.rule for one in judged(first, second).findings] == ["CKPT002"]
    assert [one.rule for one in judged(second, first).findings] == ["CKPT002"]


def test_a_compiled_model_is_not_ok():
    unseen = [step(ended="skipped", unobserved="torch.compile compiles the model", layers=[])]
    report = judged(process(0, world=1, steps=unseen, ended="compiled"))

    assert report.verdict == "error"
    assert "torch.compile compiles the model" in report.findings[0].detail


@pytest.mark.parametrize(
    ("changes", "rule", "severity"),
    [
        ({"layers": [layer(), layer("layers.1", forwards=1)]}, "CKPT002", "error"),
        ({"layers": [layer(), layer("layers.1", forwards=3)]}, "CKPT003", "error"),
        ({"gradients": {"compared": 0, "missing": ["layers.0.weight"]}}, "CKPT004", "error"),
        ({"arithmetic": [{"layer": "layers.0", "forward": "float32", "recomputed": "bfloat16"}]}, "CKPT005", "error"),
        ({"kept": {"each": 40_000_000, "output": 4_000_000, "layers": 5}}, "CKPT008", "warning"),
        *(
            ({"differs": [{"layer": "layers.0", "type": "Layer", "what": what}]}, "CKPT015", "error")
            for what in ("keywords", "random numbers", "shapes", "modules", "values")
        ),
    ],
)
def test_each_observation_is_judged_in_whatever_rank_and_step(changes, rule, severity):
    report = judged(process(0), process(1, steps=[step(1), step(2, **changes)]))

    assert [(one.rule, one.severity) for one in report.findings] == [(rule, severity)]
    assert report.findings[0].probes == ("Model/torch:non-reentrant/ddp/2 ranks/rank 1, step 2",)
    assert report.verdict == ("fail" if severity == "error" else "ok")


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": [layer(plain=4, in_forward=4, forwards=8)]},
        {"layers": [layer(), layer("layers.1", forwards=1, reached=False, trained=False)]},
        {"kept": {"each": 5_000_000, "output": 4_000_000, "layers": 5}},
        {"kept": {"each": 90_000, "output": 2_000, "layers": 5}},
        {"unused": ["head.bias"]},
    ],
    ids=["accumulation", "frozen prefix", "memory", "a tiny model", "an unused parameter"],
)
def test_what_is_sound_trips_no_rule(changes):
    steps = [step(1, **changes), step(2, **changes)]

    assert judged(process(0, steps=steps), process(1, steps=steps)).verdict == "ok"


def test_layers_that_nobody_asked_to_be_checkpointed_are_counted():
    report = judged(process(0, world=1, steps=[step(layers_without=2)]))

    assert "2 of 4 layers are to be checkpointed: the others were not asked to be." in report.notes


def test_a_rehearsal_says_that_the_job_was_small():
    report = judged(process(0, world=1), small=["The model has 4 layers."])

    assert report.summary.endswith("Seen in 2 steps of 1 rank. The job was made small.")
    assert "The model has 4 layers." in report.notes


def test_a_rank_that_differs_is_named():
    other = [step(1, layers=[layer(), layer("layers.1", forwards=1)])]
    report = judged(process(0, world=3), process(1, world=3), process(2, world=3, steps=other))

    assert any("In rank 2, layers ran otherwise" in note for note in report.notes)


def test_an_error_of_another_kind_is_told_once_and_is_no_verdict_on_checkpointing():
    error = {"type": "ValueError", "message": "no such column", "frames": [PLACE]}
    raised = step(ended="raised", during="build", error=error, function="none")
    report = judged(*(process(rank, steps=[], ended="raised", error=raised) for rank in range(2)))

    assert report.verdict == "error"
    assert len(report.findings) == 1
    assert "not about checkpointing" in report.findings[0].detail
    assert "no such column" in report.summary


def test_an_error_that_explain_knows_is_told_as_it_would():
    message = "Expected to mark a variable ready only once. This error is caused by one of the following reasons"
    frames = [{**PLACE, "file": "/site-packages/torch/autograd/graph.py", "package": "torch", "function": "backward"}]
    raised = step(
        ended="raised", during="backward", error={"type": "RuntimeError", "message": message, "frames": frames}
    )
    report = judged(process(0, world=1, steps=[], ended="raised", error=raised))

    assert report.findings[0].error.message == message


def test_hostile_text_of_a_process_stays_text():
    report = judged(process(0, world=1, steps=[], ended="gave up", why="\x1b[2J"), steps=1)

    assert report.verdict == "error"


def test_a_file_that_is_no_report_is_left_out(tmp_path):
    (tmp_path / "process-a-1.json").write_text("{")
    (tmp_path / "process-a-2.json").write_text('{"pid": "x"}')

    assert folder.read(tmp_path) == []


def test_a_folder_with_another_jobs_reports_is_refused(tmp_path):
    folder.prepare(tmp_path, 2)
    (tmp_path / "process-a-1.json").write_text("{}")

    folder.prepare(tmp_path, 2)  # another machine of the same job
    with pytest.raises(UsageFault, match="another job"):
        folder.prepare(tmp_path, 3)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_commands_output_and_status_are_its_own():
    ran = run("watch", "--", sys.executable, "-c", "import sys; print('mine'); sys.exit(7)")

    assert (ran.status, ran.out) == (7, "mine\n")
    assert "No training step was seen" in ran.err


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["watch"], 2, "no command"),
        (["watch", "--", "no-such-program"], 127, "not found"),
        (["watch", "--", "/"], 126, "cannot be started"),
        (["watch", "--steps", "0", "--", "true"], 2, "--steps"),
        (["watch", "--collect", "nowhere"], 2, "no folder of evidence"),
        (["watch", "--collect", ".", "--", "true"], 2, "no place for a command"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(words, status, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run(*words)

    assert ran.status == status
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_what_processes_reported_can_be_judged_later(tmp_path):
    folder.prepare(tmp_path, 2)
    told = {"pid": 1, "host": "a", "executable": "/env/bin/python", "rank": 0, "world": 1, "ended": "observed"}
    (tmp_path / "process-a-1.json").write_text(json.dumps({**told, "steps": [step(), step(2)]}))

    ran = run("watch", "--collect", str(tmp_path), "--format", "json")

    assert ran.status == 0
    assert json.loads(ran.out)["verdict"] == "ok"


def test_a_finding_ends_the_command_and_all_that_it_started(tmp_path):
    told = {
        "pid": 1,
        "host": "a",
        "executable": "python",
        "rank": 0,
        "world": 1,
        "steps": [step(layers=[layer(forwards=1)])],
    }
    script = tmp_path / "job.py"
    script.write_text(
        "import json, os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\n"
        f"told = json.loads({json.dumps(json.dumps(told))})\n"
        "with open(os.path.join(os.environ['CKPTDOCTOR_EVIDENCE'], 'process-a-1.json'), 'w') as handle:\n"
        "    json.dump(told, handle)\n"
        "time.sleep(100)\n"
    )
    started = time.monotonic()

    ran = run("watch", "--stop-on", "error", "--", sys.executable, str(script), str(tmp_path / "pid"))

    assert ran.status == 1
    assert "CKPT002" in ran.err
    assert time.monotonic() - started < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_signal_reaches_the_command_and_the_report_is_printed(tmp_path):
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('up', flush=True)\n"
        "time.sleep(60)"
    )
    words = [sys.executable, "-m", "ckptdoctor", "watch", "--", sys.executable, "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "up\n"
        started.send_signal(signal.SIGTERM)
        _, err = started.communicate(timeout=60)

    assert started.returncode == 9
    assert "No training step was seen" in err


def test_nothing_is_left_of_the_folder(tmp_path):
    ran = run("watch", "--", sys.executable, "-c", "import os; print(os.environ['CKPTDOCTOR_EVIDENCE'])")

    assert not Path(ran.out.strip()).exists()


@pytest.mark.parametrize(
    ("options", "forwards", "status"),
    [([], 1, 0), (["--exit-after"], 1, 1), (["--stop-on", "error"], 1, 1), (["--exit-after"], 2, 0)],
)
def test_a_command_that_ends_by_itself_first_is_judged_if_it_was_to_be(tmp_path, options, forwards, status):
    steps = [step(layers=[layer(forwards=forwards)])]
    told = {"pid": 1, "host": "a", "executable": "python", "rank": 0, "world": 1, "steps": steps, "ended": "exited"}
    code = f"import os; open(os.environ['CKPTDOCTOR_EVIDENCE'] + '/process-a-1.json', 'w').write({json.dumps(told)!r})"

    assert run("watch", *options, "--", sys.executable, "-c", code).status == status
