"""A trainer that finds the layer in a bound method, through a helper, and in a partial of one."""

import functools

import transformers


def layer_of(function):
    return function.__self__  # SCAN001


def checkpoint_trainable_layers(checkpoint_function):
    def wrapped(function, *inputs):
        layer = layer_of(function)
        return checkpoint_function(function, *inputs) if layer.training else function(*inputs)

    return wrapped


def offload(function, *inputs, use_reentrant=None):
    if isinstance(function, functools.partial):
        return function.func.__self__, inputs  # SCAN001
    return function.__self__, inputs


transformers.modeling_utils.checkpoint = offload  # SCAN002
