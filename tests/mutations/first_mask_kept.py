"""Uses the attention mask of the first batch for every batch of that shape."""

import functools

from torch.utils.checkpoint import checkpoint

RULE = "CKPT009"


masks = {}


def checkpoint_function(function, hidden_states, *args, **kwargs):
    if args:
        args = (masks.setdefault(hidden_states.shape, args[0]), *args[1:])
    elif getattr(function, "keywords", None):
        mask = masks.setdefault(hidden_states.shape, function.keywords.get("attention_mask"))
        function = functools.partial(function.func, *function.args, **{**function.keywords, "attention_mask": mask})
    return checkpoint(function, hidden_states, *args, **{"use_reentrant": False, **kwargs})
