"""What the script of a bug report asserts if a fault raises no error, and lines that several rules share.

All texts are lines of Python. Two names are filled in: ``$run`` is the model, or the engine around it; ``$gradient`` is the
gradient of ``parameter``, even if an engine stores it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ckptdoctor.model.evidence import Evidence, Gradients


def _never(evidence: Evidence) -> bool:
    return False


@dataclass(frozen=True)
class Assertion:
    """The assertion that shows a silent fault.

    Attributes:
        message: How the message of the assertion begins.
        check: The lines that assert it, after the step.
        before: Lines that run the step without checkpointing, for comparison.
        forward: The forward pass.
        precedes_backward: It is asserted before the backward pass, which may raise an error.
        needs_second_step: Whether the fault shows only once the gradients of two steps are added.
    """

    message: str
    check: str
    before: str = ""
    forward: str = "loss = $run(**inputs).loss\n"
    precedes_backward: bool = False
    needs_second_step: Callable[[Evidence], bool] = _never


def accumulates(wrong: Callable[[Gradients], list[object]]) -> Callable[[Evidence], bool]:
    """Whether gradients are right in the first step and wrong after a second one."""

    def needs_second_step(evidence: Evidence) -> bool:
        return evidence.gradients is not None and not wrong(evidence.gradients)

    return needs_second_step


PLAIN_GRADIENTS = """\
# The measure: the same step without checkpointing.
torch.manual_seed(1)
model(**inputs).loss.backward()
plain = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
model.zero_grad(set_to_none=True)
"""

GRADIENTS = """\
now = {name: $gradient for name, parameter in model.named_parameters()}
now = {name: gradient for name, gradient in now.items() if gradient is not None}
"""

SECOND_STEP = """\
loss = $run(**inputs).loss  # a second step, its gradients added
loss.backward()
plain = {name: 2 * gradient for name, gradient in plain.items()}
"""

RUNS_OF_LAYERS = """\
# Counts how often each layer runs.
layers = next(one for one in model.modules() if isinstance(one, torch.nn.ModuleList))
runs = [0] * len(layers)


def count(index):
    def hook(*_):
        runs[index] += 1

    return hook


for index, layer in enumerate(layers):
    next(layer.children()).register_forward_pre_hook(count(index))
"""
