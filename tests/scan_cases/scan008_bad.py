"""Trainer's method is replaced by one that does not switch on."""

from transformers import Trainer


class OwnTrainer(Trainer):
    def train(self, *args, **kwargs):  # SCAN008
        for batch in self.get_train_dataloader():
            self.training_step(self.model, batch)


def loop(self, batch_size=None, **kwargs):
    return self.optimizer.step()


Trainer._inner_training_loop = loop  # SCAN008
