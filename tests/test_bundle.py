"""The bug report: its script, its Markdown, its file, and that nothing private is in any of it."""

from __future__ import annotations

import ast
import html
import itertools
import json
import os
import re
import stat
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace

from ckptdoctor import catalog
from ckptdoctor.bugreport import bundle, endings, repro, runner, scripts, source, templates, zip_file
from ckptdoctor.bugreport.machine import Facts
from ckptdoctor.bugreport.redact import Redactor
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.model.evidence import (
    CallableInfo,
    Environment,
    Error,
    Evidence,
    Gradients,
    Handover,
    Layer,
    Loaded,
    Package,
    Place,
    TrainersCall,
)
from ckptdoctor.model.report import SCHEMA, Finding, ProbeResult, Remedy, Report, RuledOut
from ckptdoctor.planning.request import Request
from tests.values import changed

SITE = "/srv/envs/train/lib/python3.11/site-packages"
READER = Place(
    f"{SITE}/llamafactory/model/model_utils/checkpointing.py", 86, "f", "llamafactory", "0.9.2", "func.__self__"
)
GIVER = Place(f"{SITE}/transformers/models/glm4/modeling_glm4.py", 577, "forward", "transformers", "4.51.3", "x = f(")
PARTIAL = CallableInfo("functools.partial", "functools.partial(Layer.__call__)", "functools.partial")
ERROR = Error("AttributeError", "'functools.partial' object has no attribute '__self__'", [GIVER, READER])
VERSIONS = {"torch": "2.13.0+cpu", "transformers": "4.51.3", "llamafactory": "0.9.2", "deepspeed": "0.16.4"}


def probe(function="llamafactory", engine="none", model="glm4", convention="partial-bound", variant="", **more):
    found = {"ended": "raised", "error": ERROR, "model_class": "Glm4ForCausalLM", "modules": VERSIONS, **more}
    name = f"{model}/{function}/{engine}{'/' + variant if variant else ''}"
    evidence = Evidence(name, **found)
    return ProbeResult(name, model, function, engine, convention, variant, "subject", "triggered", None, evidence, [])


def report(*probes, rule="CKPT001", severity="error", packages=VERSIONS, **more):
    finding = {
        "title": "llamafactory 0.9.2 reads `__self__` from a callable that does not have it",
        "detail": "transformers passes a partial.",
        "culprit": READER,
        "passed_by": GIVER,
        "callable": PARTIAL,
        "error": ERROR,
        "ruled_out": [RuledOut("deepspeed", "0.16.4", "the same happens without it", ["a"])],
        "remedies": [Remedy("version", "llamafactory 0.9.3", "", "measured", ["pip install llamafactory==0.9.3"])],
        **more,
    }
    return Report(
        SCHEMA,
        "0.1.0",
        "fail",
        "Gradient checkpointing does not work here.",
        Environment(
            "3.11.7",
            "/srv/envs/train/bin/python",
            "linux x86_64",
            [Package(name, version, SITE) for name, version in packages.items()],
            list(packages),
            ["llamafactory"],
            ["glm4"],
            [SITE],
        ),
        list(probes),
        [Finding(rule, "a-name", severity, probes=[one.id for one in probes], **finding)],
    )


def script_of(*probes, rule="CKPT001", **more):
    made = report(*probes, rule=rule, **more)
    return repro.make(made, 0, made.findings[0], "repro.py")


# The script


REFUSED = Error("TypeError", "enable() got an unexpected keyword argument 'offload'", [GIVER], refused_by=READER)


def test_trainers_call_is_written_as_it_was_observed():
    call = TrainersCall("gradient_checkpointing_enable", '{"offload": false, "kwargs": {"use_reentrant": true}}', GIVER)
    switched = replace(
        probe(error=REFUSED, during="enable", trainers_call=call), id="glm4/llamafactory/none/Trainer's switch"
    )
    made = script_of(switched, rule="CKPT013", error=REFUSED)
    assert "\nmodel.gradient_checkpointing_enable(offload=False, kwargs={'use_reentrant': True})\n" in made.source
    assert "transformers/models/glm4/modeling_glm4.py:577" in made.source
    # Its line is the script's, not Trainer's.
    assert made.expected == repro.Expected(f"TypeError: {REFUSED.message}")
    assert made.left_out == []
    no_name = TrainersCall("enable(); x", "{}", GIVER)
    assert "enable(); x" not in script_of(probe(trainers_call=no_name)).source


def test_the_rank_that_failed_is_the_one_that_is_read():
    for rank in (0, 1):
        source = script_of(probe("torch:reentrant", "ddp", rank=rank)).source
        assert f"rank = {rank} if os.fork() else 1 - {rank}\n" in source


def test_settings_that_a_script_leaves_out_are_named():
    job = replace(probe(), id="glm4/llamafactory/none/lora+bf16")
    made = script_of(job)
    assert made.left_out == ["lora", "bf16"]
    assert "(Settings of the job that are left out: lora, bf16.)" in made.source
    assert script_of(job, probe()).left_out == []


def test_a_report_says_why_it_has_no_script():
    wrapped = report(probe("torch:wrapper", "fsdp2"), rule="CKPT003")
    assert scripts.reasons(wrapped) == [
        "There is no script for CKPT003: no script writes FSDP's own activation checkpointing."
    ]
    [why] = scripts.reasons(report(probe(), severity="warning"))
    assert "these findings are warnings" in why
    assert why in templates.render(wrapped, [], "", [why])
    assert scripts.reasons(report(probe())) == []
    whole = report(probe("torch:reentrant", "fsdp1-whole", "tiny-glm4"), rule="CKPT010")
    assert "depends on the rank" in scripts.reasons(whole)[0]
    silent = probe("torch:reentrant", "fsdp2", ended="returned", error=None, layers=LAYERS)
    assert "cannot compare" in scripts.reasons(report(silent, rule="CKPT002"))[0]


def test_the_script_takes_the_probe_with_the_least_around_it():
    made = script_of(
        probe(engine="zero3"),
        probe(engine="none", variant="packed"),
        probe("llamafactory:unsloth"),
        probe(),
        probe(engine="partial"),
    )
    assert made.probe == "glm4/llamafactory/none"
    assert made.expected == repro.Expected(
        "AttributeError: 'functools.partial' object has no attribute '__self__'",
        "llamafactory/model/model_utils/checkpointing.py",
        86,
    )
    assert "pip install torch==2.13.0 transformers==4.51.3\n" in made.source
    assert "pip install --no-deps llamafactory==0.9.2\n" in made.source


LAYERS = [Layer("a", "L", 1, 1, 1)]
KINDS = {
    "torch": probe("torch:reentrant"),
    "torch, own model": probe("torch:non-reentrant", model="tiny-glm4"),
    "deepspeed": probe("deepspeed", "zero0"),
    "llamafactory": probe(loaded=Loaded(READER, "module only", ["peft", "trl"])),
    "llamafactory, own model": probe(model="tiny-glm4"),
    "unsloth": probe("llamafactory:unsloth"),
    "unsloth, own model": probe("llamafactory:unsloth", model="tiny-glm4"),
    "axolotl": probe("axolotl:offload"),
    "axolotl, own model": probe("axolotl:offload-disk", model="tiny-glm4"),
    "a module": probe("somewhere.other:function", loaded=Loaded(READER, "import")),
    "an unknown family": probe(model="qwen2", model_class=""),
    "partial": probe(engine="partial"),
    "zero3": probe(engine="zero3"),
    "hang": probe(ended="timeout", error=None),
    "crash": probe(ended="crashed", error=None, why="killed by SIGSEGV"),
    "exit": probe(error=Error("SystemExit", "0", [READER])),
    "variant": probe(variant="dropout"),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_script_is_python_and_needs_nothing_of_ours(name):
    is_script(script_of(KINDS[name]).source)


@pytest.mark.parametrize("rule", ["CKPT002", "CKPT003", "CKPT004", "CKPT005", "CKPT006", "CKPT008", "CKPT009"])
@pytest.mark.parametrize("engine", ["none", "partial", "zero1"])
@pytest.mark.parametrize("model", ["glm4", "tiny-glm4"])
def test_every_silent_fault_has_its_assertion(rule, engine, model):
    silent = probe(
        "torch:reentrant", engine, model, ended="returned", error=None, gradients=Gradients(3), layers=LAYERS
    )
    made = script_of(silent, rule=rule, error=None)
    assert made.expected.error.startswith("AssertionError: ")
    assert made.expected.error.removeprefix("AssertionError: ") in made.source
    is_script(made.source)


def is_script(source):
    tree = ast.parse(source)
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert "ckptdoctor" not in re.sub(r"(?m)^#.*$", "", source)
    assert "$" not in source
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name in (one.split(".")[0] for one in imported if one != "deepspeed" and " as " not in one):
        assert name in used or f"import {name} as own" in source or name == "somewhere", name
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for name in ("functools", "os", "types", "pathlib", "sys", "faulthandler", "traceback", "importlib", "unittest"):
        if name in used - stored:
            assert any(one.split(".")[0] == name for one in imported), name
    assert len(source.splitlines()) < 140


def test_a_warning_alone_and_what_raised_nothing_have_no_script():
    assert list(scripts.scripts(report(probe(), severity="warning"))) == []
    assert script_of(probe(ended="skipped", error=None), rule="CKPT900") is None
    assert script_of() is None


HOSTILE = 'x"; import os; os.system("rm") #\n__import__("os").abort()\n"""\' $names ${more} \x1b[31m'


def test_text_of_others_never_becomes_code(tmp_path):
    place = Place(f"{tmp_path}/{HOSTILE}/llamafactory/x y.py", 3)
    hostile = probe(
        f"{HOSTILE}.py:{HOSTILE}",
        model=HOSTILE,
        convention=HOSTILE,
        model_class=HOSTILE,
        error=Error(HOSTILE, HOSTILE, [place]),
        loaded=Loaded(place, "file", [HOSTILE]),
    )
    for one in (hostile, msgspec.structs.replace(hostile, checkpoint_function="llamafactory"), probe(f"{HOSTILE}:f")):
        made = script_of(one, title=HOSTILE, packages={**VERSIONS, "torch": HOSTILE})
        calls = [ast.unparse(node) for node in ast.walk(ast.parse(made.source)) if isinstance(node, ast.Call)]
        assert not any("system" in call.split("(")[0] or "abort" in call.split("(")[0] for call in calls)
        assert "\x1b" not in made.source


def test_ones_own_function_travels_along(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("def f(function, *args):\n    raise ValueError('no')\n")
    error = Error("ValueError", "no", [Place(str(mine), 2)])
    made = script_of(probe(f"{mine}:f", error=error, loaded=Loaded(Place(str(mine), 1), "file")))
    assert made.beside == {"own_function.py": mine.read_text()}
    assert made.expected == repro.Expected("ValueError: no", "own_function.py", 2)


def test_a_folders_configuration_travels_along(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "glm4"}')
    made = script_of(probe(model=str(tmp_path)))
    assert made.beside == {"config.json": '{"model_type": "glm4"}'}
    assert str(tmp_path) not in made.source


def test_a_family_is_built_with_the_configuration_that_was_run():
    """Sizes alone do not make every family tiny: layers of Gemma 3n that share keys and values have to be two of each kind."""
    config = json.dumps({"num_kv_shared_layers": 2, "use_cache": False, "name": HOSTILE})
    tried = msgspec.structs.replace(
        probe(model="gemma3n_text", model_class="Gemma3nForCausalLM").evidence, config=config
    )
    made = script_of(msgspec.structs.replace(probe(model="gemma3n_text"), evidence=tried))
    [given] = [
        node.args[0]
        for node in ast.walk(ast.parse(made.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("config_class.from_dict")
    ]
    assert ast.literal_eval(given) == json.loads(config)
    assert "model = transformers.Gemma3nForCausalLM(config)" in made.source


# What a run shows

TRACEBACK = """{0}Traceback (most recent call last):
{0}  File "repro.py", line 3, in <module>
{0}  File "/x/site-packages/llamafactory/a.py", line 86, in f
{0}    func.__self__
{0}AttributeError: no attribute '__self__'. Did you mean: '__call__'?
"""
SAME = repro.Expected("AttributeError: no attribute '__self__'", "llamafactory/a.py", 86)


@pytest.mark.parametrize("rank", ["", "[rank0]: "])
def test_the_same_error_at_the_same_line_is_the_fault(rank):
    ended = endings.Ended(1, f"noise\n{TRACEBACK.format(rank)}later noise\n")
    assert endings.judge(SAME, ended)[0]
    for other in (
        repro.Expected(SAME.error, SAME.file, 87),
        repro.Expected(SAME.error, "lamafactory/a.py", 86),
        repro.Expected("TypeError: no attribute '__self__'", SAME.file, 86),
        repro.Expected("AssertionError: layers", "", 0),
        repro.Expected(death=repro.HANGS),
        repro.Expected(death="the process ended with exit status 1"),
    ):
        assert not endings.judge(other, ended)[0], other


def test_only_the_last_error_counts():
    chained = f"{TRACEBACK.format('')}\nDuring handling of the above exception, another exception occurred:\n\n"
    chained += 'Traceback (most recent call last):\n  File "repro.py", line 9, in <module>\nValueError: other\n'
    assert not endings.judge(SAME, endings.Ended(1, chained))[0]
    assert endings.judge(repro.Expected("ValueError: other"), endings.Ended(1, chained)) == (True, "ValueError: other")


@pytest.mark.parametrize(
    ("death", "status", "output", "reproduced"),
    [
        ("killed by SIGSEGV", -11, "the step begins\n", True),
        ("killed by SIGSEGV", -11, "", False),
        ("killed by SIGSEGV", -9, "the step begins\n", False),
        ("the process ended with exit status 3", 3, "the step begins\n", True),
        ("the process ended with exit status 0", 0, "the step begins\nno fault: ...\n", False),
        (repro.HANGS, 1, "the step begins\nTimeout (0:00:30)!\n", True),
        (repro.HANGS, None, "the step begins\n", True),
        (repro.HANGS, 0, "the step begins\nno fault: ...\n", False),
    ],
)
def test_a_process_that_ends_or_hangs_in_the_step_is_the_fault(death, status, output, reproduced):
    assert endings.judge(repro.Expected(death=death), endings.Ended(status, output))[0] is reproduced


# The Markdown


def ran(reproduced=True, source="import torch\n", tail="the end\n"):
    return scripts.Ran("repro.py", source, "CKPT001", reproduced, "AttributeError: it", tail)


HEADS = {
    "": ["Gradient checkpointing", "Stack", "Findings", "Reproduction", "Evidence", "Fixes"],
    "llamafactory": ["Reminder", "System Info", "Reproduction", "Others"],
    "transformers": ["System Info", "Who can help?", "Information", "Tasks", "Reproduction", "Expected behavior"],
    "deepspeed": [
        "Describe the bug",
        "To Reproduce",
        "Expected behavior",
        "ds_report output",
        "System info",
        "Launcher context",
    ],
    "axolotl": ["Please check", "Expected Behavior", "Current behaviour", "Steps to reproduce", "Config yaml"],
}


@pytest.mark.parametrize("template", HEADS)
def test_each_form_has_its_headings_in_order_and_all_that_matters(template):
    text = templates.render(report(probe()), [ran()], template)
    heads = re.findall(r"(?m)^### (.+)$", text)
    assert all(head.startswith(start) for head, start in zip(heads, HEADS[template], strict=False))
    assert len(heads) >= len(HEADS[template])
    for part in (
        "torch 2.13.0+cpu",
        "checkpointing.py:86",
        "and reproduced it",
        "import torch",
        "llamafactory 0.9.3",
        "CKPT001",
    ):
        assert part in text, part
    assert not re.search(r"- \[x\] .*(?:search|read)", text)  # what nobody did is not ticked
    assert len(text) < templates.LONGEST


def test_what_did_not_reproduce_is_said_to_be_so():
    text = templates.render(report(probe()), [ran(reproduced=False)])
    assert "did **not** reproduce it" in text
    assert "and reproduced it" not in text


def test_a_long_script_is_left_to_the_attachment():
    text = templates.render(report(probe()), [ran(source="x = 1\n" * 4000, tail="y\n" * 9000)])
    assert "x = 1" not in text
    assert len(text) < templates.LONGEST


def test_text_of_others_cannot_break_out_or_call_anybody():
    hostile = report(
        probe(),
        title="@everyone <script>`x` ![i](http://x)\n# head",
        detail="```\n</details>",
        error=Error("E", "```\n# x"),
    )
    text = templates.render(hostile, [ran(source="'''```'''", tail="````\n</details>\n")])
    html = MarkdownIt("commonmark").render(text)
    shown = re.sub(r"(?s)<code.*?</code>", "", html)
    assert "@everyone" not in shown
    assert "<script>" not in html
    assert "<img" not in html
    assert not re.search(r"<h1>", html)
    assert "`````text" in text


@pytest.mark.parametrize("template", catalog.templates())
def test_nothing_is_ticked_but_the_machine_s_own_system(template):
    text = templates.render(report(probe()), [ran()], template)
    assert re.findall(r"- \[x\] (.+)", text) == (["Linux"] if template == "axolotl" else [])


DIFF = "--- a/<venv>/x.py\n+++ b/<venv>/x.py\n@@ -1 +1 @@\n-a = func.__self__\n+a = owner(func)\n"


def test_what_a_maintainer_sees_is_what_was_meant():
    """Rendered, placeholders are placeholders, commands commands, a patch a patch, and no name is emphasis."""
    made = report(
        probe(),
        title="`llamafactory` wants transformers!=4.46.*,<=4.49.0,>=4.41.* below <venv>",
        remedies=[
            Remedy(
                "patch", "patch <venv>/x.py", "", "m", ["<venv>/bin/python -m pip install 'a>=1.*,!=2.*'"], diff=DIFF
            )
        ],
        ruled_out=[RuledOut("a_b_c", "1", "it is in <venv> & `<cache>`", ["a"])],
    )
    script = repro.make(report(probe()), 0, report(probe()).findings[0], "repro.py")
    for template in ("", *catalog.templates()):
        text = templates.render(made, [ran(source=script.source)], template)
        page = MarkdownIt("commonmark").render(text)
        assert re.findall("<em>(.*?)</em>", page) in ([], ["No response"])
        assert "&amp;lt;" not in page
        assert "<<" not in text
        assert "&lt;venv&gt;/bin/python -m pip install 'a&gt;=1.*,!=2.*'" in page
        assert '<code class="language-diff">--- a/&lt;venv&gt;/x.py' in page
        assert "pip install torch==2.13.0 transformers==4.51.3\npip install --no-deps llamafactory==0.9.2\n" in text
        assert script.source.strip() in text


def test_a_script_is_judged_after_redaction_and_says_what_that_took_away(tmp_path):
    """An error whose message holds a secret is the same error without it; a file that needs its secret says so."""
    work = tmp_path / "work"
    work.mkdir()
    secret = "horse" + "battery"
    redactor = Redactor(Facts(secrets={"X": secret}))
    target = runner.Runner(Path(sys.executable), report(probe()), work)
    for own, reproduced in (
        (f"password = '{secret}'\nraise ValueError(f'no {{password}}')\n", True),
        (f"password = '{secret}'\nif len(password) == 12: raise ValueError(f'no {{password}}')\n", False),
    ):
        script = repro.Repro("import own\n", repro.Expected(f"ValueError: no {secret}"), "p", {"own.py": own})
        files = {"repro.py": script.source, "own.py": source.clean(own, redactor)[0]}
        made = scripts.run(target, "repro.py", files, script, "CKPT010", redactor)
        assert made.reproduced is reproduced
        assert secret not in made.words + made.tail
        assert ("it does with what was taken out" in made.words) is not reproduced


# The file


@pytest.mark.parametrize("output", ["here", "here/", "missing/x.zip", "x.md", "there.zip", "loop.zip", "-"])
def test_a_bad_place_is_refused_before_anything_runs(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "there.zip").write_text("mine")
    (tmp_path / "loop.zip").symlink_to("nowhere")
    with pytest.raises(UsageFault):
        zip_file.require_place(output, force=False)
    if output == "there.zip":
        assert zip_file.require_place(output, force=True) == Path("there.zip")


def test_the_file_is_the_same_each_time_and_readable(tmp_path):
    members = {"report.md": "ä\ud800\n", "a/b.txt": "x"}
    for name in ("one.zip", "two.zip"):
        zip_file.write(members, tmp_path / name, force=False)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert stat.S_IMODE((tmp_path / "one.zip").stat().st_mode) == 0o644
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == list(members)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "two.zip"]


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "x.zip"
    path.write_text("mine")
    with pytest.raises(UsageFault):
        zip_file.write({"a": "b"}, path, force=False)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
    zip_file.write({"a": "b"}, path, force=True)
    assert zipfile.is_zipfile(path)


# Nothing private leaves

PRIVATE = {
    "HF_TOKEN": "hf_" + "aBcDeFgHiJ" * 3 + "kLmN",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "MY_PASSWORD": "Correct/Horse Battery+1",
}
ENVIRON = {
    "USER": "zkeller",
    "HOSTNAME": "gpu-box7.acme-lab.example",
    "https_proxy": "http://zk:pr0xypass@proxy.acme-lab.example:3128",
    "PIP_INDEX_URL": "https://bot:s3cr3tpass@pypi.acme-lab.example/simple",
    **PRIVATE,
}
KINDS_OF_PRIVATE = [
    *PRIVATE.values(),
    "sk-proj-" + "a1B2c3D4" * 5,
    "ghp_" + "a1B2" * 9,
    "AKIAABCD1234EFGH5678",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123",
    "jane.doe@acme-lab.example",
    "10.20.30.40",
    "gpu-box7.acme-lab.example",
    "/home/zkeller/secret-stuff/x.py",
    "C:\\Users\\zkeller\\x.py",
    "https://bot:s3cr3tpass@pypi.acme-lab.example/simple",
    "http://zk:pr0xypass@proxy.acme-lab.example:3128",
    "Bearer abcdef0123456789",
]
GREP = [
    "zkeller", "secret-stuff", "acme-lab", "gpu-box7", "jane.doe", "10.20.30.40", "s3cr3tpass", "pr0xypass", "abcdef0123456789",
    "hf_aBcDe", "sk-proj", "ghp_a1B2", "AKIAABCD", "eyJhbGci", "wJalrXUt", "Correct/Horse", "Battery",
]  # fmt: skip
FAKE_TORCH = "import os\nfor name, value in os.environ.items():\n    print(name, value, repr(value))\nprint(__file__)\n"


def planted(value, text, counter):
    """A copy of a report with something private in every string that is free text, a path or a version."""
    if isinstance(value, str):
        return f"{value} {text[next(counter) % len(text)]}"
    if isinstance(value, list):
        return [planted(one, text, counter) for one in value]
    if isinstance(value, msgspec.Struct):
        kept = ["id", "schema", "outcome", "model_class", "engine", "model", "checkpoint_function", "rule", "rules"]
        kept += ["calling_convention", "variant", "executable", "stack", "probes", "trainers"]
        changed = {
            field.name: planted(getattr(value, field.name), text, counter)
            for field in msgspec.structs.fields(value)
            if field.name not in kept and "Literal" not in str(field.type)
        }
        return msgspec.structs.replace(value, **changed)
    return value


@pytest.fixture
def leaky(tmp_path, monkeypatch):
    """A report and a target that are full of private things."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "zkeller"
    project = home / "secret-stuff"
    project.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(home / "cache"))
    monkeypatch.chdir(project)
    fake = project / "fake" / "torch"
    (fake / "utils").mkdir(parents=True)
    (fake / "__init__.py").write_text(FAKE_TORCH)
    (fake / "utils" / "__init__.py").touch()
    (fake / "utils" / "collect_env.py").write_text(f"print('Collecting environment information...')\n{FAKE_TORCH}")
    monkeypatch.setenv("PYTHONPATH", str(project / "fake"))
    lines = "".join(f"# {text}\nx = {text!r}\n" for text in KINDS_OF_PRIVATE)
    mine = project / "mine.py"
    mine.write_text(f"{lines}\ndef f(function, *args):\n    raise ValueError\n")
    weights = project / "weights"
    weights.mkdir()
    (weights / "config.json").write_text('{"model_type": "glm4", "_name_or_path": "/home/zkeller/secret-stuff/x.py"}')
    error = Error("ValueError", "no", [Place(str(mine), 1)])
    one = probe(f"{mine}:f", model=str(weights), error=error, loaded=Loaded(Place(str(mine), 1), "file"), output="out")
    one = changed(one, "evidence.handovers", [Handover(PARTIAL, GIVER)])
    made = report(one)
    extras = [planted(made, KINDS_OF_PRIVATE, itertools.count(start)) for start in range(len(KINDS_OF_PRIVATE))]
    made = changed(made, "findings", (*made.findings, *[finding for extra in extras[:2] for finding in extra.findings]))
    packages = [package for extra in extras for package in extra.environment.packages]
    made = changed(made, "environment.packages", (*made.environment.packages, *packages))
    made = changed(made, "probes", (*made.probes, *[one for extra in extras for one in extra.probes]))
    made = changed(made, "notes", (*made.notes, *[f"note {text}" for text in KINDS_OF_PRIVATE]))
    made = changed(made, "environment.executable", sys.executable)
    monkeypatch.setattr(bundle, "diagnose", lambda request, progress: made)
    return project


@pytest.mark.parametrize("template", ["", "axolotl"])
def test_nothing_private_is_in_any_member_of_the_file(leaky, template):
    made = bundle.make(Request(python=sys.executable), template)
    zip_file.write(made.members, leaky / "x.zip", force=False)
    with zipfile.ZipFile(leaky / "x.zip") as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {
        "report.md",
        "repro.py",
        "own_function.py",
        "config.json",
        "report.json",
        "report.html",
        "packages.txt",
        "collect_env.txt",
    } <= {*members}
    shown = html.unescape(re.sub("<[^>]*>", "", members["report.html"]))  # paths in the page are in pieces
    for name, text in [*members.items(), ("shown", shown)]:
        for private in [*GREP, str(leaky)]:
            assert private.lower() not in f"{name}\n{text}".lower(), (name, private)
    assert "<token>" in members["collect_env.txt"]
    assert "<project>" in members["repro.log"]
    assert "llamafactory/model/model_utils/checkpointing.py" in members["report.json"]
    assert "did **not** reproduce it" in members["report.md"]
    compile(members["own_function.py"], "own_function.py", "exec")
    msgspec.json.decode(members["report.json"], type=Report)


def test_a_secret_that_is_left_stops_everything(leaky, monkeypatch):
    monkeypatch.setattr(Redactor, "clean", lambda self, text: text)
    with pytest.raises(bundle.LeakError) as caught:
        bundle.make(Request(python=sys.executable))
    assert "HF_TOKEN" in caught.value.message
    assert not any(value in caught.value.message for value in PRIVATE.values())
    assert caught.value.status == 3


# What cannot be probed


def test_a_torch_that_does_not_import_is_worth_a_report(monkeypatch):
    def fail(request, progress):
        raise TargetError("torch does not import: OSError", "reinstall it")

    monkeypatch.setattr(bundle, "diagnose", fail)
    found = report(probe()).environment
    monkeypatch.setattr(bundle, "look", lambda request, progress: found)
    made = bundle._diagnose(Request(), lambda _: None)
    assert (made.verdict, made.summary, made.notes) == ("error", "torch does not import: OSError", ("reinstall it",))
    found = changed(found, "packages", [one for one in found.packages if one.name != "torch"])
    with pytest.raises(TargetError):
        bundle._diagnose(Request(), lambda _: None)


def test_a_target_leaves_nothing_behind_and_a_flood_is_cut(tmp_path):
    (tmp_path / "work").mkdir()
    target = runner.Runner(Path(sys.executable), report(probe()), tmp_path / "work")
    flood = "import sys\nfor _ in range(10**5): print('x' * 99)\nprint('end')\n"
    ended = target.run_script("repro.py", {"repro.py": flood})
    assert (ended.status, ended.output[-5:-1]) == (0, "\nend")
    assert len(ended.output) <= runner.KEPT
    missing = runner.Runner(Path("/no/python"), report(probe()), tmp_path).collect_env()
    assert missing.startswith("torch.utils.collect_env told nothing: it did not come to an end in time")
    assert not os.path.exists("/no")  # noqa: PTH110
