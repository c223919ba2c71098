"""Prints how often each layer of a Llama runs in a step, with methods replaced in each way that a scan warns of.

Run in an environment with torch and transformers; not a test itself. The argument says whether checkpointing is reentrant.
"""

import functools
import json
import sys

import torch
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig, LlamaForCausalLM, modeling_layers
from transformers.models.llama import modeling_llama

Layer, Base = modeling_llama.LlamaDecoderLayer, modeling_layers.GradientCheckpointingLayer
REENTRANT = sys.argv[1] == "reentrant"
FORWARD, CALL = Layer.__dict__["forward"], Base.__dict__.get("__call__")


def forward(self, hidden_states, **keywords):
    attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **keywords)
    hidden_states = hidden_states + attended
    return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


def checkpointing_forward(self, hidden_states, **keywords):
    return checkpoint(functools.partial(forward, self, **keywords), hidden_states, use_reentrant=REENTRANT)


def call(self, *args, **kwargs):
    return torch.nn.Module.__call__(self, *args, **kwargs)


def checkpointing_call(self, *args, **kwargs):
    if not (self.gradient_checkpointing and self.training):
        return call(self, *args, **kwargs)
    return self._gradient_checkpointing_func(functools.partial(functools.partial(call, self), **kwargs), *args)


class Caller(torch.nn.Module):
    """Checkpoints the layer that it holds."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, hidden_states, **keywords):
        function = functools.partial(self.layer.__call__, **keywords)
        return checkpoint(function, hidden_states, use_reentrant=REENTRANT)


def as_caller(model):
    for index, layer in enumerate(list(model.model.layers)):
        model.model.layers[index] = Caller(layer)


WAYS = {
    "nothing": lambda model: None,
    "forward": lambda model: setattr(Layer, "forward", forward),
    "forward that checkpoints": lambda model: setattr(Layer, "forward", checkpointing_forward),
    "__call__": lambda model: setattr(Layer, "__call__", call),
    "__call__ of the base that checkpoints": lambda model: setattr(Base, "__call__", checkpointing_call),
    "caller that checkpoints": as_caller,
}


def runs(replace):
    """How often each layer's MLP runs in a step."""
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    model = LlamaForCausalLM(LlamaConfig(**sizes)).train()
    replace(model)
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": REENTRANT})
    model.enable_input_require_grads()
    ran = []
    for layer in model.model.layers:
        layer.mlp.register_forward_pre_hook(lambda module, inputs: ran.append(module))
    tokens = torch.randint(0, 64, (1, 8))
    model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
    return len(ran) // 2


def restore():
    Layer.forward = FORWARD
    for owner, kept in ((Layer, None), (Base, CALL)):
        if kept is not None:
            owner.__call__ = kept
        elif "__call__" in owner.__dict__:
            del owner.__call__


found = {}
for name, replace in WAYS.items():
    found[name] = runs(replace)
    restore()
sys.stdout.write(json.dumps(found))
