"""``ckptdoctor scan``: each rule on code that it finds and on code that it must not, and the command as people use it."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from ckptdoctor import knowledge
from ckptdoctor.output.scan.json import schema, schema_text
from ckptdoctor.scan import releases, telling
from ckptdoctor.scan.rules import rules
from ckptdoctor.scan.scan import ScanRequest, scan
from tests.conftest import call
from tests.test_ci_formats import is_sarif

ROOT = Path(__file__).parent.parent
CASES = Path(__file__).parent / "scan_cases"
NEWEST = list(releases.known().facts())[-1]


def found(*what, **more):
    return scan(ScanRequest([*map(str, what)], **more)).findings


def marked(file):
    """The lines of a case that say what is found there; what breaks nowhere is marked as a note."""
    lines = file.read_text().splitlines()
    return [
        (number, code)
        for number, line in enumerate(lines, 1)
        for code in re.findall(r"# (?:note: )?(SCAN\d{3})$", line)
    ]


def source(tmp_path, text, name="code.py"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


# -- the rules --------------------------------------------------------------------------------------------------------


def test_every_rule_has_a_case_that_trips_it_and_one_that_must_not():
    names = {file.name for file in CASES.iterdir() if file.suffix == ".py"}
    assert names == {f"{code.lower()}_{kind}.py" for code in rules() for kind in ("bad", "good")}


@pytest.mark.parametrize("code", rules())
def test_a_rule_finds_the_lines_that_it_should_and_no_others(code):
    file = CASES / f"{code.lower()}_bad.py"
    assert sorted((one.place.line, one.rule) for one in found(file)) == sorted(marked(file))
    assert code in {rule for _, rule in marked(file)}


@pytest.mark.parametrize("code", rules())
def test_a_rule_finds_nothing_where_nothing_is_wrong(code):
    file = CASES / f"{code.lower()}_good.py"
    assert [(one.place.line, one.rule) for one in found(file)] == marked(file)
    assert {one.severity for one in found(file)} <= {"note"}


@pytest.mark.parametrize("rule", rules().values(), ids=rules())
def test_a_rule_explains_itself(rule):
    ran = call("rule", rule.code)
    assert rule.meaning in ran.out
    assert rule.explanation in ran.out


def test_the_page_lists_every_rule_with_its_meaning():
    text = (ROOT / "docs" / "scan.md").read_text()
    for rule in rules().values():
        assert f"| {rule.code} | {rule.meaning} |" in text


# -- what is known of releases ----------------------------------------------------------------------------------------


def test_what_was_read_of_releases_agrees_with_what_was_run():
    read = releases.known().facts()
    known = knowledge.load()
    ran = {
        (cell.stack["transformers"], judged.convention)
        for cell in known.cells
        if cell.model == "llama"
        for judged in known.run_of(cell).functions
        if judged.convention
    }
    assert len(ran) > 50
    assert {(release, read[release].convention) for release, _ in ran} == ran


def test_an_installed_release_is_read_even_if_it_is_not_known(tmp_path):
    package = tmp_path / "transformers"
    package.mkdir()
    (package / "modeling_layers.py").write_text(
        "class GradientCheckpointingLayer:\n"
        "    def __call__(self, *args):\n"
        "        return self._gradient_checkpointing_func(self.forward.__call__, *args)\n"
    )
    request = ScanRequest([str(CASES / "scan003_bad.py")], paths=[str(tmp_path)], transformers="99.0.0")
    result = scan(request)
    assert result.transformers == "99.0.0"
    assert {one.affected for one in result.findings} == {""}
    assert result.findings[0].breaks[-1].last == NEWEST


def test_what_breaks_is_said_for_the_releases_that_break_it():
    by_line = {one.place.line: one for one in found(CASES / "scan001_bad.py", asked="5.23.0") if one.rule == "SCAN001"}
    bound, partial = (by_line[line] for line in sorted(by_line))
    assert [(one.first, one.last) for one in bound.breaks] == [("4.51.0", NEWEST)]
    assert [(one.first, one.last) for one in partial.breaks] == [("5.23.0", NEWEST)]
    assert partial.affected == "AttributeError: 'function' object has no attribute '__self__'"
    assert partial.severity == "error"
    before = [one for one in found(CASES / "scan001_bad.py", asked="5.22.2") if one.place == partial.place]
    assert [one.severity for one in before] == ["warning"]


def test_a_condition_on_the_release_is_understood(tmp_path):
    text = (
        "import importlib.metadata\nfrom packaging.version import Version\n"
        "from transformers.models.llama.modeling_llama import LlamaDecoderLayer\n"
        "RELEASE = Version(importlib.metadata.version('transformers'))\n"
        "def forward(self, states):\n    return states\n"
        "if RELEASE < Version('5.23.0'):\n    LlamaDecoderLayer.forward = forward\n"
    )
    assert [one.breaks for one in found(source(tmp_path, text))] == [()]
    worse = source(tmp_path, text.replace("< Version('5.23.0')", ">= Version('5.20')"), "worse.py")
    assert [one.breaks[0].first for one in found(worse)] == ["5.23.0"]


def test_code_is_followed_through_imports_of_other_files(tmp_path):
    folder = tmp_path / "trainer"
    folder.mkdir()
    source(folder, "", "__init__.py")
    source(folder, "def owner(function):\n    return function.__self__\n", "reading.py")
    text = "from .reading import owner\nfrom torch.utils.checkpoint import checkpoint\ndef run(checkpointing_func, fn, *a):\n"
    source(folder, f"{text}    layer = owner(fn)\n    return checkpoint(fn, *a)\n", "running.py")
    [one] = found(folder)
    assert (Path(one.place.file).name, one.place.line, one.rule) == ("reading.py", 2, "SCAN001")
    assert "running.py" not in one.place.file


FORWARD = "def forward(self, states):\n    return states\n"
MODELING = "transformers.models.llama.modeling_llama"


@pytest.mark.parametrize(
    "text",
    [
        f"import {MODELING} as m\nm.LlamaDecoderLayer.forward = forward",
        "from transformers.models.llama import modeling_llama\nmodeling_llama.LlamaDecoderLayer.forward = forward",
        f"import sys\nsys.modules['{MODELING}'].LlamaDecoderLayer.forward = forward",
        f"NAME = '{MODELING}'\nimport importlib\nm = importlib.import_module(NAME)\n"
        "L = m.LlamaDecoderLayer\nL.forward = forward",
        f"import importlib\ndef get():\n    try:\n        return importlib.import_module('{MODELING}')\n"
        "    except ImportError:\n        return None\nm = get()\nsetattr(m.LlamaDecoderLayer, 'forward', forward)",
        f"from {MODELING} import *\nfrom other import *\nLlamaDecoderLayer.forward = forward",
        f"import {MODELING} as m\ngetattr(m, 'LlamaDecoderLayer').forward = lambda self, states: states",
    ],
)
def test_a_layer_is_known_by_whatever_name(tmp_path, text):
    source(tmp_path, f"from {MODELING} import LlamaDecoderLayer\n", "other.py")
    found_in = [one for one in found(source(tmp_path, f"{FORWARD}{text}\n")) if one.rule == "SCAN003"]
    assert [one.certainty for one in found_in] == ["certain"]


def test_a_model_that_checkpoints_by_itself_makes_it_less_sure(tmp_path):
    text = (
        f"{FORWARD}def model_forward(self, states):\n    return checkpoint(self.layer, states)\n"
        f"import {MODELING} as m\nm.LlamaDecoderLayer.forward = forward\nm.LlamaModel.forward = model_forward\n"
    )
    assert [one.certainty for one in found(source(tmp_path, text))] == ["likely"]


def test_every_bad_case_passes_the_test_of_bytes():
    for code, rule in rules().items():
        assert rule.telling((CASES / f"{code.lower()}_bad.py").read_bytes()), code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"x.forward = f", True),
        (b"x.forward=f", True),
        (b"x.forward  \\\n = f", True),
        (b"x.forward: Any = f", True),
        (b"setattr(x, 'forward', f)", True),
        (b'setattr(x, "forward" , f)', True),
        (b"x.forward == f", False),
        (b"x.forward(f)", False),
        (b"def forward(self):", False),
        (b"x.forward", False),
    ],
)
def test_an_assignment_is_known_by_its_bytes(text, expected):
    assert telling.assigns("forward")(text) is expected


# -- files ------------------------------------------------------------------------------------------------------------


BAD = (
    "from torch.utils.checkpoint import checkpoint\ndef run(fn, *a):\n    fn.__self__\n    return checkpoint(fn, *a)\n"
)


def test_what_cannot_be_parsed_is_named_and_the_rest_is_scanned(tmp_path):
    source(tmp_path, BAD)
    source(tmp_path, f"print 'old'\n{BAD}", "old.py")
    source(tmp_path, f"{BAD}\0", "null.py")
    (tmp_path / "latin.py").write_bytes(BAD.encode() + "x = 'é'".encode("latin-1"))
    (tmp_path / "declared.py").write_bytes(b"# coding: latin-1\n" + BAD.encode() + "# é".encode("latin-1"))
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbf" + BAD.encode())
    source(tmp_path, f"{BAD}x = {'(' * 5000}{')' * 5000}", "deep.py")
    source(tmp_path, "print 'old, and has nothing to do with it'", "other.py")
    source(tmp_path, "{}", "notes.ipynb")
    ran = call("scan", tmp_path, "--format", "json", "--transformers", "4.49.0")
    result = json.loads(ran.out)
    assert {Path(one["place"]["file"]).name for one in result["findings"]} == {"code.py", "declared.py", "bom.py"}
    assert {Path(one["file"]).name for one in result["not_scanned"]} == {"old.py", "null.py", "latin.py", "deep.py"}
    assert result["files"] == 8
    assert "Notebooks are not scanned; 1 were left out." in result["notes"]
    assert ran.status == 3  # no finding counts with this release, and not all was scanned
    assert call("scan", tmp_path, "--transformers", "4.51.0").status == 1


def test_links_that_lead_in_circles_pipes_and_folders_that_cannot_be_read_do_no_harm(tmp_path):
    source(tmp_path, BAD)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "again.py").symlink_to(tmp_path / "code.py")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    (tmp_path / "self.py").symlink_to("self.py")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    result = scan(ScanRequest([str(tmp_path)]))
    assert [Path(one.place.file).name for one in result.findings] in (["code.py"], ["again.py"])
    assert sorted(Path(one.file).name for one in result.not_scanned) == ["gone.py", "self.py"]


def test_other_peoples_code_in_a_project_is_left_out_unless_it_is_named(tmp_path):
    for folder in (".git", "node_modules", "env/lib/python3.11/site-packages/x"):
        (tmp_path / folder).mkdir(parents=True)
        source(tmp_path / folder, BAD)
    source(tmp_path / "env", "", "pyvenv.cfg")
    assert found(tmp_path) == ()
    assert len(found(tmp_path / "env" / "lib" / "python3.11" / "site-packages" / "x")) == 1


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_finding_tells_all_there_is_to_know(tmp_path):
    source(tmp_path, BAD)
    ran = call("scan", "--transformers", "5.23.0", cwd=tmp_path)
    assert ran.status == 1
    text = " ".join(ran.out.split())
    for part in (
        "error: SCAN001 reads-callable",
        "code.py:3",
        "fn.__self__",
        "the callable is a bound method of the layer",
        f"transformers 4.51.0 to {NEWEST}, the newest that was read: AttributeError",
        "certain: run: line 4 passes the callable on to a checkpoint function",
        "ckptdoctor check --checkpoint-fn code.py:run",
        "1 error: 1 Python file read in ., judged for transformers 5.23.0.",
    ):
        assert part in text
    assert max(map(len, ran.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ((), 1),
        (("--fail-on", "never"), 0),
        (("--ignore", "SCAN001"), 0),
        (("--ignore", "SCAN", "--select", "SCAN001"), 1),
        (("--select", "SCAN004,SCAN005"), 0),
        (("--transformers", "4.50.3"), 0),
        (("--transformers", "4.50.3", "--fail-on", "warning"), 1),
    ],
)
def test_what_counts_decides_the_status(tmp_path, options, status):
    source(tmp_path, BAD)
    ran = call("scan", tmp_path, "--transformers", "5.23.0", *options)
    assert ran.status == status
    assert "SCAN001" in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing_of_this_name",), "is neither a file or folder here nor an installed package"),
        (("./nothing",), "There is no file or folder ./nothing."),
        (("--transformers", "0.1"), "give a release from 4.40.0 to"),
        (("--select", "CKPT001"), "there is no rule 'CKPT001' of a scan"),
        (("--fail-on", "sometimes"), "'sometimes' is not one of"),
    ],
)
def test_wrong_usage_says_what_is_right(tmp_path, arguments, said):
    ran = call("scan", *arguments, cwd=tmp_path)
    assert ran.status == 2
    assert said in " ".join(ran.err.split())


def test_an_empty_folder_is_said_to_have_nothing(tmp_path):
    ran = call("scan", cwd=tmp_path)
    assert ran.status == 0
    assert "Nothing found: 0 Python files read in ." in ran.out


def test_settings_of_a_scan_have_a_table_and_variables_of_their_own(tmp_path):
    source(tmp_path, BAD)
    source(
        tmp_path, '[tool.ckptdoctor]\nengine = "none"\n[tool.ckptdoctor.scan]\nignore = ["SCAN001"]\n', "pyproject.toml"
    )
    ran = call("scan", "--transformers", "5.23.0", cwd=tmp_path)
    assert ran.status == 0
    assert "pyproject.toml sets ignore = ['SCAN001']." in " ".join(ran.out.split())
    environ = {"CKPTDOCTOR_SCAN_IGNORE": "SCAN004", "CKPTDOCTOR_IGNORE": "CKPT001"}
    ran = call("scan", "--transformers", "5.23.0", cwd=tmp_path, environ=environ)
    assert ran.status == 1
    assert "Set by environment variables: CKPTDOCTOR_SCAN_IGNORE." in " ".join(ran.out.split())
    source(tmp_path, '[tool.ckptdoctor.scan]\npython = "/bin/python"\n', "pyproject.toml")
    ran = call("scan", cwd=tmp_path)
    assert ran.status == 2
    assert "[tool.ckptdoctor.scan] python cannot be set in a file" in ran.err


def test_the_schema_that_is_shipped_is_that_of_the_types():
    shipped = (
        importlib.resources.files("ckptdoctor.output.scan").joinpath("scan.schema.json").read_text(encoding="utf-8")
    )
    assert shipped == schema_text(), "write schema_text() to scan.schema.json"


@pytest.mark.parametrize("code", rules())
def test_json_keeps_to_its_schema(code):
    ran = call("scan", CASES / f"{code.lower()}_bad.py", "--format", "json", "--transformers", NEWEST)
    jsonschema.Draft202012Validator(schema()).validate(json.loads(ran.out))


def test_sarif_keeps_to_its_schema_and_names_files_within_the_project():
    ran = call("scan", "tests/scan_cases", "--format", "sarif", "--transformers", NEWEST, cwd=ROOT)
    run = is_sarif(ran.out)
    assert {one["ruleId"] for one in run["results"]} == set(rules())
    places = [one["locations"][0]["physicalLocation"]["artifactLocation"] for one in run["results"]]
    assert {place["uriBaseId"] for place in places} == {"%SRCROOT%"}
    assert all(place["uri"].startswith("tests/scan_cases/scan00") for place in places)
    keys = [one["partialFingerprints"]["primaryLocationLineHash"] for one in run["results"]]
    assert len(set(keys)) == len(keys)
    assert str(ROOT) not in ran.out


@pytest.mark.parametrize("format_", ["text", "json", "sarif"])
def test_source_text_acts_on_no_terminal(tmp_path, format_):
    hostile = BAD.replace("fn.__self__", "fn.__self__; x = '\x1b]0;owned\x07\u202e'")
    source(tmp_path, hostile, "we\x1b[31mird.py")
    out = call("scan", tmp_path, "--format", format_, "--transformers", NEWEST).out
    assert "__self__" in out
    assert not [char for char in out if char in "\x1b\x07\u202e"]


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    for number in range(200):
        source(tmp_path, BAD, f"code{number}.py")
    command = f"{shlex.quote(sys.executable)} -m ckptdoctor scan {shlex.quote(str(tmp_path))} --fail-on never | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)


def test_the_pre_commit_hook_runs(tmp_path):
    hook, _ = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == "ckptdoctor-scan"
    source(tmp_path, BAD)
    source(tmp_path, "", "empty.py")
    arguments = shlex.split(hook["entry"])[1:]
    assert call(*arguments, *hook.get("args", ()), "empty.py", cwd=tmp_path).status == 0
    ran = call(*arguments, *hook.get("args", ()), "empty.py", "code.py", cwd=tmp_path)
    assert ran.status == 1
    assert "code.py:3" in ran.out


def test_an_older_transformers_that_checkpoints_its_own_layers_is_in_the_right(tmp_path):
    """Its layers do not checkpoint themselves yet, though those of the newest do."""
    folder = tmp_path / "transformers" / "models" / "llama"
    folder.mkdir(parents=True)
    for parent in (tmp_path / "transformers", folder.parent, folder):
        source(parent, "", "__init__.py")
    text = (
        "from torch import nn\nclass LlamaDecoderLayer(nn.Module):\n    pass\nclass LlamaModel(nn.Module):\n"
        "    def __init__(self):\n        self.layers = nn.ModuleList([LlamaDecoderLayer()])\n"
        "    def forward(self, states):\n        for layer in self.layers:\n"
        "            states = self._gradient_checkpointing_func(layer.__call__, states)\n"
    )
    source(folder, f"# transformers\n{text}", "modeling_llama.py")
    assert found(tmp_path) == ()
    text = text.replace("Layer(nn.Module)", "Layer(GradientCheckpointingLayer)")
    source(folder, f"from ...modeling_layers import GradientCheckpointingLayer\n{text}", "modeling_llama.py")
    assert [one.rule for one in found(tmp_path)] == ["SCAN007"]
