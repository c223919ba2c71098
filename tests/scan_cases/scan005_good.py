"""The method is wrapped, and a name is bound where there is no such class."""

try:
    from transformers.modeling_layers import GradientCheckpointingLayer
except ImportError:
    GradientCheckpointingLayer = None

original = GradientCheckpointingLayer.__call__


def marked(self, *args, **kwargs):
    self.calls = getattr(self, "calls", 0) + 1
    return original(self, *args, **kwargs)


GradientCheckpointingLayer.__call__ = marked
