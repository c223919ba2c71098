"""Layers that checkpoint themselves are checkpointed, and wrapped beside the switch."""

import functools

from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from torch.utils.checkpoint import checkpoint
from transformers.models.llama.modeling_llama import LlamaDecoderLayer


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList([LlamaDecoderLayer(config, index) for index in range(config.num_hidden_layers)])

    def forward(self, hidden_states, **keywords):
        for layer in self.layers:
            hidden_states = checkpoint(functools.partial(layer.__call__, **keywords), hidden_states)  # SCAN007
        return hidden_states


def prepare(model):
    model.gradient_checkpointing_enable()
    apply_activation_checkpointing(model)  # SCAN007
