"""``ckptdoctor scan`` on real packages, and its claims about releases against real steps."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from ckptdoctor.environment import pip_settings
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.target import Target
from ckptdoctor.matrix import archives
from ckptdoctor.scan import releases
from ckptdoctor.scan.rules import replaces_forward, replaces_layer_class
from ckptdoctor.scan.scan import ScanRequest, scan
from tests.conftest import locked, run

pytestmark = pytest.mark.real

SOUND = ("transformers==5.24.0", "trl==1.16.0", "peft==0.21.2", "accelerate==1.15.0", "deepspeed==0.19.8")
"""They make and use what a scan warns of, as its owners or with care."""

BREAKS = {
    "llamafactory==0.9.5": {
        ("SCAN001", "model_utils/checkpointing.py"): "5.23.0",
        ("SCAN004", "model_utils/checkpointing.py"): "5.16.0",
        ("SCAN003", "model/patcher.py"): "5.23.0",
    },
    "axolotl==0.8.0": {("SCAN001", "utils/gradient_checkpointing/__init__.py"): "4.51.0"},
    "ms-swift==4.6.0": {("SCAN006", "trainers/mixin.py"): "5.23.0"},
    "unsloth_zoo==2026.10.9": {
        ("SCAN005", "temporary_patches/misc.py"): "5.23.0",
        ("SCAN001", "unsloth_zoo/block_checkpointing.py"): "5.23.0",
    },
}
"""Places that a newer transformers breaks, as reading them shows, with the first release that does."""


@pytest.fixture(scope="module")
def sources(environments):
    """Unpacks the source of a release, which is neither installed nor run."""
    with Index(pip_settings.read(None, os.environ)) as index:

        def unpacked(requirement):
            folder = environments / "sources" / requirement
            folder.parent.mkdir(exist_ok=True)
            with locked(folder.with_name(f"{requirement}.lock")):
                if not folder.exists():
                    _unpack(index, requirement, folder)
            return folder

        yield unpacked


def _unpack(index, requirement, folder):
    name, _, version = requirement.partition("==")
    [release] = [one for one in index.releases(name) if one.version == version]
    file = archives.chosen(release)
    content = file.path.read_bytes() if file.path else index.session.get(file.url, timeout=300).content
    for member, source in _wheel(content) if file.is_wheel else _tar(content):
        if ".." not in member:
            (folder / member).parent.mkdir(parents=True, exist_ok=True)
            (folder / member).write_bytes(source)


def _wheel(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield from ((name, archive.read(name)) for name in archive.namelist() if name.endswith(".py"))


def _tar(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        yield from ((one.name, archive.extractfile(one).read()) for one in archive if one.name.endswith(".py"))


@pytest.mark.parametrize("requirement", SOUND)
def test_packages_that_are_in_the_right_are_not_accused(requirement, sources):
    result = scan(ScanRequest([str(sources(requirement))], asked="5.24.0"))
    assert result.files > 50
    assert [(one.rule, one.place.file, one.place.line) for one in result.findings] == []
    assert result.not_scanned == ()


def test_an_environment_is_scanned_and_only_its_trainer_is_found_at_fault(demo_python):
    packages = ("llamafactory", "transformers", "deepspeed")
    ran = run("scan", *packages, "--python", demo_python, "--try", "--format", "json")
    result = json.loads(ran.out)
    assert ran.status == 1, ran.err
    assert result["transformers"] == "4.51.3"
    serious = [one for one in result["findings"] if one["severity"] != "note"]
    assert [(one["rule"], one["severity"], one["place"]["package"], one["place"]["line"]) for one in serious] == [
        ("SCAN001", "error", "llamafactory", 86),
        ("SCAN004", "warning", "llamafactory", 164),
        ("SCAN002", "error", "llamafactory", 133),  # no release breaks it, but the function failed when it was tried
    ]
    assert {one["place"]["package"] for one in result["findings"]} == {"llamafactory"}
    assert serious[0]["affected"] == "AttributeError: 'functools.partial' object has no attribute '__self__'"
    assert serious[0]["function"] == "llamafactory"
    assert serious[0]["trial"]["verdict"] == "fail"
    assert "CKPT001" in serious[0]["trial"]["summary"]


def test_all_packages_of_an_environment_can_be_scanned(bare_python):
    ran = run("scan", "--installed", "--python", bare_python)
    assert (ran.status, ran.err) == (0, "")
    assert "installed package" in ran.out
    assert "no transformers to judge for" in ran.out


@pytest.mark.parametrize("requirement", BREAKS)
def test_places_that_a_newer_release_breaks_are_found(requirement, sources):
    expected = BREAKS[requirement]
    found = scan(ScanRequest([str(sources(requirement))], asked="5.24.0")).findings
    serious = [one for one in found if one.severity != "note"]
    firsts = {
        key: {one.breaks[-1].first for one in serious if one.rule == key[0] and one.place.file.endswith(key[1])}
        for key in expected
    }
    assert firsts == {key: {first} for key, first in expected.items()}
    assert all(any((one.rule == key[0] and one.place.file.endswith(key[1])) for key in expected) for one in serious)


@pytest.mark.parametrize("release", ["5.22.2", "5.23.0"])
def test_what_is_said_of_replaced_methods_is_true_of_real_steps(release, torch_python, cache):
    facts = releases.known().facts()[release]
    overlay = Target(torch_python, [f"transformers=={release}"]).overlay
    off, twice, call_twice = replaces_forward.OFF, replaces_forward.TWICE, replaces_layer_class.TWICE
    expected = {
        "nothing": "",
        "forward": replaces_forward.consequence("forward", False)(facts),
        "forward that checkpoints": replaces_forward.consequence("forward", True)(facts),
        "__call__": replaces_forward.consequence("__call__", False)(facts),
        "__call__ of the base that checkpoints": call_twice if facts.layer == "forward" else "",
        "caller that checkpoints": twice,
    }
    for mode, many in (("reentrant", 3), ("non-reentrant", 2)):
        runs = _runs(torch_python, overlay, mode)
        assert runs == {name: {off: 1, twice: many, call_twice: many, "": 2}[said] for name, said in expected.items()}


def _runs(python, overlay, mode):
    script = Path(__file__).with_name("replaced_methods.py")
    environ = {**os.environ, "PYTHONPATH": str(overlay), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [str(python), str(script), mode], env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
