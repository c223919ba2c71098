from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from uv import find_uv_bin

from ckptdoctor.environment import overlay, uv_command, uv_errors
from ckptdoctor.environment.pip_settings import PipSettings
from ckptdoctor.errors import TargetError, UnobtainableError, UsageFault

BACKEND = """
import zipfile
{first}
def get_requires_for_build_wheel(config_settings=None):
    return []
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "{name}-{version}-py3-none-any.whl"
    info = "{name}-{version}.dist-info"
    with zipfile.ZipFile(directory + "/" + name, "w") as file:
        file.writestr("{name}.py", "VERSION = '{version}'")
        file.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        file.writestr(info + "/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(info + "/RECORD", "")
    return name
"""


def wheel(folder: Path, name: str, version: str, *requires: str) -> Path:
    file = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", metadata + "".join(f"Requires-Dist: {each}\n" for each in requires))
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return file


def source(folder: Path, name: str, version: str, first: str) -> None:
    """A package without a wheel, whose build begins with a line of Python."""
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND.format(first=first, name=name, version=version),
    }
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{file}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


class Lab:
    """A target with a few packages, an index of made-up wheels, and a count of uv's runs."""

    def __init__(self, root: Path) -> None:
        self.index = root / "index"
        self.index.mkdir()
        self.venv = root / "venv"
        self.cache = root / "cache"
        self.python = self.venv / "bin/python"
        self.runs: list[list[str]] = []
        self.said: list[str] = []
        self.packages = {"torch": "2.13.0+cpu", "transformers": "4.51.3"}
        uv("venv", "--quiet", "--python", sys.executable, str(self.venv))
        base = root / "base"
        base.mkdir()
        self.install(*(wheel(base, name, version) for name, version in self.packages.items()))
        for version in ("4.51.3", "4.52.4"):
            wheel(self.index, "transformers", version, "torch>=2")
        wheel(self.index, "torch", "2.14.0")

    def install(self, *wheels: Path) -> None:
        uv("pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(self.python), *map(str, wheels))
        (self.venv / ".lock").unlink(missing_ok=True)

    def make(self, *requirements: str, with_dependencies: bool = False, anew: Sequence[str] = ()) -> Path:
        return overlay.make(
            self.python,
            requirements,
            with_dependencies=with_dependencies,
            environment_packages=self.packages,
            cache=self.cache,
            progress=self.said.append,
            anew=anew,
        )

    def holds(self, folder: Path) -> set[str]:
        """What stands in an overlay, as ``name-version``."""
        return {entry.name.removesuffix(".dist-info") for entry in folder.glob("*.dist-info")}

    def target_state(self) -> dict[str, str]:
        files = (path for path in self.venv.rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def leftovers(self) -> list[str]:
        return [entry.name for entry in self.cache.iterdir() if entry.name not in {"overlays", "requests", ".in-use"}]


def uv(*arguments: str) -> None:
    subprocess.run([find_uv_bin(), *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uv_cache: Path) -> Lab:
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(uv_cache))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    made = Lab(tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.index))
    real = uv_command.run_uv

    def counted(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        made.runs.append(list(arguments))
        return real(arguments, environment)

    monkeypatch.setattr(uv_command, "run_uv", counted)
    return made


def on_install(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something whenever uv is about to install into an overlay."""
    real = uv_command.run_uv

    def acting(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if "--target" in arguments:
            action()
        return real(arguments, environment)

    monkeypatch.setattr(uv_command, "run_uv", acting)


def test_lays_the_release_and_nothing_else(lab: Lab):
    before = lab.target_state()
    folder = lab.make("transformers==4.52.4")
    assert lab.holds(folder) == {"transformers-4.52.4"}
    assert lab.target_state() == before
    assert not (folder / ".lock").exists()
    assert lab.leftovers() == []
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import transformers, torch; "
    code += "print(transformers.VERSION, torch.VERSION)"
    done = subprocess.run([lab.python, "-B", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4.52.4", "2.13.0+cpu"]
    assert lab.said == ["Resolving transformers==4.52.4", "Installing 1 package into an overlay"]


def test_second_call_runs_no_uv(lab: Lab):
    first = lab.make("transformers==4.52.4")
    lab.runs.clear()
    assert lab.make("transformers==4.52.4") == first
    assert lab.runs == []
    assert lab.make("transformers == 4.52.4") == first
    assert lab.runs == []


def test_requirement_that_the_target_meets_gives_an_empty_overlay(lab: Lab):
    assert list(lab.make("transformers").iterdir()) == []


def test_changed_target_makes_a_new_overlay(lab: Lab):
    wheel(lab.index, "needy", "1", "helper")
    helper = wheel(lab.index, "helper", "1")
    first = lab.make("needy==1")
    assert lab.holds(first) == {"needy-1", "helper-1"}
    lab.install(helper)
    second = lab.make("needy==1")
    assert lab.holds(second) == {"needy-1"}
    assert lab.holds(first) == {"needy-1", "helper-1"}


def test_what_the_target_gets_from_elsewhere_counts_as_installed(lab: Lab):
    assert lab.holds(lab.make("transformers==4.52.4")) == {"transformers-4.52.4"}
    lab.packages["Transformers"] = lab.packages.pop("transformers").replace("4.51.3", "4.52.4")
    assert lab.holds(lab.make("transformers==4.52.4")) == set()


def test_changed_settings_make_a_new_overlay(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    wheel(lab.index, "thing", "1")
    wheel(lab.index, "thing", "2")
    assert lab.holds(lab.make("thing")) == {"thing-2"}
    constraints = tmp_path / "c.txt"
    constraints.write_text("thing<2")
    monkeypatch.setenv("PIP_CONSTRAINT", str(constraints))
    assert lab.holds(lab.make("thing")) == {"thing-1"}
    constraints.write_text("thing<3")
    assert lab.holds(lab.make("thing")) == {"thing-2"}


@pytest.mark.parametrize(("hours", "release"), [(23, "thing-1"), (25, "thing-2")])
def test_open_requirement_is_asked_again_after_a_day(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, hours: int, release: str
):
    wheel(lab.index, "thing", "1")
    lab.make("thing>=1")
    wheel(lab.index, "thing", "2")
    now = overlay.time.time()
    monkeypatch.setattr(overlay.time, "time", lambda: now + hours * 3600)
    assert lab.holds(lab.make("thing>=1")) == {release}


def test_exact_requirement_is_never_asked_again(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    first = lab.make("transformers==4.52.4")
    lab.runs.clear()
    now = overlay.time.time()
    monkeypatch.setattr(overlay.time, "time", lambda: now + 1000 * 3600)
    assert lab.make("transformers==4.52.4") == first
    assert lab.runs == []


def test_removed_overlay_is_laid_again(lab: Lab):
    first = lab.make("transformers==4.52.4")
    shutil.rmtree(first)
    assert lab.holds(lab.make("transformers==4.52.4")) == {"transformers-4.52.4"}


def test_torch_is_held_though_it_is_in_no_index(lab: Lab):
    wheel(lab.index, "wide", "1", "torch>=2", "torchvision")
    wheel(lab.index, "torchvision", "0.1", "torch")
    assert lab.holds(lab.make("wide==1")) == {"wide-1", "torchvision-0.1"}


def test_requirement_of_another_torch_is_refused(lab: Lab):
    wheel(lab.index, "newer", "1", "torch>=2.14")
    with pytest.raises(TargetError) as caught:
        lab.make("newer==1")
    # uv names the release of a package too, up to some version.
    message = caught.value.message.replace("newer==1 ", "newer ")
    assert message == "newer needs torch>=2.14, but the target's torch 2.13.0+cpu is never replaced."
    assert "--with 'torch==...'" in caught.value.hint
    assert lab.leftovers() == []


def test_torch_asked_for_by_name_is_laid_in(lab: Lab):
    wheel(lab.index, "newer", "1", "torch>=2.14")
    assert lab.holds(lab.make("newer==1", "torch==2.14.0")) == {"newer-1", "torch-2.14.0"}


def test_torch_whose_version_is_no_constraint_is_refused_too(lab: Lab):
    wheel(lab.index, "newer", "1", "torch>=2.14")
    lab.packages["torch"] = "built-here"
    with pytest.raises(TargetError, match="The requirements bring torch"):
        lab.make("newer==1")


def test_torch_of_a_shared_base_is_not_brought_in(lab: Lab):
    # uv does not see the packages of a virtual environment's base; no index need have its torch.
    uv("pip", "uninstall", "--quiet", "--python", str(lab.python), "torch")
    config = lab.venv / "pyvenv.cfg"
    text = config.read_text().replace("include-system-site-packages = false", "include-system-site-packages = true")
    config.write_text(text)
    assert "= true" in text
    assert lab.holds(lab.make("transformers==4.52.4")) == {"transformers-4.52.4"}


def test_trainer_comes_without_dependencies_unless_asked(lab: Lab):
    wheel(lab.index, "llamafactory", "0.9.3", "helper", "transformers==4.52.4")
    wheel(lab.index, "helper", "1")
    assert lab.holds(lab.make("llamafactory==0.9.3")) == {"llamafactory-0.9.3"}
    both = lab.make("transformers==4.51.3", "LLaMaFactory==0.9.3")
    assert lab.holds(both) == {"llamafactory-0.9.3"}
    whole = lab.make("llamafactory==0.9.3", with_dependencies=True)
    assert lab.holds(whole) == {"llamafactory-0.9.3", "helper-1", "transformers-4.52.4"}


def test_build_that_needs_torch_gets_a_second_attempt(lab: Lab):
    source(lab.index, "oldspeed", "0.1", "import torch, os; assert os.environ['DS_BUILD_OPS'] == '0'")
    before = lab.target_state()
    assert lab.holds(lab.make("oldspeed==0.1")) == {"oldspeed-0.1"}
    assert lab.target_state() == before
    assert any("--no-build-isolation" in run for run in lab.runs)


def test_build_that_fails_is_told_in_a_sentence(lab: Lab):
    source(lab.index, "broken", "0.1", "raise RuntimeError('no \\x1b[31mcompiler')")
    with pytest.raises(TargetError) as caught:
        lab.make("broken==0.1")
    assert caught.value.message == "broken==0.1 could not be built from its source."
    assert "RuntimeError: no compiler" in caught.value.hint
    assert "\x1b" not in caught.value.hint
    assert lab.leftovers() == []


def test_local_folder_follows_its_code(lab: Lab, tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    backend = BACKEND.format(first="", name="mine", version="1")
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (folder / "pyproject.toml").write_text(project + '[project]\nname = "mine"\nversion = "1"\n')
    (folder / "backend.py").write_text(backend)
    first = lab.make(f"mine @ {folder.as_uri()}")
    assert (first / "mine.py").read_text() == "VERSION = '1'"
    lab.runs.clear()
    assert lab.make(f"mine @ {folder.as_uri()}") == first
    assert lab.runs == []
    (folder / "backend.py").write_text(backend.replace("VERSION = '1'", "VERSION = 'edited'"))
    assert (lab.make(f"mine @ {folder.as_uri()}") / "mine.py").read_text() == "VERSION = 'edited'"


def test_indexes_that_cannot_be_reached_are_left_out(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    page = tmp_path / "simple" / "thing"
    page.mkdir(parents=True)
    file = wheel(page, "thing", "1")
    (page / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>')
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")
    with pytest.raises(TargetError) as caught:
        lab.make("thing==2")
    assert "secret" not in caught.value.message + caught.value.hint
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", page.parent.as_uri())
    assert lab.holds(lab.make("thing==1")) == {"thing-1"}
    for wanted in ("thing==2", "another"):
        with pytest.raises(TargetError, match=r"^127\.0\.0\.1:9 cannot be reached") as caught:
            lab.make(wanted)
        assert not isinstance(caught.value, UnobtainableError)
        assert "spelling" not in caught.value.hint
        assert "network" in caught.value.hint


def test_an_index_that_fails_for_a_moment_is_tried_again(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    class Failing(SimpleHTTPRequestHandler):
        left = 2

        def do_GET(self) -> None:
            if Failing.left:
                Failing.left -= 1
                self.connection.close()
            else:
                super().do_GET()

    page = tmp_path / "simple" / "thing"
    page.mkdir(parents=True)
    file = wheel(page, "thing", "1")
    (page / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Failing, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("PIP_NO_INDEX", "UV_HTTP_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    assert lab.holds(lab.make("thing==1")) == {"thing-1"}
    server.shutdown()


def test_an_edited_copy_gives_way_to_the_release(lab: Lab):
    """The target has the release's version, and its files are others."""
    assert lab.holds(lab.make("transformers==4.51.3")) == set()
    assert lab.holds(lab.make("transformers==4.51.3", anew=["transformers"])) == {"transformers-4.51.3"}


def test_which_index_is_left_out():
    settings = PipSettings(extra_index_urls=("https://a/simple/", "https://me:pw@b/simple"))
    less = uv_command.without_index
    assert less(settings, "https://b/simple/x/") == PipSettings(extra_index_urls=("https://a/simple/",))
    assert less(settings, "https://main/simple/x/") == PipSettings("https://a/simple/", ("https://me:pw@b/simple",))
    assert less(settings, "https://files/x-1-py3-none-any.whl") is None
    assert less(PipSettings(), "https://main/simple/x/") is None
    links = PipSettings(find_links=("links",))
    assert less(links, "https://main/simple/x/") == PipSettings(find_links=("links",), no_index=True)


def test_two_at_once_share_one_whole_overlay(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    together = threading.Barrier(2, timeout=60)
    on_install(monkeypatch, together.wait)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: lab.make("transformers==4.52.4"), range(2))
    assert first == second
    assert lab.holds(first) == {"transformers-4.52.4"}
    assert (first / "transformers.py").is_file()
    assert lab.leftovers() == []
    assert len(list((lab.cache / "overlays").iterdir())) == 1


def test_interruption_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    def interrupt() -> None:
        assert len(lab.leftovers()) == 1
        raise KeyboardInterrupt

    on_install(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        lab.make("transformers==4.52.4")
    assert lab.leftovers() == []
    assert not (lab.cache / "overlays").exists()


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        (["nowhere"], "No package index in use has nowhere."),
        (["transformers==99"], "No release transformers==99 can be had."),
        (["transformers>99"], "The requirements cannot be met: only transformers<=4.52.4 is available and you require"),
        (["transformers==4.51.3", "transformers==4.52.4"], "The requirements cannot be met: you require"),
    ],
)
def test_failures_are_one_sentence(lab: Lab, requirements: list[str], message: str):
    before = lab.target_state()
    with pytest.raises(TargetError) as caught:
        lab.make(*requirements)
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message
    assert "conclude" not in caught.value.message
    assert caught.value.hint
    assert caught.value.status == 3
    assert lab.target_state() == before


def test_what_is_no_requirement(lab: Lab):
    with pytest.raises(UsageFault, match="is not a requirement") as caught:
        lab.make("transformers=4.52\x1b[31m")
    assert caught.value.status == 2
    assert "\\x1b" not in caught.value.message
    assert lab.runs == []


def test_what_is_no_python(lab: Lab, tmp_path: Path):
    lab.python = tmp_path / "nothing"
    with pytest.raises(TargetError, match="does not run as a Python"):
        lab.make("transformers")


def test_cache_that_cannot_be_written(lab: Lab, tmp_path: Path):
    lab.cache = tmp_path / "file"
    lab.cache.touch()
    with pytest.raises(TargetError, match="cannot be written"):
        lab.make("transformers==4.52.4")


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (
            "error: Failed to fetch: `https://me:secret@host/simple/x/`\n  cause: HTTP status (403 Forbidden)",
            "host answered 403 Forbidden.",
        ),
        (
            "error: Request failed\n cause: Failed to fetch: https://host/simple/\n cause: dns error",
            "host cannot be reached.",
        ),
        (
            "  \u00d7 No solution found:\n  ╰─▶ Because there is no version of a==2 and you\n"
            "      require a==2, we can conclude that your requirements are unsatisfiable.\n\n      hint: try harder",
            "No release a==2 can be had.",
        ),
        (
            "error: Disk\x07 quota exceeded\n  cause: (os error 122)\nhint: buy one",
            "The overlay could not be made: Disk quota exceeded.",
        ),
        ("", "The overlay could not be made: it gave no reason."),
        ("error: " + "long " * 200, "The overlay could not be made: " + ("long " * 44).strip() + " …."),
    ],
)
def test_what_uv_says_is_distilled(stderr: str, message: str):
    error = uv_errors.distil(stderr, {})
    assert error.message == message
    assert not {"secret", "hint", "harder"} & set((error.message + error.hint).split())


def test_a_build_writes_nothing_into_the_folder_that_it_is_of(lab: Lab, tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "backend.py").write_text(
        BACKEND.format(first="open('generated.txt', 'w').close()", name="mine", version="1")
    )
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    os.utime(folder / "backend.py", (1, 1))
    first = lab.make(f"mine @ {folder.as_uri()}")
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == [
        "backend.py",
        "pyproject.toml",
    ]
    # The content counts, not the time of its change.
    (folder / "backend.py").write_text((folder / "backend.py").read_text().replace("VERSION = '1'", "VERSION = '2'"))
    os.utime(folder / "backend.py", (1, 1))
    second = lab.make(f"mine @ {folder.as_uri()}")
    assert (first / "mine.py").read_text() != (second / "mine.py").read_text()
    lab.runs.clear()
    shutil.copytree(folder, tmp_path / "again")
    assert lab.make(f"mine @ {(tmp_path / 'again').as_uri()}") == second
    assert lab.runs == []
