"""The part of a script that wraps the model in the engine, takes the step, and asserts what is silent."""

from __future__ import annotations

from textwrap import indent

from ckptdoctor.bugreport.repro.draft import Draft, fill, template
from ckptdoctor.bugreport.repro.expected import HANGS
from ckptdoctor.bugreport.repro.function import import_deepspeed
from ckptdoctor.rules.common.reproduction import SECOND_STEP

HANGS_AFTER = 30
"""Seconds after which a script of a hanging step ends itself and tells where it hangs."""


def engine(draft: Draft) -> str:
    """What wraps the model for training."""
    if draft.probe.engine == "partial":
        draft.imports.add("functools")
        return template("partial")
    if not draft.has_zero:
        return ""
    head = "" if draft.probe.checkpoint_function == "deepspeed" else import_deepspeed(draft)
    return head + template("zero", stage=str(int(draft.probe.engine[len("zero") : len("zero") + 1])))


def step(draft: Draft) -> str:
    """A step of training, and what must hold after it."""
    taken = _taken(draft)
    if draft.expected.error.startswith("SystemExit"):
        draft.imports.add("traceback")
        taken = f"try:\n{indent(taken, '    ')}except SystemExit:\n    traceback.print_exc()\n"
    text = f'print("the step begins", flush=True)\ntorch.manual_seed(1)\n{taken}'
    if draft.expected.death == HANGS:
        draft.imports.add("faulthandler")
        text = f"faulthandler.dump_traceback_later({HANGS_AFTER}, exit=True)\n{text}"
    if "$gradient" in text and draft.has_zero:
        text = "from deepspeed.utils import safe_get_full_grad\n\n" + text
    gradient = "safe_get_full_grad(parameter)" if draft.has_zero else "parameter.grad"
    return fill(text, run="engine" if draft.has_zero else "model", gradient=gradient)


def _taken(draft: Draft) -> str:
    backward = "engine.backward(loss)\n" if draft.has_zero else "loss.backward()\n"
    assertion = draft.assertion
    if assertion is None:
        return f'loss = $run(**inputs).loss\n{backward}print("no fault: the step came to its end")\n'
    if assertion.precedes_backward:
        return assertion.forward + assertion.check
    again = SECOND_STEP if assertion.needs_second_step(draft.probe.evidence) else ""
    return assertion.forward + backward + again + assertion.check
