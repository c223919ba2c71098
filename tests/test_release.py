"""What a release is made by and comes with: the workflows' actions, GitHub's files, the version, the citation."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import tomlkit
import yaml
from packaging.requirements import Requirement

from ckptdoctor.model.version import __version__
from tests.test_ci_formats import kept, workflow_files

ROOT = Path(__file__).parent.parent
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PUBLISH = ROOT / ".github" / "publish"
WORKFLOWS = [ROOT / "action.yml", *workflow_files()]


def project():
    return tomlkit.parse((ROOT / "pyproject.toml").read_text()).unwrap()


def keeps(file, schema):
    made = kept(schema)
    jsonschema.validators.validator_for(made)(made).validate(yaml.safe_load(file.read_text()))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="zizmor needs Python 3.11")
def test_zizmor_finds_nothing_in_the_workflows():
    auditor = shutil.which("zizmor", path=str(Path(sys.executable).parent)) or shutil.which("zizmor")
    assert auditor, "install zizmor"
    command = [auditor, "--offline", "--no-progress", "--strict-collection", ".github", "action.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_action_is_pinned_to_one_commit_whose_release_is_named():
    pins = {}
    for file in WORKFLOWS:
        for name, rest in re.findall(r"^[ -]*uses: (?!\./)([\w./-]+)@(.*)", file.read_text(), re.MULTILINE):
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", rest), f"{file.name}: {name}@{rest}"
            pins.setdefault("/".join(name.split("/")[:2]), set()).add(rest)
    assert pins
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


def test_dependabot_keeps_to_its_schema_and_names_folders_that_exist():
    file = ROOT / ".github" / "dependabot.yml"
    keeps(file, "https://json.schemastore.org/dependabot-2.0.json")
    for update in yaml.safe_load(file.read_text())["updates"]:
        assert (ROOT / update["directory"].lstrip("/")).is_dir(), update


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_an_issue_form_keeps_to_its_schema_and_asks_for_the_report(file):
    kind = "config" if file.stem == "config" else "forms"
    keeps(file, f"https://json.schemastore.org/github-issue-{kind}.json")
    if kind == "forms":
        [bundle] = [one for one in yaml.safe_load(file.read_text())["body"] if one["id"] == "bundle"]
        assert "ckptdoctor report" in bundle["attributes"]["description"]
        assert "ckptdoctor-report.zip" in bundle["attributes"]["description"]


def test_a_wrong_verdict_cannot_be_filed_without_the_report():
    body = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "wrong-verdict.yml").read_text())["body"]
    assert next(one for one in body if one["id"] == "bundle")["validations"]["required"]


def test_the_citation_keeps_to_its_schema_and_the_project():
    keeps(ROOT / "CITATION.cff", "https://citation-file-format.github.io/1.2.0/schema.json")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"] == project()["project"]["name"]
    assert citation["license"] == project()["project"]["license"]


def test_the_version_stands_in_one_place():
    made = project()
    assert "version" in made["project"]["dynamic"]
    assert "version" not in made["project"]
    assert __version__ in (ROOT / made["tool"]["hatch"]["version"]["path"]).read_text()


def test_ci_runs_every_python_that_the_project_claims():
    prefix = "Programming Language :: Python :: 3."
    claimed = {one.removeprefix(prefix) for one in project()["project"]["classifiers"] if one.startswith(prefix)}
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    matrix = jobs["unit"]["strategy"]["matrix"]
    assert {f"3.{minor}" for minor in claimed} == set(matrix["python"])


# -- publishing -------------------------------------------------------------------------------------------------------


def test_all_that_publishes_is_pinned_by_hash():
    pins = re.split(r"\n(?=\S)", (PUBLISH / "requirements.txt").read_text().strip())
    names = {re.match(r"[\w.-]+(?===)", pin)[0] for pin in pins}
    assert all("--hash=sha256:" in pin for pin in pins)
    wanted = [line for line in (PUBLISH / "requirements.in").read_text().splitlines() if not line.startswith("#")]
    built_with = [Requirement(one) for one in project()["build-system"]["requires"]]
    here = {one.name for one in built_with if one.marker is None or one.marker.evaluate({"python_version": "3.12"})}
    assert {*wanted, *here} <= names


def test_only_the_job_that_publishes_may_and_no_job_builds_with_rights():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())["jobs"]
    writing = {name: {key for key, what in job["permissions"].items() if what == "write"} for name, job in jobs.items()}
    assert writing["build"] == set()
    assert writing["publish"] == {"id-token"}
    assert writing["page"] == {"contents"}
    assert [name for name, job in jobs.items() if "environment" in job] == ["publish"]


def notes(tag, root):
    for file in (".github/release_notes.py", "ckptdoctor/model/version.py"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, root / file)
    command = [sys.executable, root / ".github" / "release_notes.py", tag]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_of_a_release_is_its_part_of_the_changelog(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## Unreleased\n\n- later\n\n## {__version__} (2026-12-01)\n\n- this\n- that\n\n## 0.0.1\n\n- old\n"
    )
    done = notes(f"v{__version__}", tmp_path)
    assert (done.returncode, done.stdout) == (0, "- this\n- that\n")


@pytest.mark.parametrize(
    ("tag", "log"),
    [
        ("v99.0", f"## {__version__}\n\n- this\n"),
        (f"v{__version__}", "## Unreleased\n\n- this\n"),
        (f"v{__version__}", f"## {__version__}\n\n## 0.0.1\n\n- old\n"),
    ],
    ids=["another version", "no section", "an empty section"],
)
def test_a_tag_that_is_not_ready_ends_the_release(tag, log, tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{log}")
    done = notes(tag, tmp_path)
    assert done.returncode == 1
    assert done.stderr


@pytest.fixture
def hook(monkeypatch):
    for variable in ("RELEASE_REPOSITORY", "RELEASE_TAG"):
        monkeypatch.delenv(variable, raising=False)
    found = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def metadata(hook):
    made = {}
    hook.Addresses(str(ROOT), {}).update(made)
    return made


def test_a_copy_names_no_repository(hook):
    made = metadata(hook)
    assert "urls" not in made
    assert made["readme"]["text"] == (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_release_names_its_repository_and_every_link_of_its_readme_is_absolute(hook, monkeypatch):
    monkeypatch.setenv("RELEASE_REPOSITORY", "https://git.example/a/b")
    monkeypatch.setenv("RELEASE_TAG", "v1.0")
    made = metadata(hook)
    assert made["urls"]["Changelog"] == "https://git.example/a/b/blob/v1.0/CHANGELOG.md"
    targets = re.findall(r"\]\(([^)]*)\)", made["readme"]["text"])
    assert "https://git.example/a/b/blob/v1.0/docs/ci.md" in targets
    assert [one for one in targets if not one.startswith(("https://", "#"))] == []
    picture = hook.absolute("![a](docs/a.svg) [b](#c) [d](https://e.example)", "https://git.example/a/b", "v1.0")
    assert picture == "![a](https://git.example/a/b/raw/v1.0/docs/a.svg) [b](#c) [d](https://e.example)"


def test_the_image_is_given_all_that_the_wheel_is_built_from():
    given = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    wheel = project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "hatch_build.py", "pyproject.toml", "README.md", "LICENSE"}
    assert needed <= given
