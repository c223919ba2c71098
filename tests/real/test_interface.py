"""The doctor from Python, and the helper for tests of a checkpoint function of one's own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ckptdoctor import check
from ckptdoctor.testing import assert_copes, every_convention

pytestmark = pytest.mark.real

CASES = Path(__file__).parent.parent / "cases"


def test_check_returns_a_typed_report(demo_python):
    report = check(demo_python, functions=["torch"], engines=["none"])
    assert report.verdict == "ok"
    assert report.environment.version("transformers") == "4.51.3"
    assert [one.rule for one in check(demo_python, engines=["none"]).findings] == ["CKPT001"]


@every_convention
def test_a_function_that_copes_with_all_conventions(convention, torch_python):
    assert_copes(f"{CASES / 'ckpt001_good.py'}:checkpoint_function", convention, str(torch_python))


def test_a_function_that_copes_with_one_only(torch_python):
    function = f"{CASES / 'ckpt001_bad.py'}:checkpoint_function"
    assert_copes(function, "bound-method", str(torch_python))
    with pytest.raises(AssertionError, match=r"CKPT001.*__self__"):
        assert_copes(function, "partial-bound", str(torch_python))
    with pytest.raises(AssertionError, match="no calling convention"):
        assert_copes(function, "telepathy", str(torch_python))


def test_the_helper_in_a_trainers_own_tests(torch_python, tmp_path):
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(f"""
            from ckptdoctor.testing import assert_copes, every_convention

            @every_convention
            def test_mine(convention):
                assert_copes({str(CASES / "ckpt001_bad.py")!r} + ":checkpoint_function", convention, {str(torch_python)!r})
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "1 passed" in done.stdout
    assert "AssertionError: CKPT001" in done.stdout
