"""The part of a script that loads a trainer's checkpoint function and switches it on, as the trainer's own code does."""

from __future__ import annotations

import json
from pathlib import PurePath

from ckptdoctor import catalog
from ckptdoctor.bugreport.repro.draft import Draft, fill, is_dotted, is_name, template
from ckptdoctor.catalog.records import Function, Reproduction
from ckptdoctor.model.evidence import Evidence
from ckptdoctor.store import locations
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import relative


def switched_on(draft: Draft, function: str) -> str:
    """The trainer's module, or it alone where the rest of the trainer does not import, and the call of its function."""
    draft.imports |= {"importlib.util", "pathlib", "sys", "types"}
    loaded = draft.probe.evidence.loaded
    stubbed = sorted(loaded.stubbed) if loaded else []
    if stubbed:
        draft.imports |= {"importlib.machinery", "unittest.mock"}
    record = catalog.functions()[function]
    filled = {
        "stand_ins": "    sys.meta_path.append(StandIn())\n" if stubbed else "",
        "module": repr(_module(record, draft.probe.evidence)),
    }
    if record.alone:
        draft.imports |= {"ast", "copy", "importlib.machinery"}
        load = template("load_alone", excerpt=_excerpt(), names=repr(record.needs), given=repr(record.given), **filled)
    else:
        load = template("load", **filled)
    stubs = template("stand_in", missing=repr(stubbed)) if stubbed else ""
    return stubs + load + _call(draft, record.reproduction)


def switched_on_again(draft: Draft) -> str:
    """Trainer's own call after the trainer's, as the installed release makes it."""
    call = draft.probe.evidence.trainers_call
    if call is None or not is_name(call.method):
        return ""
    given = ", ".join(f"{name}={value!r}" for name, value in json.loads(call.keywords).items() if is_name(name))
    line = f"{one_line(relative(call.by.file), 80)}:{call.by.line}"
    return f"\n# transformers' Trainer makes this call too, {line}.\nmodel.{call.method}({given})\n"


def _excerpt() -> str:
    """What runs some definitions of a module alone, as the probes do."""
    source = locations.probes().joinpath("excerpt.py").read_text(encoding="utf-8")
    code = source[source.index("class Loader(") :]
    return f"from collections.abc import Iterable, Mapping\nfrom typing import Any\n\n\n{code}"


def _call(draft: Draft, reproduction: Reproduction) -> str:
    if draft.is_own_model:
        # Only torch itself may be needed: our own model imports functools.
        draft.imports |= {"torch.utils.checkpoint"} if "torch.utils.checkpoint." in reproduction.own_model else set()
        return draft.giving(reproduction.own_model.strip())
    draft.imports |= {*reproduction.imports}
    return fill(reproduction.transformers, torch=template("torch", reentrant="True")).strip() + "\n"


def _module(record: Function, evidence: Evidence) -> str:
    """The name of the module from which a trainer's function came."""
    package = record.modules[0].partition(".")[0]
    file = PurePath(evidence.loaded.place.file if evidence.loaded else "")
    parts = list(file.with_suffix("").parts) if file.name else []
    if package not in parts:
        return record.modules[0]
    inside = parts[len(parts) - 1 - parts[::-1].index(package) :]
    dotted = ".".join(inside[:-1] if inside[-1] == "__init__" else inside)
    # Where a module is a folder, the function may be defined in a part of it, and is the whole's all the same.
    whole = next((name for name in record.modules if dotted.startswith(f"{name}.")), dotted)
    return whole if is_dotted(whole) else record.modules[0]
