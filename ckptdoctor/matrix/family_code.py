"""Code fingerprints of all model families of a release of transformers, read from its whole archive.

A family's fingerprint covers its modelling code and configuration, and every definition of transformers that these use in turn:
layers, masks, rotary embeddings, losses, attention, the families of its towers. Not covered is what every model has and each
release changes (``NOT_FOLLOWED``); of ``PreTrainedModel``, only the methods that have to do with checkpointing count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator

from ckptdoctor.matrix import python_source
from ckptdoctor.matrix.definitions import Definitions
from ckptdoctor.matrix.python_source import digest_of

FORMAT = 1
"""Changes whenever the same release would get other fingerprints."""

UTILS = "transformers/modeling_utils.py"
AUTO = "transformers/models/auto"

TRAINED = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "VISION_2_SEQ", "MULTIMODAL_LM")
"""Mappings of transformers' auto classes whose families are measured."""

_SWITCHES = re.compile(r"gradient_checkpointing|activation_checkpointing|input_require_grads")
"""What a method of ``PreTrainedModel`` mentions if it has to do with checkpointing."""

_CHECKPOINT = re.compile(r"^.*\bimport\b.*\bcheckpoint\b.*$", re.MULTILINE)
"""How torch's checkpoint function comes into a module."""

_MAPPING = re.compile(r"MODEL_FOR_(\w+)_MAPPING_NAMES")

OF_ALL = (
    ("transformers/modeling_layers", "GradientCheckpointingLayer"),
    ("transformers/integrations/sdpa_attention", "sdpa_attention_forward"),
    ("transformers/loss/loss_utils", "ForCausalLMLoss"),
)
"""What every family uses without importing it."""

NOT_FOLLOWED = re.compile(
    r"transformers(/__init__$|$|/(modeling_utils|model_debugging_utils|configuration_utils|cache_utils|modeling_outputs|modeling_flash_attention_utils"
    r"|modeling_(tf|flax)\w*|generation|quantizers|data|pipelines|onnx|trainer\w*|training_args\w*|hf_argparser|file_utils"
    r"|(tokenization|processing|image_processing|video_processing|feature_extraction|image|audio|video)_\w+|image_transforms"
    r"|integrations(/(?!sdpa_attention|moe)\w+)?|kernels\b|models/auto|utils/(?!generic|output_capturing)\w+"
    r"|conversion_mapping|core_model_loading|dynamic_module_utils|safetensors_conversion|distributed|dependency\w*|testing_utils)(/|$))"
)
"""Modules of transformers in which changes do not count."""

_DOCUMENTATION = re.compile(r"_DOC(STRING)?(S|_\w+)?$|_FOR_DOC$")
"""Names of texts."""

_NAMED = re.compile(r"[a-z][a-z0-9_-]+")


def switches(utils: str) -> str:
    """A digest of the methods of ``PreTrainedModel`` that switch checkpointing on, out of the source of its module."""
    return digest_of(
        [*map(python_source.normalised, python_source.methods(utils, _SWITCHES)), *_CHECKPOINT.findall(utils)]
    )


def of_all(read: Callable[[str], str], code: Definitions, only: Collection[str] = ()) -> dict[str, str]:
    """The fingerprints of all families of a release that learn a language.

    Args:
        read: The source of a file of the release; empty where there is none.
        code: Its definitions.
        only: Leave all other families out; empty for all.
    """
    classes = _classes(read(f"{AUTO}/modeling_auto.py"))
    folders = _folders(read(f"{AUTO}/configuration_auto.py"))
    common = switches(read(UTILS))
    digests = {}
    for family in sorted(classes):
        if not classes[family].keys() & set(TRAINED) or (only and family not in only):
            continue
        used = set(_used(family, set(_strings(classes[family])), folders, read, code))
        mapped = sorted(f"{name} {said}" for name, said in classes[family].items())
        digests[family] = digest_of([common, *mapped, *(" ".join(one) for one in sorted(used))])
    return digests


def _used(
    family: str, classes: set[str], folders: dict[str, str], read: Callable[[str], str], code: Definitions
) -> Iterator[tuple[str, str, str]]:
    """What a family's classes use, and all of the modules of its parts."""
    roots = list(OF_ALL)
    for part in _with_parts(family, folders, read):
        folder = _folder(part, folders)
        for module in (f"transformers/models/{folder}/{kind}_{folder}" for kind in ("configuration", "modeling")):
            found = code.module(module)
            defined = set(found[1].definitions) if found else set()
            own = classes & defined if part == family and "/modeling_" in module else set()
            roots += [(module, name) for name in own or defined]
    yield from code.used(roots, lambda path, name: not (NOT_FOLLOWED.match(path) or _DOCUMENTATION.search(name)))


def _with_parts(family: str, folders: dict[str, str], read: Callable[[str], str]) -> list[str]:
    """A family and those that its configuration names, and theirs: what its parts are of."""
    found = [family]
    for one in found:
        folder = _folder(one, folders)
        configuration = read(f"transformers/models/{folder}/configuration_{folder}.py")
        found += sorted(_parts(configuration, folders) - set(found))
    return found


def _folder(family: str, folders: dict[str, str]) -> str:
    return folders.get(family, family.replace("-", "_"))


_TOLD: dict[str, frozenset[str]] = {}


def _parts(configuration: str, folders: dict[str, str]) -> frozenset[str]:
    """Families whose names stand in a configuration as strings: those that its parts have by default."""
    key = digest_of([configuration, *folders])
    if key not in _TOLD:
        tree = python_source.parsed(configuration)
        found = (one.value for one in ast.walk(tree) if isinstance(one, ast.Constant)) if tree else ()
        _TOLD[key] = frozenset(
            one for one in found if isinstance(one, str) and _NAMED.fullmatch(one) and one in folders
        )
    return _TOLD[key]


def _classes(source: str) -> dict[str, dict[str, str]]:
    """By family, and by the mapping of an auto class, the names of classes."""
    found: dict[str, dict[str, str]] = {}
    for name, family, value in _pairs(source):
        if matched := _MAPPING.fullmatch(name):
            found.setdefault(family, {})[matched[1]] = ast.dump(value)
    return found


def _strings(mapped: dict[str, str]) -> Iterator[str]:
    """The names of classes in what some mappings say."""
    for said in mapped.values():
        yield from re.findall(r"value='(\w+)'", said)


def _folders(source: str) -> dict[str, str]:
    """The folder of each family: most are called like their folder."""
    pairs = list(_pairs(source))
    found = {family: family.replace("-", "_") for name, family, _ in pairs if name == "CONFIG_MAPPING_NAMES"}
    for name, family, value in pairs:
        if name == "SPECIAL_MODEL_TYPE_TO_MODULE_NAME" and isinstance(value, ast.Constant):
            found[family] = str(value.value)
    return found


def _pairs(source: str) -> Iterator[tuple[str, str, ast.expr]]:
    """Pairs in the mappings at the top of a module, with the mapping's name: ``OrderedDict([("llama", ...)])``."""
    tree = python_source.parsed(source)
    for statement in tree.body if tree else ():
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
            continue
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        for node in ast.walk(statement.value):
            if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
                yield getattr(target, "id", ""), str(node.elts[0].value), node.elts[1]
            elif isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant):
                        yield getattr(target, "id", ""), str(key.value), value
