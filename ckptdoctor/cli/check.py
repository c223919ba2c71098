"""``ckptdoctor check``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import config, shared
from ckptdoctor.store import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptdoctor.model.report import Report
    from ckptdoctor.verdict.gate import Policy

FORMATS = ("text", "json", "junit", "sarif", "github", "markdown")
SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names the file in which GitHub Actions takes Markdown for a run's page."""


@click.command(
    "check", cls=config.Configured, short_help="Run tiny real training steps in an environment and judge them."
)
@shared.target_options
@shared.JOB
@shared.MODEL
@shared.CHECKPOINT_FN
@shared.engine("all, as far as DeepSpeed is installed")
@click.option(
    "--convention",
    "conventions",
    metavar="NAME",
    multiple=True,
    help="Pass layers in this way in our own model. Default: as transformers does or did. Repeatable.",
)
@shared.TIMEOUT
@shared.NPROC
@shared.THOROUGH
@shared.JOBS
@shared.several_formats(*FORMATS)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "never"]),
    default="error",
    show_default=True,
    help="Exit 1 on findings of this severity or higher. What cannot be diagnosed exits 3 in any case.",
)
@click.option(
    "--select",
    metavar="CODES",
    multiple=True,
    help="Count only these rules, e.g. CKPT001,CKPT004; CKPT00 stands for all that begin with it. Repeatable.",
)
@click.option(
    "--ignore",
    metavar="CODES",
    multiple=True,
    help="Show these rules, but do not count them. If --select and --ignore both match, the longer prefix wins. "
    "CKPT900 always counts. Repeatable.",
)
@click.option("--baseline", metavar="FILE", help="Show findings that this file accepts, but do not count them.")
@click.option("--update-baseline", is_flag=True, help="Write all that is found now into the file of --baseline.")
@click.option(
    "--verify",
    is_flag=True,
    help="Try every remedy, beside the environment, and drop what does not help. Takes a minute.",
)
@click.option("--no-cache", is_flag=True, help="Run the probes even if nothing has changed since the last time.")
@click.option("-v", "--verbose", is_flag=True, help="Add tracebacks and what failed probes printed.")
def command(
    python: str | None,
    requirements: tuple[str, ...],
    with_deps: bool,
    job: str | None,
    models: tuple[str, ...],
    functions: tuple[str, ...],
    engines: tuple[str, ...],
    conventions: tuple[str, ...],
    timeout: float,
    nproc: int,
    thorough: bool,
    jobs: int | None,
    formats: tuple[shared.Wanted, ...],
    output: str | None,
    fail_on: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    baseline: str | None,
    update_baseline: bool,
    verify: bool,
    no_cache: bool,
    verbose: bool,
) -> int:
    """Run tiny real training steps in an environment, with checkpointing, and say what is broken and what fixes it.

    Takes seconds and no GPU. The environment needs torch, and is left as it is, byte for byte.

    Variables set options by their names (CKPTDOCTOR_FAIL_ON=warning), but for --output, --no-cache and --update-baseline.
    pyproject.toml sets those that name nothing to run, install or write, under [tool.ckptdoctor]: model, engine,
    convention, nproc, thorough, jobs, timeout, verify, verbose, format, fail-on (not "never"), select, ignore, baseline.
    Options win over variables, and variables over the file. The report names the file, and what it set.

    Exit status: 0 nothing found, 1 findings, 2 wrong usage, 3 could not be diagnosed.
    """
    from ckptdoctor import catalog
    from ckptdoctor.diagnose import diagnose
    from ckptdoctor.fix import carry_out
    from ckptdoctor.planning.plan import Options
    from ckptdoctor.planning.request import Request
    from ckptdoctor.verdict import gate

    for name in conventions:
        if name not in catalog.conventions():
            raise click.BadParameter(
                f"'{name}' is not one of {', '.join(catalog.conventions())}.", param_hint="--convention"
            )
    wanted = shared.destinations(formats, output, FORMATS[0])
    policy = _policy(fail_on, select, ignore, baseline, update_baseline)
    request = Request(
        python=python,
        requirements=requirements,
        with_dependencies=with_deps,
        options=Options(models, functions, engines, conventions, timeout, ranks=nproc, thorough=thorough),
        workers=jobs or 0,
        use_cache=not no_cache,
        verify=verify,
        job=job,
    )
    with shared.progress() as progress:
        report = diagnose(request, progress)
    report.notes += [*carry_out.notes(report), *config.notes(click.get_current_context())]
    if update_baseline and baseline:
        policy = gate.with_baseline(policy, gate.updated(report, policy))
        gate.write(baseline, policy.accepted)
    status = gate.apply(report, policy)
    _deliver(report, wanted, verbose)
    return status


def _policy(
    fail_on: str, select: Sequence[str], ignore: Sequence[str], baseline: str | None, update_baseline: bool
) -> Policy:
    from ckptdoctor.errors import UsageFault
    from ckptdoctor.verdict import gate

    if update_baseline and not baseline:
        raise UsageFault("--update-baseline needs to know which.", "name it with --baseline FILE")
    if update_baseline and config.is_from_file(click.get_current_context(), "baseline"):
        raise UsageFault(
            f"--update-baseline does not write {baseline}, which only the settings' file names.",
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


def _deliver(report: Report, wanted: Sequence[shared.Wanted], verbose: bool) -> None:
    """Print and write every format; GitHub's brings its summary, where there is a place for one."""
    from ckptdoctor import output as outputs

    for one in sorted(wanted, key=lambda one: not one.file):  # what is printed comes last, when all else is written
        shared.write(outputs.render(one.format, report, shared.style(one.file or None, verbose)), one.file or None)
    summary = os.environ.get(SUMMARY)
    if summary and any(one.format == "github" for one in wanted):
        shared.append(outputs.render("markdown", report, shared.style(summary)), summary)
