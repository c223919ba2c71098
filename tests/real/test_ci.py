"""The gate, the formats and the action, on a real stack that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import run
from tests.test_ci_formats import commands, is_junit, is_sarif, tokens

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
FAST = ("--engine", "none")


def check(python, *arguments, **more):
    return run("check", "--python", python, *FAST, *arguments, **more)


def test_several_formats_in_one_run(demo_python, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("# Before\n")

    ran = check(
        demo_python,
        *[
            "--format",
            "sarif=o.sarif",
            "--format",
            "junit=o.xml",
            "--format",
            "json=o.json",
            "--format",
            "markdown=o.md",
        ],
        *["--format", "github"],
        cwd=tmp_path,
        environ={"GITHUB_STEP_SUMMARY": str(summary)},
    )

    assert ran.status == 1, ran.err
    assert [level for level, _, _ in commands(ran.out)] == ["error", "error"]
    [result] = is_sarif((tmp_path / "o.sarif").read_text())["results"]
    assert result["ruleId"] == "CKPT001"
    [suite] = is_junit((tmp_path / "o.xml").read_text())
    failed = {case.name for case in suite if case.result}
    report = json.loads((tmp_path / "o.json").read_text())
    assert failed == set(report["findings"][0]["probes"])
    assert report["gate"]["status"] == 1
    assert tokens((tmp_path / "o.md").read_text())
    assert summary.read_text() == "# Before\n" + (tmp_path / "o.md").read_text()
    for name in ("o.sarif", "o.xml", "o.md"):
        assert str(demo_python.parent.parent) not in (tmp_path / name).read_text()
        assert str(Path.home()) + "/" not in (tmp_path / name).read_text()


def test_ignored_and_never_pass_and_stay_in_the_report(demo_python):
    for arguments, accepted in ((["--ignore", "CKPT001"], "ignored"), (["--fail-on", "never"], "")):
        ran = check(demo_python, "--format", "json", *arguments)
        assert ran.status == 0
        assert ran.report["verdict"] == "fail"
        assert [one["accepted"] for one in ran.report["findings"]] == [accepted]


def test_a_cached_report_goes_through_the_gate_of_this_run(demo_python):
    statuses = [check(demo_python, *more).status for more in ([], ["--ignore", "CKPT001"], [], ["--select", "CKPT002"])]

    assert statuses == [1, 0, 1, 0]


def test_a_kept_report_serves_every_folder_and_terminal(demo_python, tmp_path):
    """A library copies the whole environment for a program that it starts; the shell's own variables decide nothing."""
    check(demo_python, "--format", "json")
    elsewhere = {"PWD": str(tmp_path), "OLDPWD": "/elsewhere", "SHLVL": "7", "TMUX_PANE": "%7"}

    assert check(demo_python, "--format", "json", cwd=tmp_path, environ=elsewhere).report["cached"]


def test_a_baseline_accepts_and_complains_when_the_finding_is_gone(demo_python, tmp_path):
    baseline = ["--baseline", "b.json"]

    assert check(demo_python, *baseline, "--update-baseline", cwd=tmp_path).status == 0
    kept = json.loads((tmp_path / "b.json").read_text())
    kept["accepted"][0]["reason"] = "waiting for 0.9.3"
    (tmp_path / "b.json").write_text(json.dumps(kept))
    accepted = check(demo_python, *baseline, "--fail-on", "warning", cwd=tmp_path)
    assert accepted.status == 0
    assert "accepted by the baseline: waiting for 0.9.3" in accepted.out

    fixed = ["--with", "llamafactory==0.9.3", *baseline]
    gone = check(demo_python, *fixed, cwd=tmp_path)
    assert gone.status == 0
    assert "which is gone" in " ".join(gone.out.split())
    assert check(demo_python, *fixed, "--fail-on", "warning", cwd=tmp_path).status == 1
    # A run that does not look there has nothing to say of it.
    elsewhere = check(demo_python, "--checkpoint-fn", "torch", *baseline, "--fail-on", "warning", cwd=tmp_path)
    assert (elsewhere.status, "gone:" in elsewhere.out) == (0, False)

    assert check(demo_python, *fixed, "--update-baseline", "--fail-on", "warning", cwd=tmp_path).status == 0
    assert json.loads((tmp_path / "b.json").read_text())["accepted"] == []


def test_what_cannot_be_diagnosed_stays_3(torch_python, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind\n\ndef f(*a, **k): ...\n")
    for more in ([], ["--fail-on", "never"], ["--ignore", "CKPT0"], ["--baseline", "b.json", "--update-baseline"]):
        ran = check(torch_python, "--checkpoint-fn", "broken.py:f", "--format", "json", *more, cwd=tmp_path)
        assert ran.status == 3, more
        assert {one["rule"] for one in ran.report["findings"]} == {"CKPT900"}


def test_settings_of_a_project_are_those_of_the_run(demo_python, tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        "[tool.ckptdoctor]\nengine = 'none'\nignore = 'CKPT001'\nformat = 'json'\n"
    )
    (tmp_path / "deep").mkdir()

    ran = run("check", "--python", str(demo_python), cwd=tmp_path / "deep")

    assert ran.status == 0
    assert [one["accepted"] for one in ran.report["findings"]] == ["ignored"]
    others = {"CKPTDOCTOR_IGNORE": "CKPT002", "CKPTDOCTOR_PYTHON": str(demo_python)}
    assert run("check", "--select", "CKPT001", cwd=tmp_path, environ=others).status == 1


def as_an_action(folder, **inputs):
    """Run the action's check as a runner does, with this very ckptdoctor in the place of an installed one."""
    scripts = {
        one["name"]: one["run"] for one in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][:2]
    }
    doctor = folder / "temporary" / "ckptdoctor" / "bin"
    doctor.mkdir(parents=True)
    for name, line in (
        ("python", f'exec {sys.executable} "$@"'),
        ("ckptdoctor", f'exec {sys.executable} -m ckptdoctor "$@"'),
    ):
        (doctor / name).write_text(f"#!/bin/sh\n{line}\n")
        (doctor / name).chmod(0o755)
    (folder / "script.sh").write_text(scripts["Check"])
    names = ("TARGET", "MORE", "FAIL_ON", "BASELINE", "SARIF", "JUNIT")
    environ = {**os.environ, **{name: inputs.get(name, "") for name in names}, "RUNNER_TEMP": str(folder / "temporary")}
    environ |= {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(folder / "script.sh")]
    done = subprocess.run(shell, env=environ, cwd=folder, capture_output=True, text=True, check=False)
    return done, dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())


def test_the_action_checks_and_says_so(demo_python, tmp_path):
    done, outputs = as_an_action(
        tmp_path,
        TARGET=str(demo_python),
        MORE="--engine none --baseline 'a file.json' --update-baseline -v",
        SARIF="o.sarif",
        JUNIT="o.xml",
    )

    assert done.returncode == 0, done.stderr
    assert outputs == {"status": "0", "sarif": f"{tmp_path}/o.sarif"}
    assert (tmp_path / "a file.json").is_file()
    is_sarif((tmp_path / "o.sarif").read_text())
    is_junit((tmp_path / "o.xml").read_text())
    before, _, after = done.stdout.partition("\n::ckptdoctor-")
    assert before.startswith("::stop-commands::ckptdoctor-")
    assert len(list(commands(after.split("\n", 1)[1]))) == 2
    assert (tmp_path / "summary").read_text().startswith("**FAIL**")


def test_the_action_expands_nothing_in_its_arguments(demo_python, tmp_path):
    done, outputs = as_an_action(
        tmp_path, TARGET=str(demo_python), MORE="--ignore '$(touch owned);`touch owned`' ; touch owned"
    )

    assert (done.returncode, outputs) == (2, {"status": "2"})
    assert not (tmp_path / "owned").exists()
    assert "::error title=ckptdoctor::" in done.stdout


def test_the_action_fails_on_a_quote_that_is_not_closed(demo_python, tmp_path):
    done, outputs = as_an_action(tmp_path, TARGET=str(demo_python), MORE="--engine none --fail-on 'warning")

    assert (done.returncode, outputs) == (2, {"status": "2"})
    assert "::error title=ckptdoctor::The input args" in done.stdout
    assert "not closed" in (tmp_path / "summary").read_text()


def test_the_action_says_why_there_is_no_report(bare_python, tmp_path):
    done, outputs = as_an_action(tmp_path, TARGET=str(bare_python), SARIF=str(tmp_path / "absolute.sarif"))

    assert (done.returncode, outputs) == (3, {"status": "3"})
    assert "torch is not installed" in (tmp_path / "summary").read_text()
    assert "torch is not installed" in done.stderr


def test_the_action_names_an_absolute_file_as_it_is(demo_python, tmp_path):
    (tmp_path / "kept").mkdir()
    file = tmp_path / "kept" / "absolute.sarif"
    _, outputs = as_an_action(tmp_path, TARGET=str(demo_python), MORE="--engine none", SARIF=str(file))

    assert outputs == {"status": "1", "sarif": str(file)}


def test_the_action_fails_where_something_is_found(demo_python, tmp_path):
    done, outputs = as_an_action(tmp_path, TARGET=str(demo_python), MORE="--engine none")

    assert (done.returncode, outputs) == (1, {"status": "1"})
