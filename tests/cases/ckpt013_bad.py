"""Wrong: replaces the method with which transformers' Trainer switches checkpointing on, and takes none of its arguments."""
import transformers
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    return checkpoint(function, *args, use_reentrant=False, **kwargs)


def enable(self):
    self._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=checkpoint_function)


transformers.PreTrainedModel.gradient_checkpointing_enable = enable
