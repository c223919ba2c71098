from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from ckptdoctor.errors import UsageFault
from ckptdoctor.fix.edits import constraints, edit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PIN = {"torch": "2.4.0"}
BOTH = {"llamafactory": "0.9.3", "torch": "2.4.0"}


@pytest.fixture
def edited(tmp_path):
    """What the real patch makes of a file; pytest.skip where there is none."""

    def run(name, text, changes):
        path = tmp_path / name
        path.write_bytes(text.encode())
        made = edit(path, changes)
        assert path.read_bytes() == text.encode()  # never written to
        if not made:
            return text
        program = shutil.which("patch")
        if program is None:
            pytest.skip("there is no patch program")
        subprocess.run([program, "--binary", "-p1"], cwd=tmp_path, input=made.encode(), check=True, timeout=30)
        assert edit(path, changes) == ""
        return path.read_bytes().decode()

    return run


def fault(tmp_path, name, text, changes=PIN):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageFault) as caught:
        edit(path, changes)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def test_constraints_are_sorted_and_kept_ones_stand_apart():
    assert constraints({"transformers": "4.52.4", "llamafactory": "0.9.3"}, {"torch": "2.4.0"}, "fixes CKD101") == (
        "# fixes CKD101\n"
        "llamafactory==0.9.3\n"
        "transformers==4.52.4\n"
        "# These have to stay for the remedy to hold:\n"
        "torch==2.4.0\n"
    )


def test_constraints_keep_nothing_that_changes():
    assert constraints(PIN, {"Torch": "2.3.0"}, "") == "torch==2.4.0\n"


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x85", "\u2028", "\x1b[2K", "\\\n", "\u202e", "\ud800"])
def test_a_reason_is_a_comment_whatever_it_holds(end):
    made = constraints(PIN, {}, f"because{end}evil==1 " + "word " * 60)
    *comments, last = made.splitlines()
    assert last == "torch==2.4.0"
    assert len(comments) > 2
    assert all(line.startswith("# ") and line.isprintable() and len(line) <= 102 for line in comments)


@pytest.mark.parametrize(
    "changes", [{"torch": "2.4\nevil==1"}, {"torch": ">=2"}, {"torch\nevil": "1"}, {"torch": ""}, {"-r x": "1"}]
)
def test_names_and_releases_are_nothing_else(changes, tmp_path):
    with pytest.raises(UsageFault):
        constraints(changes, {}, "")
    with pytest.raises(UsageFault):
        constraints({}, changes, "")
    fault(tmp_path, "requirements.txt", "torch\n", changes)


KEPT = [
    ("torch\n", "torch==2.4.0\n"),
    ("torch", "torch==2.4.0"),
    ("Torch >= 2.0, <3\n", "Torch ==2.4.0\n"),
    ("torch (>=2.0)\n", "torch ==2.4.0\n"),
    ("torch===2.3\n", "torch==2.4.0\n"),
    ("torch==2.4.*\n", "torch==2.4.0\n"),
    ("torch==2.3.0 # why\r\n\r\nnumpy<2\r\n", "torch==2.4.0 # why\r\n\r\nnumpy<2\r\n"),
    ("torch[opt-einsum, x]>=2 ; python_version > '3'\n", "torch[opt-einsum, x]==2.4.0 ; python_version > '3'\n"),
    ("torch; python_version > '3'\n", "torch==2.4.0; python_version > '3'\n"),
    ("  torch~=2.0 #not a comment\n", "  torch==2.4.0 #not a comment\n"),
    (
        "b\ntorch<2; python_version<'3.11'\ntorch>2; python_version>='3.11'\na\n",
        "b\ntorch==2.4.0; python_version<'3.11'\ntorch==2.4.0; python_version>='3.11'\na\n",
    ),
    ("torch \\\n  >=2.0 \\\n  ; python_version > '3'\n", "torch \\\n  ==2.4.0 \\\n  ; python_version > '3'\n"),
    ("torch>=2.0,\\\n  <3\nx\n", "torch==2.4.0\nx\n"),
    ("torch \\\n  # why\nx\n", "torch==2.4.0 \\\n  # why\nx\n"),
    ("# torch \\\ntorch\n", "# torch \\\ntorch==2.4.0\n"),
    ("\ufefftorch>=2\n", "\ufefftorch==2.4.0\n"),
    ("torch>=2 --config-settings=a=b\n", "torch==2.4.0 --config-settings=a=b\n"),
    ("# torch>=1\x0ctorch\n", "# torch>=1\x0ctorch==2.4.0\n"),  # to pip, a form feed ends a line
    (
        "--index-url https://torch/torch\n-r other.txt\n-e .\ntorch\n",
        "--index-url https://torch/torch\n-r other.txt\n-e .\ntorch==2.4.0\n",
    ),
    ("x --hash=sha256:0\ntorch\n", "x --hash=sha256:0\ntorch==2.4.0\n"),
]


@pytest.mark.parametrize(("text", "wanted"), KEPT)
def test_only_the_specifier_changes(text, wanted, edited):
    assert edited("requirements.txt", text, PIN) == wanted


@pytest.mark.parametrize(
    "text", ["torch==2.4.0\n", "torch == 2.4\n", "torch==2.4.0+cu121\n", "torch==2.4.0 --hash=sha256:0\n"]
)
def test_a_file_that_asks_for_it_already_is_left_alone(text, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    assert edit(path, PIN) == ""


def test_a_build_is_another_release_than_the_plain_one(edited):
    assert edited("requirements.txt", "torch==2.4.0\n", {"torch": "2.4.0+cu121"}) == "torch==2.4.0+cu121\n"


@pytest.mark.parametrize("name", ["Llama_Factory", "llama.factory", "LLAMA--factory"])
def test_names_are_compared_normalised_and_spelled_as_in_the_file(name, edited):
    assert edited("requirements.in", f"{name}>0\n", {"llama-factory": "0.9.3"}) == f"{name}==0.9.3\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "llamafactory==0.9.3\ntorch==2.4.0\n"),
        ("x\n", "x\nllamafactory==0.9.3\ntorch==2.4.0\n"),
        ("x", "x\nllamafactory==0.9.3\ntorch==2.4.0"),
        ("x\r\n", "x\r\nllamafactory==0.9.3\r\ntorch==2.4.0\r\n"),
        ("x \\\n", "x \\\n\nllamafactory==0.9.3\ntorch==2.4.0\n"),
        ("x \\", "x \\\n\nllamafactory==0.9.3\ntorch==2.4.0"),
        ("# x \\\n", "# x \\\nllamafactory==0.9.3\ntorch==2.4.0\n"),
        ("torch<2\n", "torch==2.4.0\nllamafactory==0.9.3\n"),
        ("torchvision\n-c c.txt\n-e .\n", "torchvision\n-c c.txt\n-e .\nllamafactory==0.9.3\ntorch==2.4.0\n"),
        ("# -r a.txt\n", "# -r a.txt\nllamafactory==0.9.3\ntorch==2.4.0\n"),
        ("# torch>=2\n", "# torch>=2\nllamafactory==0.9.3\ntorch==2.4.0\n"),
        ("x # --hash=y\n", "x # --hash=y\nllamafactory==0.9.3\ntorch==2.4.0\n"),
    ],
)
def test_what_no_line_names_is_appended(text, wanted, edited):
    assert edited("requirements.txt", text, BOTH) == wanted


@pytest.mark.parametrize(
    "line", ["-r a.txt", "-ra.txt", "--requirement a.txt", "--requirement=a.txt", ' -r "a.txt" #x']
)
def test_what_an_included_file_may_name_is_not_appended(line, tmp_path):
    raised = fault(tmp_path, "requirements.txt", f"{line}\nx\n")
    assert "a.txt" in raised.message
    assert "a.txt" in raised.hint


DIRECT = [
    "torch @ https://x.org/torch-2.whl",
    "torch[x]@https://x.org/y.whl ; python_version > '3'",
    "https://x.org/whl/torch-2.3.0%2Bcu121-cp311-none-any.whl",
    "https://x.org/torch-2.3.0.tar.gz#sha256=0",
    "./torch-2.3.0-cp311-none-any.whl",
    "torch-2.3.0-cp311-none-any.whl",
    "git+https://x.org/y.git@v1#egg=Torch&subdirectory=z",
    "git+https://x.org/Tor-ch.git@v1",
    "https://github.com/x/torch/archive/main.zip",
    "-e git+https://x.org/torch",
    "-e ../torch[dev]",
    "--editable=torch @ file:///y",
    "-e./torch/",
]


@pytest.mark.parametrize("line", DIRECT)
def test_what_comes_from_a_fixed_place_is_refused(line, tmp_path, edited):
    assert "takes torch from a fixed place" in fault(tmp_path, "requirements.txt", f"x\n{line}\n").message
    assert edited("requirements.txt", f"{line}\n", {"peft": "0.15"}) == f"{line}\npeft==0.15\n"


@pytest.mark.parametrize(
    "line",
    ["torchx @ https://x.org/torch", "git+https://x.org/torch#egg=y", "https://x.org/torch/y-1.0.tar.gz", "-e ."],
)
def test_a_place_that_only_looks_alike_is_not(line, edited):
    assert edited("requirements.txt", f"{line}\n", PIN) == f"{line}\ntorch==2.4.0\n"


@pytest.mark.parametrize(
    "text", ["torch==2.3 --hash=sha256:0\n", "torch==2.3 \\\n    --hash=sha256:0 \\\n    --hash=md5:1\n"]
)
def test_hashes_that_would_not_fit_are_refused(text, tmp_path):
    raised = fault(tmp_path, "requirements.txt", text)
    assert "its hashes would no longer fit" in raised.message
    assert "uv pip compile" in raised.hint


@pytest.mark.parametrize("text", ["x==1 --hash=sha256:0\n", "--require-hashes\n"])
def test_nothing_without_hashes_is_appended_among_hashes(text, tmp_path):
    assert "needs hashes" in fault(tmp_path, "requirements.txt", text).message


@pytest.mark.parametrize("line", ["torch=2", "torch 2.0", "torch[a", "torch==${VERSION}", "torch>=2; nonsense"])
def test_a_requirement_that_cannot_be_read_is_refused(line, tmp_path, edited):
    assert "not a requirement that can be read" in fault(tmp_path, "requirements.txt", f"{line}\n").message
    assert edited("requirements.txt", f"{line}\n", {"peft": "0.15"}) == f"{line}\npeft==0.15\n"


PROJECT = """\
# keeps   its layout
[project]
name = "x"   # odd
dependencies = [
    "Torch[a]>=2 ; python_version > '3'",  # why
    'numpy<2', 'torch',
]
[tool.ruff]
line-length = 120

[project.optional-dependencies]
gpu = ["torch~=2.0", "torchvision"]
[dependency-groups]
dev = [{include-group = "gpu"}, "torch", {name = "torch"}]
[tool.pdm.dev-dependencies]
test = ["torch!=2", "-e file:///x"]
[tool.uv]
constraint-dependencies = ["torch<3"]
override-dependencies = ["torch<3"]
dev-dependencies = ["torch<3"]
environments = ["torch"]
[tool.uv.sources]
torchvision = { path = "y" }
[tool.poetry.dependencies]
python = "^3.10"
torch = "^2.0"  # caret
[tool.poetry.dev-dependencies]
torch = '>=2'
[tool.poetry.group.a.dependencies]
torch = { version = "^2", extras = ["x"] } # table
[tool.poetry.group.b.dependencies]
torch = [{ version = "^2", python = "<3.11" }, { version = "^3", python = ">=3.11" }]
[tool.poetry.group.c.dependencies.torch]
version = "2.4"
[[tool.poetry.source]]
name = "torch"
"""

PINNED = (
    PROJECT.replace("Torch[a]>=2 ;", "Torch[a]==2.4.0 ;")
    .replace("'torch',", "'torch==2.4.0',")
    .replace("torch~=2.0", "torch==2.4.0")
    .replace('}, "torch", {', '}, "torch==2.4.0", {')
    .replace("torch!=2", "torch==2.4.0")
    .replace('"torch<3"', '"torch==2.4.0"')
    .replace('torch = "^2.0"', 'torch = "==2.4.0"')
    .replace("torch = '>=2'", "torch = '==2.4.0'")
    .replace('version = "^2"', 'version = "==2.4.0"')
    .replace('version = "^3"', 'version = "==2.4.0"')
)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_place_in_a_project_is_pinned_and_nothing_else_changes(newline, edited):
    text = PROJECT.replace("\n", newline)
    assert edited("pyproject.toml", text, PIN) == PINNED.replace("\n", newline)


LISTS = [
    "[]",
    "[ 'x' ] # c",
    "[\n]",
    "[\n  # d\n]",
    '[\n    "x",  # d\n] # e',
    '[\n    "x"  # d\n] # e',
    '[\n    "y",\n    "x"\n    # d\n] # e',
    '[\n    "x",\n    # d\n]',
    '[\n "torch" # g\n # h\n ]',
    '["y",\n    "x"]',
    '["torch", "x" # e\n , # f\n "y" # g\n\n # h\n ]',
]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("text", LISTS)
def test_what_a_project_does_not_name_is_added(text, newline, edited):
    before = f'[project]\nname = "x"\ndependencies = {text}\n[a]\n'.replace("\n", newline)
    after = edited("Pyproject.TOML", before, BOTH)
    wanted = {
        Requirement(item).name: str(Requirement(item).specifier)
        for item in tomllib.loads(before)["project"]["dependencies"]
    }
    found = {
        Requirement(item).name: str(Requirement(item).specifier)
        for item in tomllib.loads(after)["project"]["dependencies"]
    }
    assert found == wanted | {"llamafactory": "==0.9.3", "torch": "==2.4.0"}
    assert after.count("#") == before.count("#")
    assert after.count("\n") == after.count(newline)


def test_a_layout_that_would_break_is_refused(tmp_path):
    text = '[project]\ndependencies = [\n  "x"\n, "torch>2" # g\n]\n'
    assert "formatted" in fault(tmp_path, "pyproject.toml", text, BOTH).message


@pytest.mark.parametrize(
    "text",
    [
        "[dependency-groups]\nd = ['torch==2.4']\n",
        "[tool.poetry.dependencies]\ntorch = '2.4.0'\n",
        "[tool.poetry.group.d.dependencies]\nTorch = {version = '==2.4'}\n[tool.uv]\ndev-dependencies = 3\n",
    ],
)
def test_a_project_that_asks_for_it_already_is_left_alone(text, tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    assert edit(path, PIN) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[project]\nname = 'x'\n",
        "[project]\ndynamic = ['dependencies']\n",
        "[project]\ndynamic = ['dependencies']\ndependencies = []\n",
        "[project]\ndependencies = 'torch'\n",
        "project = 3\ntool = 'x'\n",
        "[tool]\nuv = []\npoetry = {dependencies = 1, group = [1]}\n",
        "[tool.poetry.dependencies]\ntorch = {extras = ['x']}\n",
    ],
)
def test_a_project_with_no_list_to_add_to_is_refused(text, tmp_path):
    assert "requirements file" in fault(tmp_path, "pyproject.toml", text).hint


@pytest.mark.parametrize(
    "text",
    [
        "[project]\ndependencies = ['torch @ https://x.org/y.whl']\n",
        "[tool.pdm.dev-dependencies]\nd = ['-e file:///x/torch#egg=torch']\n",
        "[project]\ndependencies = ['torch']\n[tool.uv.sources]\nTorch = {git = 'https://x.org/y'}\n",
        "[tool.poetry.dependencies]\ntorch = {git = 'https://x.org/y'}\n",
        "[tool.poetry.dependencies]\ntorch = [{path = 'y'}, {version = '1'}]\n",
    ],
)
def test_a_project_that_takes_it_from_a_fixed_place_is_refused(text, tmp_path):
    assert "takes torch from a fixed place" in fault(tmp_path, "pyproject.toml", text).message


@pytest.mark.parametrize("text", ["a = [", "a = 1\na = 2\n", "a = " + "[" * 5000, "\ufeffa = 1\n", "a = 99-99\n"])
def test_what_is_not_toml_is_refused(text, tmp_path):
    assert "is not TOML" in fault(tmp_path, "pyproject.toml", text).message


@pytest.mark.parametrize(
    "name", ["uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "pylock.toml", "pylock.gpu.toml"]
)
def test_a_lock_file_is_refused(name, tmp_path):
    raised = fault(tmp_path, name, "")
    assert "is a lock file" in raised.message
    assert "constraints" in raised.hint


@pytest.mark.parametrize("name", ["setup.py", "setup.cfg", "Pipfile", "environment.yml", "conda.yaml"])
def test_other_files_are_left_to_the_constraints(name, tmp_path):
    assert "constraints" in fault(tmp_path, name, "torch").hint


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    assert "not UTF-8" in fault(tmp_path, "requirements.txt", b"torch\xff").message
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "no", "is not there"), (tmp_path / "a\0", "diff")):
        with pytest.raises(UsageFault, match=words):
            edit(path, PIN)
    with pytest.raises(UsageFault, match="cannot be read"):
        edit(tmp_path / "requirements.txt" / "x", PIN)


def test_a_name_with_spaces_can_be_patched(edited):
    assert edited("my requirements.txt", "torch\n", PIN) == "torch==2.4.0\n"


def test_a_name_that_would_break_the_diff_is_refused(tmp_path):
    assert "Rename" in fault(tmp_path, "a\n+++ b", "torch\n").hint


@pytest.mark.parametrize(
    "table",
    [
        "[tool.hatch.envs.train]\ndependencies = ['transformers<5']\n",
        "[tool.hatch.envs.train]\nextra-dependencies = ['transformers<5']\n",
        "[tool.rye]\ndev-dependencies = ['transformers<5']\n",
    ],
)
def test_environments_of_hatch_and_rye(table, tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text(table)

    found = edit(file, {"transformers": "5.23.0"})

    assert "-" + table.splitlines()[1] in found
    assert "+" + table.splitlines()[1].replace("<5", "==5.23.0") in found
