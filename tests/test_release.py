"""What a release is made by and comes with: the workflows' actions, GitHub's files, the version, the citation."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import tomlkit
import yaml

from ckptdoctor.model.version import __version__
from tests.test_ci_formats import kept, workflow_files

ROOT = Path(__file__).parent.parent
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = [ROOT / "action.yml", *workflow_files()]


def project():
    return tomlkit.parse((ROOT / "pyproject.toml").read_text()).unwrap()


def keeps(file, schema):
    made = kept(schema)
    jsonschema.validators.validator_for(made)(made).validate(yaml.safe_load(file.read_text()))


def test_zizmor_finds_nothing_in_the_workflows():
    auditor = shutil.which("zizmor", path=str(Path(sys.executable).parent)) or shutil.which("zizmor")
    assert auditor, "install zizmor"
    command = [auditor, "--offline", "--no-progress", "--strict-collection", ".github", "action.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_action_is_pinned_to_one_commit_whose_release_is_named():
    pins = {}
    for file in WORKFLOWS:
        for name, rest in re.findall(r"uses: (?!\./)([\w./-]+)@(.*)", file.read_text()):
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
