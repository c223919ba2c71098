"""Trainer is to be stopped by the old name, after parts were switched off."""

from transformers import Trainer, TrainingArguments


def prepare(model, training_args: TrainingArguments):
    if training_args.gradient_checkpointing:
        model.gradient_checkpointing_enable(training_args.gradient_checkpointing_kwargs)
        model.vision_tower.gradient_checkpointing_disable()
    training_args.gradient_checkpointing = False  # SCAN006


class OwnTrainer(Trainer):
    def train(self, *args, **kwargs):
        self.args.gradient_checkpointing = False  # SCAN006
        return super().train(*args, **kwargs)
