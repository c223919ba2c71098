"""Wrong: raises, whatever it is given."""


def checkpoint_function(function, *args, **kwargs):
    raise ValueError("no checkpointing today")
