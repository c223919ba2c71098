"""A patched copy is tried in place of the module that defines the user's own checkpoint function."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from ckptdoctor.store import locations

pytestmark = pytest.mark.real

SCRIPT = """
import importlib.util, json, sys
entry = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("entry", sys.argv[1]))
spec.loader.exec_module(entry)
functions = entry.load("functions")
class Model:
    def checkpoint_with(self, function):
        self.function = function
made = Model()
loaded = functions.enable(sys.argv[2], made, sys.argv[3])
print(json.dumps([made.function(), loaded["place"]["file"]]))
"""


@pytest.mark.parametrize("name", ["mine.inner:step", "mine:step", "mine.inner:Holder.step", "mine.py:step"])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_the_replacement_is_what_runs(name, is_replaced, torch_python, tmp_path):
    package = tmp_path / "mine"
    package.mkdir()
    text = "from . import neighbour\ndef step():\n    return neighbour.NAME + ' {}'\nclass Holder:\n    step = step\n"
    (package / "neighbour.py").write_text("NAME = 'beside'\n")
    (package / "__init__.py").write_text("from .inner import step\n")
    (package / "inner.py").write_text(text.format("old"))
    (tmp_path / "mine.py").write_text("def step():\n    return 'beside old'\n")
    copy = tmp_path / "copies" / "inner.py"
    copy.parent.mkdir()
    alone = "def step():\n    return 'beside new'\n"
    copy.write_text(alone if name.startswith("mine.py") else text.format("new"))

    done = subprocess.run(
        [torch_python, "-c", SCRIPT, str(locations.probes() / "__main__.py"), name, str(copy) if is_replaced else ""],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    said, file = json.loads(done.stdout)
    assert said == ("beside new" if is_replaced else "beside old")
    assert (file == str(copy)) is is_replaced
