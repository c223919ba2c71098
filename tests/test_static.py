"""``ckptdoctor check --static``: the verdict of installed files, with nothing of them imported."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from pathlib import Path

import msgspec
import pytest
import yaml

from ckptdoctor import knowledge
from ckptdoctor import static as static_module
from ckptdoctor.cli import check, progress
from ckptdoctor.knowledge import files, layers
from ckptdoctor.knowledge.files import of_content
from ckptdoctor.planning.request import Request
from tests.conftest import run
from tests.test_extending import measured_here

FILES = {
    "transformers": (
        "99.0.0",
        [
            "transformers/modeling_utils.py",
            "transformers/utils/generic.py",
            "transformers/models/glm4/modeling_glm4.py",
        ],
    ),
    "llamafactory": ("99.1", ["llamafactory/model/model_utils/checkpointing.py"]),
}
POISON = "raise SystemExit('imported')\n"


@pytest.fixture
def environment(tmp_path):
    """A folder that looks like an environment, whose code must not run."""
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    for name, (version, inside) in FILES.items():
        rows = []
        for file in inside:
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            text = f"{POISON}# {file}\n"
            (packages / file).write_text(text)
            rows.append(f"{file},sha256={of_content(text.encode())},{len(text)}")
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("\n".join([*rows, ""]))
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 99\n")
    python.chmod(0o755)
    return tmp_path / "env"


def know(environment, verdict):
    """Make it known that these very files were measured, with that verdict."""
    layer = measured_here(verdict, "99.0.0", trainer="99.1")
    families = knowledge.shipped().models()
    digests = {
        name: {version: files.installed(name, packages_of(environment), families)}
        for name, (version, _) in FILES.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CKPTDOCTOR_CACHE", str(environment / "cache"))
        layers.keep(knowledge.TRAINERS_FILE, msgspec.structs.replace(layer, files=digests))


@pytest.fixture
def failing(environment):
    know(environment, "fail")
    return environment


def static(environment, *more, **environ):
    environ["CKPTDOCTOR_CACHE"] = str(environment / "cache")
    ran = run("check", "--static", "--python", str(environment), "--format", "json", *more, environ=environ)
    return ran.status, json.loads(ran.out)


def packages_of(environment):
    return environment / "lib" / "python3.11" / "site-packages"


def test_files_that_were_measured_have_their_verdict(failing):
    status, answer = static(failing)

    assert (status, answer["known"]) == (1, "fails")
    assert answer["pairs"][0]["here"]


def test_files_that_work_are_ok(environment):
    know(environment, "ok")

    assert static(environment)[0] == 0


@pytest.mark.parametrize("file", [file for _, inside in FILES.values() for file in inside])
def test_a_changed_file_is_not_known_and_is_named(failing, file):
    (packages_of(failing) / file).write_text("# patched\n")

    status, answer = static(failing)

    assert (status, answer["known"]) == (3, "not known")
    assert f"{file} was changed" in answer["summary"]


@pytest.mark.parametrize(
    "file", ["transformers/added.py", "llamafactory/model/model_utils/added.py", "transformers/models/glm4/added.py"]
)
def test_an_added_file_is_not_known(failing, file):
    (packages_of(failing) / file).write_text("")

    assert static(failing)[0] == 3


def test_files_that_do_not_matter_may_change(failing):
    for file in ("transformers/models/glm4/notes.txt", "transformers/models/other/x.py", "llamafactory/api.py"):
        (packages_of(failing) / file).parent.mkdir(exist_ok=True)
        (packages_of(failing) / file).write_text("")

    assert static(failing)[0] == 1


@pytest.mark.parametrize("name", FILES)
def test_the_files_decide_and_not_what_the_installer_says(failing, name):
    """As where a package came from a folder or a repository, and calls itself by another release."""
    info = next(packages_of(failing).glob(f"{name}-*.dist-info"))
    (info / "RECORD").unlink()
    (info / "direct_url.json").write_text("{}")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.9.dev0\n")

    status, answer = static(failing)

    assert status == 1
    assert f"The files of {name} 99.9.dev0 that matter are those of {FILES[name][0]}." in answer["notes"]


def test_a_release_with_other_files_than_its_own_is_not_known(failing):
    """The installer says 4.51.3, which was measured: these are not its files."""
    info = packages_of(failing) / "transformers-99.0.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.51.3\n")
    (packages_of(failing) / "transformers" / "trainer.py").write_text("")

    assert static(failing)[0] == 3


def test_a_folder_ahead_on_the_path_is_what_counts(failing, tmp_path):
    (tmp_path / "mine" / "transformers").mkdir(parents=True)
    assert static(failing, PYTHONPATH=str(tmp_path / "mine"))[0] == 3

    shutil.copytree(packages_of(failing) / "transformers", tmp_path / "mine" / "transformers", dirs_exist_ok=True)
    assert static(failing, PYTHONPATH=str(tmp_path / "mine"))[0] == 1


@pytest.mark.parametrize("inside", ["", "src"])
def test_a_package_that_is_used_where_its_source_lies_is_looked_at_there(failing, tmp_path, inside):
    source = tmp_path / "source" / inside
    source.mkdir(parents=True)
    shutil.move(packages_of(failing) / "llamafactory", source)
    info = packages_of(failing) / "llamafactory-99.1.dist-info"
    origin = {"url": (tmp_path / "source").as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin))

    assert static(failing)[0] == 1
    (source / FILES["llamafactory"][1][0]).write_text("# patched\n")
    assert static(failing)[0] == 3


@pytest.mark.parametrize("name", FILES)
def test_without_either_package_nothing_is_known(failing, name):
    info = next(packages_of(failing).glob(f"{name}-*.dist-info"))
    for file in info.iterdir():
        file.unlink()
    info.rmdir()

    assert static(failing)[0] == 3


def test_a_family_that_was_not_measured_is_said(failing):
    assert "qwen2 was not measured" in static(failing, "--model", "qwen2")[1]["summary"]


@pytest.mark.parametrize("words", [["--thorough"], ["--with", "numpy"], ["--format", "sarif"], ["--job", "x.yaml"]])
def test_an_option_that_has_no_meaning_is_refused(environment, words):
    ran = run("check", "--static", "--python", str(environment), *words)

    assert ran.status == 2
    assert "--static runs nothing" in ran.err


def test_the_pre_commit_hook_looks_at_the_projects_environment_and_not_at_its_own(failing, tmp_path):
    hooks = yaml.safe_load((Path(__file__).parent.parent / ".pre-commit-hooks.yaml").read_text())
    [hook] = [one for one in hooks if one["id"] == "ckptdoctor-check-static"]
    (tmp_path / ".venv").symlink_to(failing)
    arguments = [*shlex.split(hook["entry"])[1:], *hook["args"]]
    environ = {"VIRTUAL_ENV": str(tmp_path / "of the hook"), "CKPTDOCTOR_CACHE": str(failing / "cache")}

    ran = run(*arguments, cwd=tmp_path, environ=environ)

    assert ran.status == 1
    assert "llamafactory 99.1" in ran.out
    assert not hook["pass_filenames"]


def test_a_check_says_on_a_terminal_first_what_is_known(failing, monkeypatch, capsys):
    """What goes on does not wait for the line; where there is no terminal, nothing is looked up."""
    found = static_module.answer(str(failing), {})
    line = static_module.line(found)
    monkeypatch.setattr(progress, "_is_live", lambda: True)
    monkeypatch.delenv(progress.OFF)
    with progress.reporter("check", first=lambda: line) as tell:
        tell("importing torch")
        for _ in range(100):
            time.sleep(0.02)
            if line[:20] in (shown := capsys.readouterr().err):
                break
    assert line[:40] in shown

    monkeypatch.setattr(progress, "_is_live", lambda: False)
    with progress.reporter("check", first=lambda: pytest.fail("looked up")):
        pass


def test_the_line_is_the_first_sentence_and_says_that_nothing_was_run(failing, environment, monkeypatch):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(failing / "cache"))
    knowledge.load.cache_clear()
    known = static_module.line(static_module.answer(str(failing), {}))
    (packages_of(failing) / FILES["llamafactory"][1][0]).write_text("# patched\n")
    unknown = static_module.line(static_module.answer(str(failing), {}))
    knowledge.load.cache_clear()

    assert known.startswith(
        "Looked up, not run: llamafactory 99.1 with transformers 99.0.0 fails (CKPT001), measured here on"
    )
    assert unknown.startswith("Looked up, not run: llamafactory 99.1 is not known:")


@pytest.mark.parametrize("more", [{"requirements": ("numpy",)}, {"job": ("train.yaml",)}])
def test_a_request_about_more_than_what_is_installed_is_not_looked_up(more):
    assert check._looked_up(Request()) is not None
    assert check._looked_up(Request(**more)) is None
