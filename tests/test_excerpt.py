"""Some definitions of a module run alone, and what they stand on is what their fingerprint covers."""

import importlib.util
from pathlib import Path

import pytest

from ckptdoctor.matrix import python_source

MODULE = """\
import nowhere_to_be_found
from collections import OrderedDict, Missing
from functools import wraps, lru_cache
try:
    import also_missing
except ImportError:
    also_missing = None
HERE = OrderedDict(a=1)
THERE = nowhere_to_be_found.value


class Trainer(nowhere_to_be_found.Base):
    def other(self) -> nowhere_to_be_found.Type:
        return THERE

    def fix(self, value: nowhere_to_be_found.Type) -> nowhere_to_be_found.Type:
        @wraps(helper)
        def inner():
            return self, helper(value), also_missing
        return inner


def helper(value: nowhere_to_be_found.Type):
    HERE_TOO = value
    return HERE, HERE_TOO
"""


@pytest.fixture
def load(tmp_path):
    """Loads definitions of the module alone."""
    (tmp_path / "trainer.py").write_text(MODULE)
    excerpt = module(Path(__file__).parents[1] / "probes" / "excerpt.py")
    return lambda *names: module(
        tmp_path / "trainer.py", excerpt.Loader("module", str(tmp_path / "trainer.py"), names, {})
    )


def module(file, loader=None):
    spec = importlib.util.spec_from_file_location("module", file, loader=loader)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_method_runs_with_what_it_uses_and_nothing_else(load):
    trainer = load("fix")
    owner = object()
    assert trainer.fix(owner, 2)() == (owner, ({"a": 1}, 2), None)
    given = {name for name in vars(trainer) if not name.startswith("__")}
    assert given == {"OrderedDict", "wraps", "also_missing", "HERE", "fix", "helper"}


def test_its_lines_are_those_of_the_file(load, tmp_path):
    code = load("fix").fix.__code__
    assert code.co_filename == str(tmp_path / "trainer.py")
    assert code.co_firstlineno == MODULE[: MODULE.index("def fix")].count("\n") + 1


def test_a_file_without_them_cannot_be_loaded(load):
    with pytest.raises(ImportError, match="defines none of gone"):
        load("gone")


def test_the_fingerprint_covers_what_runs():
    covered = python_source.part(MODULE, ["fix"])
    for change in (("(a=1)", "(a=2)"), ("helper(value), also", "helper(3), also"), ("return HERE,", "return 0,")):
        assert python_source.part(MODULE.replace(*change), ["fix"]) != covered
    for change in (("return THERE", "return 0"), ("nowhere_to_be_found.value", "0"), ("Missing", "Gone")):
        assert python_source.part(MODULE.replace(*change), ["fix"]) == covered
