# ruff: noqa: RUF001 - curly quotes and full-width colons are what is tested
"""The forms in which one traceback comes: prefixes, boxes, wraps, quotes, records. What is claimed is the same for all."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptdoctor.explain.explain import Explanation, explain
from ckptdoctor.output import Style, render
from ckptdoctor.rules import RULES

LOG = (Path(__file__).parent / "logs" / "llamafactory_7779.txt").read_text(encoding="utf-8")
LINES = [line.removeprefix("[rank0]: ") for line in LOG.splitlines() if line.startswith("[rank0]: ")]
TEXT = "\n".join(LINES)


def prefixed(prefix: str, **values: object) -> str:
    return "\n".join(prefix.format(n=number, **values) + line for number, line in enumerate(LINES, 1))


def folded(lines: list[str], width: int) -> str:
    return "\n".join(line[at : at + width] for line in lines for at in range(0, max(1, len(line)), width))


def wrapped(width: int, quote: str = "") -> str:
    pieces = (textwrap.wrap(line, width, break_on_hyphens=False) for line in LINES)
    return "\n".join(f"{quote}{piece}" for each in pieces for piece in each)


def boxed(width: int, edge: str) -> str:
    return "\n".join([edge, *(f"| {line:<{width}} |" for line in LINES), edge])


FORMS = {
    "as Python wrote it": TEXT,
    "curly quotes": re.sub(r'"([^"\n]*)"', "“\\1”", re.sub(r"'([^'\n]*)'", "‘\\1’", TEXT)),
    "closing quotes only": TEXT.replace("'", "’").replace('"', "”"),
    "repr": f"ERROR:root:{TEXT!r}",
    "full-width colons": TEXT.replace("AttributeError: ", "AttributeError：").replace("last):", "last)："),
    "docker compose": prefixed("trainer-1  | "),
    "numbers in brackets": prefixed("[{n}] "),
    "numbers in brackets before ranks": prefixed("[{n}] [rank0]: "),
    "numbers and a colon": prefixed("{n}: "),
    "numbers by nl": prefixed("{n:6}\t"),
    "numbers and a bar": prefixed("{n:4} | "),
    "numbers by an editor": prefixed("{n:4}  "),
    "records of a logger": "\n".join(json.dumps({"level": "ERROR", "message": line}) for line in LINES),
    "records of docker": "\n".join(json.dumps({"log": f"{line}\n", "stream": "stderr"}) for line in LINES),
    "one record": json.dumps({"level": "error", "message": "failed", "exc_info": TEXT}),
    "a record in a record": json.dumps({"text": "failed", "record": {"exception": {"traceback": TEXT}}}),
    "cut at 72 columns": folded(LINES, 72),
    "cut at 80 columns after ranks": folded([f"[rank0]: {line}" for line in LINES], 80),
    "wrapped at 72 columns": wrapped(72),
    "wrapped in a mail": wrapped(70, "> "),
    "absl": prefixed("E0422 10:41:07.123456 140234567 trainer.py:12] "),
    "absl, first line": f"E0422 10:41:07.123456 140234567 trainer.py:12] {TEXT}",
    "loguru": prefixed("2025-04-22 10:41:07.123 | ERROR    | main:run:12 - "),
    "syslog": prefixed("Apr 22 10:41:07 gpu-host python[4242]: "),
    "journal": prefixed("2025-04-22T10:41:07+0000 gpu-host train.sh[4242]: "),
    "logging": prefixed("2025-04-22 10:41:07,123 - trainer - ERROR - "),
    "GitHub": prefixed("train\tRun training\t2025-04-22T10:41:07.1234567Z "),
    "Kubernetes": prefixed("2025-04-22T10:41:07.123456789Z stderr F "),
    "stern": prefixed("job-abc12-x9 trainer "),
    "mpirun of a service": prefixed("[1,mpirank:0,algo-1]<stderr>:"),
    "vLLM": prefixed("(Worker_TP0 pid=123) ERROR 04-22 10:41:07 [core.py:1] "),
    "pytest": prefixed("E   "),
    "comment": prefixed("# "),
    "box of ASCII": boxed(140, "+" + "-" * 142 + "+"),
    "empty lines between": "\n\n".join(LINES),
}


@pytest.mark.parametrize("form", FORMS)
def test_form(form):
    found = explain(FORMS[form])
    error = next(one for one in found.errors if one.verdict == found.verdict)
    assert (found.verdict, found.rule) == ("ours", "CKPT001")
    assert error.culprit
    assert error.passed_by
    assert (error.culprit.package, error.culprit.line) == ("llamafactory", 86)
    assert error.culprit.code == 'module: "torch.nn.Module" = func.__self__'
    assert (error.passed_by.package, error.passed_by.line) == ("transformers", 577)


def test_services_of_docker_compose_are_kept_apart():
    text = "\n".join(f"trainer-{each}  | {line}" for line in LINES for each in (1, 2))
    found = explain(text)
    assert found.verdict == "ours"
    assert found.errors[0].ranks == ["trainer-1", "trainer-2"]


def test_a_type_before_a_header_is_no_prefix():
    cell = "AttributeError                            Traceback (most recent call last)\n"
    other = "AttributeError: 'Thing' object has no attribute 'price'"
    assert explain(f"{cell}{other}\n{cell}{other}\n").errors[0].type == "AttributeError"


NARROW = """\
╭──────────── Traceback (most recent call last) ─────────────╮
│ /opt/env/lib/python3.11/site-packages/transformers/models/ │
│ glm4/modeling_glm4.py:577 in forward                       │
│                                                            │
│   576 │   │   │   if self.training:                        │
│ ❱ 577 │   │   │   │   layer_outputs = self._gradient_check │
│   578 │   │   │   │   │   decoder_layer.__call__,          │
│                                                            │
│ /opt/env/lib/python3.11/site-packages/llamafactory/model/m │
│ odel_utils/checkpointing.py:8                              │
│ 6 in custom_gradient_checkpointing_func                    │
│                                                            │
│ ❱ 86 │   │   module: "torch.nn.Module" = func.__self__     │
╰────────────────────────────────────────────────────────────╯
AttributeError: 'functools.partial' object has no attribute
'__self__'
"""


NARROW_ASCII = re.sub(r"(?<=.)│(?=.)", " ", NARROW).translate(dict(zip(map(ord, "╭╮╰╯─│"), "++++-|", strict=True)))


@pytest.mark.parametrize("text", [NARROW, NARROW_ASCII, NARROW_ASCII.replace("❱", ">")])
def test_a_box_of_sixty_columns(text):
    error = explain(text).errors[0]
    assert error.culprit
    assert error.passed_by
    assert error.culprit.line == 86
    assert (error.passed_by.line, error.passed_by.package) == (577, "transformers")


# Errors without a traceback

WORDED = {
    "Title: 'functools.partial' object has no attribute '__self__' with offloading": "CKPT001",
    "fix: functools.partial object has no attribute __self__": "CKPT001",
    "AttributeError(\"'functools.partial' object has no attribute '__self__'\")": "CKPT001",
    "ERROR:trainer:'function' object has no attribute '__self__'": "CKPT001",
    "E       AttributeError: 'functools.partial' object has no attribute '__self__'": "CKPT001",
    "'ThingModel' object has no attribute '_gradient_checkpointing_func'": "CKPT010",
    "Thing._set_gradient_checkpointing() got an unexpected keyword argument 'enable'": "CKPT013",
    "TypeError: Thing.gradient_checkpointing_enable() got an unexpected keyword argument 'every_n_layers'": "CKPT013",
    "TypeError: _gradient_checkpointing_enable() got an unexpected keyword argument 'every_n_layers'": "CKPT013",
    "TypeError: run() got an unexpected keyword argument 'use_reentrant'": "CKPT010",
    "TypeError: run() missing 1 required keyword-only argument: 'use_reentrant'": "CKPT010",
    "ValueError: torch.utils.checkpoint: please pass in use_reentrant=True or use_reentrant=False explicitly.": "CKPT010",
    "ValueError: ThingForCausalLM does not support gradient checkpointing.": "CKPT010",
    "gradient_checkpointing: true\nParameter at index 5 has been marked as ready twice.": "CKPT010",
    "Training crashes in a layer with TypeError: must be a tensor.\nIt runs without gradient checkpointing.": "CKPT010",
    "The recomputed tensor size does not match when activation checkpointing is used": "CKPT007",
    "The step ends with: Checkpointing is not compatible with .grad(), whatever I do": "CKPT010",
    "With gradient checkpointing: Trying to backward through the graph a second time": "CKPT010",
    "RuntimeError: backward through graph a second time, when training with gradient checkpointing": "CKPT010",
    "AssertionError: wrong state\nUsing FSDP without activation checkpointing is ok.": "CKPT010",
    "RuntimeError: element 0 of tensors does not require grad\nI set use_checkpoint to True": "CKPT004",
    "With gradient checkpointing: maximum recursion depth exceeded": "CKPT010",
    "gradient_checkpointing: true\nRuntimeError: element 0 of tensors does not require grad": "CKPT004",
    "ray.exceptions.RayTaskError(CheckpointError): ray::W.update()\nwith gradient checkpointing": "CKPT007",
    "Training stops with torch.utils.checkpoint.CheckpointError after a while": "CKPT007",
    "Recomputed values for the following tensors have different metadata than during the forward pass": "CKPT007",
    "saved metadata: {'shape': torch.Size([4])}\nrecomputed metadata: {'shape': torch.Size([8])}": "CKPT007",
}


@pytest.mark.parametrize("text", WORDED)
def test_an_error_in_words(text):
    found = explain(text)
    assert found.rule == WORDED[text]


NOT_SHOWN = [
    "If you get RuntimeError: Expected to mark a variable ready only once, set it to false.",
    "# may result in:\n# torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint: Recomputed values for the",
    '    raise CheckpointError("A different number of tensors was saved during the original forward and recomputation")',
    '        "Checkpointing is not compatible with .grad() or when an `inputs` parameter is passed",',
    'with pytest.raises(RuntimeError, match="Expected to mark a variable ready only once"):',
    "except torch.utils.checkpoint.CheckpointError as error:",
    "from torch.utils.checkpoint import CheckpointError",
    'warnings.filterwarnings("ignore", message="None of the inputs have requires_grad=True")',
    "UserWarning: torch.utils.checkpoint: please pass in use_reentrant=True or use_reentrant=False explicitly.",
    "TypeError: __init__() got an unexpected keyword argument 'use_reentrant'",
    "TypeError: __init__() got an unexpected keyword argument 'gradient_checkpointing'",
    "gradient_checkpointing: false\nRuntimeError: element 0 of tensors does not require grad",
    "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn",
    "RuntimeError: Trying to backward through the graph a second time",
    "RecursionError: maximum recursion depth exceeded while calling a Python object",
    "CheckpointError: cannot write step 300 to the bucket",
    "UserWarning: None of the inputs have requires_grad=True.\ntorch.OutOfMemoryError: CUDA out of memory.",
    "ThingModel does not support gradient checkpointing yet.",
    "This does **not** raise a `torch.utils.checkpoint.CheckpointError`, values differ.",
    "UserWarning: None of the inputs have requires_grad=True is harmless here",
    "RuntimeError: Expected to mark a variable ready only once.\nThe head is called twice.",
    "Training crashes with TypeError: must be a tensor.\nIt does not run without gradient checkpointing either.",
    "torch.OutOfMemoryError: CUDA out of memory.\nIt runs without gradient checkpointing.",
]


@pytest.mark.parametrize("text", NOT_SHOWN)
def test_what_is_no_fault_of_a_rule(text):
    assert explain(text).verdict in ("not ours", "nothing found")


CUT = """\
Traceback (most recent call last):
  File "/v/lib/python3.11/site-packages/torch/utils/checkpoint.py", line 903, in check_recomputed_tensors_match
    raise CheckpointError(
"""


def test_a_traceback_that_is_cut_at_the_line_that_raises():
    assert (explain(CUT).verdict, explain(CUT).rule) == ("ours", "CKPT007")
    assert explain(CUT.replace("raise CheckpointError(", "frame.check(gid)")).verdict == "nothing found"


SECOND = """\
Traceback (most recent call last):
  File "/a/train.py", line 9, in step
    loss.backward()
  File "/v/lib/python3.11/site-packages/{file}", line 45, in backward
    torch.autograd.backward(outputs, args)
  File "/v/lib/python3.11/site-packages/torch/autograd/__init__.py", line 89, in backward
    allow_unreachable=True)
RuntimeError: {message}
"""


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("Trying to backward through the graph a second time", "CKPT010"),
        ("element 1 of tensors does not require grad and does not have a grad_fn", "CKPT004"),
        ("one of the variables needed for gradient computation has been modified by an inplace operation", ""),
    ],
)
def test_what_comes_through_the_checkpoint_function_in_backward(message, rule):
    assert explain(SECOND.format(file="torch/utils/checkpoint.py", message=message)).rule == rule
    assert explain(SECOND.format(file="thing/loss.py", message=message)).rule == ""


def test_recursion_through_a_checkpoint_function():
    frames = SECOND.replace("RuntimeError", "RecursionError")
    message = "maximum recursion depth exceeded"
    assert explain(frames.format(file="torch/utils/checkpoint.py", message=message)).rule == "CKPT010"
    assert explain(frames.format(file="thing/loss.py", message=message)).rule == ""


SWITCHED = """\
Traceback (most recent call last):
  File "/a/train.py", line 9, in <module>
    model.{function}()
  File "/v/lib/python3.11/site-packages/thing/model.py", line 7, in {function}
    raise NotImplementedError
NotImplementedError
"""


def test_what_is_raised_while_checkpointing_is_switched_on():
    assert explain(SWITCHED.format(function="gradient_checkpointing_enable")).rule == "CKPT010"
    assert explain(SWITCHED.format(function="resize_token_embeddings")).rule == ""
    worker = SWITCHED.format(function="run").replace("run()", "run(enable_gradient_checkpointing=True)")
    assert explain(worker).rule == ""


SHORT = """\
venv/lib/python3.11/site-packages/transformers/models/glm4/modeling_glm4.py:577: in forward
    layer_outputs = self._gradient_checkpointing_func(
venv/lib/python3.11/site-packages/llamafactory/model/model_utils/checkpointing.py:86: in custom_gradient_checkpointing_func
    module: "torch.nn.Module" = func.__self__
E   AttributeError: 'functools.partial' object has no attribute '__self__'
"""


def test_short_tracebacks_of_pytest():
    error = explain(SHORT).errors[0]
    assert error.culprit
    assert error.passed_by
    assert (error.culprit.line, error.passed_by.line) == (86, 577)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "[rank7]:[E419 10:42:28.858931807 PG.cpp:616] [Rank 7] Watchdog caught collective operation timeout: W",
            "waited for the others until it timed out",
        ),
        ("Exception: the job was given up", "Exception: the job was given up"),
        ("Error: no such option", "Error: no such option"),
    ],
)  # fmt: skip
def test_an_error_is_seen_though_it_is_not_ours(line, said):
    found = explain(line)
    assert found.verdict == "not ours"
    assert said in found.summary


# Releases

TRACEBACK = (
    "Traceback (most recent call last):\nAttributeError: 'functools.partial' object has no attribute '__self__'\n"
)


@pytest.mark.parametrize(
    "text",
    [
        "please use llamafactory v0.8.1",
        "upgrading to transformers 4.49.0 fixed it",
        "Please downgrade to\ntransformers 4.49.0",
        "Solved by pinning:\n```\ntransformers==4.49.0\nllamafactory==0.9.1\n```",
        "Works:\n- transformers 4.49.0\n- llamafactory 0.9.1",
        "This works for me:\n\ntransformers==4.49.0\npeft==0.14.0",
        "pip install transformers==4.34.0",
        "transformers 版本降一下, transformers 4.34.0",
        "This only exists in transformers version 4.53.0 and above.",
        "I downgraded to transformers v4.52.3 and it went away",
        "it works with transformers 4.49.0 and llamafactory 0.9.1",
        "transformers==4.49.0 works for me",
        "Could you try llamafactory 0.9.3?",
        "Use transformers 4.49.0.",
        "In transformers 4.51.0 the convention changed.",
        "fixed in llamafactory 0.9.3",
        "the same job trains on transformers 4.49.0 without problems",
        "with transformers 4.49.0 there is no error",
        "transformers 4.49.0: OK",
    ],
)
def test_a_release_that_is_advised_did_not_run(text):
    assert explain(f"{TRACEBACK}\n{text}\n").versions == {}
    assert explain(f"{text}\n\n{TRACEBACK}").versions == {}


@pytest.mark.parametrize(
    "text",
    [
        "We run llamafactory 0.9.2 with transformers 4.51.3",
        "my environment: transformers 4.51.3, llamafactory 0.9.2",
        "Here is my environment:\n```\ntransformers==4.51.3\n```",
        "Environment\ntransformers 4.51.3\ndeepspeed 0.16.4",
        "环境：transformers 4.51.3",
        "My transformers version is 4.51.3",
        '{"transformers": "4.51.3"}',
        "transformers==4.51.3\n\nPlease use transformers 4.49.0.",
    ],
)
def test_a_release_that_ran(text):
    assert [one.version for one in explain(f"{TRACEBACK}\n{text}\n").versions["transformers"]] == ["4.51.3"]


# What differs, and what helps

MISMATCH = "torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint: "
METADATA = (
    "Recomputed values for the following tensors have different metadata than during the forward pass.\n"
    "tensor at position 4:\n"
    "saved metadata: {{'shape': torch.Size({0}), 'dtype': torch.{1}, 'device': device(type='cuda', index=0)}}\n"
    "recomputed metadata: {{'shape': torch.Size({2}), 'dtype': torch.{3}, 'device': device(type='cuda', index=0)}}\n"
)


@pytest.mark.parametrize(
    ("message", "said", "fix"),
    [
        (
            METADATA.format("[8, 4]", "bfloat16", "[0]", "bfloat16"),
            "shape [8, 4] in the forward pass and [0]",
            "ZeRO 3",
        ),
        (
            METADATA.format("[2, 8]", "bfloat16", "[2, 16]", "bfloat16"),
            "shape [2, 8] in the forward pass and",
            "use_cache",
        ),
        (
            METADATA.format("[2]", "bfloat16", "[2]", "float32"),
            "dtype bfloat16 in the forward pass and float32",
            "cast",
        ),
        (
            "A different number of tensors was saved during the original forward and recomputation.\n"
            "Number of tensors saved during forward: 27\nNumber of tensors saved during recomputation: 8",
            "27 tensors were saved in the forward pass and 8",
            "router",
        ),
    ],
)
def test_what_differs_is_said(message, said, fix):
    found = explain(f"{MISMATCH}{message}")
    assert said in found.summary
    assert fix in found.fixes[0]
    assert not any("does not say what differs" in doubt for doubt in found.doubts)


def test_what_differs_is_not_in_the_text():
    found = explain(f"{MISMATCH}{METADATA.splitlines()[0]}")
    assert any("does not say what differs between the two runs" in doubt for doubt in found.doubts)
    assert "set_checkpoint_debug_enabled" in found.fixes[-1]
    assert not any("use_reentrant" in fix for fix in found.fixes)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        (
            "RuntimeError: Expected to mark a variable ready only once. 2) multiple reentrant backward passes.",
            "'use_reentrant': False",
        ),
        (TRACEBACK, "ckptdoctor known"),
        (
            "UserWarning: None of the inputs have requires_grad=True. Gradients will be None",
            "enable_input_require_grads",
        ),
    ],
)
def test_a_fix_comes_with_its_condition(text, fix):
    fixes = explain(text).fixes
    assert fix in fixes[0]
    assert all(one.startswith("If ") for one in fixes)
    assert fix in " ".join(render("text", explain(text), Style(False, 100, False, True)).split())


def test_nothing_is_advised_where_nothing_is_claimed():
    assert explain("torch.OutOfMemoryError: CUDA out of memory.").fixes == []


# Any text

_TOKENS = st.sampled_from(
    [
        *LINES,
        *WORDED,
        *NOT_SHOWN,
        *NARROW.splitlines(),
        "```",
        "[rank1]: ",
        "trainer-2 | ",
        "12: ",
        '{"message": "',
        "\\n",
        '"}',
        "…",
    ]
)
_TEXTS = st.one_of(
    st.text(),
    st.lists(st.one_of(_TOKENS, st.text(max_size=20)), max_size=40).map("\n".join),
    st.lists(_TOKENS).map("".join),
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(_TEXTS)
def test_any_text_ends_in_an_explanation(text):
    found = explain(text)
    assert isinstance(found, Explanation)
    assert found.summary
    assert (found.rule in RULES) == (found.verdict in ("ours", "suspected"))
    assert all(one.line <= text.count("\n") + 1 for one in found.errors)
    for style in (Style(False, 40, True, False), Style(False, 100, False, True)):
        assert all(char.isprintable() or char == "\n" for char in render("text", found, style))


@pytest.mark.parametrize("noise", ["A", "Loading: 5%", "Loading: 100%|#####| 2/2", "done"])
@pytest.mark.parametrize("at", range(len(LINES) + 1))
def test_a_word_of_others_is_no_error(noise, at):
    assert explain("\n".join([*LINES[:at], noise, *LINES[at:]])).rule == "CKPT001"


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\r\\"), max_size=30), st.integers(0, len(LINES))
)
def test_a_line_of_others_makes_no_other_rule(noise, at):
    found = explain("\n".join([*LINES[:at], noise, *LINES[at:]]))
    assert found.rule in ("CKPT001", "")
