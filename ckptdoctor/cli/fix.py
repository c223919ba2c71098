"""``ckptdoctor fix``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import shared
from ckptdoctor.store import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptdoctor.model.report import Report
    from ckptdoctor.planning.request import Request


@click.command("fix", short_help="Find what fixes an environment, prove it, and carry it out if told to.")
@shared.target_options
@shared.JOB
@shared.MODEL
@shared.CHECKPOINT_FN
@shared.engine("all, as far as DeepSpeed is installed")
@shared.TIMEOUT
@shared.NPROC
@shared.THOROUGH
@shared.JOBS
@click.option(
    "--edit",
    "files",
    metavar="FILE",
    multiple=True,
    help="Show as a diff what a change of releases means for a requirements file or a pyproject.toml. Repeatable.",
)
@click.option("--constraints", metavar="FILE", help="Write the first change of releases as a constraints file.")
@click.option("--apply", "apply_", is_flag=True, help="Patch the checkpoint function's file; the original is kept.")
@click.option("--revert", is_flag=True, help="Put back, byte for byte, what --apply changed.")
@click.option(
    "--force",
    is_flag=True,
    help="With --apply and --revert: also files with local changes, or that other environments may use.",
)
@shared.format_options("text", "json")
@click.option("--no-cache", is_flag=True, help="Run all anew even if nothing has changed since the last time.")
def command(
    python: str | None,
    requirements: tuple[str, ...],
    with_deps: bool,
    job: str | None,
    models: tuple[str, ...],
    functions: tuple[str, ...],
    engines: tuple[str, ...],
    timeout: float,
    nproc: int,
    thorough: bool,
    jobs: int | None,
    files: tuple[str, ...],
    constraints: str | None,
    apply_: bool,
    revert: bool,
    force: bool,
    format_: str,
    output: str | None,
    no_cache: bool,
) -> int:
    """Find what fixes an environment: every remedy was run, with the probes that failed and with those that passed.

    Releases are tried in overlays, a patch on a copy, beside the environment. Nothing in it changes, but with --apply and
    --revert, and then one file. Remedies come ranked by how little they change.

    Exit status: 0 nothing is broken (any more), 1 something is, 2 wrong usage or refused, 3 could not be diagnosed.
    """
    from ckptdoctor.errors import UsageFault
    from ckptdoctor.planning.plan import Options
    from ckptdoctor.planning.request import Request

    if apply_ and revert:
        raise UsageFault("--apply and --revert are opposites.", "give one of them")
    if force and not (apply_ or revert):
        raise UsageFault("--force goes with --apply or --revert.", "leave it out to see what fixes it")
    writing.require_writable(output)
    writing.require_writable(constraints, "--constraints")
    request = Request(
        python=python,
        requirements=requirements,
        with_dependencies=with_deps,
        options=Options(models, functions, engines, timeout=timeout, ranks=nproc, thorough=thorough),
        workers=jobs or 0,
        use_cache=not no_cache,
        verify=True,
        job=job,
    )
    return _revert(request, force) if revert else _fix(request, files, constraints, apply_, force, format_, output)


def _fix(
    request: Request,
    files: Sequence[str],
    constraints: str | None,
    apply_: bool,
    force: bool,
    format_: str,
    output: str | None,
) -> int:
    from ckptdoctor.diagnose import diagnose
    from ckptdoctor.fix import carry_out
    from ckptdoctor.model.report import STATUS

    with shared.progress() as progress:
        report = diagnose(request, progress)
    carry_out.with_edits(report, files)
    report.notes += carry_out.notes(report)
    if not apply_ or report.verdict == "ok":
        shared.write(_rendered(report, format_, output), output)
    if constraints and report.verdict == "fail":
        shared.write(carry_out.constraints(report), constraints)
    return (
        _apply(request, report, force, format_, output)
        if apply_ and report.verdict == "fail"
        else STATUS[report.verdict]
    )


def _apply(request: Request, report: Report, force: bool, format_: str, output: str | None) -> int:
    """Patch, and check what came of it."""
    from dataclasses import replace

    from ckptdoctor.diagnose import diagnose
    from ckptdoctor.fix import carry_out
    from ckptdoctor.model.report import STATUS

    for file, _ in carry_out.apply(report, force):
        click.echo(f"patched {_plain(str(file))}; its original is kept beside it (ckptdoctor fix --revert)", err=True)
    with shared.progress() as progress:
        after = diagnose(replace(request, use_cache=False, verify=False), progress)
    after.notes += carry_out.notes(after)
    shared.write(_rendered(after, format_, output), output)
    return STATUS[after.verdict]


def _revert(request: Request, force: bool) -> int:
    from ckptdoctor.diagnose import look
    from ckptdoctor.fix import carry_out

    for file in carry_out.revert(look(request), request.options.functions, force):
        click.echo(f"restored {_plain(str(file))}", err=True)
    return 0


def _rendered(report: Report, format_: str, output: str | None) -> str:
    from ckptdoctor import output as outputs

    style = shared.style(output)
    return outputs.render("json", report, style) if format_ == "json" else outputs.render_remedies(report, style)


def _plain(text: str) -> str:
    from ckptdoctor.words.escape import plain

    return plain(text)
