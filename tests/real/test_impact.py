"""What changes of transformers break: two releases, a local change of the callable, and a comment."""

from __future__ import annotations

import json
import os
import zipfile

import pytest

from ckptdoctor.environment import pip_settings
from tests.conftest import call, uv

pytestmark = pytest.mark.real

BASE, HEAD = "5.22.2", "5.23.0"
LLAMAFACTORY = "llamafactory==0.9.5"

PASSES = "return self._gradient_checkpointing_func(partial(super().__call__, **kwargs), *args)"
CLOSURE = (
    "call = super().__call__\n"
    "            return self._gradient_checkpointing_func(lambda *inputs: call(*inputs, **kwargs), *args)"
)


@pytest.fixture(scope="module")
def compare(torch_python, tmp_path_factory):
    """Compare two sides with one trainer and one family, in one store for all tests."""
    store = tmp_path_factory.mktemp("impact") / "store"

    def compared(base, head, *more, cwd=None):
        options = [
            "--with",
            LLAMAFACTORY,
            "--model",
            "llama",
            "--no-fixes",
            "--store",
            store,
            "--format",
            "json",
            *more,
        ]
        ran = call("impact", "--python", torch_python, "--base", base, "--head", head, *options, cwd=cwd)
        return ran.status, json.loads(ran.out) if ran.out else ran.err

    return compared


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Makes a wheel of the base with other text in one place, as somebody who edits it would; its record is not kept up."""
    folder = tmp_path_factory.mktemp("base")
    arguments = pip_settings.uv_arguments(pip_settings.read(None, os.environ))
    uv("pip", "install", "--quiet", *arguments, "--no-deps", "--target", str(folder), f"transformers=={BASE}")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    kept = {name: path for name, path in files.items() if name.startswith("transformers") and "__pycache__" not in name}

    def edit(old, new):
        wheel = tmp_path_factory.mktemp("head") / f"transformers-{BASE}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as made:
            for name, path in kept.items():
                content = path.read_bytes()
                if name == "transformers/modeling_layers.py":
                    assert old.encode() in content
                    content = content.replace(old.encode(), new.encode())
                made.writestr(name, content)
        return wheel

    return edit


def test_two_releases_and_what_breaks_loudly_and_silently(compare):
    status, found = compare(f"transformers=={BASE}", f"transformers=={HEAD}")
    assert status == 1, found
    [broken] = [one for one in found["changes"] if one["kind"] == "broken"]
    assert broken["functions"] == ["llamafactory", "llamafactory:unsloth"]
    assert broken["models"] == ["llama"]
    [fault] = broken["head"]["faults"]
    assert (fault["rule"], fault["culprit"]["package"], fault["passed_by"]["package"]) == (
        "CKPT001",
        "llamafactory",
        "transformers",
    )
    assert broken["base"]["passed_by"]["file"] == fault["passed_by"]["file"] == "transformers/modeling_layers.py"
    assert broken["base"]["passed_by"]["line"] != fault["passed_by"]["line"]
    assert any("requires transformers" in one for one in broken["unmet"])

    contracts = {one["watched"]: one for one in found["contracts"]}
    assert set(contracts) == {"callable", "forward", "hooks", "switch"}
    assert "Layer.__call__" in contracts["callable"]["base"]
    assert "Layer.forward" in contracts["callable"]["head"]
    assert "is not recomputed" in contracts["forward"]["head"]
    silent = [one for one in contracts["forward"]["relied"] if "silently off" in one.get("breaks", "")]
    assert {one["package"] for one in silent} == {"llamafactory"}
    assert found["not_compared"] == []


def test_a_comment_runs_nothing_and_a_closure_is_found(compare, edited):
    status, found = compare(f"transformers=={BASE}", edited(PASSES, f"# what is passed\n            {PASSES}"))
    assert (status, found["compared"], found["files"], found.get("ran", 0)) == (0, 0, [], 0)

    status, found = compare(f"transformers=={BASE}", edited(PASSES, CLOSURE))
    assert status == 1, found
    assert found["files"] == ["transformers/modeling_layers.py"]
    [broken] = found["changes"]
    assert (broken["kind"], broken["head"]["faults"][0]["rule"]) == ("broken", "CKPT001")
    [contract] = [one for one in found["contracts"] if one["watched"] == "callable"]
    assert "<lambda>" in contract["head"]
    assert {one["package"] for one in contract["relied"]} == {"llamafactory"}
