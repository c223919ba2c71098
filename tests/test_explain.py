"""Logs as people paste them, under ``tests/logs``: what is claimed of each, and what must not be."""

from __future__ import annotations

import codecs
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckptdoctor import knowledge
from ckptdoctor.errors import UsageFault
from ckptdoctor.explain import explain as explaining
from ckptdoctor.explain import reading
from ckptdoctor.explain.explain import explain
from ckptdoctor.model.explanation import SCHEMA
from ckptdoctor.output import Style, render
from ckptdoctor.rules import RULES
from tests.conftest import call

LOGS = Path(__file__).parent / "logs"
PLAIN = Style(color=False, width=100, verbose=False, unicode=True)
SELF = "AttributeError: 'functools.partial' object has no attribute '__self__'"

VERDICTS = {
    "axolotl_2561": ("ours", "CKPT001"),
    "axolotl_recursion": ("ours", "CKPT010"),
    "axolotl_unpack": ("ours", "CKPT011"),
    "cut_on_the_way": ("suspected", "CKPT001"),
    "deepspeed_8130": ("ours", "CKPT007"),
    "deepspeed_8148": ("ours", "CKPT007"),
    "function_raises": ("suspected", "CKPT010"),
    "group": ("ours", "CKPT001"),
    "handled_then_other": ("ours", "CKPT001"),
    "handover_missing": ("ours", "CKPT001"),
    "head_missing": ("ours", "CKPT001"),
    "html": ("ours", "CKPT001"),
    "inside_layer": ("not ours", ""),
    "interleaved": ("suspected", "CKPT001"),
    "json_line": ("ours", "CKPT001"),
    "jupyter": ("ours", "CKPT001"),
    "layer_error": ("not ours", ""),
    "llamafactory_7699": ("ours", "CKPT001"),
    "llamafactory_7779": ("ours", "CKPT001"),
    "missing_module": ("not ours", ""),
    "nccl": ("not ours", ""),
    "nemo_1621": ("ours", "CKPT007"),
    "never_enabled": ("ours", "CKPT010"),
    "newest_rich": ("ours", "CKPT001"),
    "newest_rich_narrow": ("ours", "CKPT001"),
    "no_grad_plain": ("not ours", ""),
    "not_with_grad": ("ours", "CKPT010"),
    "oom": ("not ours", ""),
    "own_function": ("ours", "CKPT001"),
    "pip_conflict": ("nothing found", ""),
    "reader_missing": ("suspected", "CKPT001"),
    "ready_once": ("suspected", "CKPT010"),
    "saving": ("not ours", ""),
    "title_only": ("suspected", "CKPT001"),
    "tokenizer": ("not ours", ""),
    "transformers_23170": ("ours", "CKPT004"),
    "transformers_35509": ("nothing found", ""),
    "transformers_47254": ("ours", "CKPT007"),
    "two_versions": ("ours", "CKPT001"),
    "unexpected_keywords": ("ours", "CKPT010"),
    "unrelated_chain": ("not ours", ""),
    "unrelated_group": ("not ours", ""),
    "unrelated_self": ("not ours", ""),
    "unsloth_2674": ("nothing found", ""),
    "warning_only": ("suspected", "CKPT004"),
    "windows": ("ours", "CKPT001"),
    "worker_died": ("not ours", ""),
}


def log(name: str) -> str:
    return (LOGS / f"{name}.txt").read_bytes().decode()


def main_error(found: explaining.Explanation) -> explaining.ExplainedError:
    return next(one for one in found.errors if one.verdict == found.verdict)


def test_every_log_has_a_verdict():
    assert {path.stem for path in LOGS.glob("*.txt")} == set(VERDICTS)
    assert {rule for _, rule in VERDICTS.values() if rule} <= set(RULES)


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict(name):
    found = explain(log(name))
    assert (found.verdict, found.rule) == VERDICTS[name]
    assert found.schema == SCHEMA
    assert found.summary


@pytest.mark.parametrize(
    "name",
    ["llamafactory_7779", "head_missing", "html", "group", "windows", "jupyter", "json_line", "handled_then_other"],
)
def test_who_reads_and_who_hands_over(name):
    error = main_error(explain(log(name)))
    assert error.culprit
    assert error.passed_by
    assert (error.culprit.package, error.culprit.line) == ("llamafactory", 86)
    assert error.culprit.code == 'module: "torch.nn.Module" = func.__self__'
    assert (error.passed_by.package, error.passed_by.line) == ("transformers", 577)
    assert error.passed_by.code == "layer_outputs = self._gradient_checkpointing_func("


@pytest.mark.parametrize("name", ["newest_rich", "newest_rich_narrow"])
def test_boxes_of_rich(name):
    error = main_error(explain(log(name)))
    assert len(error.frames) == 15
    assert error.culprit
    assert error.passed_by
    assert error.culprit.code == "module: torch.nn.Module = func.func.__self__"
    assert error.culprit.file.endswith("/llamafactory/model/model_utils/checkpointing.py")
    assert error.passed_by.function == "forward_with_checkpointing"


def test_ranks_that_show_the_same_are_one_error():
    assert main_error(explain(log("llamafactory_7779"))).ranks == ["rank0", "rank1"]
    assert main_error(explain(log("deepspeed_8130"))).ranks == ["worker-1", "worker-2"]
    assert main_error(explain(log("axolotl_2561"))).ranks == ["1,0"]


@pytest.mark.parametrize(
    "prefix", ["[rank3]: ", "[default3]:", "[1,2]<stderr>:", "node01: ", "12: ", "(W pid=7, ip=10.0.0.1) "]
)
@pytest.mark.parametrize("time", ["", "2025-04-22T10:41:07.123Z ", "[2025-04-22 10:41:07,123] [ERROR] "])
def test_prefixes(prefix, time):
    text = "\n".join(f"{prefix}{time}{line}" for line in log("head_missing").splitlines()[1:])
    found = explain(text)
    assert found.rule == "CKPT001"
    assert len(main_error(found).ranks) == 1


def test_lost_indentation():
    text = "\n".join(line.strip() for line in log("handover_missing").splitlines())
    assert explain(text).verdict == "ours"


def test_what_is_known_is_said_with_how():
    found = explain(log("llamafactory_7779"))
    fails, works = found.known
    assert not fails.works
    assert "0.9.2 with transformers 4.51.3 fails with the same rule, for glm4" in fails.sentence
    assert works.works
    assert works.command == "pip install --no-deps 'llamafactory==0.9.3'"
    cell = next(knowledge.load().matching({"llamafactory": "0.9.3", "transformers": "4.51.3"}, "glm4"))
    assert works.how == cell.how
    assert cell.how in works.sentence


def test_a_family_that_was_not_measured_is_said_to_be():
    assert all("qwen2 was not measured" in one.sentence for one in explain(log("llamafactory_7699")).known)


def test_releases_that_are_not_known_exactly_claim_nothing():
    text = log("llamafactory_7779").replace("4.51.3", "4.51.99").replace("version: 0.9.2", "version: 0.9.3.dev0")
    assert explain(text).known == []


def test_two_releases_of_a_package():
    found = explain(log("two_versions"))
    assert [one.version for one in found.versions["transformers"]] == ["4.49.0", "4.51.3"]
    assert any(
        "several releases of transformers: 4.49.0 (line 1) and 4.51.3 (line 2)" in doubt for doubt in found.doubts
    )
    error = main_error(found)
    assert error.passed_by
    assert error.passed_by.version == ""
    assert not any("transformers 4" in one.sentence for one in found.known if "works with transformers" in one.sentence)


@pytest.mark.parametrize(
    ("line", "name", "version"),
    [
        ("transformers==4.51.3", "transformers", "4.51.3"),
        ("transformers              4.51.3", "transformers", "4.51.3"),
        ("- `transformers` version: 4.51.3", "transformers", "4.51.3"),
        ("- Transformers version: 4.52.0.dev0", "transformers", "4.52.0.dev0"),
        ("| transformers | 4.51.3 |", "transformers", "4.51.3"),
        ("Successfully installed transformers-4.51.3 tokenizers-0.21.1", "transformers", "4.51.3"),
        ("/x/site-packages/transformers-4.51.3.dist-info/METADATA", "transformers", "4.51.3"),
        ("we use transformers 4.51.3.", "transformers", "4.51.3"),
        ("[pip3] torch==2.6.0+cu124", "torch", "2.6.0+cu124"),
        ("[conda] torch                     2.6.0                    pypi_0    pypi", "torch", "2.6.0"),
        ("PyTorch version: 2.6.0+cu124", "torch", "2.6.0+cu124"),
        ("- PyTorch version (GPU?): 2.6.0+cu124 (True)", "torch", "2.6.0+cu124"),
        ("| Welcome to LLaMA Factory, version 0.9.2   |", "llamafactory", "0.9.2"),
        ("unsloth_zoo==2025.5.8", "unsloth-zoo", "2025.5.8"),
        ("axolotl==0.9.1.post1", "axolotl", "0.9.1.post1"),
        ("Python version: 3.11.7 (main, Dec  5 2023) [GCC 11.4.0] (64-bit runtime)", "python", "3.11.7"),
    ],
)
def test_versions(line, name, version):
    assert [one.version for one in explain(line).versions[name]] == [version]


def test_releases_that_are_only_wanted_do_not_count():
    found = explain(log("pip_conflict")).versions
    assert {name: [one.version for one in each] for name, each in found.items()} == {
        "transformers": ["4.51.3"],
        "deepspeed": ["0.16.4"],
    }


def test_what_is_suspected_is_said_to_be():
    for name, (verdict, rule) in VERDICTS.items():
        if verdict == "suspected":
            assert explain(log(name)).summary.startswith(f"It looks like {rule}")
    assert "the frame that reads it is missing" in explain(log("reader_missing")).summary


def test_not_ours_names_the_last_error():
    assert explain(log("tokenizer")).summary == "No rule matches. The last error: KeyError: 'input_ids'"
    assert "ran out of memory" in explain(log("oom")).summary


def test_another_error_that_followed_is_not_hidden():
    assert any("while it was handled: ConnectionError" in doubt for doubt in explain(log("handled_then_other")).doubts)
    assert any("TimeoutError" in doubt for doubt in explain(log("group")).doubts)


def test_two_mechanisms_and_partitioned_shapes_are_hints():
    assert any("checkpoint_wrapper and the model's own" in doubt for doubt in explain(log("nemo_1621")).doubts)
    assert any("a hint, not a proof" in doubt for doubt in explain(log("transformers_47254")).doubts)


@pytest.mark.parametrize(
    "message",
    [
        "A different number of tensors was saved during the original forward and recomputation.",
        "Recomputed values for the following tensors have different metadata than during the forward pass.",
        "trying to save more tensors during recomputation than during the original forward pass.",
        "Unpack is being triggered for a tensor that was already unpacked once.",
    ],
)
def test_wordings_of_checkpoint_error(message):
    assert explain(f"CheckpointError: torch.utils.checkpoint: {message}").rule == "CKPT007"
    wrapped = f"torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint: {message[:25]}\n{message[25:]}"
    assert explain(wrapped).rule == "CKPT007"


def test_the_message_alone_is_no_finding():
    other = 'Traceback (most recent call last):\n  File "/app/bus.py", line 3, in connect\n    owner = slot.__self__\n'
    assert explain(other + SELF).verdict == "not ours"
    saving = other.replace("connect\n    owner", "save\n    checkpoint(model)\n  File '/app/s.py'\n    owner")
    assert explain(saving + SELF).verdict != "ours"


def test_checkpointed_code_that_reads_the_attribute_itself():
    text = (
        'Traceback (most recent call last):\n  File "/a/t.py", line 3, in f\n    checkpoint(block, x)\n'
        '  File "/v/lib/python3.11/site-packages/torch/utils/checkpoint.py", line 499, in checkpoint\n'
        '    ret = function(*args, **kwargs)\n  File "/a/t.py", line 9, in block\n    hook.__self__\n'
    )
    assert explain(text + SELF).verdict == "not ours"


def test_empty_text():
    for text in ("", " \n\t\n"):
        found = explain(text)
        assert (found.verdict, found.errors) == ("nothing found", [])
        assert "nothing to explain" in found.summary


# Reading


def test_encodings(tmp_path):
    text = log("windows")
    for encoding, mark in (
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
    ):
        for start in (mark, b""):
            path = tmp_path / "log.txt"
            path.write_bytes(start + text.encode(encoding))
            assert explain(reading.read(str(path)).text).rule == "CKPT001", encoding


def test_invalid_and_binary(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"\xff\xfe\xfa"[1:] + b"\xd6\xd0\n" + log("head_missing").encode())
    assert explain(reading.read(str(path)).text).rule == "CKPT001"
    path.write_bytes(bytes(range(256)) * 100)
    read = reading.read(str(path))
    assert any("not text" in note for note in read.notes)
    assert explain(read.text).verdict == "nothing found"


def test_a_big_log_is_read_at_both_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LIMIT", 50_000)
    path = tmp_path / "log.txt"
    for before, after in ((0, 20_000), (20_000, 0), (9_000, 9_000)):
        noise = "{'loss': 1.0, 'epoch': 0.5}\n"
        path.write_text(noise * before + log("llamafactory_7779") + noise * after, encoding="utf-8")
        read = reading.read(str(path))
        assert len(read.text) < 110_000
        assert "bytes between its head and its tail were not read" in read.notes[0]
        assert explain(read.text).verdict == ("nothing found" if before and after else "ours")


def test_a_traceback_does_not_reach_over_what_was_left_out():
    text = log("own_function").replace(
        '  File "/workspace/train.py", line 6', '[... 9 bytes left out ...]\n  File "/workspace/train.py", line 6'
    )
    assert explain(text).verdict != "ours"


def test_what_cannot_be_read(tmp_path):
    for name in (str(tmp_path), str(tmp_path / "nothing.txt"), "a\0b"):
        with pytest.raises(UsageFault):
            reading.read(name)


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(log("html").encode())))
    assert explain(reading.read("-").text).rule == "CKPT001"


def test_standard_input_that_is_closed():
    ran = subprocess.run(
        f"{sys.executable} -m ckptdoctor explain - <&-", shell=True, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        "error: Standard input is closed.",
        "hint: name a file with a log or an issue text, or pipe one in",
    ]


MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:], stdout=open(sys.argv[1], "wb"))
_, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss, used.ru_utime)
"""
"""Runs a command from a small process: of a large one, a child's highest memory would be at least that one's."""


@pytest.mark.parametrize("line", ["y", "[rank1]: {'loss': 1.0, 'epoch': 0.5}"])
def test_a_flood_takes_little_memory(line, tmp_path):
    flood = tmp_path / "log.txt"
    flood.write_bytes(f"{line}\n".encode() * (30_000_000 // (len(line) + 1)))
    explain = [sys.executable, "-m", "ckptdoctor", "explain", str(flood)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "shown.txt"), *explain],
        capture_output=True,
        text=True,
        check=True,
    )
    status, memory, seconds = done.stdout.split()
    assert status == "3"
    assert int(memory) * (1 if sys.platform == "darwin" else 1024) < 200 * 2**20
    assert float(seconds) < 20


@pytest.mark.parametrize(
    "text",
    [
        " " * 400_000,
        ("│" + " " * 3900 + "│\n") * 100,
        "\x1b]" * 200_000,
        "\x1b[" + "0" * 400_000,
        ("torch" + " " * 79) * 4000,
        "torch==" + "1." * 200_000,
        "&quot;" * 60_000,
        '  File "' + "a" * 400_000,
        "/a:1, in " * 40_000,
        "[rank1]: " * 40_000,
        "AError" * 60_000 + ": x",
        "Traceback (most recent call last)\n" * 10_000,
        "".join(f"ValueError: {number}\n" for number in range(10_000)),
        "x\r" * 100_000,
        '{"message": ' * 40_000 + "}",
        "[rank1]:" * 40_000,
        "[rank1]: x" * 40_000,
        '  File "/a/b\n' * 40_000,
        "a1 " * 40 + "\n" + 'b1 File "x", line 1\n' * 40_000,
        "without gradient checkpointing " * 10_000,
        "checkpoint " * 20_000 + "recomputed",
        "saved metadata: {" * 20_000,
        "please use transformers==4.49.0 " * 10_000,
    ],
)
def test_nothing_takes_long(text):
    start = time.process_time()
    explain(text)
    assert time.process_time() - start < 5


# Output

HOSTILE = "\x1b[31m\x1b]0;owned\x07\x9b2J\u202e\u200b\u2028&#27;[2J [bold]m[/]"


@pytest.mark.parametrize("format_", ["text", "json"])
def test_nothing_in_a_log_acts_on_the_terminal(format_):
    text = log("llamafactory_7779").replace("has no attribute '__self__'", f"has no attribute '__self__' {HOSTILE}")
    text = text.replace("func.__self__", f"func.__self__ # {HOSTILE}").replace("4.51.3", f"4.51.3 {HOSTILE}")
    for style in (PLAIN, Style(color=False, width=40, verbose=True, unicode=False)):
        shown = render(format_, explain(text), style)
        assert all(char.isprintable() or char == "\n" for char in shown)
        if format_ == "text" and not style.unicode:
            assert shown.isascii()


@pytest.mark.parametrize("name", VERDICTS)
def test_text(name):
    found = explain(log(name))
    lines = render("text", found, PLAIN).splitlines()
    assert lines[0].startswith({"ours": "EXPLAINED", "suspected": "SUSPECTED"}.get(found.verdict, "NO"))
    assert all(len(line) <= 100 or " " not in line.strip() for line in lines)


def test_text_says_who_and_what_helps():
    shown = render("text", explain(log("llamafactory_7779")), PLAIN)
    assert "read by      llamafactory 0.9.2, llamafactory/model/model_utils/checkpointing.py:86" in shown
    assert "passed by    transformers 4.51.3, transformers/models/glm4/modeling_glm4.py:577" in shown
    assert "pip install --no-deps 'llamafactory==0.9.3'" in shown
    assert "more: ckptdoctor rule CKPT001" in shown


def test_json():
    found = json.loads(render("json", explain(log("llamafactory_7779")), PLAIN))
    assert found["schema"] == SCHEMA
    assert set(found) == {"schema", "verdict", "rule", "summary", "errors", "versions", "known", "fixes", "doubts"}


@pytest.mark.parametrize(("name", "status"), [("html", 0), ("title_only", 1), ("oom", 3), ("unsloth_2674", 3)])
def test_exit_status(name, status):
    ran = call("explain", LOGS / f"{name}.txt")
    assert ran.status == status
    assert ran.out
