"""Puts the parts of a script together."""

from __future__ import annotations

import re

from ckptdoctor.bugreport.repro.draft import Draft, left_out, template
from ckptdoctor.bugreport.repro.function import switched_on
from ckptdoctor.bugreport.repro.model import model
from ckptdoctor.bugreport.repro.stack import commands, packages
from ckptdoctor.bugreport.repro.step import engine, ranks, step
from ckptdoctor.words.escape import one_line


def write(draft: Draft, version: str, name: str) -> str:
    """The whole script.

    Args:
        draft: What is to be shown.
        version: Of ckptdoctor.
        name: The script's file name.
    """
    parts = [
        template("versions", names=repr(tuple(packages(draft.environment, draft.probe)))),
        ranks(draft),
        model(draft),
        draft.assertion.before if draft.assertion else "",
        switched_on(draft),
        engine(draft),
        step(draft),
    ]
    body = "\n".join(part for part in parts if part)
    body = re.sub(r"\n+(?=(?:class|def) )", "\n\n\n", body)
    return f"{_head(draft, version, name)}{_imports(draft)}\n{body.rstrip()}\n"


def _head(draft: Draft, version: str, name: str) -> str:
    expected, probe, missing = draft.expected, draft.probe, left_out(draft.probe)
    lines = [
        one_line(draft.finding.title, 110),
        "",
        *(f"    {command}" for command in commands(draft.environment, probe)),
        f"    python {name}",
        "",
        f"It ends in: {one_line(expected.error or expected.death, 110)}",
        *([f"at {expected.file}:{expected.line}"] if expected.file else []),
        *([f"(Settings of the job that are left out: {one_line(', '.join(missing), 80)}.)"] if missing else []),
        f"Written by ckptdoctor {version} ({draft.finding.rule}), of which it needs nothing.",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _imports(draft: Draft) -> str:
    names = draft.imports | ({"sys"} if draft.hides_deepspeed else set())
    others = sorted(name for name in names if name.split(".")[0] in ("torch", "transformers"))
    lines = [f"import {name}\n" for name in sorted(names - {*others})]
    hidden = (
        ['\nsys.modules["deepspeed"] = None  # hidden from all others: DeepSpeed has no part in it\n']
        if draft.hides_deepspeed
        else []
    )
    return "".join([*lines, "\n", *(f"import {name}\n" for name in others), *hidden])
