"""The method that was there is called, or put back; or what is replaced is no layer."""

import functools

import torch
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP

original = LlamaDecoderLayer.forward


@functools.wraps(original)
def traced_forward(self, hidden_states, **keywords):
    return original(self, hidden_states, **keywords)


def tiled(self, hidden_states):
    return torch.cat([self.down_proj(part) for part in hidden_states.chunk(2)])


def patch(model):
    LlamaDecoderLayer.forward = traced_forward
    LlamaMLP.forward = tiled
    for layer in model.model.layers:
        layer.forward = torch.compile(layer.forward)


def restore():
    LlamaDecoderLayer.forward = original
