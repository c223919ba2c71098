"""Writes ``ckptdoctor/job/families.json``: what transformers, LLaMA-Factory and ms-swift themselves say of model families.

Give wheels of transformers and of ms-swift, LLaMA-Factory's table of models (``src/llamafactory/extras/constants.py``), and
a table of ``survey.py`` with the names of linear layers::

    python tests/families/gather.py --table survey.jsonl --models constants.py --swift ms_swift.whl wheels/transformers-*.whl
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import zipfile
from collections import defaultdict
from pathlib import Path

from packaging.version import Version

from ckptdoctor.job import families

OUT = Path(families.__file__).with_suffix(".json")
HUB = r"([\w-][\w.-]*/[\w-][\w.-]*)"
IN_CONFIGURATION = re.compile(rf'checkpoint="{HUB}"|\[{HUB}\]\(https://huggingface\.co/|huggingface\.co/{HUB}\)')
IN_MODEL = re.compile(rf'(?:ForConditionalGeneration|ForCausalLM|LMHeadModel)\.from_pretrained\(\s*"{HUB}"')
MAPPINGS = (
    "CAUSAL_LM",
    "IMAGE_TEXT_TO_TEXT",
    "MULTIMODAL_LM",
    "VISION_2_SEQ",
    "SEQ_TO_SEQ_CAUSAL_LM",
    "TEXT_TO_WAVEFORM",
)


def pairs(source: str, name: str) -> dict[str, str]:
    """A table of pairs of strings that is assigned to a name, at the top of a module."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if not any(isinstance(one, ast.Name) and one.id == name for one in targets) or node.value is None:
            continue
        for one in ast.walk(node.value):
            if isinstance(one, ast.Tuple) and len(one.elts) == 2 and all(isinstance(e, ast.Constant) for e in one.elts):
                found[str(one.elts[0].value)] = str(one.elts[1].value)
    return found


def read(wheel: Path) -> dict[str, str]:
    """Files of a wheel that tell of families, by path."""
    wanted = re.compile(
        r"transformers/models/(auto/(auto_mappings|configuration_auto|modeling_auto)|\w+/(configuration|modeling)_\w+)\.py"
    )
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist() if wanted.fullmatch(name)}


def model_types(files: dict[str, str]) -> dict[str, str]:
    """Configuration classes by family."""
    found: dict[str, str] = {}
    for name in ("auto_mappings", "configuration_auto"):
        found |= pairs(files.get(f"transformers/models/auto/{name}.py", ""), "CONFIG_MAPPING_NAMES")
    return found


def checkpoints(files: dict[str, str], types: dict[str, str], trained: set[str]) -> dict[str, set[str]]:
    """Families by checkpoint, as a family's own files name it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, text in files.items():
        folder, _, file = path.removeprefix("transformers/models/").partition("/")
        is_configuration = file.startswith("configuration_")
        family = next((one for one in (folder, folder.replace("_", "-")) if one in types and one in trained), "")
        if not family or folder == "auto":
            continue
        for match in (IN_CONFIGURATION if is_configuration else IN_MODEL).finditer(text):
            name = next(one for one in match.groups() if one)
            found[name.rpartition("/")[2].lower()].add(family)
    return found


def groups(source: str) -> dict[str, set[str]]:
    """Names on the hub by template, of LLaMA-Factory's groups of models."""
    found: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "register_model_group":
            given = {one.arg: one.value for one in node.keywords}
            template = given.get("template")
            if isinstance(template, ast.Constant) and isinstance(template.value, str):
                names = [one.value for one in ast.walk(given["models"]) if isinstance(one, ast.Constant)]
                found[template.value] |= {one for one in names if isinstance(one, str) and "/" in one}
    return found


def registered(source: str) -> list[tuple[set[str], set[str], set[str]]]:
    """Of each kind of model that ms-swift registers: names on the hub, classes, templates."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ModelMeta":
            calls = [one for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)]
            given = [one for call in calls if call.func.id == "Model" for one in call.args]  # type: ignore[attr-defined]
            names = {str(one.value) for one in given if isinstance(one, ast.Constant) and one.value}
            kinds = next((one.value for one in node.keywords if one.arg == "architectures"), None)
            classes = {str(one.value) for one in ast.walk(kinds) if isinstance(one, ast.Constant)} if kinds else set()
            templates = {
                one.attr
                for one in ast.walk(node)
                if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "TemplateType"
            }
            found.append((names, classes, templates))
    return found


def from_swift(
    wheel: Path, classes: dict[str, str], named: dict[str, str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Families by checkpoint, empty where a model has its own code, and by template, as ms-swift has them."""
    made = dict(named)
    by_template: dict[str, set[str]] = defaultdict(set)
    with zipfile.ZipFile(wheel) as archive:
        sources = [name for name in archive.namelist() if re.fullmatch(r"swift/model/models/\w+\.py", name)]
        metas = [meta for name in sources for meta in registered(archive.read(name).decode())]
    for names, kinds, templates in metas:
        families_of = {classes.get(kind, "") for kind in kinds}
        if len(families_of) != 1:
            continue
        family = families_of.pop()
        for name in names:
            short = name.rpartition("/")[2].lower()
            made[short] = family if made.get(short, family) == family else ""
        for template in templates:
            by_template[template].add(family)
    return made, {name: sorted(one) for name, one in by_template.items() if one != {""}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--models-release", default="main")
    parser.add_argument("--swift", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    given = parser.parse_args()
    versions = sorted(given.wheels, key=lambda one: Version(one.name.split("-")[1]))
    releases: dict[str, str] = {}
    named: dict[str, str] = {}
    classes: dict[str, str] = {}
    for index, wheel in enumerate(versions):
        files = read(wheel)
        types = model_types(files)
        release = wheel.name.split("-")[1]
        for family in types:
            releases.setdefault(family, release if index else "")
        auto = files["transformers/models/auto/modeling_auto.py"]
        trained: dict[str, str] = {}
        for mapping in MAPPINGS:
            trained |= pairs(auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES")
        for family, kind in trained.items():
            # Several families may share a class, which is then called after one of them.
            if kind not in classes or kind.lower().startswith(f"{re.sub('[^a-z0-9]', '', family)}for"):
                classes[kind] = family
        found = checkpoints(files, types, set(trained))
        named |= {name: next(iter(one)) for name, one in found.items() if len(one) == 1}
    named, swift_templates = from_swift(given.swift, classes, named)
    made = families.Known({}, releases, named, classes, {}, {})
    families.known = lambda: made  # the lookup is the doctor's own
    families._by_stem.cache_clear()
    templates = {}
    for template, names in groups(given.models.read_text()).items():
        kinds = {families.of_checkpoint(name) or "" for name in names}  # "": its own code, or nobody knows
        if kinds != {""}:
            templates[template] = sorted(kinds)
    modules = {}
    for line in given.table.read_text().splitlines():
        row = json.loads(line)
        if row.get("linear"):
            modules[row["family"]] = row["linear"]
    oldest, newest = (one.name.split("-")[1] for one in (versions[0], versions[-1]))
    data = {
        "sources": {
            "releases, checkpoints, classes": f"transformers {oldest} to {newest}: models/auto and the families' own files",
            "checkpoints of ms-swift": f"{given.swift.name}: swift/model/models",
            "templates": f"LLaMA-Factory {given.models_release}: src/llamafactory/extras/constants.py",
            "modules": f"tiny models of transformers {newest}",
        },
        "releases": dict(sorted(releases.items())),
        "checkpoints": dict(sorted(named.items())),
        "classes": dict(sorted(classes.items())),
        "templates": {
            "llamafactory": dict(sorted(templates.items())),
            "ms-swift": dict(sorted(swift_templates.items())),
        },
        "modules": dict(sorted(modules.items())),
    }
    OUT.write_text(json.dumps(data, indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
