"""The part of a script that wraps the model in the engine, takes the step, and asserts what is silent."""

from __future__ import annotations

from textwrap import indent

from ckptdoctor import catalog
from ckptdoctor.bugreport.repro.draft import Draft, fill, template
from ckptdoctor.bugreport.repro.expected import HANGS
from ckptdoctor.bugreport.repro.function import prepared
from ckptdoctor.rules.common.reproduction import SECOND_STEP

HANGS_AFTER = 30
"""Seconds after which a script of a hanging step ends itself and tells where it hangs."""


def ranks(draft: Draft) -> str:
    """What makes two processes of the script, for an engine that needs them."""
    found = catalog.engines().get(draft.probe.engine)
    if found is None or found.record.least_ranks == 1:
        return ""
    draft.imports |= {"os", "sys", "tempfile", "torch.distributed"}
    return template("two_ranks", rank=str(draft.probe.evidence.rank and 1))


def engine(draft: Draft) -> str:
    """What wraps the model for training."""
    found = catalog.engines().get(draft.probe.engine)
    if found is None:
        return ""
    draft.imports |= {*draft.engine.imports}
    is_prepared = not found.package or draft.probe.checkpoint_function == found.package
    head = "" if is_prepared else prepared(draft, found.package)
    options = {name: str(value) for name, value in found.record.options.get(found.name, {}).items()}
    return head + fill(draft.engine.wrap, **options)


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
    if "$gradient" in text and draft.engine.gradient_import:
        text = f"{draft.engine.gradient_import}\n\n{text}"
    return fill(text, run=draft.engine.run, gradient=draft.engine.gradient)


def _taken(draft: Draft) -> str:
    backward = f"{draft.engine.backward}\n"
    assertion = draft.assertion
    if assertion is None:
        return f'loss = $run(**inputs).loss\n{backward}print("no fault: the step came to its end")\n'
    if assertion.precedes_backward:
        return assertion.forward + assertion.check
    again = SECOND_STEP if assertion.needs_second_step(draft.probe.evidence) else ""
    return assertion.forward + backward + again + assertion.check
