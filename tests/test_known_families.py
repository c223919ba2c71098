"""What is known of all model families, and how it is told."""

import json
from collections import Counter

import pytest

from ckptdoctor import knowledge, measure
from ckptdoctor.diagnose import _known
from ckptdoctor.errors import UsageFault
from ckptdoctor.knowledge import families
from ckptdoctor.matrix import reading_code
from ckptdoctor.matrix.fingerprints import Fingerprint
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.model.evidence import Environment, Package, Spec
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED
from ckptdoctor.planning.options import Options
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.planning.request import ProbeRequest
from ckptdoctor.verdict import findings
from ckptdoctor.verdict.findings import Found
from tests.conftest import call
from tests.test_findings import WRONG, sound

NEWEST = "5.24.0"


def ask(*words):
    ran = call("known", "--offline", "--format", "json", *words)
    return ran.status, json.loads(ran.out)


@pytest.mark.parametrize(
    ("family", "status", "known", "rules"),
    [
        ("qwen3", 0, "works", []),
        ("gemma3n_text", 1, "fails", ["CKPT005"]),
        ("ctrl", 1, "fails", ["CKPT010"]),
        ("blip", 3, "not known", []),  # its images cannot be left out
        ("no_such_family", 3, "not known", None),
    ],
)
def test_a_family_in_a_release_has_its_answer_and_status(family, status, known, rules):
    ended, answer = ask(f"transformers=={NEWEST}", "--model", family)
    assert (ended, answer["known"]) == (status, known)
    assert [one["rules"] for one in answer["families"]] == ([] if rules is None else [rules])
    if rules is not None:
        assert answer["summary"].startswith(f"{family} with transformers {NEWEST}")
        assert "measured on 20" in answer["summary"]


def test_a_warning_is_told_of_a_family_that_works():
    """transformers#35509: keyword arguments of packed sequences did not reach the layers under checkpointing."""
    status, answer = ask("transformers==4.50.3", "--model", "mistral")
    assert (status, answer["known"]) == (0, "works")
    assert "with a warning: MistralForCausalLM under checkpointing loses keyword arguments" in answer["summary"]
    assert "(CKPT006)" in answer["summary"]


def test_many_releases_are_summed_up_and_shown_as_a_table():
    ran = call("known", "--offline", "transformers>=5.20", "--model", "ctrl")
    assert ran.status == 1
    assert "ctrl trains with torch's own checkpoint functions in 0 of" in " ".join(ran.out.split())
    assert "fails (CKPT010)" in ran.out


def test_the_map_of_a_family_is_shown_as_other_maps_are():
    ran = call("known", "--offline", "transformers", "--model", "ctrl", "--format", "json")
    shown = json.loads(ran.out)
    assert {cell["model"] for cell in shown["cells"]} == {"ctrl"}


def test_a_release_is_answered_with_the_families_that_fail_in_it():
    _, answer = ask(f"transformers=={NEWEST}")
    [note] = [one for one in answer["notes"] if one.startswith("With torch's own")]
    assert "gemma3n_text" in note
    _, answer = ask("transformers==4.1")
    assert not [one for one in answer["notes"] if one.startswith("With torch's own")]


def test_every_cell_rests_on_a_run_of_its_family_and_failing_ones_on_an_error():
    known = families.load()
    for cell in known.cells:
        run = known.run_of(cell)
        assert (run.model, run.verdict) == (cell.model, cell.verdict)
        assert (cell.how == "measured") == (run.stack == cell.stack)
        assert (cell.verdict == "fail") == any(
            fault.severity == "error" for fault in run.faults if cell.verdict != "error"
        )
    assert max(Counter((str(cell.stack), cell.model) for cell in known.cells).values()) == 1


def test_an_inferred_answer_names_the_release_that_was_run():
    known = families.load()
    cell = next(one for one in known.cells if one.how == "inferred" and one.verdict == "ok")
    [told] = families.told(cell.model, [cell.stack["transformers"]])
    assert f"inferred from transformers {known.run_of(cell).stack['transformers']}" in told.sentence


def test_the_nearest_release_that_works_is_named():
    known = families.load()
    for cell in known.cells:
        if cell.verdict == "fail":
            other = families.working_release(cell.model, cell.stack["transformers"])
            assert not other or [one.verdict for one in families.told(cell.model, [other])] == ["ok"]
    assert families.working_release("ctrl", "0.1") == ""


def environment(release=NEWEST):
    return Environment(
        "3.11.7", "/e/bin/python", "linux", (Package("torch", "2.13.0"), Package("transformers", release)), ("torch",)
    )


def judged(family, **evidence):
    spec = Spec(family, "torch:reentrant")
    plan = Plan([Planned(spec, "subject", WITHOUT_DEEPSPEED)])
    return findings.find(environment(), plan, [sound(spec, **evidence)])


def test_a_check_tells_what_is_known_of_a_family_that_it_has_not_run():
    wanted = ProbeRequest(Options(), family="gemma3n_text")
    [note] = _known(wanted, environment(), Found())
    assert note.startswith("Known, and not run here: gemma3n_text with transformers 5.24.0 fails")
    assert _known(wanted, environment(), judged("llama")) == [note]
    lost = judged("gemma3n_text", ended="timeout", why="no result after 60 s", during="forward")
    assert _known(ProbeRequest(Options(models=["gemma3n_text"])), environment(), lost) == [note]


@pytest.mark.parametrize("evidence", [{}, WRONG])
def test_what_a_check_has_run_stands(evidence):
    wanted = ProbeRequest(Options(models=["gemma3n_text"]))
    assert _known(wanted, environment(), judged("gemma3n_text", **evidence)) == []


def test_nothing_is_said_of_families_that_work_or_of_releases_that_were_not_measured():
    assert _known(ProbeRequest(Options(), family="llama"), environment(), Found()) == []
    assert _known(ProbeRequest(Options(), family="gemma3n_text"), environment("99"), Found()) == []
    assert _known(ProbeRequest(Options()), environment(), Found()) == []


def test_all_families_are_those_of_any_release_that_was_read():
    request = MatrixRequest(("transformers>=5",), options=Options(models=("all",)))
    releases = {"5.0": Fingerprint({"llama": "1", "ctrl": "2"}), "5.1": Fingerprint({"new": "3"}), "5.2": None}
    made = reading_code.of_all_families(request, {"transformers": releases})
    assert list(made.options.models) == ["ctrl", "llama", "new"]
    assert made.options.by_family
    assert made.options.packed
    with pytest.raises(UsageFault, match="needs releases of transformers"):
        reading_code.of_all_families(request, {})


def test_the_families_file_is_a_map_of_one_axis():
    assert list(knowledge.load(knowledge.FAMILIES_FILE).axes) == ["transformers"]


def test_a_map_goes_on_from_the_one_that_ships():
    known = measure._shipped(knowledge.FAMILIES_FILE)
    cells = families.load().cells
    assert len(known) == sum(cell.how == "measured" for cell in cells)
    assert all(one.stack == run.stack and one.model == run.model for one, run in known.items())
