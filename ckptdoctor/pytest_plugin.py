"""For pytest: a fixture that fails a test whose training steps broke a rule. It does nothing unless a test asks for it.

::

    def test_training(ckptdoctor_watching):
        train_two_steps()
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ckptdoctor.observe.inside import Watched


@pytest.fixture
def ckptdoctor_watching() -> Iterator[Watched]:
    """Observe the first two optimizer steps of a test; fail it unless checkpointing works in them."""
    from ckptdoctor.observe.inside import watching
    from ckptdoctor.output import Style, render

    with watching() as watched:
        yield watched
    if watched.report.verdict != "ok":
        style = Style(color=False, width=100, verbose=False, unicode=True, probes=False)
        pytest.fail(render("text", watched.report, style), pytrace=False)
