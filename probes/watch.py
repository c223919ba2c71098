"""What is seen of a training step from outside: calls, recomputation, keyword arguments and saved bytes."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, NamedTuple

import torch

from . import callables, places, wrapper

CACHE_KEYWORDS = frozenset(
    {"use_cache", "cache", "past_key_value", "past_key_values", "layer_past", "cache_params", "cache_position"}
)
"""Keyword arguments that transformers itself takes away under checkpointing, and rightly."""

MOST_KEPT = 8
"""How many different callables are kept."""


class Seen(NamedTuple):
    """What was seen inside the layers in one training step, by child."""

    calls: dict[str, int]
    in_forward: dict[str, int]
    """Calls in the forward pass alone."""
    keywords: dict[str, set[str]]
    """Keyword arguments that were not ``None`` at any call."""
    reached: set[str]
    """Layers that backward goes through: they have something to train, or what comes in does."""
    trained: set[str]
    """Layers with parameters that are trained."""
    arithmetic: dict[str, list[str]]
    """In which precision each layer began to run, each time."""


class Insides:
    """Counts the calls of each layer's direct children, and the keyword arguments that reach them.

    A layer's own hooks do not tell how often it ran: some conventions pass the bare forward, which has none. Its
    children are called as modules whatever the convention.
    """

    def __init__(self, layers: dict[str, torch.nn.Module]) -> None:
        self.calls: dict[str, int] = {}
        self.in_forward: dict[str, int] = {}
        self.keywords: dict[str, set[str]] = {}
        self.reached: set[str] = set()
        self.trained: set[str] = set()
        self.arithmetic: dict[str, list[str]] = {}
        """In which precision each layer began to run, each time."""
        self._hooks: list[Any] = []
        self._held: dict[str, list[torch.nn.Parameter]] = {}
        for layer, module in layers.items():
            held = self._held[layer] = list(module.parameters())
            for name, child in module.named_children():
                seen = functools.partial(self._seen, layer, f"{layer}.{name}", held)
                self._hooks.append(child.register_forward_pre_hook(seen, with_kwargs=True))

    def close(self) -> None:
        """Stop counting."""
        for hook in self._hooks:
            hook.remove()

    def _seen(
        self, layer: str, name: str, held: list[Any], module: torch.nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> None:
        if next(iter(self.calls), name).rpartition(".")[2] == name.rpartition(".")[2]:  # a layer's first child
            self.arithmetic.setdefault(layer, []).append(arithmetic(args, kwargs))
        is_trained = any(parameter.requires_grad for parameter in held)
        if is_trained:
            self.trained.add(layer)
        if is_trained or any(torch.is_tensor(one) and one.requires_grad for one in (*args, *kwargs.values())):
            self.reached.add(layer)
        self.calls[name] = self.calls.get(name, 0) + 1
        given = {key for key, value in kwargs.items() if value is not None}
        # What counts is what reaches the layer every time, in recomputation too.
        self.keywords[name] = self.keywords.get(name, given) & given

    def forward_is_over(self) -> None:
        """Note how often each child was called so far."""
        self.in_forward = dict(self.calls)

    def backward_is_over(self) -> None:
        """Backward goes through no layer of whose trained parameters none has a gradient: its output is not used.

        Such is the last layer of LLaVA's tower, which hands on what comes out of the last but one.
        """
        for layer, held in self._held.items():
            trained = [parameter for parameter in held if parameter.requires_grad]
            if trained and all(parameter.grad is None for parameter in trained):
                self.reached.discard(layer)

    def take(self) -> Seen:
        """What was counted, in the order of first calls; counting starts anew."""
        seen = Seen(self.calls, self.in_forward, self.keywords, self.reached, self.trained, self.arithmetic)
        self.calls, self.in_forward, self.keywords = {}, {}, {}
        self.reached, self.trained, self.arithmetic = set(), set(), {}
        return seen


def arithmetic(args: Any, kwargs: dict[str, Any]) -> str:
    """The precision of a call: of what comes in, and autocast's."""
    tensor = next((one for one in (*args, *kwargs.values()) if torch.is_tensor(one)), None)
    if tensor is None:
        return ""
    device = tensor.device.type
    dtype = str(tensor.dtype).rpartition(".")[2]
    if not _is_autocast(device):
        return f"{dtype} without autocast"
    return f"{dtype} under autocast to {str(_autocast_dtype(device)).rpartition('.')[2]}"


def _is_autocast(device: str) -> bool:
    try:
        return bool(torch.is_autocast_enabled(device))
    except TypeError:  # torch before 2.4
        return bool(torch.is_autocast_cpu_enabled() if device == "cpu" else torch.is_autocast_enabled())


def _autocast_dtype(device: str) -> Any:
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device)
    return torch.get_autocast_cpu_dtype() if device == "cpu" else torch.get_autocast_gpu_dtype()


def other_arithmetic(seen: Seen) -> list[dict[str, Any]]:
    """Layers that were recomputed in another precision than they ran in at first."""
    found = []
    for layer, calls in seen.arithmetic.items():
        first, again = calls[0], next((call for call in calls if call != calls[0]), None)
        if again is not None:
            found.append({"layer": layer, "forward": first, "recomputed": again})
    return found


def forwards(layer: str, plain: Seen, checkpointed: Seen) -> dict[str, Any] | None:
    """How often a layer's forward ran; nothing for a layer that did not run.

    The child that is called first tells: recomputation may stop early, once all that backward needs is there.
    """
    first = next((child for child in plain.calls if child.rpartition(".")[0] == layer), None)
    if first is None:
        return None
    calls, in_forward = checkpointed.calls.get(first, 0), checkpointed.in_forward.get(first, 0)
    return {
        "plain": plain.calls[first],
        "forwards": calls,
        "in_forward": in_forward,
        "reached": layer in plain.reached,
        "trained": layer in plain.trained,
    }


def lost_keywords(plain: Seen, checkpointed: Seen) -> list[dict[str, Any]]:
    """Keyword arguments that reached a child of a layer in the plain step, and not every time with checkpointing."""
    lost = []
    for child, names in plain.keywords.items():
        missing = names - checkpointed.keywords.get(child, set()) - CACHE_KEYWORDS
        if missing and child in checkpointed.keywords:
            lost.append({"module": child, "keywords": sorted(missing)})
    return lost


class Call(NamedTuple):
    """A call of the checkpoint function."""

    function: Callable[..., Any]
    passed: Any
    """The callable that was passed."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Spy:
    """Stands between a model and its checkpoint function, and notes what is passed."""

    def __init__(self) -> None:
        self.calls = 0
        self.seen: list[dict[str, Any]] = []
        self.last: Any = None
        """The callable passed last."""
        self.call: Call | None = None
        """The last call."""
        self.is_over = False
        """What is passed from now on is not noted."""

    def install(self, model: torch.nn.Module) -> None:
        """Stand in front of every checkpoint function in a model."""
        made: dict[int, Callable[..., Any]] = {}
        for module in model.modules():
            function = vars(module).get("_gradient_checkpointing_func")
            if function is not None:
                module._gradient_checkpointing_func = made.setdefault(id(function), self._in_front_of(function))

    def watch_wrappers(self, model: torch.nn.Module) -> dict[str, Any] | None:
        """Stand in front of the function that torch's wrappers in a model call; the line that calls it."""
        found = wrapper.all_in(model)
        for module in found:
            module.checkpoint_fn = self._in_front_of(module.checkpoint_fn)
        return places.of_code(type(found[0]).forward.__code__) if found else None

    def _in_front_of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function, assigned=("__name__", "__qualname__", "__doc__"))
        def checkpoint_function(passed: Any, *args: Any, **kwargs: Any) -> Any:
            self._note(passed, kwargs, sys._getframe(1))
            self.call = Call(function, passed, args, kwargs)
            return function(passed, *args, **kwargs)

        return checkpoint_function

    def _note(self, passed: Any, keywords: dict[str, Any], frame: Any) -> None:
        if self.is_over:
            return
        self.calls += 1
        self.last = passed
        by = places.line_of(frame)
        text = callables.render(passed)
        for known in self.seen:
            if (known["by"]["file"], known["by"]["line"], known["callable"]["text"]) == (by["file"], by["line"], text):
                known["calls"] += 1
                return
        if len(self.seen) < MOST_KEPT:
            self.seen.append(
                {
                    "callable": callables.describe(passed),
                    **places.of_call(frame),
                    "keywords": sorted(keywords),
                    "calls": 1,
                }
            )


class SavedBytes:
    """Adds up the bytes of tensors that autograd keeps for backward, parameters and repeats left out.

    Autograd does not check tensors that go through hooks for changes in place, so this does: a step that would fail in
    training must fail here.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._seen = {_storage(parameter) for parameter in model.parameters()}
        self.total = 0

    def hooks(self) -> Any:
        """A context in which what is saved is counted."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
        storage = _storage(tensor)
        # FSDP gathers parameters anew in each step, and a linear layer keeps a view of its own.
        is_parameter = isinstance(tensor if tensor._base is None else tensor._base, torch.nn.Parameter)
        if storage not in self._seen and not is_parameter:
            self._seen.add(storage)
            self.total += tensor.untyped_storage().nbytes()
        # A parameter is kept itself, since ZeRO 3 gives it other data meanwhile; of a result, its graph is not needed.
        return tensor if tensor.is_leaf else tensor.detach(), tensor._version

    def _unpack(self, packed: tuple[torch.Tensor, int]) -> torch.Tensor:
        tensor, version = packed
        if tensor._version != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"[{tensor.type()} {list(tensor.shape)}] is at version {tensor._version}; expected version {version}"
            )
        return tensor


class Moves:
    """Adds up the bytes of tensors that are sent to the CPU, by whatever call, be they there already or not."""

    def __init__(self) -> None:
        self.bytes = 0
        self._kept: dict[str, Any] = {}

    def __enter__(self) -> Moves:
        for name in ("cpu", "to", "copy_"):
            self._kept[name] = getattr(torch.Tensor, name)
            setattr(torch.Tensor, name, self._in_front_of(name))
        return self

    def __exit__(self, *error: object) -> None:
        for name in self._kept:
            delattr(torch.Tensor, name)  # what is below is torch's own

    def _in_front_of(self, name: str) -> Any:
        return lambda tensor, *args, **kwargs: self._call(tensor, name, *args, **kwargs)

    def _call(self, tensor: torch.Tensor, name: str, *args: Any, **kwargs: Any) -> Any:
        is_home = tensor.device.type == "cpu"
        if name == "cpu" or (name == "copy_" and is_home) or (name == "to" and _names_cpu(args, kwargs)):
            self.bytes += tensor.nbytes
        return self._kept[name](tensor, *args, **kwargs)


def _names_cpu(args: Any, kwargs: dict[str, Any]) -> bool:
    return any(isinstance(one, (str, torch.device)) and str(one) == "cpu" for one in (*args, *kwargs.values()))


def _storage(tensor: torch.Tensor) -> int:
    local = getattr(tensor, "_local_tensor", tensor)  # of a sharded one, this rank's part
    return int(local.untyped_storage().data_ptr())
