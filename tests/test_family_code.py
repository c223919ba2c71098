"""Which releases share all code that a family's training step goes through."""

from __future__ import annotations

import pytest

from ckptdoctor.matrix import family_code
from ckptdoctor.matrix.definitions import Definitions
from tests.test_fingerprints import Shop

FOLDER = "transformers/models"

PACKAGE = {
    "transformers/__init__.py": '__version__ = "1.0"\n',
    "transformers/modeling_utils.py": (
        "from torch.utils.checkpoint import checkpoint\n\n\nclass PreTrainedModel:\n"
        "    def _set_gradient_checkpointing(self):\n        return checkpoint\n\n"
        "    def from_pretrained(self):\n        return 1\n"
    ),
    "transformers/modeling_layers.py": "class GradientCheckpointingLayer:\n    x = 1\n\n\nclass Other:\n    x = 1\n",
    "transformers/masks.py": (
        "from .more import helped\n\n\ndef mask():\n    return helped()\n\n\ndef unused():\n    return 1\n"
    ),
    "transformers/more.py": "def helped():\n    return 1\n",
    f"{FOLDER}/auto/modeling_auto.py": (
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict([('small', 'SmallForCausalLM')])\n"
        "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = OrderedDict([('seeing', 'SeeingForText')])\n"
        "MODEL_FOR_MASKED_LM_MAPPING_NAMES = OrderedDict([('other', 'OtherForMaskedLM')])\n"
    ),
    f"{FOLDER}/auto/configuration_auto.py": (
        "CONFIG_MAPPING_NAMES = OrderedDict([('small', 'A'), ('seeing', 'B'), ('tower', 'C'), ('tower_vision', 'D')])\n"
        "SPECIAL_MODEL_TYPE_TO_MODULE_NAME = OrderedDict([('tower_vision', 'tower')])\n"
    ),
    f"{FOLDER}/small/configuration_small.py": "class SmallConfig:\n    model_type = 'small'\n",
    f"{FOLDER}/small/modeling_small.py": (
        "from ...masks import mask\nfrom ...modeling_layers import GradientCheckpointingLayer\n\n"
        "SMALL_DOCSTRING = 'x'\n\n\nclass SmallLayer(GradientCheckpointingLayer):\n    x = mask\n\n\n"
        "class SmallForCausalLM:\n    layer = SmallLayer\n    doc = SMALL_DOCSTRING\n\n\n"
        "class SmallForClassification:\n    x = 1\n"
    ),
    f"{FOLDER}/seeing/configuration_seeing.py": "class SeeingConfig:\n    vision = 'tower_vision'\n    text = 'small'\n",
    f"{FOLDER}/seeing/modeling_seeing.py": "class SeeingForText:\n    x = 1\n",
    f"{FOLDER}/tower/configuration_tower.py": "class TowerConfig:\n    x = 1\n",
    f"{FOLDER}/tower/modeling_tower.py": "class TowerModel:\n    x = 1\n",
    f"{FOLDER}/other/modeling_other.py": "class OtherForMaskedLM:\n    x = 1\n",
}


def digests(changes: dict[str, tuple[str, str]] | None = None, known: Definitions | None = None) -> dict[str, str]:
    files = dict(PACKAGE)
    for file, (before, after) in (changes or {}).items():
        assert before in files[file]
        files[file] = files[file].replace(before, after)
    return family_code.of_all(lambda name: files.get(name, ""), Definitions(lambda name: files.get(name, "")))


def test_families_are_those_that_learn_a_language():
    assert set(digests()) == {"small", "seeing"}


@pytest.mark.parametrize(
    ("file", "change", "changed"),
    [
        (f"{FOLDER}/small/modeling_small.py", ("x = mask", "x = mask, 2"), {"small", "seeing"}),
        (f"{FOLDER}/small/modeling_small.py", ("'x'", "'y'"), set()),
        (f"{FOLDER}/small/modeling_small.py", ("x = 1", "x = 2"), {"seeing"}),  # of a part, any class may be used
        (f"{FOLDER}/seeing/modeling_seeing.py", ("x = 1", "x = 1  # one"), set()),
        (f"{FOLDER}/tower/modeling_tower.py", ("x = 1", "x = 2"), {"seeing"}),
        (f"{FOLDER}/other/modeling_other.py", ("x = 1", "x = 2"), set()),
        ("transformers/more.py", ("return 1", "return 2"), {"small", "seeing"}),
        ("transformers/masks.py", ("return 1", "return 2"), set()),
        ("transformers/modeling_layers.py", ("Layer:\n    x = 1", "Layer:\n    x = 2"), {"small", "seeing"}),
        ("transformers/modeling_layers.py", ("Other:\n    x = 1", "Other:\n    x = 2"), set()),
        ("transformers/modeling_utils.py", ("return checkpoint", "return None"), {"small", "seeing"}),
        ("transformers/modeling_utils.py", ("return 1", "return 2"), set()),
        ("transformers/__init__.py", ("1.0", "2.0"), set()),
        (f"{FOLDER}/auto/modeling_auto.py", ("'SmallForCausalLM'", "'SmallForClassification'"), {"small"}),
    ],
)
def test_a_family_changes_with_the_code_that_it_uses(file, change, changed):
    before, after = digests(), digests({file: change})
    assert {family for family in before if before[family] != after[family]} == changed


def test_what_was_read_of_one_release_is_not_read_again_for_the_next():
    first = Definitions(lambda name: PACKAGE.get(name, ""))
    family_code.of_all(lambda name: PACKAGE.get(name, ""), first)
    second = Definitions(lambda name: PACKAGE.get(name, ""), first.read)
    family_code.of_all(lambda name: PACKAGE.get(name, ""), second)
    assert all(second.read[key] is first.read[key] for key in first.read)


def test_all_families_of_an_archive_are_found(tmp_path):
    shop = Shop(tmp_path)
    [found] = shop.fingerprints(shop.release("transformers", PACKAGE), families=("all",))
    assert found is not None
    assert found.digests == digests()
    [again] = shop.fingerprints(shop.release("transformers", PACKAGE), families=("all",))
    assert again == found


def test_code_that_does_not_parse_counts_as_it_stands():
    broken = {**PACKAGE, "transformers/more.py": "def helped(:\n"}
    one = family_code.of_all(lambda name: broken.get(name, ""), Definitions(lambda name: broken.get(name, "")))
    assert one.keys() == digests().keys()
