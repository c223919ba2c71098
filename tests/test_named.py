"""Requirements as pip takes them."""

import pytest
from packaging.requirements import Requirement

from ckptdoctor.environment.named import named
from ckptdoctor.errors import UsageFault
from tests.conftest import call

SETUP = "from setuptools import setup\nVERSION = '1'\nsetup(name='transformers', version=VERSION)\n"
FOLDERS = {
    "pyproject.toml": '[project]\nname = "transformers"\nversion = "1"\n',
    "setup.cfg": "[metadata]\nname = transformers\n",
    "setup.py": SETUP,
}


@pytest.mark.parametrize(
    "text",
    ["transformers==4.52.4", "transformers>=4,<5", "a[b]==1", "x@https://host/a.whl", "a @ https://host/a.whl", "a"],
)
def test_what_has_its_name_stays(text):
    assert named(text) == text


@pytest.mark.parametrize("file", FOLDERS)
@pytest.mark.parametrize("form", ["./{}", "-e ./{}", "--editable ./{}", "{}/.", "./{}[torch]"])
def test_a_folder(tmp_path, monkeypatch, file, form):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my source").mkdir()
    (tmp_path / "my source" / file).write_text(FOLDERS[file])
    requirement = Requirement(named(form.format("my source")))
    assert requirement.name == "transformers"
    assert requirement.url.rstrip("/.") == (tmp_path / "my source").as_uri()
    assert requirement.extras == ({"torch"} if "[" in form else set())


@pytest.mark.parametrize("file", ["llama_factory-0.9.3-py3-none-any.whl", "llama-factory-0.9.3.tar.gz"])
def test_an_archive(tmp_path, file):
    (tmp_path / file).touch()
    assert named(str(tmp_path / file)) == f"llama-factory @ {(tmp_path / file).as_uri()}"
    assert named((tmp_path / file).as_uri()) == f"llama-factory @ {(tmp_path / file).as_uri()}"


def test_repositories_and_addresses():
    assert named("git+https://host/team/trl.git@main") == "trl @ git+https://host/team/trl.git@main"
    assert named("git+ssh://git@host/x#egg=peft") == "peft @ git+ssh://git@host/x#egg=peft"
    assert named("https://host/peft-0.19.1-py3-none-any.whl") == "peft @ https://host/peft-0.19.1-py3-none-any.whl"


def test_a_folder_without_a_name(tmp_path):
    (tmp_path / "setup.py").write_text("import setuptools\nsetuptools.setup(name=NAME)\n")
    with pytest.raises(UsageFault, match="does not tell the name") as caught:
        named(str(tmp_path))
    assert "NAME @ file://" in caught.value.hint


def test_what_is_not_there_is_one_sentence(bare):
    ran = call("check", "--with", "./nowhere")
    assert (ran.status, "Traceback" in ran.err) == (2, False)
    assert "There is no folder or file" in ran.err
    assert "hint:" in ran.err


@pytest.fixture
def bare(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
