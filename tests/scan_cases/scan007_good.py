"""Layers that do not checkpoint themselves, a caller that asks, and one of two ways of switching on."""

from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP


class Plain(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList([LlamaMLP(config)])

    def forward(self, hidden_states):
        for layer in self.layers:
            hidden_states = checkpoint(layer, hidden_states, use_reentrant=False)
        return hidden_states


class Careful(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList([LlamaDecoderLayer(config, 0)])

    def forward(self, hidden_states):
        for layer in self.layers:
            if isinstance(layer, GradientCheckpointingLayer):
                hidden_states = layer(hidden_states)
            else:
                hidden_states = checkpoint(layer.__call__, hidden_states, use_reentrant=False)
        return hidden_states


def prepare(model, sharded):
    if sharded:
        apply_activation_checkpointing(model)
    else:
        model.gradient_checkpointing_enable()
