"""Remedies on real stacks: each that is offered was run, and helps once it is carried out."""

from __future__ import annotations

import pytest

from ckptdoctor.environment import pip_settings
from tests.conftest import TORCH, build, run, uv

pytestmark = pytest.mark.real


def fix(python, *arguments, **more):
    return run("fix", "--python", python, "--format", "json", *arguments, timeout=500, **more)


def verified(ran, kind):
    [finding] = [one for one in ran.report["findings"] if one["rule"] == "CKPT001"]
    return [one for one in finding["remedies"] if one["kind"] == kind and one["proven"] == "all"]


# -- every failing cell -----------------------------------------------------------------------------------------------

CELLS = [
    ("4.51.3", "llamafactory==0.9.2", {"llamafactory": "0.9.3"}),
    ("4.57.6", "llamafactory==0.9.2", {"llamafactory": "0.9.3"}),
    ("5.23.0", "llamafactory==0.9.5", {"transformers": "5.22.2"}),
    ("4.51.3", "axolotl==0.8.1", {"axolotl": "0.9.0"}),
    ("4.57.6", "axolotl==0.8.1", {"axolotl": "0.15.0"}),
    ("5.23.0", "axolotl==0.8.1", {"transformers": "5.22.2"}),
    ("5.24.0", "llamafactory==0.9.2", {"transformers": "5.22.2", "llamafactory": "0.9.5"}),
]


@pytest.mark.parametrize(("transformers", "trainer", "releases"), CELLS, ids=lambda one: str(one)[:24])
def test_every_failing_cell_has_remedies_that_were_run(torch_python, transformers, trainer, releases):
    name = trainer.partition("==")[0]
    stack = [
        "--with",
        f"transformers=={transformers}",
        "--with",
        trainer,
        "--checkpoint-fn",
        name,
        "--engine",
        "none",
        "--with",
        "accelerate",
    ]
    ran = fix(torch_python, *stack)

    assert ran.status == 1, ran.err
    [finding] = [one for one in ran.report["findings"] if one["rule"] == "CKPT001"]
    assert all(one["proven"] and one["tried"] for one in finding["remedies"]), finding["remedies"]
    assert any(releases.items() <= one["changes"].items() for one in verified(ran, "version")), finding["remedies"]
    # Since transformers 4.54 layers return what this function cannot take, however it finds them.
    mendable = trainer != "axolotl==0.8.1" or transformers == "4.51.3"
    assert bool(verified(ran, "patch")) == bool(verified(ran, "adapter")) == mendable
    # What takes a GPU that is not there was not seen to fail.
    assert not any("(fails)" in one["cost"] for one in finding["remedies"])
    failed = set(finding["probes"])
    usual = {one for one in failed if one.split("/")[1] in (name, f"{name}:offload") and one.count("/") == 2}
    for remedy in finding["remedies"]:
        if remedy["kind"] in ("version", "patch", "adapter"):
            assert usual <= set(remedy["tried"]), remedy
    if transformers.startswith("5"):
        assert finding["impasse"].startswith(f"No release of {name} ")
        assert "transformers 5.22.2 with" in finding["impasse"]
    else:
        assert finding["impasse"] == ""


@pytest.fixture(scope="session")
def newest_axolotl(environments):
    """The newest axolotl beside the newest transformers; it is made for another Python, and its one module does not mind."""
    python = build(environments / "axolotl", [TORCH, "numpy", "transformers==5.23.0", "accelerate"])
    site = next((python.parent.parent / "lib").glob("*/site-packages"))
    if not (site / "axolotl").is_dir():
        arguments = pip_settings.uv_arguments(pip_settings.read(None, {}))
        wanted = ["--no-deps", "--python-version", "3.12", "--target", str(site), "axolotl==0.21.0"]
        uv("pip", "install", "--quiet", "--python", str(python), *arguments, *wanted)
    return python


@pytest.mark.parametrize("command", ["check", "fix"])
def test_a_release_that_never_starts_such_a_job_is_no_fix(demo_python, command):
    """LLaMA-Factory 0.9.3 works in each step that is tried, and refuses every job with this DeepSpeed."""
    stack = ["--with", "llamafactory==0.9.2", "--with", "deepspeed==0.18.2", "--engine", "zero3"]
    ran = run(command, "--python", demo_python, "--format", "json", *stack, timeout=500)

    assert ran.status == 1, ran.err
    [finding] = ran.report["findings"]
    changes = [one["changes"]["llamafactory"] for one in finding["remedies"] if one["kind"] == "version"]
    assert changes
    assert "0.9.3" not in changes


def test_the_newest_axolotl_and_the_newest_transformers(newest_axolotl):
    ran = fix(newest_axolotl, "--checkpoint-fn", "axolotl", "--engine", "none")

    assert ran.status == 1, ran.err
    [remedy] = verified(ran, "version")
    assert remedy["changes"]["transformers"] == "5.22.2"
    assert verified(ran, "patch")
    assert verified(ran, "adapter")


def test_a_stack_that_works_needs_nothing(torch_python):
    ran = fix(torch_python, "--with", "transformers==4.51.3", "--with", "llamafactory==0.9.3", "--engine", "none")

    assert ran.status == 0
    assert ran.report["findings"] == []
