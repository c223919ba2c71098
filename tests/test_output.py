from __future__ import annotations

import copy
import importlib.resources
import json
import typing
import unicodedata

import click
import jsonschema
import msgspec
import pytest

from ckptdoctor.model.evidence import Attribute, CallableInfo, Environment, Error, Evidence, Package, Place
from ckptdoctor.model.report import SCHEMA, Finding, ProbeResult, Remedy, Report, RuledOut
from ckptdoctor.output import Style, formats, render
from ckptdoctor.output.report.json import schema, schema_text
from ckptdoctor.words.escape import one_line, plain
from tests.values import changed, frozen

SITE = "/opt/train/lib/python3.11/site-packages"
PLAIN = Style(color=False, width=100, verbose=False, unicode=True)
HOSTILE = "\x1b[31m\x1b]0;owned\x07\r\x9b2J\u202e\u2066\u200b\u2028\ud800 [bold]m[/] \nFAIL"
COMMAND = "pip install 'llamafactory==0.9.3' --index-url https://packages.example/simple --no-deps --upgrade"
DIFF = """\
--- a/llamafactory/model/model_utils/checkpointing.py
+++ b/llamafactory/model/model_utils/checkpointing.py
@@ -86 +86,2 @@
-            module: "torch.nn.Module" = func.__self__
+            inner = func.func if isinstance(func, functools.partial) else func
+            module: "torch.nn.Module" = inner.__self__
"""


def style(**changes) -> Style:
    return Style(**{"color": False, "width": 100, "verbose": False, "unicode": True, **changes})


def place(package, version, path, line, code="", function="") -> Place:
    return Place(f"{SITE}/{path}", line, function, package, version, code)


CULPRIT = place(
    "llamafactory",
    "0.9.2",
    "llamafactory/model/model_utils/checkpointing.py",
    86,
    'module: "torch.nn.Module" = func.__self__',
    "custom_gradient_checkpointing_func",
)
GIVER = place(
    "transformers", "4.51.3", "transformers/models/glm4/modeling_glm4.py", 577, "layer_outputs = f(", "forward"
)
ERROR = Error(
    "AttributeError",
    "'functools.partial' object has no attribute '__self__'",
    [GIVER, CULPRIT],
    Attribute("__self__", "functools.partial", "callable"),
)


def probe(
    function, outcome="ok", *, model="glm4", engine="none", convention="model", variant="", role="subject", **more
):
    name = "/".join([model, function, engine] + ([convention] if convention != "model" else []))
    failed = outcome in ("failed", "triggered")
    return frozen(
        ProbeResult(
            id=name,
            model=model,
            checkpoint_function=function,
            engine=engine,
            calling_convention=convention,
            variant=variant,
            role=role,
            outcome=outcome,
            error=f"{ERROR.type}: {ERROR.message}" if failed else None,
            evidence=Evidence(
                id=name,
                ended="raised" if failed else "returned",
                error=ERROR if failed else None,
                output="loading\nCUDA is not here\n" if failed else "",
                seconds=1.25,
                modules={"torch": "2.13.0+cpu"},
            ),
            **more,
        )
    )


def environment() -> Environment:
    versions = {"torch": "2.13.0+cpu", "transformers": "4.51.3", "deepspeed": "0.16.4", "llamafactory": "0.9.2"}
    return Environment(
        python="3.11.7",
        executable="/opt/train/bin/python",
        platform="linux",
        packages=tuple(Package(name, version) for name, version in versions.items()),
        stack=tuple(versions),
        trainers=("llamafactory",),
        paths=(SITE,),
    )


def finding() -> Finding:
    return frozen(
        Finding(
            rule="CKPT001",
            name="attribute-of-callable",
            severity="error",
            title="the checkpoint function reads an attribute that the callable it was given lacks",
            detail="It expects a bound method and was handed a partial.",
            probes=[f"glm4/llamafactory/{engine}" for engine in ("none", "zero1", "zero2", "zero3", "fsdp")],
            culprit=CULPRIT,
            passed_by=GIVER,
            callable=CallableInfo(
                "functools.partial",
                "functools.partial(Glm4DecoderLayer.__call__)",
                "functools.partial",
                GIVER,
                ["mask"],
            ),
            error=ERROR,
            ruled_out=[RuledOut("deepspeed", "0.16.4", "it also fails without deepspeed", ["glm4/llamafactory/none"])],
            remedies=[
                Remedy(
                    "version",
                    "upgrade llamafactory to 0.9.3",
                    "other changes of 0.9.3",
                    "probes run here",
                    [COMMAND],
                    breaks=["trl 0.9.6 requires llamafactory<0.9.3"],
                    proven="all",
                ),
                Remedy("patch", "look through the partial", "a patched package", "the rule", diff=DIFF),
            ],
        )
    )


def failing() -> Report:
    ways = ("bound-method", "partial-bound", "partial-call", "module")
    probes = [
        probe("none", role="control"),
        probe("torch:reentrant", role="control"),
        probe("llamafactory", "triggered", rules=["CKPT001"]),
        probe("llamafactory", "triggered", engine="zero3", rules=["CKPT001"]),
        probe("unsloth", "failed", role="advisory"),
    ]
    probes += [probe("torch:reentrant", role="convention", model="tiny-glm4", convention=way) for way in ways]
    probes += [
        probe(
            "llamafactory",
            "triggered" if way.startswith("partial") else "crashed" if way == "module" else "ok",
            role="convention",
            model="tiny-glm4",
            convention=way,
            rules=["CKPT001"] if way.startswith("partial") else [],
        )
        for way in ways
    ]
    return frozen(
        Report(
            schema=SCHEMA,
            version="0.1.0",
            verdict="fail",
            summary="gradient checkpointing of llamafactory 0.9.2 breaks on glm4 of transformers 4.51.3",
            environment=environment(),
            probes=probes,
            findings=[finding()],
            notes=["unsloth was judged on its forward only: there is no CUDA here"],
            seconds=31.4,
        )
    )


def healthy() -> Report:
    probes = [probe("none", role="control"), probe("llamafactory")]
    return frozen(Report(SCHEMA, "0.1.0", "ok", "gradient checkpointing works", environment(), probes, [], seconds=4.0))


def undiagnosed() -> Report:
    bare = Environment("3.11.7", "/opt/train/bin/python", "linux")
    return frozen(Report(SCHEMA, "0.1.0", "error", "torch is not installed in the target", bare, [], []))


CASES = [failing, healthy, undiagnosed]


def plant(value, keep=(), kind=str):
    """A copy with hostile text behind every string that is not one of a fixed few."""
    if isinstance(value, msgspec.Struct):
        fields = {
            field.name: plant(getattr(value, field.name), keep, field.type)
            for field in msgspec.structs.fields(value)
            if field.name not in keep
        }
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, (list, tuple)):
        return type(value)(plant(item, keep) for item in value)
    if isinstance(value, dict):
        return {key + HOSTILE: plant(item, keep) for key, item in value.items()}
    if isinstance(value, str) and typing.get_origin(kind) is not typing.Literal:
        return value + HOSTILE
    return value


def acting(text: str) -> set[str]:
    """Characters in a text that a terminal would act on or hide."""
    return {
        char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in "\n\t"
    }


# -- escaping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\x00\x7f\x9b", r"a\rb\x00\x7f\x9b"),
        ("\u202e\u2066\u2069\u200b\ufeff", r"\u202e\u2066\u2069\u200b\ufeff"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\U000e0041", r"\U000e0041"),
        ("\udc80", r"\udc80"),
        ("a\n\tb", "a\n\tb"),
        ("Größe 模型 · \xa0é", "Größe 模型 · \xa0é"),
    ],
)
def test_plain_shows_what_acts_and_keeps_the_rest(raw, shown):
    assert plain(raw) == shown


def test_no_character_that_acts_survives():
    every = "".join(map(chr, range(0x110000)))

    assert acting(plain(every)) == set()
    assert plain(every, ascii_only=True).isascii()


def test_printable_text_beyond_ascii_survives_unless_ascii_is_asked_for():
    assert plain("é模", ascii_only=True) == r"\xe9\u6a21"


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("a\n  b\tc", 20, "a b c"),
        ("abcdefgh", 8, "abcdefgh"),
        ("abcdefghi", 8, "abcde..."),
        ("abcd efghi", 8, "abcd..."),
        ("abcdef", 2, ".."),
        ("\x1b\x1b\x1b", 8, r"\x1b\..."),
    ],
)
def test_one_line(text, limit, line):
    assert one_line(text, limit) == line


# -- every format -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", [40, 100, 4000])
@pytest.mark.parametrize("keep", [(), ("role", "calling_convention", "rule")])
def test_hostile_text_is_never_printed_raw(keep, width, verbose):
    report = plant(failing(), keep)
    before = copy.deepcopy(report)

    text = render("text", report, style(width=width, verbose=verbose))

    assert acting(text) == set()
    assert r"\x1b" in text
    assert "[bold]m[/]" in text
    assert report == before
    # Other lines could only look like a verdict if hostile newlines reached the left margin.
    assert sum(line.startswith("FAIL") for line in text.splitlines()) == 1


def test_hostile_text_in_colour_leaves_only_our_own_colours():
    text = render("text", plant(failing()), style(color=True, verbose=True))

    assert "\x1b[" in text
    assert acting(click.unstyle(text)) == set()
    assert "\x1b]" not in text


def test_hostile_text_in_json_reads_back_whole_and_acts_on_nothing():
    report = failing()
    # JSON cannot hold half a character; evidence, which comes in as JSON, never does.
    report = changed(report, "summary", HOSTILE.replace("\ud800", "\U000e0041"))

    text = render("json", report, PLAIN)

    assert acting(text) == set()
    assert json.loads(text)["summary"] == report.summary


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", formats("report"))
def test_formats_end_in_one_newline(name, case):
    text = render(name, case(), PLAIN)

    assert text.endswith("\n")
    assert not text.endswith("\n\n")


# -- json -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_reports_keep_to_the_schema(case):
    rendered = json.loads(render("json", case(), PLAIN))

    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator(schema()).validate(rendered)
    assert msgspec.convert(rendered, Report) == case()


@pytest.mark.parametrize("field", ["schema", "verdict", "environment", "probes", "findings"])
def test_schema_wants_what_readers_rely_on(field):
    rendered = json.loads(render("json", failing(), PLAIN))
    del rendered[field]

    with pytest.raises(jsonschema.ValidationError, match=field):
        jsonschema.Draft202012Validator(schema()).validate(rendered)


def test_schema_refuses_a_wrong_value_deep_inside():
    rendered = json.loads(render("json", failing(), PLAIN))
    rendered["findings"][0]["culprit"]["line"] = "86"

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(rendered)


def test_shipped_schema_is_what_the_types_give():
    shipped = (
        importlib.resources.files("ckptdoctor.output.report").joinpath("report.schema.json").read_text(encoding="utf-8")
    )

    assert json.loads(shipped) == json.loads(schema_text()), "write schema_text() to report.schema.json"


@pytest.mark.parametrize("name", ["text", "markdown", "sarif", "junit"])
def test_formats_say_where_no_release_helps(name):
    report = failing()
    report = changed(report, "findings[0].impasse", "No release of llamafactory up to 0.9.5 works.")
    shown = " ".join(render(name, report, PLAIN).split())

    assert "No release of llamafactory up to 0.9.5 works." in shown


def test_what_a_change_means_for_files_is_shown():
    report = failing()
    report = changed(
        report,
        "findings[0].remedies[0].edits",
        ["--- a/requirements.txt\n+++ b/requirements.txt\n@@ -1 +1 @@\n-a==1\n+a==2\n"],
    )

    assert "+a==2" in render("markdown", report, PLAIN)
    for whole in (style(verbose=True), style(remedies=True)):
        assert "+a==2" in render("text", report, whole)


# -- text -------------------------------------------------------------------------------------------------------------


def test_a_failure_reads_from_the_fault_to_the_verdict_and_the_command_that_fixes_it():
    lines = render("text", failing(), PLAIN).splitlines()

    assert lines[0] == "ckptdoctor 0.1.0 · /opt/train/bin/python · Python 3.11.7 · cpu"
    assert lines[1] == "torch 2.13.0+cpu · transformers 4.51.3 · deepspeed 0.16.4 · llamafactory 0.9.2"
    assert lines[3].startswith("error[CKPT001]: the checkpoint function reads")
    starts = ["error[", "  AttributeError: ", "  ruled out: ", "  fix: ", "tried ", "note: ", "FAIL  ", "fix: "]
    at = [next(number for number, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert at == sorted(at)
    assert lines[-4].startswith("FAIL  gradient checkpointing of llamafactory 0.9.2 breaks")
    assert " ".join(" ".join(lines[-4:-2]).split()).endswith("; 13 probes on glm4, 31.4 s.")
    title = "fix: upgrade llamafactory to 0.9.3 [version, ok in all probes]; breaks 1 requirement"
    assert lines[-2:] == [title, f"  {COMMAND}"]


def test_a_finding_names_who_did_what():
    text = render("text", failing(), PLAIN)

    for part in (
        "  AttributeError: 'functools.partial' object has no attribute '__self__'\n",
        "   --> llamafactory 0.9.2, llamafactory/model/model_utils/checkpointing.py:86\n"
        '   86 | module: "torch.nn.Module" = func.__self__\n'
        f"      | {'^' * 41} read here\n"
        "   --> transformers 4.51.3, transformers/models/glm4/modeling_glm4.py:577\n"
        "  577 | layer_outputs = f(\n"
        f"      | {'-' * 18} passed here\n",
        "  ruled out: deepspeed 0.16.4: it also fails without deepspeed\n",
        "  fix: upgrade llamafactory to 0.9.3 [version, ok in all probes]\n",
        "    other changes of 0.9.3; probes run here; breaks trl 0.9.6 requires llamafactory<0.9.3\n",
        "  It expects a bound method and was handed a partial. More: ckptdoctor rule CKPT001\n",
        "  other fix: look through the partial [patch, not run here; diff: -v]\n",
    ):
        assert part in text
    assert SITE not in text
    assert "seen in: glm4/llamafactory/none, glm4/llamafactory/zero1, " in render(
        "text", failing(), style(verbose=True)
    )


def test_a_rule_without_a_callable_does_not_speak_of_reading():
    report = failing()
    report = changed(
        report,
        "findings",
        [msgspec.structs.replace(finding(), rule="CKPT004", passed_by=None, callable=None, error=None, remedies=())],
    )

    text = render("text", report, PLAIN)

    assert "  --> llamafactory 0.9.2, " in text
    assert "^ here\n" in text
    assert "  It expects a bound method" in text
    assert "read here" not in text
    assert "passed by" not in text


def test_a_file_outside_of_site_packages_is_named_whole():
    report = failing()
    report = changed(report, "findings[0].culprit", Place("/srv/run/my_checkpoint.py", 3))

    assert "--> /srv/run/my_checkpoint.py:3: read here\n" in render("text", report, PLAIN)


def test_no_finding_no_fault():
    text = render("text", healthy(), PLAIN)

    assert text.endswith("\nOK  gradient checkpointing works; 2 probes on glm4, 4.0 s.\n")
    assert "convention" not in text
    assert "note" not in text


def test_a_list_of_what_was_run_goes_with_the_verdict_in_short():
    report = msgspec.structs.replace(
        healthy(),
        summary="It works with all of these.",
        headline="It works.",
        notes=("Another note.",),
        not_tried=("FSDP2 (--engine all)", "LoRA (--thorough)"),
    )
    tried, whole = render("text", report, PLAIN), render("text", report, style(probes=False))

    end = "note: Another note.\nnot tried: FSDP2 (--engine all); LoRA (--thorough)\n"
    assert tried.endswith(
        f"tried llamafactory: 1 ok (no engine)\n{end}OK  It works; 2 probes on glm4, 4.0 s. Not covered: what was not tried.\n"
    )
    assert whole.endswith(f"{end}OK  It works with all of these.\n")


def test_the_command_to_go_on_with_is_the_last_line():
    command = "ckptdoctor fix --model glm4"
    report = msgspec.structs.replace(healthy(), verdict="fail", notes=("Another note.",), next_command=command)

    assert render("text", report, style(probes=False)).splitlines()[-4:] == [
        "note: Another note.",
        "FAIL  gradient checkpointing works",
        "next: find what fixes it, and try it",
        "  ckptdoctor fix --model glm4",
    ]


def test_what_was_not_tried_takes_one_line_of_a_failure():
    report = changed(failing(), "not_tried", (f"{', '.join(['an engine'] * 20)} (--engine all)",))

    short, long = (render("text", report, style(width=80, verbose=verbose)) for verbose in (False, True))

    [line] = [line for line in short.splitlines() if line.startswith("not tried: ")]
    assert line.endswith("an engine, ... (-v: all)")
    assert len(line) <= 80
    assert " ".join(long.split()).count("an engine") == 20


def test_what_cannot_be_diagnosed_says_so():
    text = render("text", undiagnosed(), PLAIN)

    assert text.endswith("\nCANNOT BE DIAGNOSED  torch is not installed in the target\n")
    assert "tried" not in text


def test_each_function_has_a_line_and_what_does_not_count_is_left_to_the_tables():
    lines = render("text", failing(), PLAIN).splitlines()

    assert "unsloth" in render("text", failing(), style(verbose=True))
    assert [line for line in lines if line.startswith("tried ")] == [
        "tried torch:reentrant: 1 ok (no engine)",
        "tried llamafactory: 2 trigger CKPT001 (no engine, zero3)",
    ]


def test_a_step_without_checkpointing_has_a_line_if_it_fails():
    report = changed(healthy(), "probes[0]", probe("none", "crashed", role="control"))

    assert "tried no checkpointing: 1 crashed (no engine)\n" in render("text", report, PLAIN)


def test_functions_that_fared_alike_share_a_line_that_names_what_it_holds():
    names = ["torch:reentrant", "torch:non-reentrant", "mine"]
    engines = ["none", "zero0", "zero1", "zero2", "zero3", "ddp", "fsdp2"]
    probes = [probe(name, engine=engine) for name in names for engine in engines]
    probes[-1] = probe("mine", "triggered", engine="fsdp2", rules=["CKPT010"])
    report = msgspec.structs.replace(healthy(), probes=tuple(probes))

    wide, narrow, least = (render("text", report, style(width=width)).splitlines() for width in (100, 68, 44))

    assert "tried torch:reentrant/non-reentrant: 7 ok each (no engine, zero0-3, ddp, fsdp2)" in wide
    assert "tried mine: 1 triggers CKPT010 (fsdp2); 6 ok (no engine, zero0-3, ddp)" in wide
    assert "tried torch:reentrant/non-reentrant: 7 ok each (no engine, 6 more)" in narrow
    assert "tried mine: 1 triggers CKPT010 (fsdp2); 6 ok" in least


def test_the_long_table_holds_every_probe_and_marks_the_advisory():
    ran = render("text", failing(), style(width=160, verbose=True)).split("what was run")[1]

    assert [line.split()[3] for line in ran.splitlines()[3:8]] == ["ok", "ok", "triggered", "triggered", "failed*"]
    assert "* advisory: does not count" in ran
    assert "CKPT001 AttributeError: 'functools.partial' object" in ran


def test_functions_of_files_are_named_without_folders_and_share_a_line_only_if_it_holds_them():
    names = ["/srv/somebody/project/first.py:checkpoint", "/srv/somebody/project/second.py:checkpoint"]
    report = msgspec.structs.replace(healthy(), probes=tuple(map(probe, names)))
    both = msgspec.structs.replace(healthy(), probes=tuple(map(probe, [names[0], "/srv/other/first.py:checkpoint"])))

    wide, narrow = (render("text", report, style(width=width)).splitlines() for width in (80, 50))

    assert "tried first.py:checkpoint, second.py:checkpoint: 1 ok each (no engine)" in wide
    assert "tried first.py:checkpoint: 1 ok (no engine)" in narrow
    assert "tried second.py:checkpoint: 1 ok (no engine)" in narrow
    assert "tried /srv/other/first.py:checkpoint: 1 ok" in render("text", both, style(width=60))


@pytest.mark.parametrize(("count", "in_full"), [(1, 1), (2, 2), (3, 1), (8, 1)])
def test_findings_beyond_what_a_screen_holds_are_told_in_short(count, in_full):
    report = changed(failing(), "findings", [finding()] * count)

    short, long = (render("text", report, style(verbose=verbose)) for verbose in (False, True))

    assert short.count("error[CKPT001]: ") == long.count("error[CKPT001]: ") == count
    assert (short.count("read here"), long.count("read here")) == (in_full, count)
    assert (short.count("ruled out: "), long.count("ruled out: ")) == (in_full, count)
    assert short.count("  fix: upgrade llamafactory to 0.9.3 [version, ok in all probes]\n") == count
    assert short.count("\nfix") == 1


def test_a_fix_of_several_faults_says_of_each_what_was_run():
    report = changed(failing(), "findings", [finding(), msgspec.structs.replace(finding(), rule="CKPT004"), finding()])
    assert "\nfix for CKPT001 and CKPT004: upgrade llamafactory to 0.9.3 [" in render("text", report, style(width=160))

    report = changed(report, "findings[1].remedies[0].proven", "some")
    lines = render("text", report, style(width=160)).splitlines()

    assert [line.partition(" [")[2].partition("]")[0] for line in lines if line.startswith("fix for ")] == [
        "version, ok in all probes",
        "version, ok where it was run",
    ]


def test_models_are_kept_apart():
    report = failing()
    report = changed(
        report,
        "probes",
        (
            *report.probes,
            probe("llamafactory", model="/srv/models/qwen"),
            probe("llamafactory", "crashed", model="llama"),
        ),
    )

    lines = render("text", report, PLAIN).splitlines()

    assert "tried llamafactory on glm4: 2 trigger CKPT001 (no engine, zero3)" in lines
    assert "tried llamafactory on /srv/models/qwen: 1 ok (no engine)" in lines
    assert "tried llamafactory on llama: 1 crashed (no engine)" in lines


def test_a_chosen_convention_and_packing_are_named():
    report = healthy()
    packed = msgspec.structs.replace(probe("llamafactory", "crashed"), variant="packed")
    report = changed(
        report, "probes", (*report.probes, probe("llamafactory", "timeout", convention="partial-call"), packed)
    )

    text = render("text", report, PLAIN)

    assert "tried llamafactory: 1 timeout (partial-call); 1 crashed (packed); 1 ok (no engine)\n" in text


def test_a_convention_that_a_model_was_seen_to_use_is_not_named():
    report = healthy()
    report = changed(
        report, "probes", [msgspec.structs.replace(one, calling_convention="partial-bound") for one in report.probes]
    )

    assert "tried llamafactory: 1 ok (no engine)\n" in render("text", report, PLAIN)


def test_what_was_judged_on_its_forward_only_does_not_pass_for_the_whole_step():
    report = healthy()
    report = changed(report, "probes[1].evidence.forward_only", True)

    report = changed(report, "probes[1].error", "AssertionError: Torch not compiled with CUDA enabled")

    assert "tried llamafactory: 1 ok, backward simulated on CPU (no engine)\n" in render("text", report, PLAIN)
    for name in ("text", "markdown"):
        shown = render(name, report, style(verbose=True))
        assert "backward simulated on CPU" in shown
        assert "Torch not compiled" not in shown
    assert "| ok (simulated) |" in render("markdown", report, PLAIN)


def test_the_convention_column_comes_with_a_convention():
    report = healthy()
    report = changed(report, "probes", (*report.probes, probe("llamafactory", convention="partial-call")))

    assert " convention " in render("text", report, style(verbose=True))
    assert " convention " not in render("text", healthy(), style(verbose=True))


def test_a_narrow_terminal_gets_lists_for_tables():
    text = render("text", failing(), style(width=40, verbose=True))

    assert "- llamafactory: bound-method ok,\n  partial-bound CKPT001,\n" in text
    assert "-----" not in text.split("calling conventions")[1]
    assert "   --> llamafactory 0.9.2,\n       llamafactory/model/" in text


def test_a_narrow_terminal_gets_a_list_for_the_long_table():
    text = render("text", failing(), style(width=40, verbose=True))

    assert "- glm4 / llamafactory / zero3: triggered\n" in text
    assert "- glm4 / unsloth / none: failed*\n" in text


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("case", CASES)
def test_only_what_must_not_be_broken_is_wider_than_the_terminal(case, width, verbose):
    unbroken = [COMMAND, *DIFF.splitlines()]

    for line in render("text", case(), style(width=width, verbose=verbose)).splitlines():
        alone = " " not in line.strip().removeprefix("- ")
        assert len(line) <= width or line.strip() in map(str.strip, unbroken) or alone


@pytest.mark.parametrize("width", [30, 100])
@pytest.mark.parametrize("failure_first", [False, True])
def test_a_failure_is_not_hidden_by_a_probe_in_the_same_cell(width, failure_first):
    report = healthy()
    pair = [probe("mine", "crashed", role="convention"), *[probe("mine", role="convention")] * 2]
    report = msgspec.structs.replace(report, probes=(*report.probes, *(pair if failure_first else pair[::-1])))

    shown = " ".join(render("text", report, style(width=width, verbose=True)).replace(":", " ").split())

    assert ("crashed / ok" if failure_first else "ok / crashed") in shown


def test_an_ordinary_terminal_gets_tables():
    short, long = (render("text", failing(), style(width=80, verbose=verbose)) for verbose in (False, True))

    assert "  model  checkpoint function  engine  outcome" in long
    assert "bound-method  partial-bound" in long
    assert "checkpoint function  " not in short


def test_a_wide_matrix_of_conventions_is_turned_before_it_becomes_a_list():
    report = failing()
    report = changed(
        report,
        "probes",
        [
            probe(function, role="convention", convention=f"convention-{number}")
            for function in ("torch:reentrant", "llamafactory")
            for number in range(12)
        ],
    )

    lines = render("text", report, style(verbose=True)).split("calling conventions")[1].splitlines()

    assert lines[1].split() == ["convention", "torch:reentrant", "llamafactory"]
    assert lines[14].split() == ["convention-11", "ok", "ok"]


@pytest.mark.parametrize("width", [40, 100])
def test_commands_and_diffs_are_whole(width):
    lines = [line[6:] for line in render("text", failing(), style(width=width, remedies=True)).splitlines()]

    assert COMMAND in lines
    at = lines.index(DIFF.splitlines()[0])
    assert lines[at : at + 6] == DIFF.splitlines()


@pytest.mark.parametrize("width", [40, 100])
def test_colour_changes_nothing_but_colour(width):
    without = render("text", failing(), style(width=width, verbose=True))
    colored = render("text", failing(), style(width=width, verbose=True, color=True))

    assert "\x1b" not in without
    assert click.style("FAIL", fg="red", bold=True).removesuffix("\x1b[0m") in colored
    assert click.style(DIFF.splitlines()[3], fg="red") in colored
    assert click.style(DIFF.splitlines()[4], fg="green") in colored
    assert click.unstyle(colored) == without


def test_ascii_only():
    report = failing()
    report = changed(report, "summary", report.summary + " … schön")

    text = render("text", report, style(unicode=False))

    assert text.isascii()
    assert r"\u2026 sch\xf6n" in " ".join(text.split())
    assert not render("text", report, PLAIN).isascii()


def test_verbose_adds_frames_and_output_of_failed_probes():
    short, long = (render("text", failing(), style(verbose=verbose)) for verbose in (False, True))

    frame = (
        "  transformers 4.51.3, transformers/models/glm4/modeling_glm4.py:577 in forward\n      layer_outputs = f(\n"
    )
    assert frame in long
    assert frame not in short
    assert "    CUDA is not here\n" in long
    assert "CUDA is not here" not in short
    assert "glm4/llamafactory/zero1, glm4/llamafactory/zero2, glm4/llamafactory/zero3" in " ".join(long.split())


def test_what_came_out_of_the_cache_says_so():
    report = healthy()
    report = changed(report, "cached", True)

    assert "OK  gradient checkpointing works; 2 probes on glm4, from the cache.\n" in render("text", report, PLAIN)


def test_a_line_that_raises_reads_nothing():
    report = failing()
    [at] = [at for at, one in enumerate(report.findings) if one.rule == "CKPT001"]
    assert " read here\n" in render("text", report, PLAIN)
    report = changed(report, f"findings[{at}].culprit.code", "raise ValueError(function)")
    assert " read here\n" not in render("text", report, PLAIN)
    assert " raised here\n" in render("text", report, PLAIN)
    assert "Read by" not in render("markdown", report, PLAIN)


def test_what_was_tried_the_other_way_round_is_named():
    report = healthy()
    report = changed(
        report,
        "probes",
        [
            probe("llamafactory", outcome, rules=["CKPT007"] * (outcome == "triggered"))
            for outcome in ("triggered", "ok")
        ],
    )
    report = changed(report, "probes[0].id", "glm4/llamafactory/none/non-reentrant")
    report = changed(report, "probes[1].id", "glm4/llamafactory/none/reentrant")
    report = changed(report, "probes[1].role", "control")
    assert "tried llamafactory: 1 triggers CKPT007 (no engine); 1 ok (reentrant)\n" in render("text", report, PLAIN)
