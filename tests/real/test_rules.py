"""Every rule has cases that must trip it and cases that must not, run through the command line on real torch.

The cases are checkpoint functions as a user would write them, in ``tests/cases``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import check

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / "cases"
BOUND, PARTIAL, FUNCTION = "bound-method", "partial-bound", "partial-function"
ALL = (BOUND, PARTIAL, FUNCTION)
ENTRY = "def checkpoint_function("
"""How the line begins on which the culprit is the checkpoint function as a whole."""


@dataclass(frozen=True)
class Expected:
    """What a bad case must come to, with the calling conventions with which it is bad."""

    rules: str
    code: str | None = ENTRY
    """How the culprit's line begins; ``None`` where there is none to name."""
    conventions: tuple[str, ...] = ALL
    outcome: str = "triggered"
    error: str = ""
    """What the probe's error begins with."""


BAD = {
    "ckpt001_bad": Expected("CKPT001", "layer = function.__self__", (PARTIAL, FUNCTION), error="AttributeError"),
    "ckpt001_bad_indirect": Expected("CKPT001", "trainable = any(", (PARTIAL, FUNCTION), error="AttributeError"),
    "ckpt001_bad_func": Expected("CKPT001", "inner = function.func", (BOUND,), error="AttributeError"),
    "ckpt001_bad_nested": Expected("CKPT001", "return function.func.__self__", (BOUND, FUNCTION)),
    "ckpt002_bad": Expected("CKPT002"),
    "ckpt002_bad_fallback": Expected("CKPT002", conventions=(PARTIAL, FUNCTION)),
    "ckpt002_bad_first_only": Expected("CKPT002"),
    "ckpt003_bad": Expected("CKPT003"),
    "ckpt004_bad": Expected("CKPT004"),
    "ckpt004_bad_no_grad": Expected("CKPT004"),
    "ckpt004_bad_input": Expected("CKPT004"),
    "ckpt004_bad_zeros": Expected("CKPT004 CKPT009"),
    "ckpt005_bad": Expected("CKPT005"),
    "ckpt005_bad_input": Expected("CKPT005"),
    "ckpt005_bad_accumulated": Expected("CKPT005", conventions=ALL),
    "ckpt005_bad_nan": Expected("CKPT005"),
    "ckpt006_bad": Expected("CKPT006", conventions=(PARTIAL, FUNCTION)),
    "ckpt007_bad": Expected("CKPT007", error="torch.utils.checkpoint.CheckpointError"),
    "ckpt007_bad_dtype": Expected("CKPT007", error="torch.utils.checkpoint.CheckpointError"),
    "ckpt008_bad": Expected("CKPT008"),
    "ckpt002_bad_twice": Expected("CKPT002"),
    "ckpt009_bad": Expected("CKPT009"),
    "ckpt009_bad_nan": Expected("CKPT009"),
    "ckpt009_bad_skip": Expected("CKPT009"),
    "ckpt010_bad": Expected("CKPT010", "raise ValueError", error="ValueError: no checkpointing today"),
    "ckpt010_bad_backward": Expected("CKPT010", "raise ValueError", error="ValueError: no gradient today"),
    "ckpt010_bad_own_attribute": Expected("CKPT010", "return torch.utils.checkpiont(", error="AttributeError"),
    "ckpt010_bad_tuple": Expected("CKPT010", "return (checkpoint("),
    "ckpt010_bad_exit": Expected("CKPT010", outcome="crashed", error="the process ended with exit status 3"),
    "ckpt010_bad_exit_zero": Expected("CKPT010", outcome="crashed", error="the process ended with exit status 0"),
    "ckpt010_bad_sys_exit": Expected("CKPT010", "sys.exit(", error="SystemExit"),
    "ckpt010_bad_crash": Expected("CKPT010", outcome="crashed", error="killed by SIGSEGV"),
    "ckpt900_bad": Expected("CKPT900", "from torch.utils.checkpoint import", outcome="failed", error="ImportError"),
    "ckpt900_bad_missing": Expected("CKPT900", None, outcome="skipped"),
}
HANG = "ckpt010_bad_hang"
ONLY_WITH_DROPOUT = "ckpt005_bad_dropout"
NEEDS_A_GPU = "ckpt011_bad"
ONLY_IN_A_COURSE = "ckpt012_bad"
ONLY_PERTURBED = "ckpt014_bad"
REFUSED, TAKEN = "ckpt013_bad", "ckpt013_good"
SCRIPTS = ("ckpt015_bad", "ckpt015_good")
"""Whole training scripts, which ``tests/real/test_watch.py`` runs."""
"""They replace a method of transformers' models, and are run on one."""
GOOD = sorted({path.stem for path in CASES.glob("*_good*.py")} - {TAKEN, *SCRIPTS})


def functions(*names):
    return [part for name in names for part in ("--checkpoint-fn", f"{CASES / name}.py:checkpoint_function")]


def probes_of(report, name):
    """The probes of a case that count, by calling convention."""
    return {
        probe["calling_convention"]: probe
        for probe in report["probes"]
        if probe["role"] == "subject"
        and probe["checkpoint_function"] == f"{CASES / name}.py:checkpoint_function"
        and not probe["variant"]
    }


def findings_of(report, name):
    """The findings on a case that count; what falls short in a variant only is a warning."""
    mine = [one for one in report["findings"] if any(f"/{name}.py:" in probe for probe in one["probes"])]
    return [one for one in mine if one["severity"] == "error"]


@pytest.fixture(scope="module")
def bad(torch_python):
    return check(torch_python, "--engine", "none", *functions(*BAD))


@pytest.fixture(scope="module")
def good(torch_python):
    return check(torch_python, "--engine", "none", *functions(*GOOD))


@pytest.fixture(scope="module")
def real_model(demo_python):
    names = ("ckpt001_bad", "ckpt001_good", "ckpt002_bad", "ckpt006_bad", "ckpt006_good")
    return check(demo_python, *functions(*names))


def test_every_rule_and_every_file_has_its_case():
    from ckptdoctor.rules import RULES

    assert {path.stem for path in CASES.glob("*.py")} == {
        *BAD,
        HANG,
        ONLY_WITH_DROPOUT,
        NEEDS_A_GPU,
        ONLY_IN_A_COURSE,
        ONLY_PERTURBED,
        REFUSED,
        TAKEN,
        *SCRIPTS,
        *GOOD,
    }
    for code in set(RULES) - {"CKPT011", "CKPT012", "CKPT013", "CKPT014", "CKPT015"}:  # with a test of its own
        assert any(code in expected.rules for expected in BAD.values()), code
        assert any(name.startswith(code.lower()) for name in BAD), code
        assert any(name.startswith(code.lower()) for name in GOOD), code


def test_all_the_bad_ones_together_are_a_failure(bad):
    assert bad.status == 1, bad.err
    assert bad.report["verdict"] == "fail"


@pytest.mark.parametrize("name", BAD)
def test_a_bad_case_trips_its_rule_and_no_other(bad, name):
    expected = BAD[name]
    probes = probes_of(bad.report, name)
    assert sorted(probes) == sorted(ALL)
    for convention, probe in probes.items():
        is_bad = convention in expected.conventions
        assert probe["rules"] == (expected.rules.split() if is_bad else []), convention
        assert probe["outcome"] == (expected.outcome if is_bad else "ok"), convention
        assert (probe["error"] or "").startswith(expected.error if is_bad else ""), convention


@pytest.mark.parametrize("name", BAD)
def test_a_finding_names_the_line_that_did_it(bad, name):
    expected, findings = BAD[name], findings_of(bad.report, name)
    assert {one["rule"] for one in findings} == set(expected.rules.split())
    for one in findings:
        culprit = one["culprit"]
        if expected.code is None:
            assert culprit is None
            continue
        file = CASES / f"{name}.py"
        assert culprit["file"] == str(file)
        assert culprit["code"].startswith(expected.code)
        assert file.read_text().splitlines()[culprit["line"] - 1].strip() == culprit["code"]


def test_the_good_ones_are_ok(good):
    assert good.status == 0, good.out
    assert good.report["verdict"] == "ok"
    assert {(one["rule"], one["severity"]) for one in good.report["findings"]} == {("CKPT004", "warning")}
    # Reentrant as torch's own is: it needs an input that requires a gradient.
    probes = [probe for one in good.report["findings"] for probe in one["probes"]]
    assert all("/ckpt003_good.py:" in probe or "/ckpt004_good.py:" in probe for probe in probes)
    for name in GOOD:
        probes = probes_of(good.report, name)
        assert {key: one["outcome"] for key, one in probes.items()} == dict.fromkeys(ALL, "ok"), name
        assert not any(one["rules"] for one in probes.values()), name


def test_what_is_wrong_with_dropout_only_is_a_warning(torch_python):
    ran = check(torch_python, "--engine", "none", "--convention", BOUND, *functions(ONLY_WITH_DROPOUT))
    assert (ran.status, ran.report["verdict"]) == (0, "ok")
    (finding,) = ran.report["findings"]
    assert (finding["rule"], finding["severity"]) == ("CKPT005", "warning")
    assert [probe.rpartition("/")[2] for probe in finding["probes"]] == ["dropout"]


def test_what_is_left_changed_shows_in_a_course(torch_python):
    ran = check(torch_python, "--engine", "none", "--convention", BOUND, *functions(ONLY_IN_A_COURSE))
    assert (ran.status, ran.rules) == (1, ["CKPT012"])
    (finding,) = ran.report["findings"]
    assert finding["culprit"]["code"].startswith(ENTRY)
    assert [probe.rpartition("/")[2] for probe in finding["probes"]] == ["course"]


def test_a_method_that_refuses_trainers_call_is_the_culprit(demo_python):
    ran = check(demo_python, "--engine", "none", *functions(REFUSED, TAKEN))
    assert (ran.status, ran.rules) == (1, ["CKPT013"])
    [finding] = findings_of(ran.report, REFUSED)
    assert finding["culprit"]["code"] == "def enable(self):"
    assert (finding["passed_by"]["package"], Path(finding["passed_by"]["file"]).name) == ("transformers", "trainer.py")
    assert "gradient_checkpointing_enable(" in finding["passed_by"]["code"]


def test_what_depends_on_values_shows_with_other_values(torch_python):
    ran = check(torch_python, "--engine", "none", "--convention", BOUND, *functions(ONLY_PERTURBED))
    assert (ran.status, ran.rules) == (0, ["CKPT014"]), ran.out
    (finding,) = ran.report["findings"]
    assert finding["severity"] == "warning"
    assert finding["culprit"]["code"].startswith(ENTRY)
    assert [probe.rpartition("/")[2] for probe in finding["probes"]] == ["perturbed"]


def test_what_fails_in_backward_when_simulated_is_an_error(torch_python):
    ran = check(torch_python, "--engine", "none", "--convention", BOUND, *functions(NEEDS_A_GPU))
    assert (ran.status, ran.report["verdict"]) == (1, "fail")
    (probe,) = probes_of(ran.report, NEEDS_A_GPU).values()
    assert probe["evidence"]["forward_only"]
    (finding,) = [one for one in ran.report["findings"] if probe["id"] in one["probes"]]
    assert (finding["rule"], finding["severity"]) == ("CKPT011", "error")
    assert finding["error"]["type"] == "ValueError"


def test_torchs_own_functions_are_sound_beside_the_bad_ones(bad):
    controls = [one for one in bad.report["probes"] if one["role"] == "control"]
    assert {one["checkpoint_function"] for one in controls} == {"none", "torch:reentrant", "torch:non-reentrant"}
    assert {one["outcome"] for one in controls} == {"ok"}


def test_a_hanging_function_is_ended_in_time(torch_python):
    ran = check(torch_python, "--engine", "none", "--convention", BOUND, "--timeout", "5", *functions(HANG), timeout=60)
    assert ran.status == 1, ran.err
    (probe,) = probes_of(ran.report, HANG).values()
    assert (probe["outcome"], probe["rules"]) == ("timeout", ["CKPT010"])
    assert "threading" in probe["evidence"]["output"]  # where it hung
    assert ran.rules == ["CKPT010"]


@pytest.mark.parametrize(
    ("name", "convention", "status", "rules"),
    [
        ("ckpt001_bad", BOUND, 0, []),
        # With one convention only there is no experiment: the object that lacks the attribute must tell.
        ("ckpt001_bad_func", BOUND, 1, ["CKPT001"]),
        ("ckpt006_bad", PARTIAL, 1, ["CKPT006"]),
        ("ckpt900_bad", PARTIAL, 3, ["CKPT900"]),
    ],
)
def test_one_function_with_one_convention(torch_python, name, convention, status, rules):
    ran = check(torch_python, "--engine", "none", "--convention", convention, *functions(name))
    assert (ran.status, ran.rules) == (status, rules), ran.err
    assert ran.report["verdict"] == {0: "ok", 1: "fail", 3: "error"}[status]


def test_the_real_model_under_every_engine(real_model):
    assert real_model.status == 1, real_model.err
    rules = {
        name: {(one["engine"], one["evidence"]["id"].endswith("/packed")): one["rules"] for one in probes}
        for name in ("ckpt001_bad", "ckpt001_good", "ckpt002_bad", "ckpt006_bad", "ckpt006_good")
        if (
            probes := [
                one for one in real_model.report["probes"] if is_subject(one, name) and one["variant"] != "perturbed"
            ]
        )
    }
    engines = [(engine, False) for engine in ("none", "partial", "zero0", "zero1", "zero2", "zero3", "ddp", "fsdp2")]
    engines.append(("none", True))
    assert rules == {
        "ckpt001_bad": {key: ["CKPT001"] for key in engines},
        "ckpt001_good": {key: [] for key in engines},
        "ckpt002_bad": {key: ["CKPT002"] for key in engines},
        "ckpt006_bad": {key: ["CKPT006"] if key[1] else [] for key in engines},
        "ckpt006_good": {key: [] for key in engines},
    }


def test_the_real_models_findings_are_one_a_fault(real_model):
    found = {one["rule"]: one for one in real_model.report["findings"]}
    assert len(found) == len(real_model.report["findings"]) == 3
    assert found["CKPT001"]["culprit"]["code"] == "layer = function.__self__"
    assert found["CKPT001"]["passed_by"]["package"] == "transformers"
    assert {one["package"] for one in found["CKPT001"]["ruled_out"]} == {"deepspeed", "torch"}
    assert found["CKPT002"]["severity"] == "error"
    assert found["CKPT006"]["severity"] == "warning"  # flash-attention's keywords alone: none is lost without packing


def is_subject(probe, name):
    return probe["role"] == "subject" and f"/{name}.py:" in probe["checkpoint_function"]
