"""For those who maintain a checkpoint function: one test that tries it with every way in which models hand layers over.

::

    from ckptdoctor.testing import assert_copes, every_convention

    @every_convention
    def test_my_checkpoint_function(convention):
        assert_copes("my_trainer.checkpointing:checkpoint_function", convention)
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TypeVar

from ckptdoctor import catalog
from ckptdoctor.diagnose import diagnose
from ckptdoctor.model.report import Report
from ckptdoctor.planning.options import OWN_MODEL
from ckptdoctor.planning.request import build

Test = TypeVar("Test", bound=Callable[..., object])


def every_convention(test: Test) -> Test:
    """Parametrise a pytest test with the name of every calling convention that is known, as ``convention``."""
    import pytest

    marked: Test = pytest.mark.parametrize("convention", list(catalog.conventions()))(test)
    return marked


def assert_copes(function: str, convention: str, python: str = sys.executable) -> None:
    """Fail unless a checkpoint function trains a tiny model that passes its layers in this way.

    All conventions are run at once at the first call, and later calls ask for what came of theirs.

    Args:
        function: ``package.module:function`` or ``file.py:function``; it takes what torch's own takes.
        convention: A calling convention, as ``every_convention`` gives it.
        python: The environment that the function is to work in; the one that runs the test.

    Raises:
        AssertionError: It does not cope, with what happened and where.
    """
    report = _report(function, python)
    ids = [one.id for one in report.probes if one.role == "subject" and one.calling_convention == convention]
    wrong = [one for one in report.findings if one.severity == "error" and set(ids) & set(one.probes)]
    if wrong:
        where = wrong[0].culprit
        at = f" at {where.file}:{where.line}: {where.code}" if where else ""
        raise AssertionError(f"{wrong[0].rule}: {wrong[0].title}{at}. {wrong[0].detail}")
    assert ids, f"there is no calling convention '{convention}'"


@functools.cache
def _report(function: str, python: str) -> Report:
    request = build(
        python=python,
        models=[OWN_MODEL],
        functions=[function],
        engines=["none"],
        conventions=list(catalog.conventions()),
        find_remedies=False,
    )
    return diagnose(request)
