"""Who replaced what is found at the line that did it: a class's forward, a layer's own, a module's name, a method."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from ckptdoctor.store import locations

MODELING = """\
class Layer:
    def forward(self, x):
        return x

    def named_modules(self):
        return [("", self), ("layers.0", self.layer)] if hasattr(self, "layer") else [("", self)]

    def gradient_checkpointing_enable(self):
        pass


def checkpoint(function):
    return function()
"""

TRAINER = """\
import functools
import types
from helper import set_it


def patched(self, x):
    return x + 1


def on_class(modeling, model):
    kept = modeling.Layer.forward
    modeling.Layer.forward = patched
    return kept


def on_instance(modeling, model):
    model.layer.forward = types.MethodType(patched, model.layer)


def method(modeling, model):
    model.gradient_checkpointing_enable = types.MethodType(functools.partial(patched, x=1), model)


def class_in_module(modeling, model):
    class Other(modeling.Layer):
        pass

    modeling.Layer = Other


def by_a_helper(modeling, model):
    pass
    set_it(modeling.Layer, patched)
    pass


def by_an_inner_call(modeling, model):
    on_class(modeling, model)
    pass


def and_back(modeling, model):
    kept = on_class(modeling, model)
    modeling.Layer.forward = kept


def raises(modeling, model):
    modeling.Layer.forward = patched
    raise ValueError


def between_lines_that_only_look_up(modeling, model):
    names = {
        "one": modeling.Layer,
        "other": modeling,
    }
    for name in names:
        layer = names["one"]
        setattr(layer, "forward", patched)
        name = layer
    return [one for one in names if one in "other"]


def by_item(modeling, model):
    names = vars(modeling)
    layer = names["Layer"]
    names["Layer"] = patched
    layer = names


def in_a_comprehension(modeling, model):
    layers = [modeling.Layer]
    done = [setattr(one, "forward", patched) for one in layers]
    return layers


class Replacing:
    def __init__(self, modeling):
        self.modeling = modeling

    def __enter__(self):
        layer = self.modeling.Layer
        layer.forward = patched

    def __exit__(self, *error):
        pass


def in_a_context(modeling, model):
    context = Replacing(modeling)
    with context:
        layer = modeling


def in_a_generator(modeling, model):
    def steps():
        yield 1
        modeling.Layer.forward = patched
        yield 2

    for step in steps():
        layer = step
    layer = modeling


def in_a_class_body(modeling, model):
    class Body:
        modeling.Layer.forward = patched
        layer = modeling

    layer = Body
"""

CONSTANTS = """\
def quiet(names, name):
    if name in names and names[name] != (name,):
        return {name: [names[name], -1]}
    return name.title

kept = {
    "a": {
        1: 2,
    },
    "b":
        [3],
}
kept.update(
    a=quiet,
)
"""

HELPER = "def set_it(owner, value):\n    owner.forward = value\n"


@pytest.fixture(scope="module")
def replacements():
    """The module of the environment's side, in a package of another name."""
    folder = locations.probes()
    spec = importlib.util.spec_from_file_location(
        "probes_of_the_test", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules["probes_of_the_test"] = package
    spec.loader.exec_module(package)
    yield importlib.import_module("probes_of_the_test.replacements")
    for name in [name for name in sys.modules if name.partition(".")[0] == "probes_of_the_test"]:
        del sys.modules[name]


@pytest.fixture
def run(replacements, tmp_path, monkeypatch):
    """Runs a function of the trainer while its file is watched; what was replaced, and by which line of code."""
    made = {}
    for name, text in (("helper", HELPER), ("modeling", MODELING), ("trainer", TRAINER)):
        (tmp_path / f"{name}.py").write_text(text)
        made[name] = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made[name])
        exec(compile(text, str(tmp_path / f"{name}.py"), "exec"), vars(made[name]))
    modeling, trainer = made["modeling"], made["trainer"]

    def ran(name):
        model = modeling.Layer()
        model.layer = modeling.Layer()
        watch = replacements.Watch(lambda file: file == str(tmp_path / "trainer.py"))
        watch.add_modules([modeling])
        watch.add_model(model)
        tracer = sys.gettrace()
        try:
            with watch:
                getattr(trainer, name)(modeling, model)
        except ValueError:
            pass
        assert sys.gettrace() is tracer
        return {one["what"]: (one["by"]["code"], (one["with_"] or {}).get("code")) for one in watch.told()}

    return ran


ON_CLASS = ("modeling.Layer.forward = patched", "def patched(self, x):")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("on_class", {"Layer.forward": ON_CLASS}),
        ("by_an_inner_call", {"Layer.forward": ON_CLASS}),
        ("raises", {"Layer.forward": ON_CLASS}),
        ("by_a_helper", {"Layer.forward": ("set_it(modeling.Layer, patched)", "def patched(self, x):")}),
        (
            "on_instance",
            {
                "layers.0.forward": (
                    "model.layer.forward = types.MethodType(patched, model.layer)",
                    "def patched(self, x):",
                )
            },
        ),
        (
            "method",
            {
                "gradient_checkpointing_enable": (
                    "model.gradient_checkpointing_enable = types.MethodType(functools.partial(patched, x=1), model)",
                    "def patched(self, x):",
                )
            },
        ),
        ("class_in_module", {"modeling.Layer": ("modeling.Layer = Other", None)}),
        (
            "between_lines_that_only_look_up",
            {"Layer.forward": ('setattr(layer, "forward", patched)', "def patched(self, x):")},
        ),
        ("by_item", {"modeling.Layer": ('names["Layer"] = patched', "def patched(self, x):")}),
        (
            "in_a_comprehension",
            {
                "Layer.forward": (
                    'done = [setattr(one, "forward", patched) for one in layers]',
                    "def patched(self, x):",
                )
            },
        ),
        ("in_a_context", {"Layer.forward": ("layer.forward = patched", "def patched(self, x):")}),
        ("in_a_generator", {"Layer.forward": ON_CLASS}),
        ("in_a_class_body", {"Layer.forward": ON_CLASS}),
        ("and_back", {}),
    ],
)
def test_the_line_that_replaced_it_is_found(run, name, found):
    assert run(name) == found


def test_a_module_that_is_imported_later_has_a_name_too(replacements, monkeypatch):
    home = ModuleType("torch.utils.checkpoint")
    home.checkpoint = lambda function: function()
    monkeypatch.setitem(sys.modules, "torch.utils.checkpoint", home)
    replacements.warm_up()
    user = ModuleType("user_that_came_later")
    user.run = home.checkpoint
    monkeypatch.setitem(sys.modules, "user_that_came_later", user)
    with replacements.Watch(lambda file: file == __file__) as watch:
        _replace(user)
    assert [one["what"] for one in watch.told()] == ["user_that_came_later.run"]


def test_lines_that_only_look_up_replace_nothing(replacements):
    code = compile(CONSTANTS, "constants.py", "exec")
    function = next(one for one in code.co_consts if hasattr(one, "co_code"))
    assert replacements.replacing_lines.of(code) == {1, 6, 13}
    assert replacements.replacing_lines.of(function) == frozenset()


def test_each_modules_own_name_for_torchs_function_is_watched(replacements, monkeypatch, tmp_path):
    home, user = ModuleType("torch.utils.checkpoint"), ModuleType("user")
    home.checkpoint = lambda function: function()
    user.run = home.checkpoint
    monkeypatch.setitem(sys.modules, "torch.utils.checkpoint", home)
    monkeypatch.setitem(sys.modules, "user", user)
    with replacements.Watch(lambda file: file == __file__) as watch:
        _replace(user)
    [found] = watch.told()
    assert (found["what"], found["by"]["code"]) == ("user.run", "module.run = len")


def _replace(module):
    module.run = len
