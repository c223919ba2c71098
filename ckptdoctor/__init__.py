"""ckptdoctor: whether gradient checkpointing works in a training environment, and if not, whose fault it is.

The command line is ``ckptdoctor``; from Python it is ``check``::

    from ckptdoctor import check

    report = check(with_=["llamafactory==0.9.2"])
    if report.verdict != "ok":
        print(report.summary, [finding.rule for finding in report.findings])

A training loop of one's own is observed by ``watching``, transformers' Trainer by ``callback``::

    with watching() as watched:
        train()
    print(watched.report.summary)

For tests of a checkpoint function of one's own there is ``ckptdoctor.testing``.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from ckptdoctor.model.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from ckptdoctor.model.report import Report
    from ckptdoctor.observe.inside import Watched

__all__ = ["__version__", "callback", "check", "watching"]


def check(
    python: str | PathLike[str] | None = None,
    *,
    with_: Sequence[str] = (),
    job: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    models: Sequence[str] = (),
    functions: Sequence[str] = (),
    engines: Sequence[str] = (),
    nproc: int = 1,
    thorough: bool = False,
    timeout: float = 60.0,
    use_cache: bool = True,
    find_remedies: bool = True,
    verify: bool = False,
) -> Report:
    """Run tiny real training steps in an environment and judge them, as ``ckptdoctor check`` does.

    Args:
        python: The target: an interpreter or an environment's folder; the active environment where none is given.
        with_: Requirements to test with, folders and archives among them; the environment is not modified.
        job: A job file, to probe that very job; several where ``--job`` would be given several times.
        models: Model families or folders with a ``config.json``; without any, the one that fits.
        functions: Checkpoint functions, such as ``llamafactory`` or ``mine.py:function``; without any, those installed.
        engines: as ``--engine`` takes them, such as ``none``, ``zero3``, ``fsdp2``; ``all``; without any, the quick ones.
        nproc: Processes of each probe under DeepSpeed, DDP and FSDP.
        thorough: Have trainers' functions take the whole course of steps too, and try each under every engine.
        timeout: Seconds a probe may take.
        use_cache: Answer from the last run where nothing has changed.
        find_remedies: Look for what fixes each finding, and try it where that can be done here.
        verify: Try every remedy, beside the environment, and drop those that do not help.

    Returns:
        The report, with ``verdict``, ``findings`` and the evidence of every probe.

    Raises:
        ckptdoctor.errors.DoctorError: The target cannot be had, or what was asked for makes no sense.
    """
    from ckptdoctor.diagnose import diagnose
    from ckptdoctor.environment.named import named
    from ckptdoctor.planning.request import build

    request = build(
        python=str(python) if python is not None else None,
        requirements=[named(one) for one in with_],
        job=[str(one) for one in ([job] if isinstance(job, (str, PathLike)) else job or ())],
        models=models,
        functions=functions,
        engines=engines,
        timeout=timeout,
        nproc=nproc,
        thorough=thorough,
        use_cache=use_cache,
        find_remedies=find_remedies,
        verify=verify,
    )
    return diagnose(request)


def watching(steps: int = 2, evidence: str | PathLike[str] | None = None) -> AbstractContextManager[Watched]:
    """Observe the first training steps in a block of code, as ``ckptdoctor watch`` observes a command's.

    Args:
        steps: Steps of the optimizer to observe. Then every hook is taken out.
        evidence: A folder that all ranks share, for a report on all ranks; without one it is on this process.

    Returns:
        A context, whose value has the ``report`` once the steps are over.
    """
    from ckptdoctor.observe.inside import watching as watch

    return watch(steps, evidence)


def callback(steps: int = 2, stop: bool = False) -> Any:
    """A ``TrainerCallback`` for transformers' Trainer: ``Trainer(..., callbacks=[ckptdoctor.callback()])``.

    It prints the verdict on standard error, and keeps the report as ``report``.

    Args:
        steps: Steps of the optimizer to observe. Then every hook is taken out.
        stop: Whether to end the training with ``RuntimeError`` if checkpointing does not work.

    Raises:
        ckptdoctor.errors.UsageFault: transformers is not imported yet.
    """
    from ckptdoctor.observe.inside import callback as make

    return make(steps, stop)
