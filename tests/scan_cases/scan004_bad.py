"""Methods that switch on, with a signature that is too small."""

from functools import partial
from types import MethodType

from transformers import PreTrainedModel


def enable(self, gradient_checkpointing_kwargs=None, offloaded=False):
    self.config.use_cache = False


def patch(model):
    switch = partial(enable, offloaded=True)
    model.gradient_checkpointing_enable = MethodType(switch, model)  # SCAN004


class Model(PreTrainedModel):
    def activation_checkpointing_enable(self, activation_checkpointing_kwargs=None):  # SCAN004
        self.config.use_cache = False
