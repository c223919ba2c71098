from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
import requests

from ckptdoctor.environment.releases import File, Release
from ckptdoctor.matrix import checkpoint_functions, fingerprints
from ckptdoctor.matrix.fingerprints import Fingerprint, Reader, place_among
from tests.test_index import sdist, wheel

ROOT = Path(__file__).parent.parent

MODELING = '''
"""A family."""
from functools import partial

from ...modeling_layers import GradientCheckpointingLayer
from ...modeling_utils import PreTrainedModel
from ...utils import can_return_tuple, logging

logger = logging.get_logger(__name__)


class FamilyLayer(GradientCheckpointingLayer):
    """A layer."""

    def forward(self, hidden_states):
        return (hidden_states,)  # as it is


class FamilyModel(PreTrainedModel):
    @can_return_tuple
    def forward(self, input_ids):
        for layer in self.layers:
            input_ids = self._gradient_checkpointing_func(layer.__call__, input_ids)
        return self.helped(input_ids)
'''

UTILS = """
from torch.utils.checkpoint import checkpoint


class PreTrainedModel:
    def _set_gradient_checkpointing(self, enable=True, gradient_checkpointing_func=checkpoint):
        self.function = gradient_checkpointing_func

    def from_pretrained(self):
        return 1
"""

PACKAGE = {
    "transformers/__init__.py": '__version__ = "1.0"\n',
    "transformers/models/family/modeling_family.py": MODELING,
    "transformers/models/family/configuration_family.py": "class FamilyConfig:\n    hidden_act = 'silu'\n",
    "transformers/modeling_layers.py": (
        "from functools import partial\n\n\nclass GradientCheckpointingLayer:\n"
        "    def __call__(self, *args, **kwargs):\n        return self.function(partial(super().__call__, **kwargs), *args)\n"
    ),
    "transformers/modeling_utils.py": UTILS,
    "transformers/utils/__init__.py": "from . import logging\nfrom .generic import can_return_tuple, other\n",
    "transformers/utils/generic.py": "def can_return_tuple(function):\n    return function\n\n\ndef other():\n    return 1\n",
    "transformers/utils/logging.py": "def get_logger(name):\n    return None\n",
}

CHECKPOINTING = """
from functools import partial

from ...extras.constants import NAMES


def get_custom_gradient_checkpointing_func(function):
    return function.__self__, NAMES


def get_unsloth_gradient_checkpointing_func():
    return None
"""

LLAMAFACTORY = {
    "llamafactory/model/model_utils/checkpointing.py": CHECKPOINTING,
    "llamafactory/extras/constants.py": "NAMES = {'norm'}\nOTHERS = 1\n",
    "llamafactory/train.py": "x = 1\n",
}

AXOLOTL = {
    "axolotl/monkeypatch/gradient_checkpointing/__init__.py": (
        "from axolotl.monkeypatch.gradient_checkpointing.offload import Offload\n\n"
        "if version > parse('4.51.3'):\n    def hf_grad_checkpoint_offload_wrapper(*args):\n        return Offload\n"
    ),
    "axolotl/monkeypatch/gradient_checkpointing/offload.py": "class Offload:\n    x = 1\n",
    "axolotl/cli.py": "x = 1\n",
}


class Shop:
    """A folder with releases that a test makes, and a reader of their fingerprints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.session = requests.Session()
        self.count = 0

    def release(
        self, package: str, files: dict[str, str], requires: tuple[str, ...] = (), source: bool = False
    ) -> Release:
        self.count += 1
        version = f"1.{self.count}"
        name = f"{package}-{version}.tar.gz" if source else f"{package}-{version}-py3-none-any.whl"
        content = sdist(package, version, files) if source else wheel(package, version, files, requires)
        (self.folder / name).write_bytes(content)
        return Release(package, version, (File(name, (self.folder / name).as_uri(), not source),))

    def fingerprints(self, *releases: Release, families: tuple[str, ...] = ("family",)) -> list[Fingerprint | None]:
        found = Reader(self.session, self.folder / "cache").fingerprints(releases[0].name, releases, families)
        return list(found.values())

    def same(self, package: str, before: dict[str, str], after: dict[str, str]) -> bool:
        one, two = self.fingerprints(self.release(package, before), self.release(package, after))
        assert one.digests
        return one.digests == two.digests


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def changed(files: dict[str, str], file: str, old: str, new: str) -> dict[str, str]:
    [name] = [name for name in files if name.endswith(file)]
    assert old in files[name]
    return {**files, name: files[name].replace(old, new)}


NO_MATTER = [
    ("modeling_family.py", '"""A layer."""', '"""Another word."""'),
    ("modeling_family.py", "  # as it is", ""),
    ("modeling_family.py", "return (hidden_states,)", "return (\n            hidden_states,\n        )"),
    ("transformers/__init__.py", "1.0", "1.1"),
    (
        "modeling_utils.py",
        "def from_pretrained(self):\n        return 1",
        "def from_pretrained(self):\n        return 2",
    ),
    ("utils/logging.py", "None", "1"),
    ("utils/generic.py", "def other():\n    return 1", "def other():\n    return 2"),
]

MATTER = [
    ("modeling_family.py", "layer.__call__, input_ids", "partial(layer.__call__), input_ids"),
    ("modeling_family.py", "return (hidden_states,)", "return hidden_states"),
    ("modeling_family.py", "    @can_return_tuple\n", ""),
    ("configuration_family.py", "silu", "gelu"),
    ("modeling_layers.py", "partial(super().__call__, **kwargs)", "partial(type(self).forward, self, **kwargs)"),
    ("modeling_utils.py", "self.function = gradient", "self.other = gradient"),
    ("modeling_utils.py", "func=checkpoint", "func=None"),
    ("modeling_utils.py", "from torch.utils.checkpoint import", "from torch.other import"),
    ("utils/generic.py", "    return function", "    return None"),
]


@pytest.mark.parametrize(("file", "old", "new"), NO_MATTER)
def test_what_does_not_make_another_kind(shop: Shop, file: str, old: str, new: str):
    assert shop.same("transformers", PACKAGE, changed(PACKAGE, file, old, new))


@pytest.mark.parametrize(("file", "old", "new"), MATTER)
def test_what_makes_another_kind(shop: Shop, file: str, old: str, new: str):
    assert not shop.same("transformers", PACKAGE, changed(PACKAGE, file, old, new))


def test_families_are_told_apart(shop: Shop):
    two = {name.replace("family", "second"): text for name, text in PACKAGE.items() if "/family/" in name}
    release = shop.release("transformers", {**PACKAGE, **two})
    [fingerprint] = shop.fingerprints(release, families=("second", "family", "absent"))
    assert set(fingerprint.digests) == {"family", "second"}
    [alone] = shop.fingerprints(release, families=("family",))
    assert alone.digests == {"family": fingerprint.digests["family"]}


def test_wheel_and_source_archive_are_one_kind(shop: Shop):
    built, source = shop.release("llamafactory", LLAMAFACTORY), shop.release("llamafactory", LLAMAFACTORY, source=True)
    one, two = shop.fingerprints(built, source)
    assert (one.digests, one.compared) == (two.digests, two.compared)


def test_syntax_that_this_python_does_not_know(shop: Shop):
    unknown = changed(LLAMAFACTORY, "checkpointing.py", "return None", "return None None")
    assert shop.same("llamafactory", unknown, unknown)
    assert not shop.same("llamafactory", unknown, changed(unknown, "checkpointing.py", "None None", "None 1"))


# --- trainers ---


def test_functions_of_releases(shop: Shop):
    first, none, second = shop.fingerprints(
        shop.release("llamafactory", LLAMAFACTORY),
        shop.release("llamafactory", {"llamafactory/train.py": "get_custom_gradient_checkpointing_func"}),
        shop.release("llamafactory", changed(LLAMAFACTORY, "checkpointing.py", "unsloth", "slow")),
    )
    assert tuple(first.digests) == ("llamafactory", "llamafactory:unsloth")
    assert none == Fingerprint({}, requires=())
    assert tuple(second.digests) == ("llamafactory",)


def test_functions_in_a_folder_of_packages(tmp_path: Path):
    files = {**LLAMAFACTORY, **AXOLOTL}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = ("llamafactory", "llamafactory:unsloth", "axolotl:offload")
    assert checkpoint_functions.installed(tmp_path, "llamafactory") == found[:2]
    assert checkpoint_functions.installed(tmp_path, "axolotl") == found[2:]
    assert checkpoint_functions.installed(tmp_path / "absent", "axolotl") == ()


@pytest.mark.parametrize(
    ("files", "file", "old", "new", "same"),
    [
        (LLAMAFACTORY, "train.py", "1", "2", True),
        (LLAMAFACTORY, "constants.py", "OTHERS = 1", "OTHERS = 2", True),
        (LLAMAFACTORY, "constants.py", "norm", "other", False),
        (LLAMAFACTORY, "checkpointing.py", "function.__self__", "function.func.__self__", False),
        (AXOLOTL, "cli.py", "1", "2", True),
        (AXOLOTL, "offload.py", "1", "2", False),
        (AXOLOTL, "__init__.py", "4.51.3", "4.51.4", False),
    ],
)
def test_kinds_of_trainers(shop: Shop, files: dict[str, str], file: str, old: str, new: str, same: bool):
    package = next(iter(files)).partition("/")[0]
    assert shop.same(package, files, changed(files, file, old, new)) is same


def test_versions_that_a_trainer_compares_with(shop: Shop):
    [fingerprint] = shop.fingerprints(shop.release("axolotl", AXOLOTL))
    assert fingerprint.compared == ("4.51.3",)
    places = [
        place_among(version, fingerprint.compared) for version in ("4.50.0", "4.51.2", "4.51.3", "4.52.0", "5.0.0")
    ]
    assert places[0] == places[1] != places[2] != places[3] == places[4] != places[0]


# --- reading and keeping ---


def test_other_packages_have_no_kind(shop: Shop):
    assert shop.fingerprints(Release("torch", "2.13.0"), Release("torch", "2.12.0")) == [None, None]
    assert shop.fingerprints(Release("python", "3.12")) == [None]


def test_what_cannot_be_read_has_no_kind(shop: Shop):
    there, gone, none = (
        shop.release("transformers", PACKAGE),
        shop.release("transformers", PACKAGE),
        Release("transformers", "9"),
    )
    gone.files[0].path.write_bytes(b"no archive")
    found = shop.fingerprints(there, gone, none)
    assert set(found[0].digests) == {"family"}
    assert found[1:] == [None, None]


def test_a_second_run_reads_no_archive(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    release = shop.release("transformers", PACKAGE)
    first = shop.fingerprints(release)
    monkeypatch.setattr(fingerprints.archives, "opened", None)
    assert shop.fingerprints(release) == first
    [kept] = (shop.folder / "cache").iterdir()
    assert msgspec.json.decode(kept.read_bytes(), type=Fingerprint) == first[0]
    with pytest.raises(TypeError):
        shop.fingerprints(release, families=("family", "other"))
    monkeypatch.setattr(fingerprints, "FORMAT", fingerprints.FORMAT + 1)
    with pytest.raises(TypeError):
        shop.fingerprints(release)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"digests": 1}', b"\xff"])
def test_a_broken_entry_is_read_again(shop: Shop, content: bytes):
    release = shop.release("transformers", PACKAGE)
    first = shop.fingerprints(release)
    [kept] = (shop.folder / "cache").iterdir()
    kept.write_bytes(content)
    assert shop.fingerprints(release) == first
    assert len(kept.read_bytes()) > len(content)


def test_a_cache_that_cannot_be_written(shop: Shop):
    (shop.folder / "cache").write_text("a file where the folder should be")
    [fingerprint] = shop.fingerprints(shop.release("transformers", PACKAGE))
    assert set(fingerprint.digests) == {"family"}


def test_other_bytes_are_never_taken_for_the_kept_ones(shop: Shop):
    release = shop.release("transformers", PACKAGE)
    [first] = shop.fingerprints(release)
    path = release.files[0].path
    path.write_bytes(wheel("transformers", "1.1", changed(PACKAGE, "modeling_layers.py", "partial(", "other(")))
    os.utime(path, (0, 0))
    [second] = shop.fingerprints(release)
    assert first.digests != second.digests


def test_what_a_trainer_requires_is_read_from_its_wheel_and_does_not_make_another_kind(shop: Shop):
    requires = ("Requires-Dist: transformers<=4.49.0", "Requires-Dist: trl; extra == 'x'")
    one, none, source = shop.fingerprints(
        shop.release("axolotl", AXOLOTL, requires),
        shop.release("axolotl", AXOLOTL),
        shop.release("axolotl", AXOLOTL, source=True),
    )

    assert (one.requires, none.requires) == (("transformers<=4.49.0", "trl; extra == 'x'"), ())
    assert one.digests == none.digests == source.digests
    assert source.requires is None
