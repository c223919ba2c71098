"""The documents say what is true of the code."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import tomlkit

from ckptdoctor.rules import RULES
from tests.conftest import run
from tests.test_sources import committed, git, project

ROOT = Path(__file__).parent.parent
JOBS = ROOT / "tests" / "jobs"
README = ROOT / "README.md"
SOUND = ROOT / "tests" / "cases" / "ckpt015_good.py"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands():
    """The doctor's commands in console blocks, as a user would type them, without remarks."""
    for document in DOCUMENTS:
        for block in re.findall(r"^```console\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
            lines = [line[2:] for line in block.splitlines() if line.startswith("$ ckptdoctor")]
            yield from (shlex.join(shlex.split(line, comments=True)) for line in lines)


@pytest.mark.real
@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_in_the_documents_runs(command, demo_python, tmp_path):
    (tmp_path / ".venv").symlink_to(demo_python.parent.parent)
    (tmp_path / "mine.py").write_text(readme_example())
    for file in JOBS.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "train.yaml").symlink_to(JOBS / "llamafactory_full_z3.yaml")
    (tmp_path / "train.log").write_text((ROOT / "tests" / "logs" / "llamafactory_7779.txt").read_text())
    (tmp_path / "train.py").write_text(f"{SOUND.read_text()}print('trained')\n")
    if "LLaMA-Factory" in command:
        clone(tmp_path / "LLaMA-Factory", demo_python)
    (tmp_path / "requirements.txt").write_text("transformers==4.51.3\nllamafactory==0.9.2\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\ndependencies = ["llamafactory==0.9.2"]\n')
    arguments = shlex.split(command, comments=True)[1:]
    before = set(tmp_path.iterdir())
    path = os.pathsep.join([str(demo_python.parent), os.environ["PATH"]])  # as where the environment is active
    environ = {"VIRTUAL_ENV": str(demo_python.parent.parent), "PATH": path, "OMP_NUM_THREADS": "1"}
    if arguments[0] == "cache" or "--extend" in arguments:  # the other tests' cache is left alone
        environ["CKPTDOCTOR_CACHE"] = str(tmp_path / "cache")
    ran = run(*arguments, cwd=tmp_path, environ=environ)
    assert ran.status in (0, 1), ran.err
    assert "Traceback" not in ran.err
    assert ran.out or set(tmp_path.iterdir()) > before


@pytest.mark.real
def test_the_answer_that_the_readme_shows_is_the_real_one(demo_python):
    """Line by line; what is left out is left out."""
    command, *shown = re.search(r"^```console\n(\$ ckptdoctor check\n.*?)^```", README.read_text(), re.M | re.S)[
        1
    ].splitlines()
    environ = {"VIRTUAL_ENV": str(demo_python.parent.parent), "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    ran = run(*shlex.split(command)[2:], environ=environ)
    out = ran.out.replace(str(demo_python), "/envs/train/bin/python")
    out = re.sub(r"probes on glm4, (?:[\d.]+ s|from the cache)\.", "probes on glm4, 23.7 s.", out)
    real = iter(re.sub(r"Python 3\.[\d.]+", "Python 3.11.7", out).splitlines())
    for line in filter(None, shown):
        assert line in real, f"{line}\n\nis not, or not at this place, in\n\n{out}"


def clone(folder, python):
    """A trainer's repository, made from the release that is installed: one commit takes what is passed, the next does not."""
    [installed] = python.parent.parent.glob("lib/*/site-packages/llamafactory")
    project(folder, "llamafactory", "0.9.3.dev0")
    shutil.copytree(installed, folder / "src" / "llamafactory", dirs_exist_ok=True)
    function = folder / "src" / "llamafactory" / "model" / "model_utils" / "checkpointing.py"
    broken = function.read_text()
    function.write_text(broken.replace("func.__self__", "getattr(func, 'func', func).__self__"))
    committed(folder, "It works")
    git(folder, "tag", "v0.9.3")
    function.write_text(broken)
    committed(folder, "It does not work")


def readme_example():
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return next(code for code in blocks if "def checkpoint_function" in code)


def test_the_readme_lists_every_rule_with_its_meaning():
    text = (ROOT / "README.md").read_text()
    for rule in RULES.values():
        assert f"| {rule.code} | {rule.meaning} |" in text


def test_links_between_documents_lead_somewhere():
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_architecture_page_names_what_there_is():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`([a-z_/]+(?:\.py|/))`", text):
        assert any((base / name).exists() for base in (ROOT, ROOT / "ckptdoctor", ROOT / "probes", ROOT / "tests")), (
            name
        )


def test_the_architecture_page_has_the_floors_that_the_linter_enforces():
    text = (ROOT / "docs" / "architecture.md").read_text()
    described = [
        (int(floor), room) for floor, room in re.findall(r"^\| (\d+) \| `([a-z_]+)(?:\.py|/)` \|", text, re.MULTILINE)
    ]
    [contract] = tomlkit.parse((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.split(" | ") for layer in contract["layers"]]
    enforced = [(len(layers) - at, room) for at, layer in enumerate(layers) for room in layer if room != "__main__"]
    assert sorted(described) == sorted(enforced)


def test_the_probes_docstring_lists_every_module():
    text = (ROOT / "probes" / "__init__.py").read_text()
    for module in (ROOT / "probes").glob("[a-z]*.py"):
        assert f"``{module.stem}``" in text
