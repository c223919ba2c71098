"""Jobs of plain torch in one process, each run without the observer and then with it: prints what is seen as JSON.

    python scenarios.py [NAME...]

Each function below is a job; it returns what it trained, to compare the weights of both runs.
"""

import contextlib
import functools
import gc
import json
import os
import sys
import tempfile
import warnings
import weakref
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils import checkpoint as checkpointing

checkpoint = checkpointing.checkpoint
STEPS = 6
JOBS = {}


def job(function):
    JOBS[function.__name__] = function
    return function


class Layer(torch.nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.norm, self.dropout = torch.nn.LayerNorm(16), torch.nn.Dropout(dropout)
        self.up, self.down = torch.nn.Linear(16, 32), torch.nn.Linear(32, 16)

    def forward(self, hidden, scale=None):
        return hidden + self.dropout(self.down(functional.gelu(self.up(self.norm(hidden))))) * (scale or 1)


class Model(torch.nn.Module):
    """Layers that ``call`` runs; by default each is checkpointed."""

    def __init__(self, layers=None, call=None):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(32, 16), torch.nn.Linear(16, 32)
        self.layers = torch.nn.ModuleList(layers or [Layer() for _ in range(3)])
        self.call = call or functools.partial(checkpoint, use_reentrant=False)

    def forward(self, ids):
        hidden = self.embedding(ids)
        for layer in self.layers:
            hidden = self.call(layer, hidden)
        return self.head(hidden)


def batches(count=STEPS):
    drawn = torch.randint(0, 32, (count, 2, 8), generator=torch.Generator().manual_seed(3))
    return list(drawn)


def loss_of(model, ids):
    return functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())


def train(model, forward=loss_of, optimizer=None):
    optimizer = optimizer or torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for ids in batches():
        forward(model, ids).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


# -- sound jobs


@job
def sound():
    return train(Model())


@job
def reentrant():
    return train(Model(call=functools.partial(checkpoint, use_reentrant=True)))


@job
def closure():
    """As Lightning does: forward, backward and zero_grad in the optimizer's closure."""
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for ids in batches():

        def run(ids=ids):
            optimizer.zero_grad()
            loss = loss_of(model, ids)
            loss.backward()
            return loss

        optimizer.step(run)
    return model


@job
def lbfgs():
    model = Model([Layer(0.0) for _ in range(3)])
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    for ids in batches():

        def run(ids=ids):
            optimizer.zero_grad()
            loss = loss_of(model, ids)
            loss.backward()
            return loss

        optimizer.step(run)
    return model


@job
def evaluates():
    """Evaluation between steps: with and without gradients, in eval mode, and sampling in train mode."""

    def forward(model, ids):
        model.eval()
        loss_of(model, ids)
        with torch.no_grad():
            loss_of(model, ids)
        model.train()
        with torch.no_grad():
            loss_of(model, ids)
        return loss_of(model, ids)

    return train(GatedModel(), forward)


class GatedModel(Model):
    """As transformers' models: no checkpointing in eval mode."""

    def __init__(self, layers=None, call=None):
        super().__init__(layers, call)
        self.gradient_checkpointing = True

    def forward(self, ids):
        hidden = self.embedding(ids)
        for layer in self.layers:
            hidden = self.call(layer, hidden) if self.training and self.gradient_checkpointing else layer(hidden)
        return self.head(hidden)


@job
def eval_mode():
    """A job that forgets ``model.train()``: its checkpointing is off, and nothing says so."""
    return train(GatedModel().eval())


@job
def reference():
    """DPO with an adapter: the reference is the model itself, without gradients, in train mode."""

    def forward(model, ids):
        with torch.no_grad():
            reference = loss_of(model, ids)
        return loss_of(model, ids) + loss_of(model, ids.flip(1)) - 0.1 * reference

    return train(Model(call=functools.partial(checkpoint, use_reentrant=True)), forward)


@job
def other_order():
    """Two passes, and two calls of backward in the order of the passes."""
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for ids in batches():
        one, other = loss_of(model, ids), loss_of(model, ids.flip(1))
        one.backward()
        other.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


class Listed(torch.nn.Module):
    """As a layer of T5: its parts stand in a list."""

    def __init__(self):
        super().__init__()
        self.parts = torch.nn.ModuleList([Layer(), Layer()])

    def forward(self, hidden):
        return self.parts[1](self.parts[0](hidden))


@job
def listed_parts():
    return train(Model([Listed() for _ in range(3)]))


@job
def two_models():
    """A GAN's: two models with an optimizer each."""
    one, other = Model(), Model()
    optimizers = [torch.optim.AdamW(each.parameters(), lr=1e-2) for each in (one, other)]
    for ids in batches():
        for model, optimizer in zip((one, other), optimizers, strict=True):
            loss_of(model, ids).backward()
            optimizer.step()
            optimizer.zero_grad()
    return torch.nn.ModuleList([one, other])


@job
def master_weights():
    """An optimizer that trains copies of the parameters."""
    model = Model()
    copies = [one.detach().clone().requires_grad_() for one in model.parameters()]
    optimizer = torch.optim.AdamW(copies, lr=1e-2)
    for ids in batches():
        loss_of(model, ids).backward()
        for held, one in zip(copies, model.parameters(), strict=True):
            held.grad, one.grad = one.grad, None
        optimizer.step()
        for held, one in zip(copies, model.parameters(), strict=True):
            one.data.copy_(held.data)
    return model


@job
def shared_layers():
    """One layer that stands in its list four times."""
    layer = Layer()
    return train(Model([layer] * 4))


@job
def accumulates():
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for ids in batches():
        for part in ids:
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, part[None])
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return model


@job
def selective():
    """Selective checkpointing: products of matrices are kept."""
    keep = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default]
    contexts = functools.partial(checkpointing.create_selective_checkpoint_contexts, keep)
    return train(Model(call=functools.partial(checkpoint, use_reentrant=False, context_fn=contexts)))


@job
def debug():
    with checkpointing.set_checkpoint_debug_enabled(True):
        return train(Model())


@job
def users_hooks():
    """Hooks of the user's on layers and on saved tensors."""
    model, seen = Model(), []
    model.layers[0].register_forward_pre_hook(lambda module, args: (args[0] * 1.01,))
    model.layers[1].register_forward_hook(lambda module, args, output: output * 0.99)
    model.layers[1].up.register_full_backward_hook(lambda module, given, out: seen.append(1))
    with torch.autograd.graph.save_on_cpu():
        return train(model)


@job
def deep():
    return train(Model([Layer() for _ in range(150)]))


@job
def strict_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return train(Model())


@job
def every_second():
    """Every second layer is checkpointed, on purpose."""

    def call(layer, hidden):
        call.count += 1
        return checkpoint(layer, hidden, use_reentrant=False) if call.count % 2 else layer(hidden)

    call.count = 0
    model = Model([Layer() for _ in range(4)], call)
    return train(model)


@job
def parts():
    """A job that calls a tower and a decoder one after the other, as many that join two models do."""
    tower, decoder = Model(), Model()
    both = torch.nn.ModuleDict({"tower": tower, "decoder": decoder})
    return train(both, lambda both, ids: loss_of(both["tower"], ids) + loss_of(both["decoder"], ids))


@job
def caught_error():
    """Layers on the way to an error that the job catches: it goes on with the next batch."""

    def forward(model, ids):
        with contextlib.suppress(IndexError):
            loss_of(model, ids + 1000)
        return loss_of(model, ids)

    return train(Model(), forward)


# -- compiled ones


def compiled(wrap):
    torch._dynamo.reset()
    return train(*wrap(Model()))


@job
def compiled_model():
    model = Model()
    train(torch.compile(model, backend="aot_eager"))
    return model


@job
def compiled_in_place():
    model = Model()
    model.compile(backend="aot_eager", fullgraph=True)
    return train(model)


@job
def compiled_layers():
    model = Model()
    for layer in model.layers:
        layer.compile(backend="aot_eager")
    return train(model)


@job
def compiled_forwards():
    model = Model()
    for layer in model.layers:
        layer.forward = torch.compile(layer.forward, backend="aot_eager")
    return train(model)


@job
def compiled_forward_pass():
    """A function around the model is compiled, in one graph."""
    forward = torch.compile(loss_of, backend="aot_eager", fullgraph=True)
    return train(Model(), forward)


@job
def compiled_step():
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    @torch.compile(backend="aot_eager")
    def step(ids):
        loss_of(model, ids).backward()
        optimizer.step()
        optimizer.zero_grad()

    for ids in batches():
        step(ids)
    return model


@job
def compiled_loss():
    """Something outside of the layers is compiled."""
    model = Model()
    model.head.compile(backend="aot_eager")
    return train(model)


# -- broken ones


@job
def loses_random_state():
    return train(Model(call=functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)))


@job
def loses_no_random_state():
    """Random states are not restored, where nothing is drawn."""
    layers = [Layer(0.0) for _ in range(3)]
    return train(Model(layers, functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)))


class FunctionalDropout(Layer):
    def forward(self, hidden, scale=None):
        return hidden + functional.dropout(self.down(functional.gelu(self.up(self.norm(hidden)))), 0.1, self.training)


@job
def functional_dropout():
    layers = [FunctionalDropout() for _ in range(3)]
    return train(Model(layers, functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)))


class OwnGenerator(Layer):
    def __init__(self):
        super().__init__(0.0)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, hidden, scale=None):
        mask = torch.rand(hidden.shape, generator=self.generator) > 0.1
        return hidden + self.down(functional.gelu(self.up(self.norm(hidden * mask))))


@job
def own_generator():
    return train(Model([OwnGenerator() for _ in range(3)]))


class Recompute(torch.autograd.Function):
    """A checkpoint function as people write one: each ``fault`` is one that people make."""

    @staticmethod
    def forward(ctx, layer, fault, hidden):
        ctx.layer, ctx.fault, ctx.hidden = layer, fault, hidden.detach().requires_grad_()
        ctx.state = torch.get_rng_state()
        with torch.no_grad():
            return layer(hidden, scale=2.0) if fault == "keyword" else layer(hidden)

    @staticmethod
    def backward(ctx, gradient):
        if ctx.fault != "random state":
            torch.set_rng_state(ctx.state)
        cast = torch.autocast("cpu", torch.bfloat16, enabled=ctx.fault == "autocast")
        hidden = ctx.hidden if ctx.fault != "value" else (ctx.hidden.detach() * 1.5).requires_grad_()
        if ctx.fault == "shape":
            hidden = hidden.detach()[:, :4].requires_grad_()
        with torch.enable_grad(), cast:
            output = ctx.layer(hidden)
        if ctx.fault == "twice":
            with torch.enable_grad():
                output = ctx.layer(hidden)
        if ctx.fault == "shape":
            gradient = gradient[:, :4]
        torch.autograd.backward(output, gradient)
        given = hidden.grad if ctx.fault != "shape" else functional.pad(hidden.grad, (0, 0, 0, 4))
        return None, None, given


def own_function(fault):
    def own_checkpoint(layer, hidden):
        return Recompute.apply(layer, fault, hidden)

    return lambda: train(Model(call=own_checkpoint))


for _fault in ("none", "random state", "keyword", "autocast", "value", "shape", "twice"):
    JOBS[f"own function: {_fault}"] = own_function(_fault)


@job
def frozen_prefix():
    """Reentrant checkpointing behind a frozen embedding: no gradient reaches the layers, and the head hides it."""
    model = Model(call=functools.partial(checkpoint, use_reentrant=True))
    model.embedding.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train(model)


@job
def frozen_layers():
    """The first layers are frozen on purpose; no gradient needs to pass them."""
    model = Model()
    model.embedding.requires_grad_(False)
    model.layers[0].requires_grad_(False)
    return train(model)


@job
def nested():
    """Checkpointed twice: a layer that checkpoints itself, under another checkpoint function."""

    class Itself(Layer):
        def forward(self, hidden, scale=None):
            return checkpoint(super().forward, hidden, use_reentrant=True)

    return train(Model([Itself() for _ in range(3)], functools.partial(checkpoint, use_reentrant=True)))


@job
def wrapped_twice():
    """torch's wrapper around layers that are checkpointed already."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper

    model = Model(call=functools.partial(checkpoint, use_reentrant=True))
    for index, layer in enumerate(model.layers):
        model.layers[index] = checkpoint_wrapper(layer, CheckpointImpl.REENTRANT)
    return train(model)


class Experts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.randn(2, 16, 16) / 4)

    def forward(self, hidden, chosen):
        return torch.einsum("bsh,bshf->bsf", hidden, self.weights[chosen])


class Mixture(torch.nn.Module):
    """Each token goes to the expert with the larger score; ``flips`` sends it to the other one in recomputation."""

    def __init__(self, flips):
        super().__init__()
        self.router, self.experts, self.flips, self.calls = torch.nn.Linear(16, 2), Experts(), flips, 0

    def forward(self, hidden):
        self.calls += 1
        chosen = self.router(hidden).argmax(-1)
        return self.experts(hidden, 1 - chosen if self.flips and self.calls % 2 == 0 else chosen)


class Routed(torch.nn.Module):
    def __init__(self, flips=True):
        super().__init__()
        self.norm, self.mixture = torch.nn.LayerNorm(16), Mixture(flips)

    def forward(self, hidden):
        return hidden + self.mixture(self.norm(hidden))


@job
def routing():
    return train(Model([Routed(flips=False) for _ in range(3)]))


@job
def routing_flips():
    return train(Model([Routed() for _ in range(3)]))


@job
def skipped_layer():
    model = GatedModel()
    model.call = lambda layer, hidden: (
        layer(hidden) if layer is model.layers[1] else checkpoint(layer, hidden, use_reentrant=False)
    )
    return train(model)


@job
def off():
    """Asked for by a flag, and nobody does it."""
    return train(GatedModel(call=lambda layer, hidden: layer(hidden)))


@job
def keeps_memory():
    """Checkpointed, and what layers compute is kept all the same."""
    kept = []

    class Keeps(Layer):
        def forward(self, hidden, scale=None):
            kept.append(self.up(hidden).repeat(1, 1, 400))
            del kept[:-20]
            return super().forward(hidden)

    return train(Model([Keeps() for _ in range(6)]))


@job
def not_finite():
    model = Model()
    model.layers[1].up.weight.register_hook(lambda gradient: gradient * float("inf"))
    return train(model)


@job
def raises_in_backward():
    """An error in backward that the job catches."""
    model = Model()
    calls = []

    def fail(gradient):
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("a fault in backward")

    model.layers[1].up.weight.register_hook(fail)

    def forward(model, ids):
        with contextlib.suppress(ValueError):
            if not calls:
                loss_of(model, ids).backward()
        return loss_of(model, ids)

    return train(model, forward)


# -- running them


def digest(model):
    return [one.detach().clone() for one in model.state_dict().values()]


def run(function):
    torch.manual_seed(0)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        return function()


def left():
    """Whatever hooks and patches are in place."""
    modules, optimizer = torch.nn.modules.module, sys.modules["torch.optim.optimizer"]
    names = [name for name in vars(modules) if name.startswith("_global_") and isinstance(getattr(modules, name), dict)]
    found = {name: len(getattr(modules, name)) for name in names}
    for name in ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks"):
        found[name] = len(getattr(optimizer, name))
    return {**found, "backward": torch.autograd.backward.__code__.co_filename, "hook": repr(sys.excepthook)}


def hooks_of(model):
    names = (
        "_forward_pre_hooks",
        "_forward_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_forward_hooks_always_called",
    )
    held = sum(len(getattr(one, name)) for one in model.modules() for name in names)
    return held + sum(len(one._backward_hooks or {}) for one in model.parameters())


def compare(name):
    import _ckptdoctor_hook as hook

    function = JOBS[name]
    plain = run(function)
    expected, state, hooks = digest(plain), torch.get_rng_state(), hooks_of(plain)
    before = left()
    with tempfile.TemporaryDirectory() as folder:
        observer = hook.probes("observer.observer").Observer(
            folder, {"steps": 2, "catalog": json.loads(os.environ["CATALOG"])}
        )
        observer.begin()
        watched = run(function)
        same = all(
            torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(expected, digest(watched), strict=True)
        )
        told = {"same": same and torch.equal(state, torch.get_rng_state()), "closed": not observer.is_open}
        observer.end()
        told["hooks left"] = left() != before or hooks_of(watched) != hooks
        written = list(Path(folder).iterdir())
        told["process"] = json.loads(written[0].read_text()) if written else None
    held = weakref.ref(watched)
    del watched, plain
    gc.collect()
    told["model left"] = held() is not None
    return told


def main():
    sys.path.insert(0, os.environ["NO_TOUCH"])
    for name in sys.argv[1:] or JOBS:
        try:
            print(json.dumps({"name": name, **compare(name)}), flush=True)
        except Exception as error:
            print(json.dumps({"name": name, "error": f"{type(error).__name__}: {error}"[:600]}), flush=True)


if __name__ == "__main__":
    main()
