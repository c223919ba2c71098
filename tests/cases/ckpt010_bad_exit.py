"""Wrong: ends the process."""
import os


def checkpoint_function(function, *args, **kwargs):
    os._exit(3)
