"""Puts together what is attached to a bug report: a diagnosis, scripts that were run, the stack, all of it redacted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ckptdoctor.bugreport import private as private_names
from ckptdoctor.bugreport import redacted_report, repro, scripts, source, templates
from ckptdoctor.bugreport.redact import Redactor
from ckptdoctor.bugreport.runner import Runner
from ckptdoctor.bugreport.scripts import Ran
from ckptdoctor.diagnose import diagnose, look
from ckptdoctor.environment import interpreter
from ckptdoctor.errors import DoctorError, TargetError, UnobtainableError, UsageFault
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.model.report import SCHEMA, Report
from ckptdoctor.model.version import __version__
from ckptdoctor.output import Style, render
from ckptdoctor.output.views.published import pasteable
from ckptdoctor.planning.request import Request
from ckptdoctor.words.escape import one_line

_STYLE = Style(color=False, width=100, verbose=False, unicode=True)


class LeakError(DoctorError):
    """Something private would leave after all."""


@dataclass
class Bundle:
    """A finished bundle.

    Attributes:
        report: The diagnosis, redacted.
        members: Contents by file name, in the order in which they are packed.
        scripts: The scripts that were run.
        reasons: Why findings have no script, a sentence each.
    """

    report: Report
    members: dict[str, str] = field(default_factory=dict)
    scripts: list[Ran] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def make(request: Request, template: str = "", progress: Progress = SILENT) -> Bundle:
    """Diagnose, run the scripts, and put everything together; nothing is written.

    Args:
        request: What to diagnose.
        template: Whose issue form the Markdown follows, a name of ``catalog.templates``; empty for our own order.
        progress: Told how it goes on.

    Raises:
        DoctorError: There is nothing to report on.
        LeakError: A secret would be in the bundle.
    """
    report = _diagnose(request, progress)
    python = interpreter.find(request.python, os.environ)
    private = private_names.packages(report.environment)
    redactor = redacted_report.redactor_for(report, python, private)
    made = [*scripts.scripts(report)]
    beside = _files_beside(made, report, redactor)
    bundle = Bundle(redacted_report.redacted(report, redactor, private), reasons=scripts.reasons(report))
    kept: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="ckptdoctor-", ignore_cleanup_errors=True) as folder:
        progress.part("reproducing")
        progress.begins(len(made), "script")
        runner = Runner(python, report, Path(folder))
        for script, rule, name in made:
            progress(f"running {name}")
            files = {
                name: source.clean(script.source, redactor)[0],
                **{other: beside[other] for other in script.beside},
            }
            ran = scripts.run(runner, name, files, script, rule, redactor)
            progress.done()
            if script.left_out and not ran.reproduced:
                missing = one_line(redactor.clean(", ".join(script.left_out)), 80)
                tried = f"one without the job's settings ({missing}) was run here and did not reproduce it"
                bundle.reasons.append(f"There is no script for {rule}: {tried}.")
                continue
            bundle.scripts.append(ran)
            kept |= {other: beside[other] for other in script.beside}
        progress.part("collecting facts about the machine")
        collected = redacted_report.without_versions(redactor.clean(runner.collect_env()))
    bundle.members = {
        "report.md": templates.render(bundle.report, bundle.scripts, template, bundle.reasons),
        "report.html": render("html", pasteable(bundle.report), _STYLE),
        **{script.name: script.source for script in bundle.scripts},
        **kept,
        **{f"{Path(script.name).stem}.log": script.tail for script in bundle.scripts},
        "report.json": render("json", bundle.report, _STYLE),
        "packages.txt": redactor.clean(redacted_report.packages(report, private)),
        "collect_env.txt": collected,
    }
    refuse_leaks(bundle.members, redactor)
    return bundle


def _files_beside(made: Sequence[tuple[repro.Repro, str, str]], report: Report, redactor: Redactor) -> dict[str, str]:
    """The user's own files that scripts need, as they may be shown.

    The redactor learns the secrets in all of the user's files first: any other file may repeat them.
    """
    files = [(name, text) for script, _, _ in made for name, text in script.beside.items()]
    for name, text in files:
        source.learn(name, text, redactor)
    for file in scripts.own_files(report):
        source.learn(file.name, file.read_text(encoding="utf-8", errors="replace"), redactor)
    return {name: scripts.shown(name, text, report, redactor) for name, text in files}


def refuse_leaks(members: Mapping[str, str], redactor: Redactor) -> None:
    """The last guard: no value that an environment variable holds secret is in any file, or in its name.

    Raises:
        LeakError: One is.
    """
    found = {(leak, name) for name, text in members.items() for leak in redactor.leaks(f"{name}\n{text}")}
    if found:
        leaks, files = (", ".join(sorted({pair[which] for pair in found})) for which in (0, 1))
        raise LeakError(
            f"Secrets would still be in the report ({one_line(leaks, 300)}, in {one_line(files, 300)}): nothing was written.",
            "please report this, without the file; unset those variables to make the report all the same",
        )


def _diagnose(request: Request, progress: Progress) -> Report:
    """The diagnosis; of a stack that cannot even be probed, what is installed and why not."""
    try:
        return diagnose(request, progress)
    except (UnobtainableError, UsageFault):
        raise
    except TargetError as error:
        # What was asked for by name and is not there is the question's fault, and no report on the target.
        options = request.options
        if options.models or options.functions or options.engines:
            raise
        try:
            found = look(request, progress)
        except DoctorError:
            raise error from None
        if not found.version("torch"):
            raise
        return Report(
            SCHEMA, __version__, "error", error.message, found, (), (), notes=(error.hint,) if error.hint else ()
        )
