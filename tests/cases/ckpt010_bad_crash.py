"""Wrong: crashes."""
import os
import signal


def checkpoint_function(function, *args, **kwargs):
    os.kill(os.getpid(), signal.SIGSEGV)
