"""Trainer's method is called, or the replacement switches on by itself."""

from transformers import Trainer


class Calling(Trainer):
    def train(self, *args, **kwargs):
        return super().train(*args, **kwargs)


class Switching(Trainer):
    def train(self, *args, **kwargs):
        self.model.activation_checkpointing_enable()
        return self.optimizer.step()
