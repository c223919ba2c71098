"""The part of a script that loads a trainer's checkpoint function and switches it on, as the trainer's own code does."""

from __future__ import annotations

from pathlib import PurePath

from ckptdoctor.bugreport.repro.draft import Draft, is_dotted, template
from ckptdoctor.model.evidence import Evidence

_MODULES = {
    "llamafactory": "llamafactory.model.model_utils.checkpointing",
    "axolotl": "axolotl.monkeypatch.gradient_checkpointing",
}


def switched_on(draft: Draft, function: str) -> str:
    """The trainer's module, or it alone where the rest of the trainer does not import, and the call of its function."""
    draft.imports |= {"importlib.util", "pathlib", "sys", "types"}
    loaded = draft.probe.evidence.loaded
    stubbed = sorted(loaded.stubbed) if loaded else []
    if stubbed:
        draft.imports |= {"importlib.machinery", "unittest.mock"}
    load = template(
        "load",
        stand_ins="    sys.meta_path.append(StandIn())\n" if stubbed else "",
        module=repr(_module(function.split(":")[0], draft.probe.evidence)),
    )
    stubs = template("stand_in", missing=repr(stubbed)) if stubbed else ""
    call = _llamafactory if function.startswith("llamafactory") else _axolotl
    return stubs + load + call(draft, function)


def _axolotl(draft: Draft, function: str) -> str:
    wrapper = f"trainer.hf_grad_checkpoint_{'disk_' if function.endswith('-disk') else ''}offload_wrapper"
    if draft.is_own_model:
        return draft.giving(f"functools.partial({wrapper}, use_reentrant=True)")
    draft.imports.add("transformers.modeling_utils")
    return f"transformers.modeling_utils.checkpoint = {wrapper}\n{template('torch', reentrant='True')}"


def _llamafactory(draft: Draft, function: str) -> str:
    is_unsloth = function.endswith(":unsloth")
    if not draft.is_own_model:
        unsloth = ", use_unsloth_gc=True" if is_unsloth else ""
        return f'trainer._gradient_checkpointing_enable(model, {{"use_reentrant": True}}{unsloth})\n'
    draft.imports.add("torch.utils.checkpoint")
    inner = "functools.partial(torch.utils.checkpoint.checkpoint, use_reentrant=True)"
    inner = "trainer.get_unsloth_gradient_checkpointing_func()" if is_unsloth else inner
    return draft.giving(f"trainer.get_custom_gradient_checkpointing_func({inner})")


def _module(package: str, evidence: Evidence) -> str:
    """The name of the module from which a trainer's function came."""
    known = _MODULES[package]
    file = PurePath(evidence.loaded.place.file if evidence.loaded else "")
    parts = list(file.with_suffix("").parts) if file.name else []
    if package not in parts:
        return known
    inside = parts[len(parts) - 1 - parts[::-1].index(package) :]
    dotted = ".".join(inside[:-1] if inside[-1] == "__init__" else inside)
    # axolotl splits it into a package, whose own module has the function.
    is_part = package == "axolotl" and dotted.startswith(f"{known}.")
    return known if is_part or not is_dotted(dotted) else dotted
