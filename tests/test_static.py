"""``ckptdoctor check --static``: the verdict of installed files, with nothing of them imported."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from tests.conftest import run

FILES = {
    "transformers": ("4.51.3", ["transformers/modeling_utils.py", "transformers/models/glm4/modeling_glm4.py"]),
    "llamafactory": ("0.9.2", ["llamafactory/model/model_utils/checkpointing.py"]),
}
POISON = "raise SystemExit('imported')\n"


@pytest.fixture
def environment(tmp_path):
    """A folder that looks like an environment: two releases with the installer's records, whose code must not run."""
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    for name, (version, files) in FILES.items():
        rows = []
        for file in files:
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            (packages / file).write_text(POISON)
            digest = base64.urlsafe_b64encode(hashlib.sha256(POISON.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{file},sha256={digest},{len(POISON)}")
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("\n".join([*rows, ""]))
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 99\n")
    python.chmod(0o755)
    return tmp_path / "env"


def static(environment, *more, **environ):
    ran = run("check", "--static", "--python", str(environment), "--format", "json", *more, environ=environ)
    return ran.status, json.loads(ran.out)


def packages_of(environment):
    return environment / "lib" / "python3.11" / "site-packages"


def test_files_as_released_have_the_verdict_of_their_releases(environment):
    status, answer = static(environment)

    assert (status, answer["known"]) == (1, "fails")
    assert answer["pairs"][0]["rules"] == ["CKPT001"]


def test_a_release_that_works_is_ok(environment):
    info = packages_of(environment) / "llamafactory-0.9.2.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llamafactory\nVersion: 0.9.3\n")

    assert static(environment)[0] == 0


@pytest.mark.parametrize("file", [file for _, files in FILES.values() for file in files])
def test_a_changed_file_is_not_known(environment, file):
    (packages_of(environment) / file).write_text("# patched\n")

    status, answer = static(environment)

    assert (status, answer["known"]) == (3, "not known")
    assert f"{file} was changed" in answer["summary"]


@pytest.mark.parametrize("name", FILES)
def test_a_package_from_elsewhere_is_not_known(environment, name):
    info = next(packages_of(environment).glob(f"{name}-*.dist-info"))
    (info / "direct_url.json").write_text("{}")

    assert static(environment)[0] == 3


@pytest.mark.parametrize("name", FILES)
def test_a_package_without_a_record_is_not_known(environment, name):
    (next(packages_of(environment).glob(f"{name}-*.dist-info")) / "RECORD").unlink()

    assert static(environment)[0] == 3


def test_a_package_that_another_folder_shadows_is_not_known(environment, tmp_path):
    (tmp_path / "mine" / "transformers").mkdir(parents=True)

    status, answer = static(environment, PYTHONPATH=str(tmp_path / "mine"))

    assert status == 3
    assert "its code is loaded from" in answer["summary"]


@pytest.mark.parametrize("name", FILES)
def test_without_either_package_nothing_is_known(environment, name):
    info = next(packages_of(environment).glob(f"{name}-*.dist-info"))
    for file in info.iterdir():
        file.unlink()
    info.rmdir()

    assert static(environment)[0] == 3


def test_a_family_that_was_not_measured_is_said(environment):
    assert "qwen2 was not measured" in static(environment, "--model", "qwen2")[1]["summary"]


@pytest.mark.parametrize("words", [["--thorough"], ["--with", "numpy"], ["--format", "sarif"], ["--job", "x.yaml"]])
def test_an_option_that_has_no_meaning_is_refused(environment, words):
    ran = run("check", "--static", "--python", str(environment), *words)

    assert ran.status == 2
    assert "--static runs nothing" in ran.err
