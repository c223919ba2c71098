"""What shells offer when Tab is pressed: in bash, in zsh's and fish's protocol, and in fish itself where there is one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ckptdoctor import knowledge
from ckptdoctor.catalog import engines
from ckptdoctor.cli import COMMANDS, completing
from ckptdoctor.rules import RULES
from tests.conftest import run

BREAKS = " \t\n\"'><=;|&(:"
NEWEST = knowledge.shipped().axes["transformers"][-1]
HEAVY = {"libcst", "pypi_simple", "requests", "rich", "tabulate", "tomlkit", "tree_sitter", "uv", "yaml"}


def bash_version():
    found = shutil.which("bash")
    text = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout if found else ""
    return tuple(map(int, re.findall(r"version (\d+)\.(\d+)", text)[0])) if text else (0, 0)


def offered(line, cwd=None, **environ):
    """The values that bash is offered for a line, as it would put them in the place of the word that it sees."""
    asked = {"COMP_LINE": line, "COMP_WORDBREAKS": BREAKS, "_CKPTDOCTOR_COMPLETE": "bash_complete", **environ}
    return run(cwd=cwd, environ=asked).out.splitlines()


def plain(line, **more):
    return [one.removeprefix("plain,") for one in offered(line, **more) if one.startswith("plain,")]


def test_commands_and_rules_and_engines():
    assert plain("ckptdoctor b") == ["bisect"]
    assert set(COMMANDS) <= set(plain("ckptdoctor "))
    assert plain("ckptdoctor rule CKPT") == list(RULES)
    assert plain("ckptdoctor rule ckpt001") == ["CKPT001"]
    assert plain("ckptdoctor check --engine zero") == [one for one in engines() if one.startswith("zero")]
    assert plain("ckptdoctor check --format sa") == ["sarif"]


def test_codes_behind_a_comma_leave_out_those_that_stand_there():
    assert plain("ckptdoctor check --ignore CKPT001,CKPT00")[:2] == ["CKPT001,CKPT002", "CKPT001,CKPT003"]
    assert all(one.startswith("SCAN") for one in plain("ckptdoctor scan --select "))


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("ckptdoctor known axolo", "axolotl"),
        ("ckptdoctor check --with transformers==", NEWEST),
        ("ckptdoctor check --with=transformers==", NEWEST),
        ("ckptdoctor check --with 'transformers==", f"transformers=={NEWEST}"),
        ("ckptdoctor matrix --vary 'transformers>=4.50.3,<", f"transformers>=4.50.3,<{NEWEST}"),
        ("ckptdoctor known llamafactory==0.9.2 transformers==4.51.3", "4.51.3"),
        ("ckptdoctor bisect transformers --good 4.51.3", "4.51.3"),
        ("ckptdoctor scan --transformers 4.51.3", "4.51.3"),
        ("ckptdoctor check --checkpoint-fn trl:", "offload"),
    ],
)
def test_packages_and_their_releases_newest_first(line, first):
    assert plain(line)[0] == first


def test_a_name_can_be_followed_by_its_releases_or_not():
    assert plain("ckptdoctor check --with llamaf") == ["llamafactory", "llamafactory=="]
    assert plain("ckptdoctor check --with no-such-package==") == []


def test_where_a_file_may_stand_the_shell_looks_for_it():
    assert offered("ckptdoctor check --with ./a") == ["file,./a"]
    assert offered("ckptdoctor explain tr") == ["file,tr"]
    assert offered("ckptdoctor watch --collect a") == ["dir,a"]


def test_families_that_were_measured():
    assert "llama" in plain("ckptdoctor check --model lla")


@pytest.fixture
def home(tmp_path):
    for name in ("work/.venv", "work/sub/mine", "elsewhere/active", "conda/one", "conda/broken"):
        (tmp_path / name / "bin").mkdir(parents=True)
        if name != "conda/broken":
            (tmp_path / name / "bin" / "python").touch()
        (tmp_path / name / "pyvenv.cfg").touch()
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda" / "environments.txt").write_text(f"{tmp_path}/conda/one\n{tmp_path}/conda/broken\n")
    return tmp_path


def test_environments_nearby(home):
    environ = {"VIRTUAL_ENV": str(home / "elsewhere/active"), "HOME": str(home)}

    found = completing.nearby(environ, home / "work" / "sub")

    expected = [str(home / "elsewhere/active"), "mine", str(home / "work/.venv"), str(home / "conda/one")]
    assert [one for one in found if one in expected] == expected
    assert str(home / "conda/broken") not in found


@pytest.mark.parametrize("name", ["a b", "a\nplain,b", "a\x1b[31m", "$(touch x)", "-x"])
def test_a_name_that_a_shell_would_have_to_quote_is_left_to_the_shell(name, home):
    shutil.copytree(home / "work/.venv", home / "work" / name)
    assert [one for one in completing.nearby({"HOME": str(home)}, home / "work") if home.name not in one] == [".venv"]


def test_python_is_an_environment_or_a_file(home):
    environ = {"VIRTUAL_ENV": "", "CONDA_PREFIX": "", "HOME": str(home)}

    assert ".venv" in plain("ckptdoctor check --python ", cwd=home / "work", **environ)
    assert offered("ckptdoctor check --python ./x", cwd=home / "work", **environ) == ["file,./x"]


@pytest.mark.parametrize(
    "line", ["ckptdoctor ", "ckptdoctor check --python ", "ckptdoctor rule ", "ckptdoctor check --with transformers=="]
)
def test_a_shell_does_not_wait_for_what_is_not_needed(line):
    code = (
        "import atexit, sys; from ckptdoctor.cli import main;"
        "atexit.register(lambda: sys.stderr.write(' '.join(sys.modules))); sys.argv = ['ckptdoctor']; main()"
    )
    environ = {**os.environ, "COMP_LINE": line, "COMP_WORDBREAKS": BREAKS, "_CKPTDOCTOR_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environ)
    loaded = set(done.stderr.split())
    assert done.stdout
    assert "ckptdoctor.cli" in loaded
    assert HEAVY.isdisjoint(loaded)
    assert line != "ckptdoctor " or "ckptdoctor.cli.check" not in loaded


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_whole_values(shell):
    word = "transformers==4.51.3"
    environ = {
        "_CKPTDOCTOR_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": f"ckptdoctor check --with {word}",
        "COMP_CWORD": word if shell == "fish" else "3",
    }
    assert word in run(environ=environ).out


@pytest.mark.skipif(bash_version() < (4, 4), reason="bash is too old to complete in")
@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("ckptdoctor rule CKPT00", list(RULES)[:9]),
        ("ckptdoctor known llamafactory==0.9.3", ["0.9.3"]),
        ("ckptdoctor explain a b", ["a b.log"]),
    ],
)
def test_bash_itself(line, reply, tmp_path):
    (tmp_path / "a b.log").touch()
    script = (
        'compopt() { :; }; eval "$(_CKPTDOCTOR_COMPLETE=bash_source ckptdoctor)"; COMP_LINE="$1"; COMP_POINT="${#1}";'
        '_ckptdoctor_completion ckptdoctor; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    line = line.replace("a b", "'a b")
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COMP_WORDBREAKS": BREAKS}
    command = ["bash", "--norc", "-c", script, "bash", line]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, cwd=tmp_path)
    assert (done.stdout.splitlines(), done.stderr) == (reply, "")


@pytest.mark.skipif(not shutil.which("fish"), reason="there is no fish")
@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("ckptdoctor known llamafactory==0.9.3", "llamafactory==0.9.3"),
        ("ckptdoctor check --ignore CKPT001,CKPT002", "CKPT001,CKPT002\tlayers-not-recomputed"),
    ],
)
def test_fish_itself(line, reply):
    script = '_CKPTDOCTOR_COMPLETE=fish_source ckptdoctor | source; complete --do-complete "$argv[1]"'
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["fish", "--no-config", "-c", script, line]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert reply.partition("\t")[0] in [one.partition("\t")[0] for one in done.stdout.splitlines()]
