"""What counts: the level, the rules, the baseline."""

from __future__ import annotations

import copy
import json
import stat

import msgspec
import pytest

from ckptdoctor import results
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.evidence import Evidence, Place
from ckptdoctor.model.report import Finding, Gate
from ckptdoctor.output import formats, render
from ckptdoctor.planning.options import Options
from ckptdoctor.planning.request import Request
from ckptdoctor.verdict import gate
from ckptdoctor.verdict.gate import Policy
from tests.test_output import PLAIN, SITE, failing, healthy, place, probe, undiagnosed
from tests.values import changed

LOST = place(
    "transformers", "4.51.3", "transformers/models/glm4/modeling_glm4.py", 577, "layer_outputs = f(", "forward"
)


def found(rule="CKPT001", severity="error", culprit=LOST, probes=("glm4/llamafactory/none",), **more):
    return Finding(rule, "name", severity, "a title", "a detail", tuple(probes), culprit=culprit, **more)


def report(*findings, verdict=None):
    made = failing()
    made = changed(made, "findings", list(findings))
    errors = [one.rule for one in findings if one.severity == "error"]
    made = changed(
        made, "verdict", verdict or ("ok" if not errors else "fail" if set(errors) != {"CKPT900"} else "error")
    )
    probes = [probe("none", role="control"), probe("llamafactory"), probe("torch:reentrant")]
    rules = [tuple(each.rule for each in findings if one.id in each.probes) for one in probes]
    judged = [
        msgspec.structs.replace(one, rules=tripped, outcome="triggered" if tripped else "ok")
        for one, tripped in zip(probes, rules, strict=True)
    ]
    return changed(made, "probes", judged)


def status(*findings, verdict=None, **policy):
    return gate.apply(report(*findings, verdict=verdict), Policy(**policy)).gate.status


def baseline(*findings, reason=""):
    entries = gate.updated(report(*findings), Policy())
    return [msgspec.structs.replace(one, reason=reason) for one in entries]


ERROR, WARNING, NOTE = found(), found("CKPT006", "warning"), found("CKPT008", "note")
OPEN, DOUBT = found("CKPT900"), found("CKPT900", "warning")


# -- the exit status --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "error", "warning", "never"),
    [
        ((), 0, 0, 0),
        ((NOTE,), 0, 0, 0),
        ((WARNING,), 0, 1, 0),
        ((ERROR,), 1, 1, 0),
        ((ERROR, WARNING), 1, 1, 0),
        ((OPEN,), 3, 3, 3),
        ((OPEN, WARNING), 3, 1, 3),
        ((OPEN, ERROR), 1, 1, 3),
        ((DOUBT,), 3, 3, 3),
    ],
)
def test_the_status_by_level(findings, error, warning, never):
    for level, expected in (("error", error), ("warning", warning), ("never", never)):
        assert status(*copy.deepcopy(findings), fail_on=level) == expected, level


@pytest.mark.parametrize("level", ["error", "warning", "never"])
def test_nothing_judged_is_never_ok(level):
    assert gate.apply(undiagnosed(), Policy(fail_on=level)).status == 3


def test_without_a_gate_asked_for_the_status_is_the_verdicts():
    for case, expected in ((failing, 1), (healthy, 0), (undiagnosed, 3)):
        assert gate.apply(case(), Policy()).status == expected


def test_the_gate_does_not_touch_the_verdict_or_lose_a_finding():
    made = report(copy.deepcopy(ERROR))
    made = gate.apply(made, Policy(ignore=("CKPT001",)))

    assert made.verdict == "fail"
    assert [(one.rule, one.accepted, one.reason) for one in made.findings] == [
        ("CKPT001", "ignored", "--ignore CKPT001")
    ]
    assert made.gate.summary.endswith("1 ignored.")


# -- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("select", "ignore", "counting"),
    [
        ([], [], {"CKPT001", "CKPT004", "CKPT010", "CKPT900"}),
        ([], ["CKPT004"], {"CKPT001", "CKPT010", "CKPT900"}),
        ([], ["ckpt001, CKPT01"], {"CKPT004", "CKPT900"}),
        ([], ["CKPT0"], {"CKPT900"}),
        ([], ["CKPT"], {"CKPT900"}),
        (["CKPT00"], [], {"CKPT001", "CKPT004", "CKPT900"}),
        (["CKPT00"], ["CKPT001"], {"CKPT004", "CKPT900"}),
        (["CKPT001"], ["CKPT0"], {"CKPT001", "CKPT900"}),
        (["CKPT001"], ["CKPT001"], {"CKPT900"}),
        (["CKPT001", "CKPT010"], [], {"CKPT001", "CKPT010", "CKPT900"}),
    ],
)
def test_the_longer_code_decides_and_what_is_open_always_counts(select, ignore, counting):
    made = report(*(found(rule) for rule in ("CKPT001", "CKPT004", "CKPT010", "CKPT900")))
    made = gate.apply(made, Policy(select=gate.codes(select, "--select"), ignore=gate.codes(ignore, "--ignore")))

    assert {one.rule for one in made.findings if not one.accepted} == counting
    assert made.gate.status == (1 if counting != {"CKPT900"} else 3)


@pytest.mark.parametrize(
    ("code", "hint"),
    [("CKPT01l", "CKPT01"), ("CKTP001", "CKPT001"), ("attribute-contrat", "CKPT001"), ("nonsense", "ckptdoctor rule")],
)
def test_a_code_that_no_rule_has(code, hint):
    with pytest.raises(UsageFault, match="--select: there is no rule") as raised:
        gate.codes([code], "--select")
    assert hint in raised.value.hint


@pytest.mark.parametrize("code", ["CKPT900", "CKPT9", "ckpt90"])
def test_what_could_not_be_diagnosed_cannot_be_ignored(code):
    with pytest.raises(UsageFault, match="CKPT900 cannot be ignored"):
        gate.codes([code], "--ignore")
    assert gate.codes([code], "--select")


# -- the baseline -----------------------------------------------------------------------------------------------------


def test_a_baseline_accepts_what_was_found_and_shows_it():
    made = report(copy.deepcopy(ERROR), copy.deepcopy(WARNING))

    made = gate.apply(made, Policy(fail_on="warning", accepted=baseline(ERROR, WARNING, reason="known")))
    assert made.status == 0
    assert [(one.accepted, one.reason) for one in made.findings] == [("baseline", "known")] * 2
    assert made.gate.stale == ()


def moved(**changes):
    return found(culprit=msgspec.structs.replace(LOST, **changes))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (moved(line=600), 0),
        (moved(version="4.52.0"), 0),
        (moved(file=LOST.file.replace(SITE, "/elsewhere/python3.12/site-packages")), 0),
        (moved(code="layer_outputs  =   f("), 0),
        (moved(code="layer_outputs = g("), 1),
        (moved(function="backward"), 1),
        (moved(file=f"{SITE}/transformers/models/glm/modeling_glm.py"), 1),
        (moved(package="other"), 1),
        (found("CKPT002"), 1),
        (found(culprit=None), 1),
    ],
)
def test_a_finding_is_the_same_when_lines_and_releases_move(now, expected):
    assert status(now, accepted=baseline(ERROR)) == expected


def test_a_finding_without_a_line_of_code_goes_by_its_title():
    accepted = baseline(found(culprit=None))

    assert status(found(culprit=None), accepted=accepted) == 0
    assert status(msgspec.structs.replace(found(culprit=None), title="another"), accepted=accepted) == 1


def test_another_checkpoint_function_makes_it_a_new_finding():
    accepted = baseline(ERROR)
    both = found(probes=("glm4/llamafactory/none", "glm4/torch:reentrant/none"))

    assert status(both, accepted=accepted) == 1
    assert status(both, accepted=baseline(both)) == 0
    assert status(ERROR, accepted=baseline(both)) == 0


def test_a_finding_that_is_gone_is_a_warning():
    accepted = baseline(ERROR)
    for level, expected in (("error", 0), ("warning", 1), ("never", 0)):
        made = report()
        made = gate.apply(made, Policy(fail_on=level, accepted=accepted))
        assert made.status == expected
        assert made.gate.stale == tuple(accepted)
    assert "1 entry of the baseline" in gate_of(fail_on="warning", accepted=accepted).summary


def gate_of(**policy) -> Gate:
    made = report()
    return gate.apply(made, Policy(**policy)).gate


@pytest.mark.parametrize("what", ["function", "engine", "not judged", "forward only", "control"])
def test_what_this_run_did_not_look_at_is_not_gone(what):
    accepted = baseline(ERROR)
    made = report()
    [at] = [at for at, one in enumerate(made.probes) if one.checkpoint_function == "llamafactory"]
    if what == "function":
        made = changed(made, "probes", made.probes[:at] + made.probes[at + 1 :])
    elif what == "engine":
        made = changed(made, f"probes[{at}].engine", "zero3")
    elif what == "not judged":
        made = changed(made, f"probes[{at}].outcome", "skipped")
    elif what == "forward only":
        made = changed(made, f"probes[{at}].evidence.forward_only", True)
    else:
        made = changed(made, f"probes[{at}].role", "control")

    gated = gate.apply(made, Policy(fail_on="warning", accepted=accepted))

    assert gated.gate.stale == ()
    assert gate.updated(made, Policy(accepted=accepted)) == accepted


def test_a_step_with_the_cpu_in_the_place_of_the_gpu_is_one_that_was_judged():
    made = report()
    for at in range(len(made.probes)):
        made = changed(made, f"probes[{at}].evidence.forward_only", True)
        made = changed(made, f"probes[{at}].evidence.stand_in", Evidence("stand-in", "returned"))

    made = gate.apply(made, Policy(accepted=baseline(ERROR)))

    assert len(made.gate.stale) == 1


def test_a_variant_that_this_stack_cannot_do_leaves_the_usual_step_to_go_by():
    made = report()
    skipped = msgspec.structs.replace(probe("llamafactory", "skipped"), variant="packed", id="other")
    made = changed(made, "probes", (*made.probes, skipped))

    made = gate.apply(made, Policy(accepted=baseline(ERROR)))

    assert len(made.gate.stale) == 1


def test_a_variant_that_the_machine_had_no_room_for_was_not_looked_at():
    made = report()
    skipped = msgspec.structs.replace(probe("llamafactory", "skipped"), variant="packed", id="other", rules=["CKPT900"])
    made = changed(made, "probes", (*made.probes, skipped))

    made = gate.apply(made, Policy(accepted=baseline(ERROR)))

    assert made.gate.stale == ()


def test_what_could_not_be_diagnosed_cannot_be_accepted():
    entries = [msgspec.structs.replace(one, rule="CKPT900") for one in baseline(ERROR)]

    assert baseline(OPEN) == []
    assert status(OPEN, accepted=entries) == 3


def test_notes_and_what_is_ignored_need_no_entry():
    assert gate.updated(report(NOTE, WARNING), Policy(ignore=("CKPT006",))) == []


def test_an_update_keeps_reasons_and_drops_what_is_gone():
    known = baseline(ERROR, WARNING, reason="waiting for a release")

    entries = gate.updated(report(ERROR, found("CKPT004")), Policy(accepted=known))

    assert [(one.rule, one.reason) for one in sorted(entries, key=lambda one: one.rule)] == [
        ("CKPT001", "waiting for a release"),
        ("CKPT004", ""),
    ]


def test_an_update_keeps_functions_and_engines_that_this_run_did_not_look_at():
    [known] = baseline(ERROR)
    known = msgspec.structs.replace(
        known, checkpoint_functions=["axolotl:offload", "llamafactory", "torch:reentrant"], engines=["none", "zero3"]
    )

    [entry] = gate.updated(report(ERROR), Policy(accepted=[known]))

    assert list(entry.checkpoint_functions) == ["axolotl:offload", "llamafactory"]
    assert list(entry.engines) == ["none", "zero3"]


def test_two_findings_at_one_line_share_an_entry():
    other = found(passed_by=LOST, probes=("glm4/torch:reentrant/none",))

    [entry] = gate.updated(report(ERROR, other), Policy())

    assert list(entry.checkpoint_functions) == ["llamafactory", "torch:reentrant"]
    assert status(ERROR, other, accepted=[entry]) == 0


def test_a_baseline_holds_no_folder_of_this_machine(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    monkeypatch.chdir(tmp_path)
    files = {
        str(tmp_path / "train" / "mine.py"): "train/mine.py",
        "/home/somebody/mine.py": "mine.py",
        f"/x/overlays/{'0' * 32}/llamafactory/a.py": "llamafactory/a.py",
        "/usr/lib/python3.11/contextlib.py": "contextlib.py",
    }
    for file, told in files.items():
        [entry] = baseline(found(culprit=Place(file, 3, "f", "", "", "x")))
        assert entry.file == told


def test_a_function_of_ones_own_is_named_within_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = report(ERROR)
    for at, one in enumerate(made.probes):
        own = one.checkpoint_function.replace("llamafactory", f"{tmp_path}/mine.py:f")
        made = changed(made, f"probes[{at}].checkpoint_function", own)

    [entry] = gate.updated(made, Policy())

    assert list(entry.checkpoint_functions) == ["mine.py:f"]


# -- its file ---------------------------------------------------------------------------------------------------------


def test_a_baseline_is_written_sorted_and_read_back(tmp_path):
    file = tmp_path / "baseline.json"
    entries = baseline(found("CKPT010"), ERROR, WARNING, reason="because")

    gate.write(str(file), reversed(entries))
    first = file.read_bytes()
    gate.write(str(file), entries)

    assert file.read_bytes() == first
    assert sorted(one.rule for one in gate.read(str(file))) == [one["rule"] for one in json.loads(first)["accepted"]]
    assert first.endswith(b"}\n")
    assert max(len(line) for line in first.splitlines()) < 120
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_hostile_text_in_a_baseline_acts_on_nothing(tmp_path):
    hostile = "\x1b[31m\u202e\u2028\n::error::"
    culprit = Place(f"{SITE}/a/{hostile}.py", 1, hostile, f"p{hostile}", hostile, hostile)
    file = tmp_path / "b.json"

    gate.write(str(file), baseline(found(culprit=culprit)))

    assert file.read_text().isascii()
    assert status(found(culprit=culprit), accepted=gate.read(str(file))) == 0


def test_a_baseline_that_is_not_there(tmp_path):
    with pytest.raises(UsageFault, match="There is no baseline") as raised:
        gate.read(str(tmp_path / "b.json"))
    assert "--update-baseline" in raised.value.hint
    assert gate.read(str(tmp_path / "b.json"), may_be_missing=True) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"accepted": 1}',
        '{"schema": "ckptdoctor/baseline/9", "accepted": []}',
        '{"accepted": [{}]}',
        '{"accepted": [], "acepted": []}',
        "\udcff",
    ],
)
def test_a_file_that_is_no_baseline(text, tmp_path):
    file = tmp_path / "b.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageFault, match="is not a baseline"):
        gate.read(str(file))


@pytest.mark.parametrize("where", ["missing/b.json", "folder"])
def test_a_baseline_that_cannot_be_written_leaves_nothing_behind(where, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageFault, match="cannot be written"):
        gate.write(str(tmp_path / where), [])
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_a_kept_report_knows_nothing_of_a_gate(tmp_path, monkeypatch):
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path))
    made = failing()
    name = results.key(tmp_path, None, Request(options=Options()))
    results.store(name, msgspec.structs.replace(made, probes=()), [], [])
    made = gate.apply(made, Policy(ignore=("CKPT001",)))

    kept = results.load(name)

    assert kept.gate is None
    assert [one.accepted for one in kept.findings] == [""]


@pytest.mark.parametrize("name", formats("report"))
def test_every_format_shows_what_does_not_count(name):
    made = report(copy.deepcopy(ERROR), found("CKPT004"), copy.deepcopy(WARNING))
    gone = [msgspec.structs.replace(one, rule="CKPT007") for one in baseline(ERROR, reason="never")]
    made = gate.apply(made, Policy(ignore=("CKPT006",), accepted=[*baseline(ERROR, reason="waiting for 0.9.3"), *gone]))

    text = render(name, made, PLAIN)

    assert "waiting for 0.9.3" in text
    assert "--ignore CKPT006" in text
    assert "CKPT007" in text
    assert "CKPT004" in text


def test_text_says_nothing_of_a_gate_that_has_no_part_in_it():
    made, plain = failing(), failing()
    made = gate.apply(made, Policy())

    assert render("text", made, PLAIN) == render("text", plain, PLAIN)
