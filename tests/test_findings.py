"""Judging and grouping, on evidence made for the purpose; real evidence is judged in tests/real."""

import copy
import functools
from dataclasses import replace

import msgspec
import pytest

from ckptdoctor.model.evidence import (
    Attribute,
    CallableInfo,
    Error,
    Evidence,
    Gradients,
    Handover,
    Layer,
    Place,
    Replacement,
    SavedBytes,
    Setup,
    Spec,
    WrongGradient,
)
from ckptdoctor.model.report import SCHEMA, Report
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.rules.common.case import BEFORE
from ckptdoctor.verdict import findings, gate
from tests.test_plan import FULL

MODEL = Place("/s/transformers/m.py", 577, "forward", "transformers", "4.51.3", "partial(")
READER = Place("/s/llamafactory/c.py", 86, "f", "llamafactory", "0.9.2", "func.__self__")
HANDED = Handover(CallableInfo("functools.partial", "functools.partial(L.__call__)", "functools.partial"), MODEL)


def sound(spec, **more):
    twice = 1 if spec.function == "none" else 2
    kept = 100 if spec.function == "none" else 20
    made = {
        "id": spec.id,
        "ended": "returned",
        "loss": 4.0,
        "plain_loss": 4.0,
        "layers": [Layer("layers.0", "L", 1, twice, 1)],
        "gradients": Gradients(10),
        "saved_bytes": SavedBytes(100, kept),
        "handovers": [copy.deepcopy(HANDED)],
        "modules": {"torch": "2.13.0"},
        "function_called": twice - 1,
    }
    return Evidence(**{**made, **more})


def raised(spec, attribute="callable", during="forward", kind="AttributeError", **more):
    error = Error(
        kind,
        "'functools.partial' object has no attribute '__self__'",
        [MODEL, READER],
        Attribute("__self__", "functools.partial", attribute) if attribute is not None else None,
    )
    more = {"layers": [Layer("layers.0", "L", 1, 0, 0)], "gradients": None, "saved_bytes": None, "loss": None, **more}
    return sound(spec, ended="raised", during=during, error=error, **more)


def judge(function="llamafactory", engines=("none",), make=sound, control=sound, torch=sound):
    plan, evidence = Plan(), []
    for engine in engines:
        for name, role, build in (
            ("none", "control", control),
            ("torch:reentrant", "control", torch),
            (function, "subject", make),
        ):
            spec = Spec("glm4", name, engine)
            plan.probes.append(Planned(spec, role, WITHOUT_DEEPSPEED))
            evidence.append(build(spec))
    return findings.find(FULL, plan, evidence)


def rules(found):
    return [one.rule for one in found.findings]


PATCH = Place("/s/axolotl/p.py", 149, "patch", "axolotl", "0.19.0", "L.forward = patched")
PATCHED = [Replacement("Trainer.train", READER), Replacement("L.forward", PATCH, MODEL)]
UNUSED = {"layers": [Layer("layers.0", "L", 1, 1, 1)], "handovers": [], "function_called": 0, "replaced": PATCHED}
"""Evidence of a layer whose forward was replaced, and that was not recomputed."""


def judge_patched(patched, bare):
    """A job of a trainer's that patches the model, with and without its patches."""
    plan, evidence = Plan(), []
    setup = Setup(prepared_by="axolotl")
    for name, role, one, more in (
        ("none", "control", setup, {}),
        ("torch:reentrant", "subject", setup, patched),
        ("torch:reentrant", "control", msgspec.structs.replace(setup, without_patches=True), bare),
    ):
        spec = Spec("glm4", name, setup=one)
        plan.probes.append(Planned(spec, role, WITHOUT_DEEPSPEED))
        evidence.append(sound(spec, **more))
    return findings.find(FULL, plan, evidence)


def test_the_line_that_replaced_a_layers_forward_is_to_blame():
    [finding] = judge_patched(UNUSED, {}).findings
    assert (finding.rule, finding.culprit) == ("CKPT002", PATCH)
    assert "axolotl 0.19.0 replaces `L.forward`" in finding.title
    sharded = {**UNUSED, "layers": [Layer("layers.0", "FSDPL", 1, 1, 1)]}
    assert judge_patched(sharded, {}).findings[0].culprit == PATCH
    once = {**UNUSED, "replaced": [Replacement("layers.0.forward", PATCH)]}
    assert judge_patched(once, {}).findings[0].culprit == PATCH


def test_a_patch_is_not_to_blame_for_what_happens_without_it_or_elsewhere():
    for patched, bare in ((UNUSED, UNUSED), ({**UNUSED, "replaced": PATCHED[:1]}, {})):
        [finding] = judge_patched(patched, bare).findings
        assert (finding.rule, finding.culprit) == ("CKPT002", None)
    assert judge_patched({"replaced": PATCHED}, {}).findings == ()


def test_patches_that_were_not_applied_are_named():
    found = judge_patched({"unprepared": "ModuleNotFoundError: No module named 'trl'"}, {})
    assert "axolotl's own patches for this model were not applied. ModuleNotFoundError" in found.notes()[0]


def test_a_sound_stack_has_no_findings():
    found = judge()
    assert rules(found) == []
    assert found.verdict()[0] == "ok"


def test_one_fault_under_several_engines_is_one_finding():
    found = judge(engines=("none", "partial", "zero3"), make=raised)
    [finding] = found.findings
    assert len(finding.probes) == 3
    assert (finding.culprit, finding.passed_by) == (READER, MODEL)
    assert found.verdict()[0] == "fail"


def test_an_attribute_missing_from_something_else_is_not_the_contract():
    found = judge(make=lambda spec: raised(spec, attribute=""))
    assert rules(found) == ["CKPT010"]


def test_an_attribute_error_that_torchs_function_raises_as_well_is_the_models_own():
    found = judge(make=raised, control=raised, torch=raised)
    assert rules(found) == ["CKPT900"]
    assert found.verdict()[0] == "error"


def test_deepspeed_is_cleared_only_by_a_process_without_it():
    with_it = judge(engines=("zero3",), make=lambda spec: raised(spec, modules={"deepspeed": "0.16.4"}))
    assert [one.package for one in with_it.findings[0].ruled_out] == ["torch"]
    without = judge(engines=("none",), make=raised)
    assert [one.package for one in without.findings[0].ruled_out] == ["deepspeed", "torch"]


def test_torch_is_cleared_only_when_its_own_function_passed():
    found = judge(make=raised, torch=lambda spec: raised(spec, during="backward", kind="RuntimeError"))
    assert "torch" not in [one.package for one in found.findings[0].ruled_out]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("CKPT002", {"layers": [Layer("layers.0", "L", 1, 1, 1)]}),
        ("CKPT002", {"layers": [Layer("layers.0", "L", 1, 2, 1), Layer("layers.1", "L", 1, 1, 1)]}),
        ("CKPT002", {"layers": [Layer("layers.0", "L", 1, 2, 2)]}),
        ("CKPT003", {"layers": [Layer("layers.0", "L", 1, 3, 1)]}),
        ("CKPT004", {"gradients": Gradients(10, missing=["w"])}),
        ("CKPT005", {"gradients": Gradients(10, wrong=[WrongGradient("w", 0.5)])}),
        ("CKPT004", {"accumulated": Gradients(10, missing=["w"])}),
        ("CKPT005", {"accumulated": Gradients(10, wrong=[WrongGradient("w", 0.5)])}),
        ("CKPT008", {"saved_bytes": SavedBytes(100, 100)}),
        ("CKPT009", {"loss": 5.0}),
        ("CKPT009", {"loss": float("nan")}),
    ],
)
def test_each_way_to_fall_short_is_its_own_rule(rule, change):
    assert rules(judge(make=lambda spec: sound(spec, **change))) == [rule]


def test_bytes_that_are_kept_outside_of_the_layers_are_no_functions_fault():
    """As in a model whose tower keeps twenty times what its layers keep: torch's own function saves no more."""

    def keeps(share):
        return lambda spec: sound(spec, saved_bytes=SavedBytes(1000, 1000 if spec.function == "none" else share))

    def made(own):
        return judge(make=keeps(own), torch=keeps(960), control=keeps(1000))

    assert rules(made(962)) == []
    assert rules(made(990)) == ["CKPT008"]


def test_gradients_that_the_loss_bears_out_are_not_wrong():
    right = Gradients(10, wrong=[WrongGradient("w", 0.5)], confirmed="checkpointed")
    assert rules(judge(make=lambda spec: sound(spec, gradients=right))) == []


WRONG = {"gradients": Gradients(10, wrong=[WrongGradient("w", 0.5)])}


def judge_reentrant(function, reentrant, other):
    """A step whose gradients are wrong, beside torch's own two functions."""
    plan, evidence = Plan(), []
    more = {"none": {}, "torch:reentrant": reentrant, "torch:non-reentrant": other, function: WRONG}
    for name, one in more.items():
        spec = Spec("glm4", name)
        plan.probes.append(Planned(spec, "subject" if name == function else "control", WITHOUT_DEEPSPEED))
        evidence.append(sound(spec, **one))
    [finding] = findings.find(FULL, plan, evidence).findings
    return finding


@pytest.mark.parametrize("function", ["torch:reentrant", "llamafactory"])
def test_gradients_that_are_wrong_with_torchs_own_reentrant_function_are_no_trainers_fault(function):
    finding = judge_reentrant(function, WRONG, {})
    assert finding.title.startswith("Reentrant checkpointing gives wrong gradients")
    assert (finding.rule, finding.severity, finding.culprit) == ("CKPT005", "error", None)
    cleared = {one.package for one in finding.ruled_out}
    assert "torch" not in cleared
    assert ("llamafactory" in cleared) == (function == "llamafactory")


@pytest.mark.parametrize(
    ("reentrant", "other"),
    [({}, {}), (WRONG, WRONG), ({"gradients": Gradients(10, wrong=[WrongGradient("v", 0.5)])}, {})],
)
def test_gradients_that_torch_gets_right_or_wrong_in_another_way_are_the_functions_own(reentrant, other):
    assert judge_reentrant("llamafactory", reentrant, other).title.startswith("llamafactory gives wrong gradients")


def test_what_the_engine_does_by_itself_is_not_the_functions_doing():
    wrong = Gradients(10, wrong=[WrongGradient("w", 0.5)])
    both = judge(make=lambda spec: sound(spec, gradients=wrong), control=lambda spec: sound(spec, gradients=wrong))
    assert rules(both) == []


def test_a_crash_counts_when_the_step_without_checkpointing_survives():
    crash = {"ended": "crashed", "why": "killed by SIGSEGV", "during": ""}
    assert rules(judge(make=lambda spec: sound(spec, **crash))) == ["CKPT010"]
    both = judge(make=lambda spec: sound(spec, **crash), control=lambda spec: sound(spec, **crash))
    assert rules(both) == ["CKPT900"]


def test_a_probe_that_could_not_be_judged_forbids_ok():
    found = judge(engines=("none", "zero3"), make=lambda spec: sound(spec) if spec.engine == "none" else _broken(spec))
    assert rules(found) == ["CKPT900"]
    assert found.verdict()[0] == "error"


def _broken(spec):
    return raised(spec, attribute=None, during="load", kind="ImportError")


def test_nothing_judged_is_not_ok():
    assert findings.find(FULL, Plan(), []).verdict()[0] == "error"


def test_what_falls_short_in_a_variant_only_is_a_warning():
    plan, evidence = Plan(), []
    for variant in ("", "dropout"):
        spec = Spec("glm4", "llamafactory", variant=variant)
        plan.probes.append(Planned(spec, "subject", WITHOUT_DEEPSPEED))
        wrong = [WrongGradient("w", 0.5)] if variant else []
        evidence.append(sound(spec, gradients=Gradients(10, wrong=wrong)))
    found = findings.find(FULL, plan, evidence)
    assert [(one.rule, one.severity) for one in found.findings] == [("CKPT005", "warning")]
    assert found.verdict()[0] == "ok"


CUDA = Error("AssertionError", "Torch not compiled with CUDA enabled", [READER], needs_cuda=True)
STREAM = Error("RuntimeError", "Tried to instantiate dummy base class Stream", [READER])
UNPACKS = Error("ValueError", "too many values to unpack (expected 1)", [READER])
HELPER = Place("/s/torch/autograd/__init__.py", 171, "backward", "torch", "2.13.0", "raise RuntimeError(")


def simulated(tried, **more):
    """A function that needs a GPU in backward, with what came of its simulation on the CPU."""
    return judge(
        make=lambda spec: sound(spec, forward_only=True, gradients=None, error=CUDA, stand_in=tried(spec), **more)
    )


def test_a_simulated_backward_pass_that_fails_without_cuda_is_an_error():
    found = simulated(lambda spec: Evidence(spec.id, "raised", error=UNPACKS))
    assert [(one.rule, one.severity) for one in found.findings] == [("CKPT011", "error")]
    assert found.findings[0].error == UNPACKS
    assert found.verdict()[0] == "fail"


def test_the_culprit_is_the_function_and_not_the_helper_that_raised():
    error = Error("RuntimeError", "Mismatch in shape", [READER, HELPER])
    found = simulated(lambda spec: Evidence(spec.id, "raised", error=error))
    assert found.findings[0].culprit == READER


@pytest.mark.parametrize(
    "error", [CUDA, STREAM, Error("TypeError", "no", [Place("/s/a.py", 1, code="with torch.cuda.stream(s):")])]
)
def test_a_simulation_that_asks_for_cuda_leaves_the_function_not_judged(error):
    found = simulated(lambda spec: Evidence(spec.id, "raised", error=error))
    verdict, summary = found.verdict()
    assert (verdict, rules(found)) == ("not judged", ["CKPT900"])
    assert "llamafactory was not judged" in summary
    assert "works" not in summary
    assert [one.outcome for one in found.probes if one.role == "subject"] == ["not judged"]


def test_a_function_that_was_not_simulated_or_needs_cuda_in_forward_is_not_judged():
    assert simulated(lambda _: None).verdict()[0] == "not judged"
    early = judge(
        make=lambda spec: sound(spec, ended="raised", during="forward", error=CUDA, gradients=None, saved_bytes=None)
    )
    assert (early.verdict()[0], rules(early)) == ("not judged", ["CKPT900"])


def test_a_simulation_that_is_sound_works():
    found = simulated(sound)
    assert (found.verdict()[0], rules(found)) == ("ok", [])
    assert "simulated on the CPU" in found.notes()[0]


def test_what_is_sound_in_another_precision_only_is_not_judged():
    assert simulated(sound, precision="bf16").verdict()[0] == "not judged"


@pytest.mark.parametrize(
    ("gradients", "title"),
    [
        (Gradients(27, wrong=[WrongGradient("w", 0.5)]), "gives wrong gradients"),
        (Gradients(27, missing=["w"]), "loses gradients"),
    ],
)
def test_the_title_says_what_the_simulation_showed(gradients, title):
    found = simulated(lambda spec: sound(spec, gradients=gradients))
    assert rules(found) == ["CKPT011"]
    assert title in found.findings[0].title
    assert "fails in backward" not in found.findings[0].title


def test_a_simulation_that_the_loss_bears_out_is_right():
    wrong = Gradients(27, wrong=[WrongGradient("w", 0.5)], confirmed="checkpointed")
    assert rules(simulated(lambda spec: sound(spec, gradients=wrong))) == []


def test_running_twice_in_the_forward_pass_is_not_sound():
    from ckptdoctor.rules.common.soundness import is_sound

    spec = Spec("glm4", "llamafactory")
    assert is_sound(sound(spec))
    assert not is_sound(sound(spec, layers=[Layer("layers.0", "L", 1, 2, 2)]))


def test_another_fault_of_the_usual_step_makes_no_error_of_what_a_variant_alone_has():
    plan, evidence = Plan(), []
    for variant in ("", "dropout"):
        spec = Spec("glm4", "llamafactory", variant=variant)
        plan.probes.append(Planned(spec, "subject", WITHOUT_DEEPSPEED))
        kept = {"layers": [Layer("layers.0", "L", 1, 1, 1)]}
        evidence.append(sound(spec, **kept, loss=5.0 if variant else 4.0))
    found = findings.find(FULL, plan, evidence)
    assert [(one.rule, one.severity) for one in found.findings] == [("CKPT002", "error"), ("CKPT009", "warning")]
    assert len(found.findings[0].probes) == 2


def test_what_came_of_a_missing_package_is_no_measure_of_anything():
    lost = {"missing": ["accelerate"]}
    failed = judge(make=lambda spec: raised(spec, attribute=None, kind="ValueError", **lost))
    assert rules(failed) == ["CKPT900"]
    assert "needs accelerate" in failed.findings[0].title
    assert failed.verdict()[0] == "error"
    wrong = judge(make=lambda spec: sound(spec, gradients=Gradients(10, missing=["w"]), **lost))
    assert rules(wrong) == ["CKPT900"]


def test_a_missing_package_takes_nothing_from_what_is_proven_all_the_same():
    lost = {"missing": ["accelerate"]}
    assert rules(judge(make=lambda spec: raised(spec, **lost))) == ["CKPT001"]
    assert judge(make=lambda spec: sound(spec, **lost)).verdict()[0] == "ok"


def _by_experiment(*engines):
    """A function that raises under engines before a layer runs, and works with another calling convention."""
    plan, evidence = Plan(), []
    for engine in engines:
        for name, role in (("none", "control"), ("torch:reentrant", "control"), ("mine.py:f", "subject")):
            spec = Spec("glm4", name, engine)
            plan.probes.append(Planned(spec, role, WITHOUT_DEEPSPEED))
            evidence.append(raised(spec, attribute=None, kind="ValueError") if role == "subject" else sound(spec))
    convention = Spec("tiny-glm4", "mine.py:f", "none", "bound-method")
    plan.probes.append(Planned(convention, "convention", WITHOUT_DEEPSPEED))
    return rules(findings.find(FULL, plan, [*evidence, sound(convention)]))


def test_what_shows_under_an_engine_only_is_no_matter_of_the_calling_convention():
    """The other conventions are tried without an engine, so they are no experiment on what needs one."""
    assert _by_experiment("none", "zero2") == ["CKPT001"]
    assert _by_experiment("zero2") == ["CKPT010"]


def _environment(as_it_is, alone):
    """The step without an engine, with DeepSpeed at hand and with DeepSpeed hidden."""
    plan, evidence = Plan(), []
    for hidden, made in ((False, as_it_is), (True, alone)):
        for name in ("none", "torch:reentrant", "llamafactory"):
            spec = Spec("glm4", name, as_installed=not hidden)
            plan.probes.append(
                Planned(spec, "subject" if name == "llamafactory" else "control", WITHOUT_DEEPSPEED if hidden else ())
            )
            evidence.append(made(spec))
    return findings.find(FULL, plan, evidence)


OPENS = Place("/s/site-packages/transformers/modeling_utils.py", 158, "<module>", "transformers", "4.51.3")
ENTERS = Place("/s/site-packages/deepspeed/runtime/hybrid_engine.py", 25, "<module>", "deepspeed", "0.19.4")
AGAIN = Place("/s/site-packages/transformers/models/opt/modeling_opt.py", 30, "<module>", "transformers", "4.51.3")
CIRCLE = Error("ImportError", "cannot import name 'P' from partially initialized module 'm'", [OPENS, ENTERS, AGAIN])


def test_an_environment_that_imports_only_with_deepspeed_hidden_is_not_ok():
    found = _environment(lambda spec: Evidence(spec.id, "raised", during="load", error=CIRCLE), sound)
    assert found.verdict()[0] == "error"
    (finding,) = found.findings
    assert (finding.rule, finding.culprit) == ("CKPT900", ENTERS)
    assert "with the installed DeepSpeed" in finding.title
    assert "import each other: transformers/modeling_utils.py:158" in finding.detail
    assert _environment(sound, sound).verdict()[0] == "ok"


def test_a_missing_program_of_the_machines_is_told_as_that():
    caller = Place("/s/site-packages/deepspeed/utils/numa.py", 26, "get_numa_cores", "deepspeed", "0.15.4")
    python = Place("/usr/lib/python3.11/subprocess.py", 1950, "_execute_child", "python", "3.11.7")
    error = Error("FileNotFoundError", "[Errno 2] No such file or directory: 'numactl'", [caller, python])

    def lost(spec):
        return sound(spec, ended="raised", during="engine", error=error)

    found = judge(make=lost, control=lost, torch=lost)
    (finding,) = found.findings
    assert "needs the program `numactl`, which is not on this machine" in finding.title
    assert (finding.culprit, "Install `numactl`" in finding.detail) == (caller, True)


def test_torch_is_not_cleared_by_one_engine_for_another():
    """torch fails alike under ZeRO 3: that it trains without an engine clears nobody."""

    def torch(spec):
        return raised(spec) if spec.engine == "zero3" else sound(spec)

    found = judge(engines=("none", "zero3"), make=raised, torch=torch)
    assert "torch" not in {one.package for finding in found.findings for one in finding.ruled_out}


def test_transformers_is_cleared_only_where_every_engine_has_its_step_without_one():
    def broken(spec):
        return (
            sound(spec)
            if spec.engine == "none"
            else sound(spec, handovers=[], layers=[Layer("layers.0", "L", 1, 3, 1)])
        )

    cleared = judge(engines=("none", "zero2", "zero3"), make=broken)
    assert "transformers" in {one.package for one in cleared.findings[0].ruled_out}
    alone = judge(engines=("zero2", "zero3"), make=broken)
    assert "transformers" not in {one.package for one in alone.findings[0].ruled_out}


def test_two_lines_are_named_only_where_a_callable_was_handed_over():
    [contract] = judge(make=raised).findings
    assert "at the same two lines" in contract.ruled_out[0].reason
    early = judge(make=lambda spec: raised(spec, attribute=None, kind="ValueError", handovers=[])).findings[0]
    assert "at the same line in a process" in early.ruled_out[0].reason


def test_recursion_is_no_matter_of_the_contract():
    plan, evidence = Plan(), []
    for name, role in (("none", "control"), ("torch:reentrant", "control"), ("mine.py:f", "subject")):
        spec = Spec("glm4", name)
        plan.probes.append(Planned(spec, role, WITHOUT_DEEPSPEED))
        lost = raised(spec, attribute=None, kind="RecursionError")
        evidence.append(lost if role == "subject" else sound(spec))
    convention = Spec("tiny-glm4", "mine.py:f", "none", "bound-method")
    plan.probes.append(Planned(convention, "convention", WITHOUT_DEEPSPEED))
    assert rules(findings.find(FULL, plan, [*evidence, sound(convention)])) == ["CKPT010"]


def test_an_engine_under_which_torch_fails_too_is_the_culprit():
    inner = Place("/s/deepspeed/runtime/engine.py", 2000, "backward", "deepspeed", "0.19.2", "loss.backward()")
    error = Error("torch.utils.checkpoint.CheckpointError", "different metadata", [inner, HELPER])

    def broken(spec):
        lost = spec.engine == "zero3"
        return sound(spec, ended="raised", during="backward", error=error, gradients=None) if lost else sound(spec)

    found = judge("torch:non-reentrant", engines=("none", "zero3"), make=broken)
    assert (rules(found), found.findings[0].culprit) == (["CKPT007"], inner)


def late(spec):
    """Sound but for a step of the course in which gradients are lost."""
    step = sound(spec, when="in the third step", gradients=Gradients(10, missing=["q"]))
    return sound(spec, steps=[sound(spec, when="in the first step"), step])


def with_course(asked, usual=sound, course=late):
    """A function that was asked for under one engine, tried without one beside it, and taken through its course."""
    made, evidence = Plan(), []
    alone = "subject" if asked == "none" else "control"
    setup = Setup(precision="bf16") if asked == "zero3" else Setup()
    specs = [
        *((Spec("glm4", name, engine, setup=setup), "control") for name in ("none",) for engine in {"none", asked}),
        *((Spec("glm4", "mine.py:f", asked, setup=setup), "subject") for _ in range(asked != "none")),
        (Spec("glm4", "mine.py:f", "none", setup=setup), alone),
        (Spec("glm4", "mine.py:f", "none", variant="course"), "subject"),
    ]
    for spec, role in specs:
        is_alone = spec.engine == "none" and spec.function != "none"
        made.probes.append(Planned(spec, role, WITHOUT_DEEPSPEED))
        evidence.append((course if spec.variant else usual if is_alone else sound)(spec))
    return findings.find(FULL, made, evidence)


@pytest.mark.parametrize("asked", ["none", "zero3"])
def test_what_goes_wrong_later_counts_under_whatever_engine(asked):
    found = with_course(asked)
    assert [(one.rule, one.severity) for one in found.findings] == [("CKPT004", "error")]
    assert found.verdict()[0] == "fail"


def test_a_function_that_needs_the_engine_it_was_asked_for_with_has_no_course():
    found = with_course("zero3", usual=raised, course=raised)
    assert rules(found) == []
    assert found.verdict()[0] == "ok"


# -- probes that came to no end ---------------------------------------------------------------------------------------

FULL_SHM = "a disk or shared memory (/dev/shm) is full: OSError: No space left on device"
GONE = {"loss": None, "gradients": None, "saved_bytes": None, "layers": []}


def ran_out(spec):
    return sound(spec, ended="skipped", unfit=True, why=FULL_SHM, **GONE)


def killed(spec, during="backward"):
    return sound(spec, ended="crashed", why="killed by SIGBUS", during=during, **GONE)


def timed_out(spec, during="backward"):
    return sound(spec, ended="timeout", why="no result after 60 s", during=during, **GONE)


def failed(spec, during="backward"):
    return raised(spec, attribute=None, during=during, kind="RuntimeError", gradients=None)


def beside(make, variant, control=sound, torch=sound):
    """A usual step that is sound, and a variant of it that is not."""
    plan, evidence = Plan(), []
    for name, role, kind, build in (
        ("none", "control", "", control),
        ("torch:non-reentrant", "control", "", torch),
        ("mine.py:f", "subject", "", sound),
        ("mine.py:f", "subject", variant, make),
    ):
        spec = Spec("glm4", name, variant=kind)
        plan.probes.append(Planned(spec, role, WITHOUT_DEEPSPEED))
        evidence.append(build(spec))
    return findings.find(FULL, plan, evidence)


def status_of(found, **policy):
    """The exit status, as ``check`` comes to it."""
    verdict, summary = found.verdict()
    report = Report(SCHEMA, "0", verdict, summary, FULL, found.probes, found.findings)
    return gate.apply(report, gate.Policy(**policy)).status


LOST = [
    ran_out,
    *(functools.partial(one, during=at) for one in (killed, timed_out) for at in (*BEFORE, "backward", "")),
]


@pytest.mark.parametrize("control", [sound, ran_out, killed, failed])
@pytest.mark.parametrize("make", [*LOST, failed])
def test_a_step_that_came_to_no_end_is_never_ok_and_a_finding_says_why(make, control):
    for found in (judge(make=make, control=control), beside(make, "course", control)):
        (lost,) = (one.id for one in found.probes if one.role == "subject" and one.evidence.ended != "returned")
        assert found.verdict()[0] in ("fail", "error")
        assert status_of(found) in (1, 3)
        assert any(lost in one.probes for one in found.findings)


@pytest.mark.parametrize("make", LOST)
@pytest.mark.parametrize("variant", ["packed", "dropout", "frozen"])
def test_a_variant_that_came_to_no_end_is_no_variant_that_cannot_be_done(make, variant):
    found = beside(make, variant)
    assert found.verdict()[0] == "error"
    assert status_of(found, ignore=["CKPT0"]) == 3
    impossible = beside(functools.partial(failed, during="plain"), variant)
    assert (impossible.verdict()[0], status_of(impossible)) == ("ok", 0)


def test_a_step_of_a_job_without_checkpointing_that_fails_is_told():
    found = judge("none", make=failed)
    assert (rules(found), status_of(found)) == (["CKPT900"], 3)


@pytest.mark.parametrize("lost", [ran_out, killed, timed_out])
def test_a_control_that_came_to_no_end_takes_nothing_from_a_sound_step_and_is_named(lost):
    found = judge(control=lost)
    assert (found.verdict()[0], status_of(found)) == ("ok", 0)
    [note] = found.notes()
    assert "did not finish and are ignored: glm4/none/none (" in note
    assert lost(Spec("glm4", "none")).why in note
    assert judge().notes() == []


def test_what_a_lost_control_was_to_rule_out_is_said_with_the_finding():
    def loses(spec):
        return sound(spec, gradients=Gradients(10, missing=["w"]))

    doubtful = judge(engines=("zero3",), make=loses, control=ran_out)
    assert rules(doubtful) == ["CKPT004"]
    assert "did not finish under real ZeRO 3, so real ZeRO 3 is not ruled out" in doubtful.findings[0].detail
    assert "ruled out" not in judge(engines=("zero3",), make=loses).findings[0].detail


def test_a_control_for_which_the_machine_had_no_room_did_not_fail():
    found = judge(make=failed, control=ran_out)
    [finding] = found.findings
    assert (finding.rule, status_of(found)) == ("CKPT900", 3)
    assert "fails without checkpointing as well" not in finding.title
    assert FULL_SHM in finding.detail


@pytest.mark.parametrize("lost", [ran_out, killed, timed_out])
def test_a_lost_control_is_no_function_that_needs_its_engine(lost):
    found = with_course("zero3", usual=lost)
    assert (rules(found), found.verdict()[0]) == (["CKPT004"], "fail")
    assert status_of(with_course("zero3", usual=ran_out, course=ran_out)) == 3
    assert rules(with_course("zero3", usual=killed, course=killed)) == []


READY_ONCE = "Expected to mark a variable ready only once. This error is caused by one of the following reasons: 1) Use"
BACKWARD = Place(
    "/s/site-packages/torch/utils/checkpoint.py", 331, "backward", "torch", "2.13.0", "torch.autograd.backward("
)
ENGINE = Place(
    "/s/site-packages/torch/autograd/graph.py", 979, "_engine_run_backward", "torch", "2.13.0", "return Variable"
)


def ready_once(spec):
    return ended_by(spec, Error("RuntimeError", READY_ONCE, [BACKWARD, ENGINE]))


def ended_by(spec, error):
    return msgspec.structs.replace(raised(spec, during="backward", loss=4.0), error=error)


def under(engine, results, setup=None):
    """Judge probes by function and engine: ``{("torch:reentrant", "ddp"): make}``; those of ``engine`` count."""
    plan, evidence = Plan(), []
    for (function, name), make in results.items():
        spec = Spec("glm4", function, name, setup=setup or Setup(), ranks=1 if name == "none" else 2)
        role = "subject" if name == engine and function != "none" else "control"
        plan.probes.append(Planned(spec, role, WITHOUT_DEEPSPEED))
        evidence.append(make(spec))
    return findings.find(FULL, plan, evidence)


SOUND_ALONE = {("none", "none"): sound, ("torch:reentrant", "none"): sound, ("llamafactory", "none"): sound}


@pytest.mark.parametrize("function", ["torch:reentrant", "llamafactory"])
def test_an_engine_that_does_not_go_together_with_reentrant_is_no_trainers_fault(function):
    more = {("none", "ddp-unused"): sound, ("torch:reentrant", "ddp-unused"): ready_once}
    found = under("ddp-unused", {**SOUND_ALONE, **more, (function, "ddp-unused"): ready_once})
    assert rules(found) == ["CKPT010"]
    [finding] = found.findings
    assert finding.title == "Reentrant checkpointing and DDP with find_unused_parameters do not work together here"
    assert finding.culprit == BACKWARD
    assert finding.passed_by is None
    cleared = {one.package for one in finding.ruled_out}
    assert "transformers" in cleared
    assert "torch" not in cleared
    if function == "llamafactory":
        assert "llamafactory" in found.findings[0].probes[-1]


def test_a_trainer_whose_function_alone_fails_under_an_engine_is_to_blame():
    more = {("none", "ddp"): sound, ("torch:reentrant", "ddp"): sound, ("llamafactory", "ddp"): raised_by_trainer}
    [finding] = under("ddp", {**SOUND_ALONE, **more}).findings
    assert finding.rule == "CKPT010"
    assert finding.culprit == READER
    assert "torch" in {one.package for one in finding.ruled_out}


def raised_by_trainer(spec):
    return ended_by(spec, Error("RuntimeError", "no such rank", [MODEL, READER]))


def test_two_mechanisms_that_checkpoint_are_both_named():
    wrapped = Place(
        "/s/site-packages/torch/distributed/algorithms/_checkpoint/checkpoint_wrapper.py", 143, "", "torch", "2.13.0"
    )

    def thrice(spec):
        return sound(spec, layers=[Layer("layers.0", "L", 1, 3, 1)], wrapper=wrapped)

    results = {("none", "fsdp2"): sound, ("torch:non-reentrant", "fsdp2"): thrice}
    [finding] = under("fsdp2", results, Setup(fsdp_checkpointing=True)).findings
    assert finding.rule == "CKPT003"
    assert finding.title.startswith("torch:non-reentrant and FSDP's own activation checkpointing both checkpoint")
    assert finding.culprit == wrapped


def test_the_verdict_in_short_counts_the_steps_that_count():
    assert judge().verdict(brief=True) == ("ok", "Gradient checkpointing works in the one step that counts.")
    several = judge(engines=("none", "zero0", "zero3"))
    assert several.verdict("on glm4 (given)", brief=True)[1] == (
        "Gradient checkpointing works on glm4 (given) in all 3 steps that count."
    )
    assert judge(make=raised).verdict(brief=True) == judge(make=raised).verdict()


def test_the_verdict_in_short_does_not_pass_over_warnings():
    found = judge(engines=("none", "zero0"))
    [one] = judge(make=raised).findings
    warned = [msgspec.structs.replace(probe, rules=("CKPT014",)) for probe in found.probes]
    found = replace(found, probes=tuple(warned), findings=(msgspec.structs.replace(one, severity="warning"),))

    assert found.verdict(brief=True)[1].endswith("in all 2 steps that count, with a warning in 2.")


def test_a_finding_has_the_line_that_built_the_callable_it_is_about():
    built = Place("/s/transformers/m.py", 578, "forward", "transformers", "4.51.3", "partial(L)")
    handed = [msgspec.structs.replace(HANDED, built=built)]

    [finding] = judge(make=lambda spec: raised(spec, handovers=handed)).findings

    assert finding.built == built
