"""Settings in pyproject.toml and in variables, and the options that say what counts and what goes where."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click
import pytest

from ckptdoctor.cli import config, group, printing
from ckptdoctor.cli.check import command as check
from ckptdoctor.cli.scan import command as scan
from ckptdoctor.errors import UsageFault
from ckptdoctor.store import ownership
from tests.conftest import as_root, call
from tests.test_cli import is_a_complaint


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in os.environ:
        if name.startswith("CKPTDOCTOR_") and name not in ("CKPTDOCTOR_CACHE", "CKPTDOCTOR_TEST_ENVIRONMENTS"):
            monkeypatch.delenv(name)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes the table of a project, and goes there."""
    monkeypatch.chdir(tmp_path)

    def write(text, folder="."):
        (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'x'\n[tool.ckptdoctor]\n{text}")
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)

    return write


def parsed(*arguments):
    """What the command would get."""
    return check.make_context("check", list(arguments), help_option_names=["-h", "--help"]).params


# -- where a value comes from -----------------------------------------------------------------------------------------


def test_flags_win_over_variables_and_variables_over_the_file(project, monkeypatch):
    assert parsed()["fail_on"] == "error"
    project('fail-on = "warning"')
    assert parsed()["fail_on"] == "warning"
    monkeypatch.setenv("CKPTDOCTOR_FAIL_ON", "never")
    assert parsed()["fail_on"] == "never"
    assert parsed("--fail-on", "error")["fail_on"] == "error"


def test_a_list_from_one_place_is_not_added_to_that_of_another(project, monkeypatch):
    project('ignore = ["CKPT004", "CKPT005"]')
    assert parsed()["ignore"] == ("CKPT004", "CKPT005")
    monkeypatch.setenv("CKPTDOCTOR_IGNORE", "CKPT006 CKPT007,CKPT008")
    assert parsed()["ignore"] == ("CKPT006", "CKPT007,CKPT008")
    assert parsed("--ignore", "CKPT001")["ignore"] == ("CKPT001",)


def test_every_kind_of_option_in_the_file(project):
    project(
        'model = ["glm4", "llama"]\nengine = ["none", "zero3"]\nconvention = "bound-method"\ntimeout = 90\njobs = 2\n'
        'nproc = 2\nverify = true\nformat = "json"\nselect = "CKPT0"\nbaseline = "b.json"\nverbose = true\n'
    )

    found = parsed()

    assert (found["models"], found["engines"]) == (("glm4", "llama"), ("none", "zero3"))
    assert (found["timeout"], found["jobs"], found["nproc"]) == (90.0, 2, 2)
    assert (found["verify"], found["verbose"], found["conventions"]) == (True, True, ("bound-method",))
    assert found["formats"] == (printing.Destination("json", ""),)
    assert (found["select"], found["baseline"]) == (("CKPT0",), "b.json")


def test_every_option_has_a_variable(monkeypatch):
    values = {"CKPTDOCTOR_CHECKPOINT_FN": "torch deepspeed", "CKPTDOCTOR_WITH_DEPS": "1", "CKPTDOCTOR_TIMEOUT": "7"}
    values |= {"CKPTDOCTOR_FORMAT": "junit=a.xml json", "CKPTDOCTOR_PYTHON": "x", "CKPTDOCTOR_BASELINE": "b"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)

    found = parsed()

    assert found["functions"] == ("torch", "deepspeed")
    assert (found["with_deps"], found["timeout"], found["python"], found["baseline"]) == (True, 7.0, "x", "b")
    assert found["formats"] == (printing.Destination("junit", "a.xml"), printing.Destination("json", ""))


def test_what_is_of_one_run_is_set_nowhere_else(project, monkeypatch):
    for name in ("OUTPUT", "NO_CACHE", "UPDATE_BASELINE"):
        monkeypatch.setenv(f"CKPTDOCTOR_{name}", "1")
    found = parsed()
    assert (found["output"], found["use_cache"], found["update_baseline"]) == (None, True, False)

    project("no-cache = true")
    with pytest.raises(UsageFault, match="no setting 'no-cache'") as raised:
        parsed()
    assert "command line" in raised.value.hint


def test_no_variable_is_one_that_means_something_else():
    taken = {"CKPTDOCTOR_CACHE", "CKPTDOCTOR_DEBUG", "CKPTDOCTOR_TEST_ENVIRONMENTS"}

    assert taken.isdisjoint(map(config.variable, check.settable()))


def test_other_commands_have_no_such_settings(project):
    project("nonsense = 1")

    assert call("rule", cwd=".").status == 0


# -- the file ---------------------------------------------------------------------------------------------------------


def test_the_file_is_looked_for_up_to_the_root_of_the_repository(project, tmp_path):
    (tmp_path / ".git").mkdir()
    project('baseline = "b.json"\nmodel = ["llama", "./models/x"]\n', folder="deep")

    found = parsed()

    assert found["baseline"] == "../b.json"
    assert found["models"] == ("llama", "../models/x")


@pytest.mark.parametrize("root", ["deep", "none"])
def test_above_the_repository_no_file_is_looked_for(root, project, tmp_path):
    project('fail-on = "warning"', folder="deep")
    if root == "deep":
        (tmp_path / "deep" / ".git").write_text("gitdir: elsewhere")

    assert parsed()["fail_on"] == "error"


def test_a_file_without_our_table_is_passed_over(project, tmp_path):
    (tmp_path / ".git").mkdir()
    project('fail-on = "warning"', folder="deep")
    (tmp_path / "deep" / "pyproject.toml").write_text("[tool.ruff]\n")

    assert parsed()["fail_on"] == "warning"


def test_the_nearest_table_counts_whole(project, tmp_path):
    (tmp_path / ".git").mkdir()
    project('fail-on = "error"\nignore = "CKPT001"', folder="deep")
    (tmp_path / "deep" / "pyproject.toml").write_text("[tool.ckptdoctor]\nfail-on = 'warning'\n")

    found = parsed()

    assert (found["fail_on"], found["ignore"]) == ("warning", ())


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("fail_on = 'never'", "no setting 'fail_on'", "did you mean fail-on?"),
        ("nonsense = 1", "no setting 'nonsense'", "baseline"),
        ("fail-on = 1", "fail-on must be a string, not 1", ""),
        ("fail-on = ['never']", "fail-on must be a string, not ['never']", ""),
        ("ignore = [1]", "ignore must be a string or a list of strings, not [1]", ""),
        ("ignore = true", "ignore must be a string or a list of strings, not true", ""),
        ("verbose = 'yes'", "verbose must be true or false, not 'yes'", ""),
        ("verbose = 1", "verbose must be true or false, not 1", ""),
        ("jobs = 1.5", "jobs must be an integer, not 1.5", ""),
        ("jobs = true", "jobs must be an integer, not true", ""),
        ("timeout = '60'", "timeout must be a number, not '60'", ""),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(text, said, hint, project, tmp_path):
    project(text)

    ran = call("check", "--python", "/nowhere", cwd=tmp_path)

    assert is_a_complaint(ran, 2)
    assert f"{tmp_path}/pyproject.toml: [tool.ckptdoctor] " in ran.err
    assert said in ran.err
    assert hint in ran.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fail-on = 'sometimes'", "fail-on: 'sometimes' is not one of"),
        ("engine = ['none', 'zero9']", "engine: 'zero9' is not one of"),
        ("timeout = 0", "timeout: 0"),
        ("format = 'xml'", "format: 'xml' is not one of text, github"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(text, said, project, tmp_path):
    project(text)

    ran = call("check", cwd=tmp_path)

    assert (ran.status, ran.out) == (2, "")
    assert f"{tmp_path}/pyproject.toml, [tool.ckptdoctor] {said}" in " ".join(ran.err.split())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FAIL_ON", "sometimes", "'sometimes' is not one of"),
        ("JOBS", "many", "'many' is not a valid integer"),
        ("VERBOSE", "perhaps", "'perhaps' is not a valid boolean"),
        ("FORMAT", "xml", "'xml' is not one of text, github"),
    ],
)
def test_a_wrong_variable_is_named(name, value, said, tmp_path):
    ran = call("check", environ={f"CKPTDOCTOR_{name}": value}, cwd=tmp_path)

    assert (ran.status, ran.out) == (2, "")
    assert f"Invalid value for CKPTDOCTOR_{name}: {said}" in " ".join(ran.err.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.ckptdoctor", "is not valid TOML"),
        ("[tool]\nckptdoctor = 1\n", "tool.ckptdoctor is not a table"),
        ("\udcff", "is not valid TOML"),
    ],
)
def test_a_broken_file(text, said, tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(text.encode("utf-8", "surrogateescape"))

    ran = call("check", cwd=tmp_path)

    assert is_a_complaint(ran, 2)
    assert f"{tmp_path}/pyproject.toml" in ran.err
    assert said in ran.err


def test_help_comes_even_with_a_broken_file(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.ckptdoctor")

    ran = call("check", "--help", cwd=tmp_path)

    assert ran.status == 0
    assert "[tool.ckptdoctor]" in ran.out


def test_settings_do_not_leak_into_other_commands():
    for name in ("env", "matrix", "bisect"):
        options = [one for one in group.get_command(None, name).params if isinstance(one, click.Option)]
        assert all(one.envvar is None for one in options)


# -- what a file may not do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('python = "./evil"', "python cannot be set in a file"),
        ('checkpoint-fn = "./e.py:f"', "checkpoint-fn cannot be set in a file"),
        ('with = "evil @ file:///shared/evil"', "with cannot be set in a file"),
        ("with-deps = true", "with-deps cannot be set in a file"),
        ('job = "train.yaml"', "job cannot be set in a file"),
        ('format = ["text", "json=precious"]', "format cannot name a file to write: 'json=precious'"),
        ('format = "sarif="', "format cannot name a file to write"),
        ('fail-on = "never"', "fail-on cannot be 'never'"),
        ('baseline = "../b.json"', "baseline cannot name '../b.json', which is outside of the file's folder"),
        ('baseline = "/b.json"', "baseline cannot name '/b.json'"),
        ('baseline = "~/b.json"', "baseline cannot name '~/b.json'"),
        ('baseline = "link/b.json"', "baseline cannot name 'link/b.json'"),
        ('model = ["glm4", "../x"]', "model cannot name '../x'"),
    ],
)
def test_the_file_names_nothing_that_is_run_or_written_and_switches_no_check_off(setting, said, project, tmp_path):
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "evil").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "evil").chmod(0o755)
    (tmp_path / "precious").write_text("mine")
    project(setting)

    ran = call("check", cwd=tmp_path)

    assert is_a_complaint(ran, 2)
    assert f"{tmp_path}/pyproject.toml: [tool.ckptdoctor] {said}" in ran.err
    assert "on the command line, or set CKPTDOCTOR_" in ran.err
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_new_option_may_not_be_set_in_a_file_until_that_is_decided():
    assert set(config.IN_THE_FILE) <= {*check.settable(), *scan.settable()}


def test_a_baseline_that_the_file_names_is_not_written(project, tmp_path):
    project('baseline = "b.json"')

    ran = call("check", "--python", "/nowhere", "--update-baseline", cwd=tmp_path)

    assert ran.status == 2
    assert "hint: add --baseline b.json" in ran.err


def test_settings_are_named_where_there_is_no_report(project, tmp_path):
    project('engine = "none"')

    ran = call("check", "--python", "/nowhere", cwd=tmp_path)

    assert ran.status == 3
    assert ran.err.startswith(
        f"note: {tmp_path}/pyproject.toml sets engine = 'none'.\nerror: There is no Python at /nowhere."
    )


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_a_file_that_another_user_may_write_is_not_read(mode, project, tmp_path, monkeypatch):
    project('fail-on = "warning"\npython = "./evil"')
    (tmp_path / "pyproject.toml").chmod(mode)
    monkeypatch.setattr("ckptdoctor.store.ownership._is_private", lambda gid: False)

    context = check.make_context("check", [])

    assert context.params["fail_on"] == "error"
    (note,) = config.notes(context)
    assert f"{tmp_path}/pyproject.toml is not read: " in note
    assert note.endswith("name it with --config.")


def test_a_group_of_the_users_own_may_write(project, tmp_path, monkeypatch):
    project('fail-on = "warning"')
    (tmp_path / "pyproject.toml").chmod(0o664)
    monkeypatch.setattr("ckptdoctor.store.ownership._is_private", lambda gid: True)

    assert parsed()["fail_on"] == "warning"


@as_root
@pytest.mark.parametrize("which", ["pyproject.toml", "baseline", "link"])
def test_a_file_of_another_user_is_not_read(which, project, tmp_path):
    project('fail-on = "warning"\nbaseline = "b.json"')
    (tmp_path / "b.json").write_text("{}")
    file = tmp_path / "pyproject.toml"
    if which == "link":
        file.rename(tmp_path / "other.toml")
        file.symlink_to("other.toml")
    os.chown(tmp_path / "b.json" if which == "baseline" else file, 65534, 65534, follow_symlinks=False)

    if which == "baseline":
        with pytest.raises(UsageFault, match="it belongs to"):
            parsed()
    else:
        assert (parsed()["fail_on"], parsed()["baseline"]) == ("error", None)


@as_root
def test_to_another_user_the_files_of_root_are_trusted_and_those_of_a_third_are_not():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "pyproject.toml")
        file.write_text("[tool.ckptdoctor]\n")
        os.seteuid(65534)
        try:
            of_root = ownership.foreign(file)
            os.seteuid(0)
            os.chown(file, 12345, 12345)
            os.seteuid(65534)
            of_a_third = ownership.foreign(file)
        finally:
            os.seteuid(0)

    assert (of_root, of_a_third) == ("", "it belongs to the user 12345")


def test_a_fifo_in_the_place_of_the_file_is_passed_over(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pyproject.toml")
    monkeypatch.chdir(tmp_path)

    assert parsed()["fail_on"] == "error"


def test_a_file_that_is_named_is_read_whoever_may_write_it_and_may_set_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = tmp_path / "settings.toml"
    named.write_text("[tool.ckptdoctor]\nfail-on = 'warning'\n")
    named.chmod(0o666)

    assert parsed("--config", "settings.toml")["fail_on"] == "warning"
    monkeypatch.setenv("CKPTDOCTOR_CONFIG", str(named))
    assert parsed()["fail_on"] == "warning"
    named.write_text("[tool.ckptdoctor]\npython = './evil'\n")
    with pytest.raises(UsageFault, match="python cannot be set"):
        parsed()
    named.unlink()
    with pytest.raises(UsageFault, match="cannot be read: No such file"):
        parsed()


def test_the_report_names_the_file_and_what_it_set_but_no_values_of_variables(project, tmp_path, monkeypatch):
    project('fail-on = "warning"\nengine = ["none"]\nignore = "CKPT006"')
    monkeypatch.setenv("CKPTDOCTOR_WITH", "x@https://secret@index")

    found = list(config.notes(check.make_context("check", ["--engine", "zero3"])))

    assert found == [
        f"{tmp_path}/pyproject.toml sets fail-on = 'warning', ignore = 'CKPT006'.",
        "Set by environment variables: CKPTDOCTOR_WITH.",
    ]


# -- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], [("text", "")]),
        (["--format", "json"], [("json", "")]),
        (["--format", "json", "-o", "r.json"], [("json", "r.json")]),
        (["-o", "r.txt"], [("text", "r.txt")]),
        (["--format", "sarif=s", "--format", "junit=j"], [("sarif", "s"), ("junit", "j")]),
        (["--format", "sarif=s", "--format", "text"], [("sarif", "s"), ("text", "")]),
        (["--format", "sarif=s", "--format", "json", "-o", "r"], [("sarif", "s"), ("json", "r")]),
        (["--format", "json=a", "--format", "json=b=c"], [("json", "a"), ("json", "b=c")]),
    ],
)
def test_what_goes_where(arguments, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = parsed(*arguments)

    assert printing.destinations(found["formats"], found["output"]) == wanted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "json", "--format", "text"], "json and text cannot both be printed."),
        (["--format", "json=r", "-o", "x"], "--output has nothing to write"),
        (["--format", "json=r", "--format", "sarif=./r"], "would be written twice"),
        (["--format", "json=missing/r"], "missing/r cannot be written"),
        (["--format", "sarif=s", "-o", "missing/r"], "--output has nothing to write"),
        (["--update-baseline"], "--update-baseline needs a baseline file"),
        (["--baseline", "b.json"], "There is no baseline b.json"),
        (["--baseline", "missing/b.json", "--update-baseline"], "missing/b.json cannot be written"),
        (["--ignore", "CKPT999"], "--ignore: there is no rule 'CKPT999'"),
        (["--ignore", "CKPT900"], "CKPT900 cannot be ignored"),
        (["--select", "nonsense"], "--select: there is no rule 'NONSENSE'"),
    ],
)
def test_what_makes_no_sense_is_noticed_before_anything_is_run(arguments, said, tmp_path):
    ran = call("check", "--python", "/nowhere", *arguments, cwd=tmp_path)

    assert is_a_complaint(ran, 2)
    assert said in ran.err
    assert list(tmp_path.iterdir()) == []
