"""``ckptdoctor check``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from ckptdoctor.cli import config, printing, progress
from ckptdoctor.cli.grouping import grouped
from ckptdoctor.cli.options import request_options
from ckptdoctor.cli.printing import Destination, several_formats
from ckptdoctor.errors import UsageFault
from ckptdoctor.output import render
from ckptdoctor.store import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ckptdoctor.model.report import Report
    from ckptdoctor.planning.request import Request
    from ckptdoctor.verdict.gate import Policy

SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names the file in which GitHub Actions takes Markdown for a run's page."""

GATE = grouped(
    click.option(
        "--fail-on",
        type=click.Choice(["error", "warning", "never"]),
        default="error",
        show_default=True,
        help="Exit 1 on findings of this severity or higher. Without any, exit 3 if something cannot be diagnosed.",
    ),
    click.option(
        "--select",
        metavar="CODES",
        multiple=True,
        help="Count only these rules, e.g. CKPT001,CKPT004. CKPT01 selects CKPT010 to CKPT013. Repeatable.",
    ),
    click.option(
        "--ignore",
        metavar="CODES",
        multiple=True,
        help="Do not count these rules. If --select and --ignore both match, the longer prefix wins. "
        "CKPT900 always counts. Repeatable.",
    ),
    click.option("--baseline", metavar="FILE", help="Do not count the findings that this file accepts."),
    click.option("--update-baseline", is_flag=True, help="Write all current findings to the file of --baseline."),
)
"""The options that say which findings count."""


@click.command("check", cls=config.Configured)
@request_options
@several_formats("report")
@GATE
@click.option(
    "--verify",
    is_flag=True,
    help="Try every remedy beside the environment, and drop those that do not help. Takes a minute.",
)
@click.option(
    "--static",
    is_flag=True,
    help="Run nothing: say which verdict the installed files had when their releases were measured. Takes no other option but "
    "--python, --model, --format text or json, and --output.",
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Show every probe, each diff, tracebacks and the output of failed probes."
)
def command(
    request: Request,
    destinations: Sequence[Destination],
    verbose: bool,
    baseline: str | None,
    update_baseline: bool,
    static: bool,
    **counts: Any,
) -> int:
    """Run tiny real training steps with checkpointing in an environment. Report what is broken and what fixes it.

    The check takes seconds and needs no GPU. The environment needs torch. Nothing in the environment changes.

    Variables set options by their names (CKPTDOCTOR_FAIL_ON=warning), except --output, --no-cache and --update-baseline.
    The table [tool.ckptdoctor] in pyproject.toml sets options that name nothing to run, install or write: model, engine,
    convention, nproc, thorough, jobs, timeout, verify, verbose, format, fail-on (not "never"), select, ignore, baseline.
    Options win over variables, and variables win over the file. The report names the file and what it set.

    Exit status: 0 nothing found, 1 findings, 2 wrong usage, 3 could not be diagnosed.
    """
    if static:
        return _static(request, destinations)
    from ckptdoctor.verdict import gate

    policy = _policy(baseline, update_baseline, **counts)
    run = progress.of_request(request)
    with progress.reporter("check", run, _looked_up(request)) as reporter:
        reporter(f"inspecting {run[0]}")
        from ckptdoctor.diagnose import diagnose  # takes a moment

        report = diagnose(request, reporter)
    from ckptdoctor.fix import carry_out

    report = report.with_notes([*carry_out.notes(report), *config.notes(click.get_current_context())])
    if update_baseline and baseline:
        policy = gate.with_baseline(policy, gate.updated(report, policy))
        gate.write(baseline, policy.accepted)
    report = gate.apply(report, policy)
    _deliver(report, destinations, verbose)
    return report.status


def _looked_up(request: Request) -> Callable[[], str] | None:
    """What is known of the installed files, in a line; nothing for a request about more than these."""
    options = request.options
    if request.requirements or request.job or options.functions or options.conventions or len(options.models) > 1:
        return None

    def look_up() -> str:
        from ckptdoctor import static

        return static.line(static.answer(request.python, os.environ, options.models[0] if options.models else ""))

    return look_up


_STATIC = ("static", "python", "models", "formats", "output")
"""Parameters that go with ``--static``."""


def _static(request: Request, destinations: Sequence[Destination]) -> int:
    """Answer out of what was measured; the exit status is that of the answer."""
    from ckptdoctor import static
    from ckptdoctor.output import formats

    context = click.get_current_context()
    given = [
        name
        for name in context.params
        if name not in _STATIC and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    others = [one.format for one in destinations if one.format not in formats("answer")]
    if given or others:
        what = f"--{given[0].replace('_', '-')}" if given else f"--format {others[0]}"
        raise UsageFault(f"--static runs nothing, so {what} has no meaning with it.", f"leave out {what}, or --static")
    models = request.options.models
    found = static.answer(request.python, os.environ, models[0] if models else "")
    for one in destinations:
        one.show(found)
    return found.status


def _policy(
    baseline: str | None, update_baseline: bool, fail_on: str, select: Sequence[str], ignore: Sequence[str]
) -> Policy:
    from ckptdoctor.verdict import gate

    if update_baseline and not baseline:
        raise UsageFault("--update-baseline needs a baseline file.", "give --baseline FILE")
    if update_baseline and config.is_from_file(click.get_current_context(), "baseline"):
        raise UsageFault(
            f"--update-baseline does not write {baseline}, because only the settings file names it.",
            f"add --baseline {baseline}",
        )
    if update_baseline:
        writing.require_writable(baseline, "--baseline")
    accepted = gate.read(baseline, may_be_missing=update_baseline) if baseline else []
    return gate.Policy(
        fail_on=fail_on,  # type: ignore[arg-type]
        select=gate.codes(select, "--select"),
        ignore=gate.codes(ignore, "--ignore"),
        accepted=accepted,
    )


def _deliver(report: Report, destinations: Sequence[Destination], verbose: bool) -> None:
    """Print and write every format; GitHub's brings its summary, if there is a place for one."""
    for one in sorted(
        destinations, key=lambda one: not one.file
    ):  # what is printed comes last, when all else is written
        one.show(report, verbose)
    summary = os.environ.get(SUMMARY)
    if summary and any(one.format == "github" for one in destinations):
        printing.append(render("markdown", report, printing.style(summary)), summary)
