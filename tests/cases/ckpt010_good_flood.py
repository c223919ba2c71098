"""Right, if tiresome: prints 50 MB, some of it to the descriptor itself."""
import os

from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    for _ in range(25):
        print("x" * 500_000)
        os.write(1, b"y" * 500_000)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
