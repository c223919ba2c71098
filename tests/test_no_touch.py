"""The hook of ``ckptdoctor run``, and the command, with a torch of the tests' own."""

from __future__ import annotations

import copy
import functools
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

from ckptdoctor.observe.hooked import environment
from ckptdoctor.store import locations
from tests.conftest import run

FOLDER = locations.probes() / "no_touch"


class Module:
    training = True

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def modules(self):
        return [self]


class Layer(Module):
    def __init__(self):
        self.runs = 0

    def forward(self, x, more=0):
        self.runs += 1
        return x + more


class Broken(Layer):
    def forward(self, x):
        self.runs += 1
        return self.forward.func


@pytest.fixture
def adapter(monkeypatch):
    """The hook's module, beside a torch that knows modules and nothing else."""
    handle = types.SimpleNamespace(remove=lambda: None)
    module = types.SimpleNamespace(register_module_forward_pre_hook=lambda hook: handle)
    nn = types.SimpleNamespace(Module=Module, modules=types.SimpleNamespace(module=module))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(nn=nn))
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("_ckptdoctor_adapter", FOLDER / "_ckptdoctor_adapter.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def reads_self(func, *args):
    assert isinstance(func.__self__, Layer)
    return func(*args)


def reads_func_self(func, *args):
    assert isinstance(func.func.__self__, Layer)
    return func(*args)


def runs_self(func, *args):
    return func.__self__(*args)


SHAPES = {
    "partial-bound": lambda layer: functools.partial(layer.__call__, more=2),
    "partial-function": lambda layer: functools.partial(type(layer).forward, layer, more=2),
    "closure": lambda layer: lambda x: layer(x, more=2),
}


@pytest.mark.parametrize("function", [reads_self, reads_func_self, runs_self])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_layer_is_found_its_keywords_are_kept_and_it_runs_once(adapter, capsys, shape, function):
    layer, guard = Layer(), adapter.guard(function)

    assert [guard(SHAPES[shape](layer), 1), guard(SHAPES[shape](layer), 2)] == [3, 4]
    assert layer.runs == 2
    assert capsys.readouterr().err.count("\n") <= 1


def test_a_callable_that_fits_is_handed_on_untouched(adapter, capsys):
    handed, method = [], Layer().__call__

    assert adapter.guard(lambda func, x: handed.append(func) or func.__self__(x))(method, 1) == 1
    assert handed == [method]
    assert type(handed[0]) is type(method)
    assert capsys.readouterr().err == ""


def test_an_error_below_the_layer_passes_on_as_it_was(adapter, capsys):
    layer = Broken()

    with pytest.raises(AttributeError, match="'func'"):
        adapter.guard(reads_self)(layer.__call__, 1)

    assert layer.runs == 1
    assert capsys.readouterr().err == ""


def test_an_error_of_another_object_passes_on(adapter):
    with pytest.raises(AttributeError, match="'int' object"):
        adapter.guard(lambda func, x: x.__self__)(functools.partial(Layer().__call__), 1)


def test_a_border_is_put_up_once_and_copied_with_the_model(adapter):
    guard = adapter.guard(reads_self)

    assert adapter.guard(guard) is guard
    assert copy.deepcopy(guard) is guard
    assert guard.__name__ == "reads_self"


def start(*words, **environ):
    return run("run", "--", *words, environ=environ)


def test_the_shadowed_sitecustomize_is_run_and_hooks_are_in_place(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('theirs')")
    code = "import sys; print(type(sys.meta_path[0]).__name__, sys.modules['sitecustomize'].__file__)"

    ran = start(sys.executable, "-c", code, PYTHONPATH=str(tmp_path))

    # The doctor's own Python runs it before, as any other does.
    assert ran.out.splitlines() == ["theirs", "theirs", f"Finder {tmp_path / 'sitecustomize.py'}"]
    assert len(ran.err.splitlines()) == 1


def test_status_arguments_and_input_are_the_commands_own():
    code = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit(7)"
    command = [sys.executable, "-m", "ckptdoctor", "run", sys.executable, "-c", code, "a b", "--", "--help", ""]

    ran = subprocess.run(command, input="in", capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout) == (7, "['a b', '--', '--help', ''] in\n")


def test_a_signal_ends_it_as_it_ends_the_command():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"

    assert start(sys.executable, "-c", code).status == -15


def test_what_the_command_is_given_is_not_ours():
    ran = run("run", "--", "no-such-program", "--debug")

    assert ran.status == 127
    assert "Traceback" not in ran.err
    assert "error: no-such-program: not found." in ran.err


@pytest.mark.parametrize(("words", "status"), [((), 2), (("no-such-program",), 127), (("/",), 126)])
def test_what_cannot_be_started(words, status):
    ran = start(*words)

    assert ran.status == status
    assert "Traceback" not in ran.err


def test_the_folder_stands_first_and_once():
    once = environment(("adapt",), {"PYTHONPATH": "/mine"})

    assert once["PYTHONPATH"].split(":") == [str(FOLDER), "/mine"]
    assert environment(("adapt",), once) == once
    assert environment(("adapt",), {"PYTHONPATH": ""})["PYTHONPATH"] == str(FOLDER)


def test_a_command_inside_of_another_does_what_both_ask_for():
    outer = environment(("watch",), {}, Path("/evidence"))

    assert environment(("adapt",), outer)["CKPTDOCTOR_DO"] == "watch,adapt"
    assert environment(("adapt",), outer)["CKPTDOCTOR_EVIDENCE"] == "/evidence"
    assert environment(("adapt",), {"CKPTDOCTOR_DO": "watch"})["CKPTDOCTOR_DO"] == "adapt"
