"""Methods that take whatever they are called with."""

from transformers import PreTrainedModel


def patch(model):
    enable = model.gradient_checkpointing_enable

    def without_cache(*args, **kwargs):
        model.config.use_cache = False
        return enable(*args, **kwargs)

    model.gradient_checkpointing_enable = without_cache


class Model(PreTrainedModel):
    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs=None, **kwargs):
        super().gradient_checkpointing_enable(gradient_checkpointing_kwargs, **kwargs)
