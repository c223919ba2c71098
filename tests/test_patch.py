from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import types

import pytest

from ckptdoctor.remedies.patch import diff, patch

SOURCE = '''\
"""A trainer's checkpointing."""

# functools under another name
from functools import partial as bind
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LIMIT = 3   # odd spacing stays


def wrap(run):
    def checkpoint(func, *args, **kwargs):
        layer: "torch.nn.Module" = func.__self__  # the layer
        return layer, run( func,*args, **kwargs )
    if hasattr(run, "__self__"):
        checkpoint.__self__ = run.__self__
    return checkpoint


def other(func):
    if isinstance(func, bind):
        return func.func.__self__.name
    return [func.__self__ for _ in range(1)]
'''

OFFLOAD = """\
from functools import partial

def uses_layers(layer):
    return isinstance(layer.func.__self__, dict)

def offload(layer, *args):
    if layer.__self__(*args):
        return None
    return Offload.apply(
        (
            layer.func.__self__
            if isinstance(layer, partial)
            else layer.__self__
        ),
        *args,
    )
"""


def line_of(source, text):
    return 1 + source[: source.index(text)].count("\n")


def patched(source=SOURCE, text="= func.__self__"):
    result = patch(source, line_of(source, text))
    assert result is not None
    return result


class Module:
    """Stands in for torch.nn.Module; what is tested is the rewritten source."""

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        return args, kwargs


class Layer(Module):
    def super_call(self):
        return super().__call__


class Tool:
    def __init__(self, layer=None):
        self.layer = layer

    def method(self):
        return self


@pytest.fixture
def fake_torch(monkeypatch):
    torch = types.ModuleType("torch")
    torch.nn = types.SimpleNamespace(Module=Module)
    monkeypatch.setitem(sys.modules, "torch", torch)


def run(source):
    names = {}
    exec(compile(source, "trainer.py", "exec"), names)
    return names


def wrapped(layer):
    @functools.wraps(layer.forward)
    def forward(*args):
        return args

    return forward


def copied_self(layer):
    def function(*args):
        return args

    function.__self__ = layer
    return function


def recursive(layer):
    def function(depth):
        return function(depth - 1) if depth else layer(unset)

    if layer is None:
        unset = None
    return function


def decorated(layer):
    other_module = Layer()

    def forward(self, *args):
        return other_module, forward

    return functools.partial(forward, layer, flag=True)


SHAPES = {
    "module": lambda layer: layer,
    "bound call": lambda layer: layer.__call__,
    "bound forward": lambda layer: layer.forward,
    "super call": lambda layer: layer.super_call(),
    "partial of a method": lambda layer: functools.partial(layer.__call__, mask=1),
    "partial of super call": lambda layer: functools.partial(layer.super_call(), mask=1),
    "partial of a function, layer first": lambda layer: functools.partial(Layer.forward, layer, mask=1),
    "partial of Module.__call__": lambda layer: functools.partial(Module.__call__, layer),
    "partial of a partial's method": lambda layer: functools.partial(
        functools.partial(layer.__call__, mask=1), Layer()
    ),
    "subclassed partial": lambda layer: type("Bind", (functools.partial,), {})(layer.__call__, mask=1),
    "method goes before a module argument": lambda layer: functools.partial(layer.__call__, Layer()),
    "argument goes before a closure": decorated,
    "wrapped function": wrapped,
    "partial of a wrapped function": lambda layer: functools.partial(wrapped(layer), mask=1),
    "copied __self__": copied_self,
    "closure": lambda layer: lambda *args: layer(*args),
    "closure with itself and an empty cell": recursive,
    "method of something else, layer as argument": lambda layer: functools.partial(Tool().method, layer),
    "object with __self__": lambda layer: types.SimpleNamespace(__self__=layer),
}


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("shape", SHAPES)
def test_finds_the_layer_in_every_shape(shape):
    layer = Layer()
    checkpoint = run(patched())["wrap"](lambda func: func)
    func = SHAPES[shape](layer)
    assert checkpoint(func) == (layer, func)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("func", [len, Tool().method, functools.partial(print, 1), lambda: None])
def test_says_so_when_there_is_no_layer(func):
    with pytest.raises(TypeError, match=r"no torch\.nn\.Module found"):
        run(patched())["other"](func)


def test_changes_only_the_reads_through_that_parameter():
    before, after = SOURCE.splitlines(), patched().splitlines()
    added = [line for line in after if line not in before]
    rewritten = [line.strip() for line in added if line.strip() and "_layer_of(" in line and "def " not in line]
    assert rewritten == [
        'layer: "torch.nn.Module" = _layer_of(func)  # the layer',
        "return _layer_of(func).name",
        "return [_layer_of(func) for _ in range(1)]",
    ]
    assert [line for line in before if line not in after] == [
        line for line in before if "func.__self__" in line or "func.func" in line
    ]


def test_helper_stands_after_the_imports_between_empty_lines():
    assert "    import torch\n\n\ndef _layer_of(func):\n" in patched()
    assert '{func!r}")\n\n\nLIMIT = 3   # odd spacing stays\n' in patched()


@pytest.mark.parametrize(
    ("source", "start"),
    [
        ("def f(g):\n    return g.__self__\n", "def _layer_of"),
        ("# head\n\ndef f(g):\n    return g.__self__\n", "# head\n\ndef _layer_of"),
        ('"""Doc."""\ndef f(g):\n    return g.__self__\n', '"""Doc."""\n\n\ndef _layer_of'),
        ("import a\nf = lambda g: g.__self__", "import a\n\n\ndef _layer_of"),
    ],
)
def test_helper_in_modules_without_much_at_the_top(source, start):
    result = patched(source, "g.__self__")
    assert result.startswith(start)
    assert result.endswith("_layer_of(g)\n") == source.endswith("\n")
    compile(result, "trainer.py", "exec")


def test_keeps_line_endings_and_indentation():
    source = "def f(g):\r\n\treturn g.__self__\r\n"
    result = patched(source, "g.__self__")
    assert result.count("\n") == result.count("\r\n") > 20
    assert "\n\timport torch\r\n" in result
    assert "\n " not in result
    compile(result, "trainer.py", "exec")


def test_takes_a_free_name():
    result = patched("_layer_of = _layer_of_2 = None\n\ndef f(g):\n    return g.__self__\n", "g.__self__")
    assert "def _layer_of_3(func):" in result
    assert "return _layer_of_3(g)" in result


@pytest.mark.parametrize("text", ["layer.func.__self__, dict", "layer.func.__self__\n", "else layer.__self__"])
def test_a_callable_to_be_run_is_handed_on_itself(text):
    result = patched(OFFLOAD, text)
    assert "    return isinstance(_layer_of(layer), dict)\n" in result
    assert "    if layer(*args):\n" in result
    assert "    return Offload.apply(\n        layer,\n        *args,\n    )\n" in result


def test_no_helper_where_none_is_called():
    assert (
        patched("def f(g, *a):\n    return run(g.__self__, *a)\n", "g.__self__")
        == "def f(g, *a):\n    return run(g, *a)\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        "def f(g):\n    return g.name\n",
        "def f():\n    return g.__self__\n",
        "def f(ctx):\n    return ctx.forward.__self__\n",
        "def f(g):\n    g.__self__ = 1\n",
        "def f(g):\n    return g().__self__\n",
        "def f(g):\n    return g.__self__ +\n",
    ],
)
def test_none_without_such_a_read(source):
    assert patch(source, 2) is None


def test_none_at_another_line():
    assert patch(SOURCE, line_of(SOURCE, "LIMIT")) is None
    assert patch(SOURCE, 10_000) is None


def test_none_when_patched_already():
    result = patched()
    assert patch(result, line_of(result, "= _layer_of(func)")) is None
    assert patch(patched(OFFLOAD, "else layer"), line_of(OFFLOAD, "else layer")) is None


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch(1)")
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "source",
    [
        SOURCE,
        SOURCE.rstrip(),
        SOURCE.replace("odd spacing", "odd\x0cspacing\u2028é"),
        "f = lambda func: func.__self__ # = func.__self__",
    ],
)
def test_diff_applies_with_patch(tmp_path, source, ending):
    source = source.replace("\n", ending)
    result = patched(source)
    file = tmp_path / "trainer" / "model" / "checkpointing.py"
    file.parent.mkdir(parents=True)
    file.write_bytes(source.encode())
    change = diff(source, result, "trainer/model/checkpointing.py")
    assert change.startswith("--- a/trainer/model/checkpointing.py\n+++ b/trainer/model/checkpointing.py\n@@ ")
    subprocess.run(["patch", "-p1"], cwd=tmp_path, input=change.encode(), check=True, capture_output=True)
    assert file.read_bytes() == result.encode()


def test_no_diff_without_a_change():
    assert diff(SOURCE, SOURCE, "trainer.py") == ""
