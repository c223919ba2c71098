"""The original is put back, a model sets its own function, and other things are called checkpoint."""

import torch

original = torch.utils.checkpoint.checkpoint


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self._gradient_checkpointing_func = None

    def _set_gradient_checkpointing(self, enable=True, gradient_checkpointing_func=original):
        for module in self.modules():
            module._gradient_checkpointing_func = gradient_checkpointing_func


def restore(args, path):
    torch.utils.checkpoint.checkpoint = original
    args.checkpoint = path
