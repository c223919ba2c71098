"""The class in which transformers checkpoints is replaced, and the method of it that did so."""

from torch import nn
from transformers import modeling_layers
from transformers.modeling_layers import GradientCheckpointingLayer


class Layer(nn.Module):
    pass


def call(self, *args, **kwargs):
    return self._gradient_checkpointing_func(super(GradientCheckpointingLayer, self).__call__, *args, **kwargs)


modeling_layers.GradientCheckpointingLayer = Layer  # SCAN005
GradientCheckpointingLayer.__call__ = call  # SCAN005
