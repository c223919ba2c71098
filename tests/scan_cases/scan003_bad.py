"""A layer's method is replaced: of a class, of instances, by a name that is looked up."""

import importlib
from types import MethodType

from transformers.models.llama.modeling_llama import LlamaDecoderLayer


def fast_forward(self, hidden_states, **keywords):
    return self.mlp(hidden_states)


def patch(model):
    LlamaDecoderLayer.forward = fast_forward  # SCAN003
    modeling = importlib.import_module("transformers.models.qwen2.modeling_qwen2")
    modeling.Qwen2DecoderLayer.forward = fast_forward  # SCAN003
    for module in model.modules():
        if isinstance(module, LlamaDecoderLayer):
            module.forward = MethodType(fast_forward, module)  # SCAN003
    for layer in model.model.layers:
        layer.forward = fast_forward.__get__(layer)  # SCAN003
