"""A class with a call of its own, with a counter and a lock."""

import threading

from torch.utils.checkpoint import checkpoint

SOUND = True


class Checkpoint:
    def __init__(self):
        self.lock = threading.Lock()
        self.calls = 0

    def __call__(self, function, *args, use_reentrant=None, **kwargs):
        with self.lock:
            self.calls += 1
        return checkpoint(function, *args, use_reentrant=bool(use_reentrant), **kwargs)


checkpoint_function = Checkpoint()
