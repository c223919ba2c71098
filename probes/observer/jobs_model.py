"""The model that a job trains: what wraps it, its layers, and how it is checkpointed."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from .. import catalog, places, wrapper
from ..layers import layers_of

FLAGS = ("gradient_checkpointing", "activation_checkpointing")
"""Attributes of a module that say that its layers, or itself, are checkpointed."""

FUNCTION = "_gradient_checkpointing_func"
"""Attribute with the checkpoint function that transformers gave to a module."""

_FSDP2 = ("torch.distributed.fsdp._fully_shard", "torch.distributed._composable.fsdp")
"""Classes of this module give a sharded module its class."""

_MOST_WRAPPERS = 8


class JobsModel(NamedTuple):
    """What is known of a model before its first step."""

    root: torch.nn.Module
    """What the job calls, with all wrappers."""
    inner: torch.nn.Module
    layers: dict[str, torch.nn.Module]
    """Its layers by the names that the model itself has for them, without what wraps them."""
    types: dict[str, str]
    """The names of their classes."""
    unobserved: str
    """Why no hook may be put into its layers; empty where one may."""


def trains(module: torch.nn.Module) -> bool:
    """Whether a module has something to train."""
    return any(parameter.requires_grad for parameter in module.parameters())


def find(root: torch.nn.Module) -> JobsModel:
    """Look at a model that is about to run."""
    inner = _unwrapped(root)
    layers: dict[str, torch.nn.Module] = {}
    for name, layer in _layers(inner).items():
        held = _unwrapped(layer)
        if all(held is not known for known in layers.values()):  # a layer may stand in its list more than once
            layers[wrapper.plain_name(name)] = held
    return JobsModel(
        root, inner, layers, {name: type_of(layer) for name, layer in layers.items()}, _why_not(root, layers)
    )


def type_of(module: torch.nn.Module) -> str:
    """The name of a module's class, without what FSDP2 puts in front of it."""
    kind = type(module)
    is_fsdp2 = any(f"{one.__module__}.{one.__name__}".startswith(_FSDP2) for one in kind.__mro__)
    return kind.__name__.removeprefix("FSDP") if is_fsdp2 else kind.__name__


def _why_not(root: torch.nn.Module, layers: dict[str, torch.nn.Module]) -> str:
    if type(root).__name__ == "DataParallel" and len(getattr(root, "device_ids", ())) > 1:
        return "DataParallel runs copies of the model in threads"
    inside = {id(module) for layer in layers.values() for module in layer.modules()}
    for module in root.modules():
        around = module.modules() if _is_compiled(module) else ()
        if any(id(one) in inside for one in around):
            return "torch.compile compiles the layers"
    return ""


def _unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """What wrappers of the known kinds hold: DDP, DeepSpeed's engine, FSDP1, torch's checkpoint wrapper, torch.compile."""
    for _ in range(_MOST_WRAPPERS):
        names = ("_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_orig_mod")
        held = next((one for name in names if (one := module._modules.get(name)) is not None), None)
        if held is None and type(module).__name__ in ("DistributedDataParallel", "DeepSpeedEngine", "DataParallel"):
            held = module._modules.get("module")
        if held is None:
            return module
        module = held
    return module


def _layers(inner: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Its layers, those of a plain ``Sequential`` too."""
    found = layers_of(inner)
    for name, one in () if found else inner.named_modules():
        children = list(one.children())
        if isinstance(one, torch.nn.Sequential) and not any(name.startswith(f"{known}.") for known in found):
            like = [child for child in children if type(child) is type(children[0]) and list(child.children())]
            found.update({f"{name}.{index}": child for index, child in enumerate(like)} if len(like) > 1 else {})
    return {name.removeprefix("."): layer for name, layer in found.items()}


def _is_compiled(module: torch.nn.Module) -> bool:
    if getattr(module, "_compiled_call_impl", None) is not None or type(module).__name__ == "OptimizedModule":
        return True
    forward = vars(module).get("forward", type(module).forward)
    return hasattr(getattr(forward, "__func__", forward), "_torchdynamo_orig_callable")


def wanted(model: JobsModel) -> set[str]:
    """Layers that somebody asked to be checkpointed: by a flag of theirs or of what holds them, or by a wrapper."""
    above = {wrapper.plain_name(name): one for name, one in model.inner.named_modules()}
    return {name for name, layer in model.layers.items() if _is_on(name, layer, above)} | wrapped(model)


def _is_on(name: str, layer: torch.nn.Module, above: dict[str, torch.nn.Module]) -> bool:
    """The nearest that has a flag decides."""
    holders = [layer]
    while name:
        name = name.rpartition(".")[0]
        holders += [above[name]] if name in above else []
    for holder in holders:
        flags = [getattr(holder, flag) for flag in FLAGS if isinstance(getattr(holder, flag, None), bool)]
        if flags:
            return any(flags)
    return False


def wrapped(model: JobsModel) -> set[str]:
    """Layers that torch's checkpoint wrapper holds, whole or their children."""
    found: set[str] = set()
    if not any("_checkpoint_wrapped_module" in one._modules for one in model.inner.modules()):
        return found  # names are not looked up for nothing
    for name, one in model.inner.named_modules():
        if hasattr(one, "_checkpoint_wrapped_module"):
            plain = wrapper.plain_name(f"{name}._checkpoint_wrapped_module.").rstrip(".")
            found |= {layer for layer in model.layers if plain == layer or plain.startswith(f"{layer}.")}
    return found


def functions(model: JobsModel) -> list[Any]:
    """The checkpoint functions that modules of the model were given, each once."""
    found: dict[int, Any] = {}
    for module in model.inner.modules():
        function = vars(module).get(FUNCTION)
        if function is not None:
            key = function.func if isinstance(function, functools.partial) else function
            found.setdefault(id(key), function)
    return list(found.values())


def innermost(function: Any) -> Any:
    """The function whose code runs: without partials and guards, and without what torch's own decorators put around it.

    What a trainer wraps around torch's function looks like that, and is not.
    """
    for _ in range(_MOST_WRAPPERS):
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "_ckptdoctor_function"):  # the guard of ``run``
            function = function._ckptdoctor_function
        elif hasattr(function, "__wrapped__") and _module_of(function).startswith(("torch._dynamo", "torch._compile")):
            function = function.__wrapped__
    return function


def _module_of(function: Any) -> str:
    """The module whose code runs; a name may be borrowed."""
    call = getattr(function, "__func__", function)
    names = getattr(call, "__globals__", None)
    return str(names.get("__name__") if names is not None else type(function).__module__)


def name_of(function: Any) -> str:
    """A checkpoint function's name as reports have it: torch's and trainers' by the catalog, others ``module:name``."""
    inner = innermost(function)
    module = _module_of(inner)
    if module == "torch.utils.checkpoint":
        keywords = {**getattr(function, "keywords", {})}
        return "torch:reentrant" if keywords.get("use_reentrant", True) is not False else "torch:non-reentrant"
    known = [key for key, one in catalog.FUNCTIONS.items() if module in one["modules"]]
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    name = code.co_name if code is not None else type(inner).__qualname__
    return next(iter(known), f"{module}:{name}")


def place_of(function: Any) -> dict[str, Any] | None:
    """Where a checkpoint function's code begins."""
    inner = innermost(function)
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    return places.of_code(code) if code is not None else None


def engine(root: torch.nn.Module) -> str:
    """What wraps the model, by the catalog's names."""
    for module in _outside(root):
        kind = type(module).__name__
        if kind == "DeepSpeedEngine":
            return f"zero{int(module.zero_optimization_stage())}"
        if kind == "DistributedDataParallel":
            return "ddp-unused" if getattr(module, "find_unused_parameters", False) else "ddp"
        if kind == "FullyShardedDataParallel":
            return "fsdp1"
        if any(f"{one.__module__}.{one.__name__}".startswith(_FSDP2) for one in type(module).__mro__):
            return "fsdp2"
    return "none"


def _outside(root: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The model's wrappers, then the modules in it: FSDP may wrap parts only."""
    yield from root.modules()
