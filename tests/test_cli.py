"""The command line, as a user meets it; nothing here needs more of a target than a bare Python."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ckptdoctor import __version__
from ckptdoctor.cli import COMMANDS, SUMMARIES
from ckptdoctor.planning.options import named_functions
from ckptdoctor.rules import RULES
from ckptdoctor.scan.rules import rules
from ckptdoctor.store import locations
from tests.conftest import call, on_linux, run

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "ckptdoctor"
RUN = (sys.executable, "-m", "ckptdoctor")
LOOKED_AT = {"torch", "transformers", "deepspeed", "peft"}


def is_a_complaint(ran, status):
    """Whether a run ended in one sentence and a hint, and printed nothing else."""
    lines = ran.err.splitlines()
    return (
        ran.status == status
        and not ran.out
        and len(lines) == 2
        and lines[0].startswith("error: ")
        and lines[0].endswith(".")
        and lines[1].startswith("hint: ")
    )


@pytest.fixture
def fake_torch(tmp_path):
    """A folder in which torch looks installed to whoever does not import it, and so does transformers."""
    for name, version in (("torch", "9.9"), ("transformers", "9.9")):
        metadata = tmp_path / "packages" / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for family in ("glm4", "llama"):
        (tmp_path / "packages" / "transformers" / "models" / family).mkdir(parents=True)
    return tmp_path / "packages"


# -- help and usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, flag):
    ran = call(command, flag)

    assert ran.status == 0
    assert ran.err == ""
    assert ran.out.startswith(f"Usage: ckptdoctor {command}")


def test_help_lists_the_commands_with_what_each_is_for():
    ran = run("--help")

    assert ran.status == 0
    for name in COMMANDS:
        assert f"  {name} " in ran.out
        assert SUMMARIES[name] in " ".join(ran.out.split())
    assert "Exit status: 0 nothing found, 1 findings, 2 wrong usage, 3 could not be diagnosed." in " ".join(
        ran.out.split()
    )


def test_no_option_of_a_command_goes_without_help():
    from ckptdoctor.cli import group

    for name in COMMANDS:
        command = group.get_command(None, name)
        for option in command.params:
            if isinstance(option, click.Option) and not isinstance(option.type, click.Choice):
                assert option.help, option.name


def test_version():
    ran = run("--version")

    assert (ran.status, ran.out) == (0, f"ckptdoctor {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc"], "chekc"),
        (["check", "--nonsense"], "--nonsense"),
        (["check", "--engine", "zero9"], "zero9"),
        (["check", "--convention", "nonsense"], "bound-method"),
        (["check", "--timeout", "0"], "--timeout"),
        (["check", "--jobs", "0"], "--jobs"),
        (["check", "--format", "xml"], "xml"),
        (["check", "nonsense"], "nonsense"),
        (["fix", "--apply", "--revert"], "--revert"),
        (["fix", "--force"], "--force"),
        (["fix", "--constraints", "/nowhere/pins.txt"], "/nowhere/pins.txt"),
        (["run"], "COMMAND"),
        (["rule", "nonsense"], "ckptdoctor rule"),
        (["env", "--format", "xml"], "xml"),
    ],
)
def test_wrong_usage_is_status_2_and_names_what_is_wrong(arguments, said):
    ran = call(*arguments)

    assert ran.status == 2
    assert ran.out == ""
    assert said in ran.err
    assert "Traceback" not in ran.err


# -- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "env"])
def test_a_target_that_is_not_there(command):
    ran = call(command, "--python", "/nowhere")

    assert is_a_complaint(ran, 3)
    assert "/nowhere" in ran.err


def test_a_folder_without_a_python(tmp_path):
    ran = call("check", "--python", tmp_path)

    assert is_a_complaint(ran, 3)
    assert "no Python in that folder" in ran.err


def test_a_python_that_is_not_executable(tmp_path):
    file = tmp_path / "python"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o644)

    ran = call("check", "--python", file)

    assert is_a_complaint(ran, 3)
    assert f"{file} cannot be executed" in ran.err


def test_a_python_that_is_no_program(tmp_path):
    file = tmp_path / "python"
    file.write_bytes(b"\x00\x01\x02")
    file.chmod(0o755)

    ran = call("check", "--python", file)

    assert is_a_complaint(ran, 3)
    assert "does not start" in ran.err


def test_a_python_that_ends_at_once(tmp_path):
    file = tmp_path / "python"
    file.write_text("#!/bin/sh\necho no licence >&2\nexit 1\n")
    file.chmod(0o755)

    ran = call("check", "--python", file)

    assert is_a_complaint(ran, 3)
    assert "exit status 1" in ran.err
    assert "no licence" in ran.err


def test_a_python_that_prints_something_else(tmp_path):
    file = tmp_path / "python"
    file.write_text("#!/bin/sh\necho '{}'\necho welcome\n")
    file.chmod(0o755)

    ran = call("check", "--python", file)

    assert is_a_complaint(ran, 3)
    assert "welcome" in ran.err


def test_a_target_that_prints_at_start(bare_python, tmp_path):
    text = f"import sys\nif sys.executable == {str(bare_python)!r}:\n    print('welcome')\n"
    (tmp_path / "sitecustomize.py").write_text(text)

    ran = call("env", "--python", bare_python, environ={"PYTHONPATH": str(tmp_path)})

    assert ran.status == 0
    assert "welcome" not in ran.out


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_is_gone(variable, tmp_path):
    ran = call("check", environ={variable: str(tmp_path / "gone")})

    assert is_a_complaint(ran, 3)
    assert variable in ran.err


def test_a_target_without_torch(bare_python):
    ran = call("check", "--python", bare_python)

    assert is_a_complaint(ran, 3)
    assert "torch is not installed in" in ran.err
    assert "--python" in ran.err.splitlines()[1]


def test_the_active_environment_is_the_target(bare_python):
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        ran = call("env", "--format", "json", environ={variable: str(bare_python.parent.parent)})
        assert ran.report["executable"] == str(bare_python)


# -- what is asked for ------------------------------------------------------------------------------------------------


def test_a_misspelt_model_family(bare_python, fake_torch):
    ran = call("check", "--python", bare_python, "--model", "lama", environ={"PYTHONPATH": str(fake_torch)})

    assert is_a_complaint(ran, 3)
    assert "did you mean llama?" in ran.err


def test_a_model_family_like_no_other(bare_python, fake_torch):
    ran = call("check", "--python", bare_python, "--model", "nonsense", environ={"PYTHONPATH": str(fake_torch)})

    assert is_a_complaint(ran, 3)
    assert "'nonsense'" in ran.err


def test_a_model_folder_without_a_config(bare_python, fake_torch, tmp_path):
    ran = call("check", "--python", bare_python, "--model", tmp_path, environ={"PYTHONPATH": str(fake_torch)})

    assert is_a_complaint(ran, 2)
    assert "config.json" in ran.err


def test_a_misspelt_checkpoint_function(bare_python, fake_torch):
    ran = call(
        "check", "--python", bare_python, "--checkpoint-fn", "lamafactory", environ={"PYTHONPATH": str(fake_torch)}
    )

    assert is_a_complaint(ran, 2)
    assert "did you mean llamafactory?" in ran.err


def test_a_checkpoint_function_like_no_other(bare_python, fake_torch):
    ran = call("check", "--python", bare_python, "--checkpoint-fn", "nonsense", environ={"PYTHONPATH": str(fake_torch)})

    assert is_a_complaint(ran, 2)
    for name in named_functions():
        assert name in ran.err


def test_a_checkpoint_function_whose_file_is_missing(bare_python, fake_torch, tmp_path):
    ran = call(
        *["check", "--python", bare_python, "--checkpoint-fn", "missing.py:f"],
        environ={"PYTHONPATH": str(fake_torch)},
        cwd=tmp_path,
    )

    assert is_a_complaint(ran, 2)
    assert f"no file {tmp_path / 'missing.py'}" in ran.err


def test_what_needs_a_package_that_is_not_there_says_how_to_get_it(bare_python, fake_torch):
    for option, wanted in (("--engine", "zero2"), ("--checkpoint-fn", "deepspeed"), ("--checkpoint-fn", "axolotl")):
        ran = call("check", "--python", bare_python, option, wanted, environ={"PYTHONPATH": str(fake_torch)})
        assert is_a_complaint(ran, 3)
        assert "--with" in ran.err


@pytest.mark.parametrize("output", ["missing/report.json", "."])
def test_an_output_that_cannot_be_written_is_noticed_before_anything_is_run(output, tmp_path):
    ran = call("check", "--python", "/nowhere", "--output", output, cwd=tmp_path)

    assert is_a_complaint(ran, 2)
    assert output in ran.err
    assert list(tmp_path.iterdir()) == []


# -- rule and env -----------------------------------------------------------------------------------------------------


def test_rule_lists_all_rules_a_line_each():
    ran = call("rule")

    assert ran.status == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [*RULES, *rules()]


@pytest.mark.parametrize("asked", ["CKPT001", "ckpt001", RULES["CKPT001"].name])
def test_rule_explains_one_by_code_or_name(asked):
    ran = call("rule", asked)

    assert ran.status == 0
    assert ran.out.startswith(f"CKPT001 {RULES['CKPT001'].name}\n")
    assert RULES["CKPT001"].explanation in ran.out


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_every_rule_is_explained(rule):
    assert rule.meaning.endswith(".")
    assert "\n" not in rule.meaning
    assert len(rule.explanation.split()) > 20
    assert all(link.startswith("https://") for link in rule.links)
    assert set(rule.implies) <= set(RULES)


def test_env_on_a_bare_environment(bare_python):
    ran = call("env", "--python", bare_python)

    assert ran.status == 0
    assert ran.out.startswith("Python 3.")
    assert str(bare_python) in ran.out
    assert "no package of the stack is installed" in ran.out


def test_env_lists_the_stack_without_importing_it(bare_python, fake_torch):
    ran = call("env", "--python", bare_python, environ={"PYTHONPATH": str(fake_torch)})

    assert ran.status == 0
    assert [line.split() for line in ran.out.splitlines() if "9.9" in line] == [
        ["torch", "9.9", str(fake_torch)],
        ["transformers", "9.9", str(fake_torch)],
    ]


def test_env_as_json(bare_python, fake_torch):
    ran = call("env", "--python", bare_python, "--format", "json", environ={"PYTHONPATH": str(fake_torch)})

    assert ran.status == 0
    environment = json.loads(ran.out)
    assert environment["stack"] == ["torch", "transformers"]
    assert environment["families"] == ["glm4", "llama"]
    assert environment["executable"] == str(bare_python)


# -- terminals, pipes, tracebacks -------------------------------------------------------------------------------------


def in_a_terminal(*arguments, environ=None, columns=80):
    """Run the command line with a terminal as its standard output and error."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    merged = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    merged.update(environ or {}, TERM="xterm")
    process = subprocess.Popen(
        [*RUN, *map(str, arguments)], env=merged, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 65536):
            said += data
    except OSError:  # Linux's way to say that the other side has been closed
        pass
    os.close(ours)
    return process.wait(60), said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("arguments", [("check", "--python", "/nowhere"), ("check", "--help"), ("rule",)])
def test_no_color_on_a_terminal(arguments):
    _, said = in_a_terminal(*arguments, environ={"NO_COLOR": "1"})

    assert said
    assert not re.search(r"\x1b\[[\d;]*m", said)


def test_an_error_on_a_terminal_stands_out():
    status, said = in_a_terminal("check", "--python", "/nowhere")

    assert status == 3
    assert "\x1b[31m" in said


@pytest.mark.parametrize("arguments", [("rule",), ("--help",), ("rule", "CKPT001"), ("--version",)])
def test_a_reader_that_has_gone_gets_no_traceback(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run([*RUN, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)

    assert process.stderr == ""
    assert process.returncode == 141


@on_linux
def test_a_full_disk_gets_one_sentence():
    with Path("/dev/full").open("w") as full:
        process = subprocess.run([*RUN, "rule"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert process.returncode == 3
    assert "Traceback" not in process.stderr
    assert "No space left" in process.stderr


@pytest.mark.parametrize(
    ("before", "environ"), [(["--debug"], {}), ([], {"CKPTDOCTOR_DEBUG": "1"})], ids=["option", "variable"]
)
def test_debug_shows_where_an_error_comes_from(before, environ):
    ran = run(*before, "check", "--python", "/nowhere", environ=environ)

    assert ran.status != 0
    assert "Traceback" in ran.err
    assert "interpreter.py" in ran.err


def test_a_fault_of_our_own_is_told_without_a_traceback():
    code = "import ckptdoctor.cli.rule as r, sys; r.printing.write = lambda *_: 1 / 0; import ckptdoctor.cli as c"
    for debug, traceback in (([], False), (["--debug"], True)):
        script = f"{code}; sys.exit(c.run_command({[*debug, 'rule']!r}))"
        process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert process.returncode != 0
        assert ("Traceback" in process.stderr) is traceback
        assert "ZeroDivisionError" in process.stderr
        assert traceback or "--debug" in process.stderr


# -- what is imported -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [None, ["--help"], ["--version"]])
def test_the_command_line_itself_loads_nothing_heavy(arguments):
    code = "import sys, ckptdoctor.cli as c\n"
    code += f"c.run_command({arguments!r})\n" if arguments else ""
    code += "print('\\n' + ' '.join(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(process.stdout.splitlines()[-1].split())
    assert "click" in loaded
    heavy = {"torch", "rich", "libcst", "msgspec", "tabulate", "platformdirs", "packaging", "asyncio", "jinja2"}
    assert loaded.isdisjoint(heavy)


def imported(file):
    """Top-level names of all that a file imports, inside of functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


DOCTOR = [file for file in sorted(PACKAGE.rglob("*.py")) if "_probes" not in file.parts]
PROBES = sorted(locations.probes().rglob("*.py"))


@pytest.mark.parametrize("file", DOCTOR, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_doctor_imports_nothing_of_the_patients(file):
    declared = {
        "ckptdoctor",
        "click",
        "jinja2",
        "junitparser",
        "libcst",
        "markupsafe",
        "msgspec",
        "packaging",
        "platformdirs",
        "psutil",
        "pypi_simple",
    }
    declared |= {"remotezip", "requests", "rich", "tabulate", "tomlkit", "tree_sitter", "tree_sitter_bash"}
    declared |= {"urllib3", "uv", "yaml"}
    if file.name in ("testing.py", "pytest_plugin.py"):
        declared |= {"pytest"}  # of those who use it
    if file.name in ("ray_actor.py", "ray_driver.py"):
        declared |= {"ray"}  # the processes that Ray's own extra is for

    assert LOOKED_AT.isdisjoint(imported(file))
    assert set(imported(file)) <= sys.stdlib_module_names | declared | {"tomli", "tomllib"}


@pytest.mark.parametrize("file", PROBES, ids=lambda file: file.name)
def test_probes_import_nothing_but_the_environments_own(file):
    assert set(imported(file)) <= sys.stdlib_module_names | LOOKED_AT | {"_ckptdoctor_hook"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands(shell):
    made = run(environ={"_CKPTDOCTOR_COMPLETE": f"{shell}_source"})
    assert "ckptdoctor" in made.out
    words = {"COMP_WORDS": "ckptdoctor b", "COMP_CWORD": "1" if shell != "fish" else "b"}
    assert "bisect" in run(environ={"_CKPTDOCTOR_COMPLETE": f"{shell}_complete", **words}).out
