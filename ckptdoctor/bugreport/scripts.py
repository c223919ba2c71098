"""The scripts of a bug report: one for each of the first faults, with the user's own files that it needs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ckptdoctor.bugreport import model_config, repro, source
from ckptdoctor.bugreport.endings import judge
from ckptdoctor.bugreport.redact import Redactor
from ckptdoctor.bugreport.runner import Runner
from ckptdoctor.model.report import Report
from ckptdoctor.words.escape import plain


@dataclass(frozen=True)
class Ran:
    """A script that was run in the target.

    Attributes:
        name: Its file name in the bundle.
        source: The script.
        rule: The finding that it is for.
        reproduced: Whether it ended as the finding says.
        words: How it ended, in one line.
        tail: The end of what it printed.
    """

    name: str
    source: str
    rule: str
    reproduced: bool
    words: str
    tail: str


def scripts(report: Report) -> Iterable[tuple[repro.Repro, str, str]]:
    """A script for each of the first faults, with its rule and its file's name."""
    made = 0
    for finding in report.findings:
        if finding.severity != "error" or made == repro.LIMIT:
            continue
        name = f"repro-{made + 1}.py" if made else "repro.py"
        script = repro.make(report, made, finding, name)
        if script is not None:
            made += 1
            yield script, finding.rule, name


def reasons(report: Report) -> list[str]:
    """Why findings have no script, a sentence each."""
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if report.findings and not errors:
        return ["There is no script: scripts are written for errors, and these findings are warnings."]
    why = {finding.rule: repro.why_none(report, finding) for finding in errors}
    return [f"There is no script for {rule}: {reason}." for rule, reason in why.items() if reason]


def run(runner: Runner, name: str, files: Mapping[str, str], script: repro.Repro, rule: str, redactor: Redactor) -> Ran:
    """Run a script and judge how it ended."""
    # The fault was observed before anything was taken out of the files.
    expected = replace(
        script.expected, error=redactor.clean(script.expected.error), file=redactor.clean(script.expected.file)
    )
    ended = runner.run_script(name, files)
    ended = replace(ended, output=redactor.clean(plain(ended.output)))
    reproduced, words = judge(expected, ended)
    originals = {name: script.source, **script.beside}
    if not reproduced and files != originals and judge(script.expected, runner.run_script(name, originals))[0]:
        words += " (it does with what was taken out of its files as private)"
    return Ran(name, files[name], rule, reproduced, words, ended.output)


def shown(name: str, text: str, report: Report, redactor: Redactor) -> str:
    """A file of the user's own, as it may be shown."""
    if not name.endswith(".py"):
        transformers = next((one.location for one in report.environment.packages if one.name == "transformers"), "")
        return redactor.clean(model_config.reduced(text, transformers))
    return source.clean(text, redactor)[0]


def own_files(report: Report) -> Iterable[Path]:
    """The user's own files that a report quotes."""
    places = [frame for probe in report.probes if probe.evidence.error for frame in probe.evidence.error.frames]
    places += [probe.evidence.loaded.place for probe in report.probes if probe.evidence.loaded]
    here = Path.cwd()
    for file in sorted({place.file for place in places if not place.package}):
        path = Path(file)
        if path.suffix == ".py" and os.access(path, os.R_OK) and (path.is_relative_to(here) or "-packages" not in file):
            yield path
