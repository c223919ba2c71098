"""What trainers rely on in transformers, as probes observed it on both sides: every difference, also where nothing breaks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from ckptdoctor.model.evidence import CallableInfo, Evidence, LayerContract, Place
from ckptdoctor.model.impact import ContractChange, Watched
from ckptdoctor.words.wording import relative

Terms = dict[Watched, str]
"""The contract of a model in words, without the names of its classes."""

LAYER = "Layer"
"""Stands for the class of a model's layers."""

_OF_SHAPE: tuple[Watched, ...] = ("callable", "forward", "hooks", "returns")
"""What decides how a checkpoint function gets on with a model: models that agree in it are alike to trainers."""


def changes(base: Mapping[str, Evidence], head: Mapping[str, Evidence]) -> Iterator[ContractChange]:
    """What differs between the sides, each once for all models in which it differs in the same way.

    Args:
        base: By model family, the usual step with torch's own function.
        head: The same.
    """
    found: dict[tuple[Watched, str, str], list[str]] = {}
    for model in base:
        ours, theirs = terms(base[model]), terms(head[model]) if model in head else {}
        for watched in ours:
            if watched in theirs and ours[watched] != theirs[watched]:
                before, after = _differing(watched, ours[watched], theirs[watched])
                found.setdefault((watched, before, after), []).append(model)
    ordered = sorted(found.items(), key=lambda one: -len(one[1]))
    for (watched, before, after), models in ordered:
        yield ContractChange(watched, before, after, models)


def shape(evidence: Evidence | None) -> tuple[str, ...]:
    """What models that are alike to a checkpoint function have in common."""
    said = terms(evidence) if evidence else {}
    return tuple(said.get(one, "") for one in _OF_SHAPE)


def terms(evidence: Evidence) -> Terms:
    """The contract that a probe observed; what it did not observe is left out."""
    found: Terms = {}
    if evidence.handovers:
        found["callable"] = _all(_callable(one.callable, evidence) for one in evidence.handovers)
        keywords = {name for one in evidence.handovers for name in (*one.callable.keywords, *one.keywords)}
        found["keywords"] = ", ".join(sorted(keywords))
    contract = evidence.contract
    if contract is None:
        return found
    if contract.layers:
        found["forward"] = _all(map(_forward, contract.layers))
        found["returns"] = _all(one.returns for one in contract.layers if one.returns)
        found["hooks"] = _all(_hooks(one) for one in contract.layers if one.recomputed)
    call = contract.trainers_call
    called = f"Trainer calls {call.method}({', '.join(json.loads(call.keywords))}); " if call else ""
    found["switch"] = f"{called}the model has {', '.join(contract.switches)}"
    return {watched: text for watched, text in found.items() if text}


def _all(texts: Iterable[str]) -> str:
    return " or ".join(sorted(dict.fromkeys(texts)))


def _callable(info: CallableInfo, evidence: Evidence) -> str:
    """What is passed, without names of classes and of arguments: ``functools.partial(Layer.__call__)``."""
    text = re.sub(r", \w+=\.\.\.", "", info.text)
    for name in {one.type for one in evidence.layers}:
        text = re.sub(rf"\b{re.escape(name)}\b", LAYER, text)
    return f"{text}, a {info.kind}" if info.kind not in text else text


def _forward(layer: LayerContract) -> str:
    kept = "is" if layer.recomputed_if_replaced else "is not"
    replaced = f"; a layer whose forward was replaced {kept} recomputed" if layer.recomputed else ""
    return f"{_owner(layer.forward)}{replaced}"


def _owner(place: Place) -> str:
    file = relative(place.file)
    if "/models/" in file or place.package != "transformers":
        return "the layer's own class"
    return f"`{place.function.replace('.<locals>', '')}` in {file}"


def _hooks(layer: LayerContract) -> str:
    return "run again in recomputation" if layer.hooks_again else "run once a step"


def _differing(watched: Watched, base: str, head: str) -> tuple[str, str]:
    """Of keyword arguments, those that are not on both sides."""
    if watched != "keywords":
        return base, head
    ours, theirs = set(base.split(", ")), set(head.split(", "))
    return ", ".join(sorted(ours - theirs)) or "no other", ", ".join(sorted(theirs - ours)) or "no other"
