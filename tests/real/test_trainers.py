"""How a trainer's checkpoint function is loaded, on trainers made for the purpose and on the real one."""

import textwrap

import pytest

from tests.conftest import check

pytestmark = pytest.mark.real

BODY = """
from torch.utils.checkpoint import checkpoint

def get_custom_gradient_checkpointing_func(inner):
    def custom(func, hidden_states, *args, **kwargs):
        return inner(func, hidden_states.requires_grad_(True), *args, **kwargs)
    return custom

def get_unsloth_gradient_checkpointing_func():
    return None
"""

NARROW = ("--engine", "none", "--convention", "bound-method", "--checkpoint-fn", "llamafactory")


@pytest.fixture
def trainer(tmp_path):
    """Makes a LLaMA-Factory of our own from the text of its modules; the folder to put on ``PYTHONPATH``."""

    def make(checkpointing, package="", model=""):
        module = tmp_path / "llamafactory" / "model" / "model_utils"
        module.mkdir(parents=True)
        (tmp_path / "llamafactory" / "__init__.py").write_text(package)
        (tmp_path / "llamafactory" / "model" / "__init__.py").write_text(model)
        (module / "__init__.py").write_text("")
        (module / "checkpointing.py").write_text(textwrap.dedent(checkpointing))
        record = tmp_path / "llamafactory-9.9.dist-info"
        record.mkdir()
        (record / "METADATA").write_text("Metadata-Version: 2.1\nName: llamafactory\nVersion: 9.9\n")
        return str(tmp_path)

    return make


def loaded(ran):
    return {
        one["id"]: (one["evidence"]["loaded"]["how"], one["evidence"]["loaded"].get("stubbed", []))
        for one in ran.report["probes"]
        if "loaded" in one["evidence"]
    }["tiny-glm4/llamafactory/none/bound-method"]


def test_only_the_module_is_loaded(torch_python, trainer):
    """The packages above it would fail to import, and are never run."""
    path = trainer(BODY, package="raise RuntimeError('imported')", model="raise RuntimeError('imported')")
    ran = check(torch_python, *NARROW, environ={"PYTHONPATH": path})
    assert (ran.status, ran.rules) == (0, [])
    assert loaded(ran) == ("module only", [])


def test_what_it_imports_and_is_not_installed_is_stood_in_for(torch_python, trainer):
    wanted = "from peft.utils import NAME\nimport nowhere.to_be.found as x\n@x.decorator\ndef f(): pass\nassert f\n"
    ran = check(torch_python, *NARROW, environ={"PYTHONPATH": trainer(wanted + BODY)})
    assert (ran.status, ran.rules) == (0, [])
    assert loaded(ran) == ("module only", ["nowhere", "peft"])


def test_the_real_import_is_tried_when_the_module_cannot_stand_alone(torch_python, trainer):
    needs = "import llamafactory\nassert llamafactory.READY\n"
    ran = check(torch_python, *NARROW, environ={"PYTHONPATH": trainer(needs + BODY, package="READY = True")})
    assert (ran.status, ran.rules) == (0, [])
    assert loaded(ran) == ("import", [])


def test_a_trainer_that_cannot_be_loaded_at_all_is_not_ok(torch_python, trainer):
    ran = check(torch_python, *NARROW, environ={"PYTHONPATH": trainer("raise ImportError('no such thing')\n" + BODY)})
    assert (ran.status, ran.report["verdict"], ran.rules) == (3, "error", ["CKPT900"])
    assert "no such thing" in ran.out


def test_the_real_one_is_loaded_without_its_dependencies(demo_python):
    ran = check(demo_python, "--engine", "none", "--checkpoint-fn", "llamafactory")
    [probe] = [one for one in ran.report["probes"] if one["id"] == "glm4/llamafactory/none"]
    assert probe["evidence"]["loaded"]["how"] == "module only"
    assert probe["evidence"]["loaded"]["stubbed"] == ["peft"]
    assert probe["evidence"]["loaded"]["place"]["package"] == "llamafactory"


def test_a_function_that_asks_for_a_missing_package_while_it_runs_is_not_judged(torch_python, trainer):
    body = BODY.replace("from torch.utils", "import absent\nfrom torch.utils").replace(
        "        return inner",
        "        if absent.is_distributed():\n            raise ValueError('no group')\n        return inner",
    )
    ran = check(torch_python, *NARROW, environ={"PYTHONPATH": trainer(body)})
    assert (ran.status, ran.rules) == (3, ["CKPT900"])
    assert "needs absent" in ran.report["findings"][0]["title"]


def test_other_packages_do_not_take_a_stand_in_for_an_optional_package(torch_python, trainer, tmp_path):
    """A library that is installed looks for what it can do without, and must not be told that it is there."""
    (tmp_path / "library.py").write_text(
        "import importlib.util\n"
        "assert importlib.util.find_spec('optional_one') is None\n"
        "try:\n    import optional_two\nexcept ImportError:\n    optional_two = None\n"
        "assert optional_two is None\n"
    )
    ran = check(torch_python, *NARROW, environ={"PYTHONPATH": trainer(f"import library\nimport absent\n{BODY}")})
    assert (ran.status, ran.rules) == (0, [])
    assert loaded(ran) == ("module only", ["absent"])


def probes_of(ran):
    return {one["id"]: one for one in ran.report["probes"]}


def test_ms_swift_replaces_torchs_function_and_works_with_every_convention(demo_python):
    """The method that replaces it stands in a module that imports half of the trainer: only the method is run."""
    ran = check(demo_python, "--with", "ms-swift==4.6.0", "--checkpoint-fn", "ms-swift", "--engine", "none")
    assert (ran.status, ran.rules) == (0, [])
    probe = probes_of(ran)["glm4/ms-swift/none"]
    loaded = probe["evidence"]["loaded"]
    assert (loaded["how"], loaded["place"]["function"]) == ("module only", "_fix_gradient_checkpointing")
    assert loaded["place"]["package"] == "ms-swift"
    tried = [one["outcome"] for one in ran.report["probes"] if one["checkpoint_function"] == "ms-swift"]
    assert len(tried) > 10
    assert set(tried) == {"ok"}


def test_unsloth_zoo_is_simulated_without_its_buffers_and_never_plainly_ok(demo_python):
    ran = check(demo_python, "--with", "unsloth-zoo==2026.10.9", "--checkpoint-fn", "unsloth-zoo", "--engine", "none")
    assert (ran.status, ran.rules) == (0, [])
    assert "unsloth-zoo needs a GPU in backward, and there is none here" in ran.out
    own = [one for one in ran.report["probes"] if one["checkpoint_function"] == "unsloth-zoo"]
    assert {one["outcome"] for one in own if one["variant"] != "course"} == {"ok"}
    assert all(one["evidence"]["forward_only"] for one in own if one["variant"] != "course")
    [usual] = [one for one in own if one["id"] == "glm4/unsloth-zoo/none"]
    tried = usual["evidence"]["stand_in"]
    assert tried["loaded"]["place"]["function"] == "patch_unsloth_smart_gradient_checkpointing"
    assert [layer["forwards"] for layer in tried["layers"]] == [2, 2]


def test_offloading_by_trl_and_by_transformers_is_simulated_when_it_is_named(torch_python):
    """TRL's is a context around whole steps; both would take pinned memory, which needs an accelerator."""
    names = [part for name in ("trl", "transformers") for part in ("--checkpoint-fn", f"{name}:offload")]
    added = ("--with", "trl==1.16.0", "--with", "transformers==5.24.0")
    ran = check(torch_python, *added, *names, "--engine", "none", "--convention", "partial-function")
    assert (ran.status, ran.rules) == (0, [])
    steps = {one["id"]: one["evidence"] for one in ran.report["probes"] if not one["variant"]}
    for name in ("trl:offload", "transformers:offload"):
        assert steps[f"glm4/{name}/none"]["forward_only"], name
        assert [one["forwards"] for one in steps[f"glm4/{name}/none"]["stand_in"]["layers"]] == [2, 2], name
    assert "saved_bytes" not in steps["glm4/trl:offload/none"]["stand_in"]


def test_libraries_functions_are_left_out_unless_named(torch_python):
    ran = check(torch_python, "--with", "transformers==5.24.0", "--engine", "none")
    assert not any(one["checkpoint_function"].startswith("transformers") for one in ran.report["probes"])


def test_deepspeeds_function_as_its_users_configure_it(demo_python):
    """A layer's tuple of one comes back as a tensor: the next layer of transformers before 4.54 gets one sequence."""
    names = ("--checkpoint-fn", "deepspeed:configured", "--checkpoint-fn", "deepspeed:cpu")
    narrow = (*names, "--engine", "none", "--convention", "partial-function")
    ran = check(demo_python, *narrow, environ={"PIP_NO_INDEX": "1"})
    assert (ran.status, ran.rules) == (1, ["CKPT011"])
    assert "must match the size" in ran.out
    newer = check(demo_python, "--with", "transformers==5.24.0", *narrow)
    assert (newer.status, newer.rules) == (0, [])
    own = [one for one in newer.report["probes"] if one["checkpoint_function"] in names]
    assert {one["outcome"] for one in own} == {"ok"}
    assert all(one["evidence"]["forward_only"] for one in own)


def test_accelerate_wraps_layers_or_their_children_by_its_release(torch_python):
    """Since 1.15 the layers, and FSDP2 shards the layer and its wrapper; before, each child of a layer."""
    added = ("--with", "transformers==5.24.0", "--with", "accelerate==1.15.0")
    ran = check(torch_python, *added, "--checkpoint-fn", "torch:wrapper", "--engine", "fsdp2")
    assert (ran.status, ran.rules) == (0, [])
    own = [
        one
        for one in ran.report["probes"]
        if one["checkpoint_function"] == "torch:wrapper" and one["engine"] == "fsdp2"
    ]
    assert [one["outcome"] for one in own] == ["ok"]
