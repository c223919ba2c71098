"""Wrong: ends the process as if all were well."""
import os


def checkpoint_function(function, *args, **kwargs):
    os._exit(0)
