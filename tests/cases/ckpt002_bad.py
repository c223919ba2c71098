"""Wrong: calls the layer, and nothing is ever recomputed."""


def checkpoint_function(function, *args, **kwargs):
    return function(*args, **kwargs)
