"""Wrong: has no function of the name that is asked for."""


def another_function(function, *args, **kwargs):
    return function(*args, **kwargs)
