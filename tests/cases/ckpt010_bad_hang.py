"""Wrong: never returns."""
import threading


def checkpoint_function(function, *args, **kwargs):
    threading.Event().wait()
