"""Environments that the tests build themselves, with real packages, and ways to run the doctor on them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

TORCH = "torch==2.13.0"
STACK = ("transformers==4.51.3", "deepspeed==0.16.4", "numpy")
TRAINER = "llamafactory==0.9.2"


LONGEST = (
    "jobs",
    "observer",
    "fix",
    "rehearse",
    "switching_on",
    "scan",
    "models",
    "variants",
    "watch",
    "axolotl_job",
    "docs",
    "robust",
    "stacks",
    "ray",
    "rules",
    "mutations",
    "fix_carried_out",
    "ci",
    "matrix",
    "sources",
    "impact",
    "run",
    "bugreport",
)
"""The modules that take longest: they are begun first, so that no worker is left alone with one in the end."""


def pytest_collection_modifyitems(items):
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def environments(tmp_path_factory):
    """A folder for environments; ``CKPTDOCTOR_TEST_ENVIRONMENTS`` keeps it from one run of the tests to the next."""
    kept = os.environ.get("CKPTDOCTOR_TEST_ENVIRONMENTS")
    if kept:
        folder = Path(kept).absolute()
    elif "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / "environments"
    else:
        folder = tmp_path_factory.getbasetemp() / "environments"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(environments):
    """The doctor's cache, away from the user's own and shared by all tests."""
    os.environ["CKPTDOCTOR_CACHE"] = str(environments / "cache")
    os.environ["CKPTDOCTOR_NO_PROGRESS"] = "1"  # a slow machine prints no more than a fast one
    os.environ["CKPTDOCTOR_OFFLINE"] = "1"  # which releases came since is asked in the tests of just that
    return environments / "cache"


@pytest.fixture(scope="session", autouse=True)
def retries():
    """An index that does not answer for a minute fails no test. A test of an index out of reach sets its own number."""
    os.environ.setdefault("UV_HTTP_RETRIES", "6")


@pytest.fixture(scope="session", autouse=True)
def compiled():
    """Jobs that tests start keep what Python compiles, as users' do: it takes longer than the imports of a stack themselves."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def torch_python(environments):
    """A Python with torch and nothing else of the stack."""
    return build(environments / "torch", [TORCH, "numpy"])


@pytest.fixture(scope="session")
def demo_python(environments):
    """The stack on which the fault began: GLM-4-0414's first transformers with an older LLaMA-Factory."""
    return build(environments / "demo", [TORCH, *STACK], [TRAINER])


@pytest.fixture(scope="session")
def bare_python(environments):
    """A Python with nothing installed."""
    return build(environments / "bare", [])


def build(folder, requirements, without_dependencies=()):
    """Make a virtual environment, once; pip's settings on this machine say where packages come from."""
    from ckptdoctor.environment import pip_settings

    python = folder / "bin" / "python"
    with locked(folder.with_suffix(".lock")):
        if (folder / "complete").exists():
            return python
        uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        settings = pip_settings.read(None, os.environ)
        arguments = pip_settings.uv_arguments(settings)
        environ = {**os.environ, **pip_settings.uv_environment(settings), "DS_BUILD_OPS": "0"}
        for more, wanted in (([], requirements), (["--no-deps"], without_dependencies)):
            if wanted:
                uv("pip", "install", "--quiet", "--python", str(python), *arguments, *more, *wanted, environ=environ)
        (folder / "complete").touch()
    return python


def uv(*arguments, environ=None):
    from uv import find_uv_bin

    done = subprocess.run([find_uv_bin(), *arguments], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def locked(path):
    """One process at a time, between the workers of pytest-xdist."""
    import fcntl

    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@dataclass
class Ran:
    """What a run of the command line ended in."""

    status: int
    out: str
    err: str

    @property
    def report(self):
        return json.loads(self.out)

    @property
    def outcomes(self):
        return {probe["id"]: probe["outcome"] for probe in self.report["probes"]}

    @property
    def rules(self):
        return sorted({finding["rule"] for finding in self.report["findings"]})


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file or limit")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file another user's")


def run(*arguments, cwd=None, environ=None, timeout=300, code="", **more):
    """Run the command line as a user does, in a process of its own; or run some code as it."""
    merged = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    merged.update(environ or {})
    done = subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "ckptdoctor"]), *map(str, arguments)],
        cwd=cwd,
        env=merged,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **more,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def call(*arguments, cwd=None, environ=None):
    """Run the command line in this process, which is quicker: for tests of what it says, not of how its process behaves."""
    from ckptdoctor import cli

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
            patch.delenv(name, raising=False)
        for name, value in (environ or {}).items():
            patch.setenv(name, value)
        if cwd:
            patch.chdir(cwd)
        status = cli.run_command([*map(str, arguments)])
    return Ran(status, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def check(python, *arguments, **more):
    """Run ``ckptdoctor check`` on a target, for its JSON."""
    return run("check", "--python", python, "--format", "json", *arguments, **more)


def judged(python, *arguments, **more):
    """The same without a search for fixes, as from Python: for tests of the finding alone."""
    return run("check", "--python", python, "--format", "json", *arguments, code=_WITHOUT_FIXES, **more)


_WITHOUT_FIXES = """
import functools
from ckptdoctor.planning import request
request.build = functools.partial(request.build, find_remedies=False)
from ckptdoctor.cli import main
main()
"""
