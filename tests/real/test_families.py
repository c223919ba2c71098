"""The shipped map of all families: cells of every verdict come out the same when they are run."""

import pytest

from ckptdoctor.knowledge import families
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.run import matrix
from ckptdoctor.planning.options import TORCH, Options

pytestmark = pytest.mark.real

RELEASE = "5.23.0"

CELLS = {
    "llama": ("ok", set()),
    "llava": ("ok", set()),  # the last layer of its tower is not used: it is recomputed by nobody
    "florence2": ("ok", set()),  # gradients of some biases are zero but for rounding
    "gemma3n_text": ("fail", {"CKPT005"}),  # layers share keys and values past a reentrant function
    "ctrl": ("fail", {"CKPT010"}),  # refuses
    "blip": ("error", set()),  # does not run on text alone
}


def test_cells_of_the_shipped_map_come_out_the_same(torch_python, tmp_path):
    options = Options(models=tuple(CELLS), functions=TORCH, packed=True, by_family=True)
    request = MatrixRequest(
        (f"transformers=={RELEASE}",), str(torch_python), (), options, exhaustive=True, store=tmp_path / "store"
    )
    made = {run.model: run for run in matrix(request).runs}
    for family, (verdict, rules) in CELLS.items():
        [told] = families.told(family, [RELEASE])
        assert (told.verdict, set(told.rules)) == (verdict, rules), family
        run = made[family]
        faults = {fault.rule for fault in run.faults if fault.severity == "error" and verdict == "fail"}
        assert (run.verdict, faults) == (verdict, rules), family
