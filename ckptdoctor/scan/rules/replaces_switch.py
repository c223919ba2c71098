"""Code that replaces or overrides a method that switches checkpointing on, with a signature that cannot take the call."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from ckptdoctor.model.scan import Certainty
from ckptdoctor.scan import telling
from ckptdoctor.scan.module import FunctionNode, Module, parameters
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import Facts
from ckptdoctor.scan.replacing import Replaced, Substitute, delegates, is_restored, replaced, substitutes
from ckptdoctor.scan.rule import ScanHit, ScanRule, breaks_where

SETTER = "_set_gradient_checkpointing"
METHODS = frozenset({"gradient_checkpointing_enable", "activation_checkpointing_enable", SETTER})
MODELS = ("PreTrainedModel",)


def find(module: Module, project: Project, releases: Mapping[str, Facts]) -> Iterator[ScanHit]:
    """The assignments to such a method, and the methods of models that override one."""
    for one in replaced(module, METHODS):
        if not is_restored(module, one.value, one.name, one.node):
            for found in substitutes(project, module, one.value, one.node, bool(module.dotted(one.owner))):
                if parameters(found.node)[:1] == ["self"]:  # a class that is held in a variable
                    found = found._replace(takes_self=True)
                hit = _hit(module, project, releases, one.node, one.name, found, "certain", _said(one))
                if hit.breaks or not delegates(module, one.value, [found], one.name, one.node):
                    yield hit
    for name in METHODS:
        for function in [node for node in module.nodes if isinstance(node, FunctionNode) and node.name == name]:
            yield from _overriding(module, project, releases, function)


def _overriding(
    module: Module, project: Project, releases: Mapping[str, Facts], function: FunctionNode
) -> Iterator[ScanHit]:
    owner = module.class_of(function)
    if owner is None or _is_the_base(owner):
        return
    is_model = project.derives_from(module, owner, MODELS) or any(
        "PreTrainedModel" in ast.unparse(one) for one in owner.bases
    )
    if not is_model and (function.name == SETTER or not module.names_trainer):
        return  # only models of transformers call the one, and only Trainer the others
    certainty: Certainty = "certain" if is_model else "possible"
    reason = f"{owner.name} is a model of transformers" if is_model else f"{owner.name} may be trained by Trainer"
    found = Substitute(module, function, frozenset(), True)
    hit = _hit(
        module,
        project,
        releases,
        function,
        function.name,
        found,
        certainty,
        reason,
        f"overrides {function.name} in {owner.name}",
    )
    if hit.breaks:
        yield hit


def _is_the_base(owner: ast.ClassDef) -> bool:
    """Whether a class defines the whole way of switching on by itself."""
    own = {node.name for node in owner.body if isinstance(node, FunctionNode)}
    return {"gradient_checkpointing_enable", SETTER} <= own


def _said(one: Replaced) -> str:
    return f"{ast.unparse(one.owner)}.{one.name} is assigned"


def _hit(
    module: Module,
    project: Project,
    releases: Mapping[str, Facts],
    node: ast.AST,
    method: str,
    found: Substitute,
    certainty: Certainty,
    reason: str,
    title: str = "",
) -> ScanHit:
    name = getattr(found.node, "name", "<lambda>")
    breaks = breaks_where(module, project, node, releases, lambda facts: _refused(facts, method, found))
    taken = ", ".join(name for name in _named(found) if name != "self") or "nothing"
    return ScanHit(
        node,
        title or f"replaces {method} by {name}",
        f"{method} is called with no other arguments than {taken}"
        if not _takes_all(found)
        else f"{method} is called by this name",
        breaks,
        certainty,
        reason,
    )


def _refused(facts: Facts, method: str, found: Substitute) -> str:
    """The error with which a call of a release ends; empty if the signature can take it."""
    called = (
        facts.setter if method == SETTER else next((one.keywords for one in facts.switch if one.method == method), ())
    )
    if not called or (method == SETTER and "value" in _named(found)):
        return ""
    name = getattr(found.node, "name", "<lambda>")
    unknown = [] if _takes_all(found) else [one for one in called if one not in _named(found) or one in found.bound]
    if unknown:
        return f"TypeError: {name}() got an unexpected keyword argument '{unknown[0]}'"
    missing = [one for one in _required(found) if one not in called]
    return f"TypeError: {name}() missing a required argument: '{missing[0]}'" if missing else ""


def _takes_all(found: Substitute) -> bool:
    return found.node.args.kwarg is not None


def _named(found: Substitute) -> list[str]:
    """Parameters that can be given by name."""
    named = [one.arg for one in (*found.node.args.args, *found.node.args.kwonlyargs)]
    return named[1:] if found.takes_self and parameters(found.node) else named


def _required(found: Substitute) -> list[str]:
    arguments = found.node.args
    positional = parameters(found.node)
    required = positional[: len(positional) - len(arguments.defaults)][1 if found.takes_self else 0 :]
    only = [
        one.arg for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None
    ]
    return [one for one in (*required, *only) if one not in found.bound]


RULE = ScanRule(
    code="SCAN004",
    name="replaces-switch",
    meaning="A method that switches checkpointing on is replaced.",
    explanation=(
        "Trainer calls this method with keyword arguments, and releases of transformers add some. A replacement with a fixed "
        "signature ends in a TypeError when training begins. Take `**kwargs`, and pass them on."
    ),
    telling=telling.either(telling.assigns(*sorted(METHODS)), telling.defines(*sorted(METHODS))),
    find=find,
    watched=("switch",),
)
