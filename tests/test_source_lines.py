"""Lines of source and ranges, also where Python notes no columns of instructions, as before 3.11."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OLD = os.environ.get("CKPTDOCTOR_TEST_OLD_PYTHON")
PYTHONS = [[sys.executable], [sys.executable, "-X", "no_debug_ranges"], *([[OLD]] if OLD else [])]

SCRIPT = """
import functools, importlib.util, json, sys
spec = importlib.util.spec_from_file_location("source_lines", sys.argv[1])
source_lines = importlib.util.module_from_spec(spec)
sys.modules["source_lines"] = source_lines
spec.loader.exec_module(source_lines)

def traced(call, attribute=""):
    try:
        call()
    except Exception as error:
        step = error.__traceback__
        while step.tb_next:
            step = step.tb_next
        return source_lines.of_frame(step.tb_frame, step.tb_lineno, step.tb_lasti, attribute)

def checkpoint(function, *args, **kwargs):
    call = source_lines.of_call(sys._getframe(1))
    return {"by": call.lines, "built_at": call.built_at, "built": call.built}

namespace = {"checkpoint": checkpoint, "functools": functools, "traced": traced, "source_lines": source_lines}
with open(sys.argv[2], encoding="utf-8") as handle:
    exec(compile(handle.read(), sys.argv[2], "exec"), namespace)
print(json.dumps(namespace["found"]))
"""


def collected(tmp_path: Path, python: list[str], text: str):
    """What a piece of code puts into ``found``."""
    script, case = tmp_path / "script.py", tmp_path / "case.py"
    script.write_text(SCRIPT, encoding="utf-8")
    case.write_text(text, encoding="utf-8")
    command = [*python, str(script), str(ROOT / "probes" / "source_lines.py"), str(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def marked(source: dict) -> str:
    """The text of the range."""
    region = source["region"]
    lines = source["lines"][region["line"] - source["first"] : region["end_line"] - source["first"] + 1]
    lines[-1] = lines[-1][: region["end_column"] - 1]
    lines[0] = lines[0][region["column"] - 1 :]
    return "\n".join(lines)


@pytest.fixture(params=PYTHONS)
def collect(request, tmp_path):
    return functools.partial(collected, tmp_path, request.param)


def test_an_attribute_behind_wide_characters_and_a_tab_is_marked_by_characters(collect):
    source = collect(
        "def read(func):\n\t名 = '模型'; owner = func.__self__\n\treturn owner\nfound = traced(lambda: read(1), '__self__')\n"
    )

    assert marked(source) == "func.__self__"
    assert source["first"] == 1
    assert source["lines"][1].startswith("\t名")


def test_what_a_call_of_several_lines_passes_is_marked_and_is_built_there(collect):
    found = collect(
        "def forward(layer):\n"
        "    if layer:\n"
        "        out = checkpoint(\n"
        "            functools.partial(layer, 1),\n"
        "            2,\n"
        "            x=3,\n"
        "        )\n"
        "    return out\n"
        "found = forward(print)\n"
    )

    assert marked(found["by"]) == marked(found["built"]) == "functools.partial(layer, 1)"
    assert found["built_at"] == 4


@pytest.mark.parametrize(
    ("made", "built", "line"),
    [
        ("run = functools.partial(print)", "functools.partial(print)", 2),
        ("def run(*args):\n        return args", "run", 2),
        ("run = lambda: 0", "lambda: 0", 2),
    ],
)
def test_what_a_name_stands_for_is_built_where_it_is_bound(collect, made, built, line):
    found = collect(f"def forward():\n    {made}\n    return checkpoint(run, 1)\nfound = forward()\n")

    assert marked(found["by"]) == "run"
    assert (marked(found["built"]), found["built_at"]) == (built, line)


@pytest.mark.parametrize(
    "text",
    [
        "def forward(run):\n    return checkpoint(run, 1)\nfound = forward(print)\n",
        "def forward(run):\n    run = run or print\n    return checkpoint(run, 1)\nfound = forward(print)\n",
        "def forward():\n    run = print\n    if run:\n        run = id\n    return checkpoint(run, 1)\nfound = forward()\n",
        "def forward():\n    for run in (print,):\n        return checkpoint(run, 1)\nfound = forward()\n",
    ],
)
def test_a_name_that_may_stand_for_several_things_is_built_nowhere(collect, text):
    found = collect(text)

    assert marked(found["by"]) == "run"
    assert found["built"] is None


def test_arguments_that_hide_the_callable_leave_the_call_marked_or_nothing(collect):
    found = collect("def forward(*args):\n    return checkpoint(*args)\nfound = forward(print)\n")

    assert found["built"] is None
    assert found["by"]["region"] is None or marked(found["by"]) == "checkpoint(*args)"


@pytest.mark.parametrize("name", ["<string>", "gone.py"])
def test_a_source_that_is_not_there_comes_to_nothing(collect, name):
    text = (
        f"code = compile('1 / 0', {name!r}, 'exec')\nfound = [traced(lambda: exec(code)), source_lines.of_code(code)]\n"
    )

    assert collect(text) == [None, None]


def test_a_source_that_does_not_parse_keeps_its_lines(collect, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("1 / 0\n", encoding="utf-8")
    text = (
        f"code = compile(open({str(other)!r}).read(), {str(other)!r}, 'exec')\n"
        f"open({str(other)!r}, 'w').write('1 / 0 )\\n')\n"
        "found = traced(lambda: exec(code))\n"
    )

    assert collect(text)["lines"] == ["1 / 0 )"]


def test_the_name_of_a_function_stands_below_its_decorators(collect):
    found = collect(
        "def same(function):\n    return function\n"
        "@same\n@same\ndef run():\n    pass\nfound = source_lines.of_code(run.__code__)\n"
    )

    assert marked(found) == "run"
    assert found["lines"] == ["@same", "@same", "def run():"]


def test_long_sources_are_cut(collect):
    lines = "".join(f"        '{number}',\n" for number in range(50))
    found = collect(
        f"def forward():\n    return checkpoint(functools.partial(\n        print,\n{lines}    ))\nfound = forward()\n"
    )

    assert len(found["by"]["lines"]) == 12
    assert found["by"]["region"]["end_line"] > found["by"]["first"] + 11
