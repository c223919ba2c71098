"""Remedies carried out: files patched and restored, releases installed, and what is computed then."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from ckptdoctor import catalog
from ckptdoctor.environment import overlay
from ckptdoctor.environment.session import Session
from ckptdoctor.model.evidence import Spec
from ckptdoctor.model.workers import FULL_STACK, WITHOUT_DEEPSPEED
from ckptdoctor.remedies.patch import patch
from ckptdoctor.rules.common.soundness import is_sound
from tests.conftest import STACK, TORCH, TRAINER, build, check, run
from tests.real.test_fix import fix, verified

pytestmark = pytest.mark.real

ENGINES = ("none", "zero0", "zero1", "zero2", "zero3")
FILE = "llamafactory/model/model_utils/checkpointing.py"


# -- carried out ------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(environments, tmp_path):
    """An environment that the test may change, with the stack on which the fault began."""
    return build(tmp_path / "own", [TORCH, *STACK[:1], "numpy"], [TRAINER])


def digests(python):
    site = next((python.parent.parent / "lib").glob("*/site-packages"))
    files = [file for file in (site / "llamafactory").rglob("*") if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_patch_is_applied_shown_and_taken_back(own):
    before = digests(own)
    engine = ("--engine", "none")
    applied = fix(own, "--apply", *engine)

    assert applied.status == 0, applied.err
    assert FILE in applied.err
    assert [(one["kind"], one["file"].endswith(FILE)) for one in applied.report["applied"]] == [("patch", True)]
    checked = check(own, *engine)
    assert checked.status == 0
    assert any("is patched by ckptdoctor" in note for note in checked.report["notes"])
    again = run("fix", "--python", own, *engine)
    assert again.status == 0
    assert "is patched by ckptdoctor" in " ".join(again.out.split())
    changed = {file for file, digest in digests(own).items() if before.get(file) != digest}
    assert {Path(file).name for file in changed} == {
        "checkpointing.py",
        "checkpointing.py.ckptdoctor-original",
        "checkpointing.py.ckptdoctor.json",
    }
    assert run("fix", "--python", own, "--revert").status == 0
    assert digests(own) == before
    assert check(own, *engine).status == 1
    nothing = run("fix", "--python", own, "--revert")
    assert nothing.status == 2
    assert "hint:" in nothing.err


def test_a_file_of_the_users_own_is_patched_where_it_lies(torch_python, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_bytes((Path(__file__).parents[1] / "cases" / "ckpt001_bad.py").read_bytes())
    before = mine.read_bytes()
    named = ("--python", torch_python, "--checkpoint-fn", f"{mine}:checkpoint_function", "--engine", "none")
    applied = run("fix", "--apply", *named)

    assert applied.status == 0, applied.err
    assert mine.read_bytes() != before
    assert run("fix", "--revert", *named).status == 0
    assert mine.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["mine.py"]


def test_releases_as_they_were_tried_help_once_they_are_installed(own, tmp_path):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("transformers==4.51.3\nllamafactory==0.9.2  # ours\n")
    pinned = tmp_path / "constraints.txt"
    ran = fix(own, "--engine", "none", "--edit", wanted, "--constraints", pinned)

    remedy = verified(ran, "version")[0]
    assert "+llamafactory==0.9.3  # ours" in remedy["edits"][0]
    assert "llamafactory==0.9.3" in pinned.read_text().splitlines()
    assert "transformers==4.51.3" in pinned.read_text().splitlines()
    assert wanted.read_text() == "transformers==4.51.3\nllamafactory==0.9.2  # ours\n"
    command = next(one for one in remedy["commands"] if one.startswith("uv pip install"))
    folder = str(Path(uv_program()).parent)
    subprocess.run(["bash", "-ec", f"PATH={folder}:$PATH; {command}"], check=True, capture_output=True)
    assert check(own, "--engine", "none").status == 0


def uv_program():
    from uv import find_uv_bin

    return find_uv_bin()


def test_what_comes_from_an_overlay_is_not_patched(torch_python):
    stack = ["--with", "transformers==4.51.3", "--with", "llamafactory==0.9.2", "--engine", "none"]
    ran = fix(torch_python, "--apply", *stack)

    assert ran.status == 2
    assert "overlay" in ran.err
    assert "Traceback" not in ran.err


def test_offline_the_knowledge_still_answers(own, tmp_path):
    nowhere = {
        "CKPTDOCTOR_CACHE": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "UV_NO_CACHE": "1",
        "UV_HTTP_RETRIES": "0",
    }
    ran = fix(own, "--engine", "none", environ=nowhere)

    [finding] = ran.report["findings"]
    [first] = [one for one in finding["remedies"] if one["kind"] == "version"]
    assert first["changes"] == {"llamafactory": "0.9.3"}
    assert not first["proven"]
    assert "not tried here" in first["evidence"]


# -- what a patched or adapted run computes ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def source(demo_python):
    site = next((demo_python.parent.parent / "lib").glob("*/site-packages"))
    return (site / FILE).read_bytes().decode()


def specs(convention_of, models, engines=ENGINES):
    found = {WITHOUT_DEEPSPEED: [], FULL_STACK: []}
    for model in models:
        for convention in convention_of:
            for engine in engines:
                worker = WITHOUT_DEEPSPEED if engine == "none" else FULL_STACK
                found[worker].append(Spec(model, "llamafactory", engine, convention, timeout=120))
    return found


def examined(python, cache, wanted, overlay=None, replacement="", adapted=False):
    with Session(python, overlay, 2, cache, adapted=adapted) as session:
        named = {"llamafactory": str(session.write("checkpointing.py", replacement))} if replacement else {}
        return {one.id: one for one in session.examine(wanted, named)}


@pytest.fixture(scope="session")
def working(demo_python, cache):
    """Unpatched, and handed what it was written for: a bound method."""
    found = examined(demo_python, cache, specs(["bound-method"], ["tiny-glm4"]))
    return {one.rpartition("/")[0].rpartition("/")[2]: evidence for one, evidence in found.items()}


@pytest.mark.parametrize("way", ["patched", "adapted"])
def test_every_convention_computes_what_a_working_combination_does(demo_python, cache, source, working, way):
    line = 1 + source[: source.index("func.__self__")].count("\n")
    replacement = patch(source, line) if way == "patched" else ""
    found = examined(
        demo_python,
        cache,
        specs(catalog.conventions(), ["tiny-glm4"]),
        replacement=replacement,
        adapted=way == "adapted",
    )

    assert len(found) == len(catalog.conventions()) * len(ENGINES)
    for name, evidence in found.items():
        engine = name.split("/")[2]
        assert is_sound(working[engine]), working[engine].why
        assert is_sound(evidence), (name, evidence.error)
        assert evidence.loss == pytest.approx(working[engine].loss, rel=1e-6), name
        assert evidence.gradients.compared == working[engine].gradients.compared


@pytest.mark.parametrize("way", ["patched", "adapted"])
def test_the_real_model_computes_what_it_does_with_a_release_that_works(demo_python, cache, source, way):
    wanted = specs(["model"], ["glm4"])
    with Session(demo_python, None, 1, cache) as session:
        installed = {one.name: one.version for one in session.look().packages}
    folder = overlay.make(
        demo_python,
        ["llamafactory==0.9.3"],
        with_dependencies=False,
        environment_packages=installed,
        cache=cache,
        progress=lambda _: None,
    )
    expected = examined(demo_python, cache, wanted, folder)
    line = 1 + source[: source.index("func.__self__")].count("\n")
    replacement = patch(source, line) if way == "patched" else ""
    found = examined(demo_python, cache, wanted, replacement=replacement, adapted=way == "adapted")

    for name, evidence in found.items():
        assert is_sound(expected[name])
        assert is_sound(evidence), (name, evidence.error)
        assert evidence.loss == pytest.approx(expected[name].loss, rel=1e-6)


def test_the_hook_does_not_hide_a_fault_from_a_check(demo_python):
    hook = Path(__file__).parents[2] / "probes" / "no_touch"
    ran = check(demo_python, "--engine", "none", environ={"PYTHONPATH": str(hook)})

    assert ran.status == 1
    assert json.loads(ran.out)["verdict"] == "fail"
