"""Wrong: raises, whatever it is handed."""


def checkpoint_function(function, *args, **kwargs):
    raise ValueError("no checkpointing today")
