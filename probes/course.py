"""The beginning of a training run: many steps of all kinds, each beside the same step without checkpointing.

The usual step shows a function at its first call, on two layers and one batch. Training goes on: weights change, batches
differ, precision is mixed, an evaluation comes in between. Two copies of a model with more layers, one with checkpointing and
one without, take the same steps from the same weights. Where they part, torch's own functions take that step too: what they
do not get right either is not held against anybody.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import threading
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from . import autocast, catalog, failures, functions, isolate, memory, models, surroundings, tiny_glm4, tuning, watch
from .step import Note, compare

LAYERS = 5
"""Enough to tell apart what is checkpointed on purpose, every second layer say, and what goes wrong further down."""

LAYERS_OF_TRAINERS = 3
"""What is known of trainers was measured at many releases: fewer layers and situations tell whether this one is as they are."""

LARGE = (6, 72)
"""Sequences and tokens of a large batch."""

STEP = 0.05
"""Norm by which the weights move between steps."""

SCALE = 2.0**16
"""What a loss is multiplied with under fp16, at first."""

ROUNDING = 8.0
"""How many times the difference that another order of the same sums makes still counts as rounding."""

LEAST = {"fp32": 4e-6, "bf16": 1.5e-2}
"""The least relative difference that does not count as rounding: some of the last digits."""


class Situation(NamedTuple):
    """What is particular about a step."""

    when: str
    """As the end of a clause."""
    batches: tuple[str, ...] = ("usual",)
    """Names of batches that are run forward before backward is run."""
    precision: str = "fp32"
    scale: float = 1.0
    """What the loss is multiplied with for backward."""
    in_thread: bool = False
    """Backward runs in another thread, as it does on a GPU."""
    without_gradients: bool = False
    in_evaluation: bool = False
    setting: Callable[[Any], Any] | None = None
    """Gives a context for a side's model."""
    rare: bool = False
    """Not every job comes into this situation."""
    is_measured: bool = False
    """Bytes are counted."""
    is_counted: bool = True
    """Layers must be recomputed."""
    may_raise: bool = False
    """To refuse is no fault."""
    is_for_all: bool = True
    """Trainers' own functions come into it too, and not only what a user wrote."""


def situations(usual_cache: bool) -> list[Situation]:
    """The steps in their order; a few of the same kind stand together so that what grows is seen to grow."""
    large = "with a longer sequence and a larger batch"
    return [
        Situation("in the first step"),
        Situation("in the second step, with another batch", ("other",)),
        Situation(f"in the third step, {large}", ("large",), is_measured=True),
        Situation(f"in the fourth step, {large}", ("large",)),
        Situation(f"in the fifth step, {large}", ("large",)),
        Situation("with a single sequence without padding", ("single",), is_for_all=False),
        Situation("with a loss that is scaled up, as for fp16", scale=SCALE, is_for_all=False),
        Situation("when backward runs in another thread, as on a GPU", in_thread=True),
        Situation("in evaluation", ("other",), without_gradients=True, in_evaluation=True),
        Situation("in training mode without gradients", ("other",), without_gradients=True, is_for_all=False),
        Situation("after a forward pass that no backward pass follows", setting=_after_a_dropped_forward),
        Situation("when two forward passes come before backward", ("usual", "other"), is_counted=False),
        Situation("in bf16 under autocast", precision="bf16"),
        Situation("in bf16 under autocast, with another batch", ("other",), precision="bf16", is_for_all=False),
        Situation("when only the first layer is trained", setting=_first_layer_only, is_counted=False),
        Situation(
            "when the embeddings are frozen and their output requires a gradient, as PEFT has it",
            setting=_frozen_embeddings,
        ),
        *([Situation("with the key-value cache on", setting=_with_cache)] if usual_cache else []),
        Situation("when position embeddings need gradients", setting=_trained_positions, is_for_all=False),
        Situation(
            "when the loss is not a number",
            setting=_broken_weight,
            is_counted=False,
            may_raise=True,
            is_for_all=False,
        ),
        Situation("in a later step", ("other",)),
        # A trainer leaves frozen embeddings to PEFT.
        Situation("when the embeddings are frozen", setting=_frozen_inputs, rare=True, is_for_all=False),
    ]


class Taken(NamedTuple):
    """What came of a step on one side."""

    loss: float
    gradients: dict[str, Any]
    seen: watch.Seen
    saved: int
    held: int
    grew: int
    changed: list[str]
    drawn: dict[str, Any]
    """The states of random number generators after forward."""


class Side:
    """A model that takes steps, and what is seen of it."""

    def __init__(self, model: models.Model, device: torch.device) -> None:
        self.model, self.module, self.device = model, model.module, device
        self.insides = watch.Insides(model.layers)
        self.is_watched = False
        """Whether to note what a step leaves changed."""
        self.keeps_grad_mode = True
        self.more_inputs: dict[str, Any] = {}
        self.more_gradients: dict[str, Callable[[], Any]] = {}

    def take(self, situation: Situation, batches: list[dict[str, Any]], tell: Callable[[str], None]) -> Taken:
        """Take a step; the weights stay."""
        self.module.zero_grad(set_to_none=True)
        self.insides.take()
        is_large = "large" in situation.batches
        used = memory.in_use() if is_large else None
        surroundings.seed()
        with (situation.setting or _as_it_is)(self):
            before = surroundings.take(self.module) if self.is_watched else {}
            tell("forward")
            in_use = memory.in_use() if is_large else None
            saved = watch.SavedBytes(self.module)
            losses = self._forward(situation, batches, saved)
            held = (memory.in_use() or 0) - (in_use or 0) if is_large else 0
            self.insides.forward_is_over()
            loss = float(losses.detach())
            drawn = surroundings.randomness()
            torch.rand(1)  # a batch is drawn, dropout masks are
            before = {**before, **(surroundings.randomness() if before else {})}
            tell("backward")
            if not situation.without_gradients:
                _backward(losses * situation.scale, situation.in_thread)
            del losses
            changed = surroundings.changed(before, surroundings.take(self.module)) if before else []
            changed += [] if self.keeps_grad_mode else ["the grad mode"]
            gradients = self._gradients()
        self.module.zero_grad(set_to_none=True)
        seen = self.insides.take()
        del before
        grew = 0
        if is_large:
            gc.collect()
            grew = (memory.in_use() or 0) - (used or 0) - sum(_bytes(one) for one in gradients.values())
        return Taken(loss, gradients, seen, saved.total, held, grew, changed, drawn)

    def _forward(self, situation: Situation, batches: list[dict[str, Any]], saved: watch.SavedBytes) -> torch.Tensor:
        if situation.in_evaluation:
            self.module.eval()
        try:
            with contextlib.ExitStack() as stack:
                if situation.is_measured:
                    stack.enter_context(saved.hooks())
                if situation.without_gradients:
                    stack.enter_context(torch.no_grad())
                stack.enter_context(tuning.arithmetic(situation.precision, self.device.type, False))
                losses = [self.module(**{**models.fresh(batch), **self.more_inputs}).loss for batch in batches]
                self.keeps_grad_mode = torch.is_grad_enabled() != situation.without_gradients
                return torch.stack(losses).sum()
        finally:
            if situation.in_evaluation:
                self.module.train()

    def _gradients(self) -> dict[str, Any]:
        own = {name: one.grad for name, one in self.module.named_parameters() if one.requires_grad}
        frozen = {
            name: one.grad
            for name, one in self.module.named_parameters()
            if not one.requires_grad and one.grad is not None
        }
        more = {name: look() for name, look in self.more_gradients.items()}
        return {
            name: None if one is None else one.detach().float().clone()
            for name, one in {**own, **frozen, **more}.items()
        }


def _without_dropout(module: torch.nn.Module) -> None:
    """What a model drops by itself differs from one side to the other, rightly; dropout is a variant of the usual step."""
    for one in module.modules():
        if isinstance(one, torch.nn.modules.dropout._DropoutNd):
            one.p = 0.0


def _with_a_gap(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch in which tokens in the middle are looked at by none: another mask, and one that matters."""
    batch["attention_mask"][0, 4:9] = 0
    batch["labels"][0, 4:9] = -100
    return batch


def _bytes(tensor: Any) -> int:
    return 0 if tensor is None else int(tensor.nbytes)


def _backward(loss: torch.Tensor, in_thread: bool) -> None:
    if not in_thread:
        loss.backward()
        return
    raised: list[BaseException] = []

    def run() -> None:
        try:
            loss.backward()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


class Course:
    """All the steps; evidence is filled in as it comes."""

    def __init__(self, spec: dict[str, Any], evidence: dict[str, Any], spy: watch.Spy, note: Note) -> None:
        self.spec, self.evidence, self.spy, self.note = spec, evidence, spy, note

    def run(self) -> None:
        """Build both models, switch checkpointing on in one, and take every step with both."""
        torch.set_num_threads(1)
        torch.manual_seed(self.spec["seed"])
        self._enter("build")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # A trainer installs its function in its own way only.
        self.is_users_own = self.spec["function"] not in catalog.FUNCTIONS
        self.is_whole = self.is_users_own or self.spec["thorough"]
        layers = LAYERS if self.is_whole else LAYERS_OF_TRAINERS
        model = models.build(self.spec["model"], self.spec["convention"], "", layers)
        _without_dropout(model.module)
        model.module.to(self.device)
        self.batches = self._batches()
        self.evidence.update(device=self.device.type, model_class=model.name, family=model.family)
        self.original = model
        self.plain, self.checkpointed = self._side(), self._side()
        self.rounding: dict[str, float] = {}
        self._enter("plain")
        self.plain.take(Situation(""), [self.batches["usual"]], lambda stage: None)

        self._enter("enable")
        loaded = functions.enable(self.spec["function"], self.checkpointed.module, self.spec["replacement"])
        if loaded:
            self.evidence["loaded"] = loaded
            self.note({"loaded": loaded})
        self.spy.install(self.checkpointed.module)
        self.steps: list[dict[str, Any]] = []
        self.evidence["steps"] = self.steps
        self._go()
        if self.is_users_own and not any(map(_is_at_fault, self.steps)):
            self._call_it()
        self._enter("")

    def _enter(self, stage: str) -> None:
        self.evidence["during"] = stage
        self.note({"during": stage})

    def _side(self) -> Side:
        module = copy.deepcopy(self.original.module)
        return Side(self.original._replace(module=module, layers=models.layers_of(module)), self.device)

    def _batches(self) -> dict[str, dict[str, Any]]:
        sequences, tokens = LARGE
        made = {
            "usual": models.padded_inputs(),
            "other": _with_a_gap(models.padded_inputs()),
            "large": models.padded_inputs(sequences, tokens),
            "single": models.padded_inputs(1, 24, 0),
        }
        del made["single"]["attention_mask"]
        return {
            name: models.with_settings(self.spec["model"], {key: value.to(self.device) for key, value in batch.items()})
            for name, batch in made.items()
        }

    def _go(self) -> None:
        grown: list[int] = []
        for situation in situations(self.spec["model"] != models.OWN):
            if not (situation.is_for_all or self.is_whole) or (situation.rare and not self.is_users_own):
                continue
            batches = [self.batches[name] for name in situation.batches]
            plain = self._plainly(situation, batches)
            if plain is None:
                continue
            tolerance = self._tolerance(situation)
            step, taken = self._observe(self.checkpointed, situation, batches, plain, tolerance)
            step["when"] = situation.when
            if situation.rare:
                step["rare"] = True
            error = step.get("error")
            if error and error["needs_cuda"]:
                self.steps.clear()
                self._enter("build")
                raise models.ModelUnavailableError("the function needs a GPU, and there is none here")
            if situation.may_raise and error:
                return
            if _deviates(step):
                step["torch_too"] = [
                    name for name in TORCH if self._deviates_with_torch(name, situation, plain, tolerance)
                ]
            self.steps.append(step)
            self.note({"steps": self.steps})
            if error:
                self.evidence["error"] = error
            if error or step.get("changed") or _is_at_fault(step):
                return  # once it is wrong, what comes after tells no more
            if situation.batches == ("large",) and taken is not None and memory.in_use() is not None:
                grown.append(taken.grew - plain.grew)
                if len(grown) == 3 and min(grown[1:]) > GREW:  # at first, memory grows for many reasons
                    step["grew"] = min(grown[1:])
            self._move(plain, situation)

    def _plainly(self, situation: Situation, batches: list[dict[str, Any]]) -> Taken | None:
        """The step without checkpointing; nothing where the model itself does not come into that situation."""
        try:
            return self.plain.take(situation, batches, lambda stage: None)
        except Exception as error:
            if isolate.ran_out(error):
                raise
            return None

    def _observe(
        self, side: Side, situation: Situation, batches: list[dict[str, Any]], plain: Taken, tolerance: float
    ) -> tuple[dict[str, Any], Taken | None]:
        """The step with checkpointing, as evidence."""
        step: dict[str, Any] = {"id": self.spec["id"], "ended": "returned", "precision": situation.precision}
        calls = self.spy.calls

        def tell(stage: str) -> None:
            step["during"] = stage
            self._enter(stage)

        side.is_watched = True
        try:
            with autocast.watching() as other_devices:
                taken = side.take(situation, batches, tell)
        except (Exception, SystemExit) as error:
            if isolate.ran_out(error):
                raise
            step.update(ended="raised", error=failures.evidence(error, self.spy.last))
            step["function_called"] = self.spy.calls - calls
            return step, None
        step["during"] = ""
        step["function_called"] = self.spy.calls - calls
        step.update(plain_loss=plain.loss, loss=taken.loss, rounding=tolerance)
        step["gradients"] = _compare(plain.gradients, taken.gradients, tolerance)
        if situation.is_measured:
            step["saved_bytes"] = {"plain": plain.saved, "checkpointed": taken.saved}
            if memory.in_use() is not None:
                step["held_bytes"] = {"plain": plain.held, "checkpointed": taken.held}
        drawn = surroundings.changed(plain.drawn, taken.drawn)
        if taken.changed or drawn:
            step["changed"] = taken.changed + [name for name in drawn if name not in taken.changed]
        if situation.is_counted and not situation.without_gradients:
            step["layers"] = [
                {"name": name, "type": type(layer).__name__, **counted}
                for name, layer in side.model.layers.items()
                if (counted := watch.forwards(name, plain.seen, taken.seen))
            ]
        ran_once = [one["forwards"] <= one["in_forward"] for one in step.get("layers", ())]
        if situation.is_measured and ran_once and all(ran_once):
            step["moved_bytes"] = self._moved(side, batches)
        if situation.precision != "fp32" and not other_devices:
            step["arithmetic"] = watch.other_arithmetic(taken.seen)
        elif situation.precision != "fp32":
            step["gradients"]["wrong"] = []  # its autocast is another device's, and there is none here
        step["keywords_lost"] = watch.lost_keywords(plain.seen, taken.seen)
        return step, taken

    def _moved(self, side: Side, batches: list[dict[str, Any]]) -> int:
        """Bytes that a forward pass sends to the CPU."""
        with watch.Moves() as moves:
            side.module(**models.fresh(batches[0]))
        return int(moves.bytes)

    def _tolerance(self, situation: Situation) -> float:
        """The largest relative difference that rounding explains: as the plain step has it with its sequences turned round."""
        if situation.precision not in self.rounding:
            usual = [self.batches["usual"]]
            turned = [{key: value.flip(0) if torch.is_tensor(value) else value for key, value in usual[0].items()}]
            plainly = Situation("", precision=situation.precision)
            one, other = (self.plain.take(plainly, batch, lambda stage: None) for batch in (usual, turned))
            found = compare(one.gradients, other.gradients, 0.0)["wrong"]
            noise = max((wrong["difference"] for wrong in found), default=0.0)
            self.rounding[situation.precision] = max(ROUNDING * noise, LEAST[situation.precision])
        return self.rounding[situation.precision]

    def _deviates_with_torch(self, name: str, situation: Situation, plain: Taken, tolerance: float) -> bool:
        """Whether torch's own function does not get this step right either."""
        side = self._side()
        _copy_weights(self.plain.module, side.module)
        functions.hand_to(side.module, functools.partial(checkpoint, use_reentrant=name == "torch:reentrant"))
        batches = [self.batches[one] for one in situation.batches]
        return _deviates(self._observe(side, situation, batches, plain, tolerance)[0])

    def _move(self, plain: Taken, situation: Situation) -> None:
        """Change the weights of both sides as an optimizer does: in place, and by the same."""
        gradients = {
            name: one for name, one in plain.gradients.items() if one is not None and bool(one.isfinite().all())
        }
        norm = float(torch.sqrt(sum((one.pow(2).sum() for one in gradients.values()), torch.zeros(()))))
        if situation.without_gradients or not gradients or not 0 < norm < float("inf"):
            return
        with torch.no_grad():
            for name, parameter in self.plain.module.named_parameters():
                if name in gradients:
                    parameter.add_(gradients[name].to(parameter.device), alpha=-STEP / norm)
        _copy_weights(self.plain.module, self.checkpointed.module)

    def _call_it(self) -> None:
        """Call the function as models and transformers call torch's, on a layer in evaluation and with keyword arguments."""
        self.checkpointed.module.zero_grad(set_to_none=True)
        loss = self.checkpointed.module(**models.fresh(self.batches["usual"])).loss
        if self.spy.call is None:
            return
        function, handed, args, kwargs = self.spy.call
        self.spy.call = None
        del loss
        ways: list[tuple[str, bool, dict[str, Any]]] = [
            ("with a layer in evaluation mode", False, {}),
            ("when it is called with use_reentrant=True", True, {"use_reentrant": True}),
            ("when it is called with use_reentrant=False", True, {"use_reentrant": False}),
            ("when it is called with preserve_rng_state=True", True, {"preserve_rng_state": True}),
        ]
        for when, training, keywords in ways:
            if set(keywords) & set(kwargs):
                continue
            for layer in self.checkpointed.model.layers.values():
                layer.train(training)
            step: dict[str, Any] = {
                "id": self.spec["id"],
                "when": when,
                "rare": True,
                "ended": "returned",
                "during": "",
            }
            plain, _ = self._called(handed, handed, args, kwargs, {})
            try:
                step["during"] = "forward"
                taken, again = self._called(function, handed, args, kwargs, keywords, step)
            except (Exception, SystemExit) as error:
                if isolate.ran_out(error):
                    raise
                step.update(ended="raised", error=failures.evidence(error, handed))
                # What it sets itself it need not be given; some releases of Python 3.11 tell that by a KeyError.
                is_set_by_itself = "multiple values for keyword argument" in str(error) or isinstance(error, KeyError)
                if step["error"]["needs_cuda"] or is_set_by_itself:
                    continue
            else:
                step["during"] = ""
                step["gradients"] = _compare(plain, taken, self.rounding["fp32"])
                step["function_called"] = 1
                if training and not again:
                    step["layers"] = [{"name": "the layer", "type": "", "plain": 1, "forwards": 1, "in_forward": 1}]
            self.steps.append(step)
        for layer in self.checkpointed.model.layers.values():
            layer.train()

    def _called(
        self,
        function: Any,
        handed: Any,
        args: Any,
        kwargs: dict[str, Any],
        keywords: dict[str, Any],
        step: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], bool]:
        """The gradients of one call, and whether anything ran again in backward."""
        module = self.checkpointed.module
        module.zero_grad(set_to_none=True)
        self.checkpointed.insides.take()
        inputs = [_as_input(one) for one in args]
        to_run = [] if function is handed else [handed]
        output = function(*to_run, *inputs, **kwargs, **keywords)
        self.checkpointed.insides.forward_is_over()
        tensor = output if torch.is_tensor(output) else output[0]
        if step is not None:
            step["during"] = "backward"
        tensor.pow(2).sum().backward()
        seen = self.checkpointed.insides.take()
        gradients = {name: one.grad for name, one in module.named_parameters() if one.grad is not None}
        named = {f"the input {index}": one.grad for index, one in enumerate(inputs) if torch.is_tensor(one)}
        copied = {name: one.detach().clone() for name, one in {**gradients, **named}.items() if one is not None}
        module.zero_grad(set_to_none=True)
        return {"the output": tensor.detach().clone(), **copied}, seen.calls != seen.in_forward


TORCH = ("torch:non-reentrant", "torch:reentrant")

GREW = 40_000
"""Bytes by which memory must grow in each step to count; half of what one tensor between layers holds in a large batch."""


class _NoSuchPartError(Exception):
    """The model has not what a situation is about."""


def _as_input(value: Any) -> Any:
    if torch.is_tensor(value) and value.is_floating_point():
        return value.detach().clone().requires_grad_(value.requires_grad)
    return value


def _compare(plain: dict[str, Any], checkpointed: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Gradients against the plain step's; of what is not a number there, whether that is hidden here."""
    sound = {name: one for name, one in plain.items() if one is None or bool(one.isfinite().all())}
    hidden = [
        name
        for name, one in plain.items()
        if name not in sound and checkpointed.get(name) is not None and bool(checkpointed[name].isfinite().all())
    ]
    found = compare(sound, checkpointed, tolerance)
    more = [
        name
        for name, one in checkpointed.items()
        if one is not None and plain.get(name) is None and bool(one.any() or not one.isfinite().all())
    ]
    return {**found, **({"hidden": hidden} if hidden else {}), **({"unexpected": more} if more else {})}


def _is_at_fault(step: dict[str, Any]) -> bool:
    return step.get("torch_too") == []


def _deviates(step: dict[str, Any]) -> bool:
    gradients = step.get("gradients") or {}
    told = ("missing", "wrong", "hidden", "unexpected")
    if step["ended"] != "returned" or step.get("changed") or any(gradients.get(name) for name in told):
        return True
    if step.get("arithmetic") or step.get("keywords_lost"):
        return True
    loss, plain = step.get("loss"), step.get("plain_loss")
    if loss is None or plain is None or plain != plain:
        return plain is not None and loss is not None and loss == loss
    return not abs(loss - plain) <= min(step.get("rounding", 0.0), 1e-4) * max(abs(plain), 1e-12)


def _copy_weights(source: torch.nn.Module, target: torch.nn.Module) -> None:
    with torch.no_grad():
        for one, other in zip(target.parameters(), source.parameters()):
            one.copy_(other)


@contextlib.contextmanager
def _as_it_is(side: Side) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _after_a_dropped_forward(side: Side) -> Iterator[None]:
    side.module(**side.more_inputs, **_small(side))
    side.insides.take()
    yield


def _small(side: Side) -> dict[str, Any]:
    inputs = models.padded_inputs(2, 8, 2)
    inputs = {key: value.to(side.device) for key, value in inputs.items()}
    return models.with_settings(models.OWN if isinstance(side.module, tiny_glm4.TinyGlm4ForCausalLM) else "", inputs)


@contextlib.contextmanager
def _frozen(side: Side, trained: Callable[[str], bool]) -> Iterator[None]:
    before = {name: one.requires_grad for name, one in side.module.named_parameters()}
    for name, one in side.module.named_parameters():
        one.requires_grad_(before[name] and trained(name))
    try:
        yield
    finally:
        for name, one in side.module.named_parameters():
            one.requires_grad_(before[name])


def _first_layer_only(side: Side) -> Any:
    first = next(iter(side.model.layers))
    embeddings = {id(one) for one in side.module.get_input_embeddings().parameters()}
    own = {name for name, one in side.module.named_parameters() if id(one) in embeddings}
    return _frozen(side, lambda name: name in own or name.startswith(f"{first}."))


@contextlib.contextmanager
def _frozen_embeddings(side: Side) -> Iterator[None]:
    embeddings = side.module.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, args, output: output.requires_grad_())
    try:
        with _frozen_inputs(side):
            yield
    finally:
        hook.remove()


def _frozen_inputs(side: Side) -> Any:
    embeddings = {id(one) for one in side.module.get_input_embeddings().parameters()}
    own = {name for name, one in side.module.named_parameters() if id(one) in embeddings}
    return _frozen(side, lambda name: name not in own)


@contextlib.contextmanager
def _with_cache(side: Side) -> Iterator[None]:
    side.more_inputs = {"use_cache": True}
    try:
        yield
    finally:
        side.more_inputs = {}


@contextlib.contextmanager
def _trained_positions(side: Side) -> Iterator[None]:
    """Position embeddings are leaves of the graph that gradients are kept for, as if they were learned."""
    leaves: list[torch.Tensor] = []

    def learn(output: Any) -> Any:
        made = tuple(one.detach().clone().requires_grad_() for one in output)
        leaves.extend(made)
        return made

    def look(index: int) -> Any:
        return leaves[index].grad if len(leaves) > index else None

    with contextlib.ExitStack() as stack:
        if isinstance(side.module, tiny_glm4.TinyGlm4ForCausalLM):
            original = tiny_glm4.rotary_embedding
            tiny_glm4.rotary_embedding = lambda *args: learn(original(*args))
            stack.callback(setattr, tiny_glm4, "rotary_embedding", original)
        else:
            for module in _rotary(side):
                hook = module.register_forward_hook(lambda module, args, output: learn(output))
                stack.callback(hook.remove)
        side.more_gradients = {f"position embeddings {index}": functools.partial(look, index) for index in (0, 1)}
        stack.callback(setattr, side, "more_gradients", {})
        yield


def _rotary(side: Side) -> list[torch.nn.Module]:
    found = [
        module
        for name, module in side.module.named_modules()
        if type(module).__name__.endswith("RotaryEmbedding")
        and not any(name.startswith(f"{layer}.") for layer in side.model.layers)
    ]
    if not found:
        raise _NoSuchPartError
    return found[:1]


@contextlib.contextmanager
def _broken_weight(side: Side) -> Iterator[None]:
    """A weight in the middle of the model is not a number."""
    layers = list(side.model.layers.values())
    weight = next(layers[len(layers) // 2].parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.view(-1)[0] = float("nan")
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)
