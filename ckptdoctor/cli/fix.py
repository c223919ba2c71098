"""``ckptdoctor fix``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import printing, progress
from ckptdoctor.cli.options import request_options
from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.store import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptdoctor.model.report import Report
    from ckptdoctor.planning.request import Request


@click.command("fix")
@request_options
@click.option(
    "--edit",
    "files",
    metavar="FILE",
    multiple=True,
    help="Show a diff of this requirements file or pyproject.toml with the change. Never write it. Repeatable.",
)
@click.option("--constraints", metavar="FILE", help="Write the first change of releases to this constraints file.")
@click.option(
    "--apply", "apply_", is_flag=True, help="Patch the file of the checkpoint function. The original is kept."
)
@click.option("--revert", is_flag=True, help="Restore, byte for byte, what --apply changed.")
@click.option(
    "--force",
    is_flag=True,
    help="With --apply or --revert, change files with local edits, or that other environments may use, as well.",
)
@format_options("report")
def command(
    request: Request,
    files: tuple[str, ...],
    constraints: str | None,
    apply_: bool,
    revert: bool,
    force: bool,
    to: Destination,
) -> int:
    """Find what fixes an environment. Every remedy is run with the probes that failed and with those that passed.

    Releases are tried in overlays, and a patch is tried on a copy. The environment changes only with
    --apply, which patches one file and keeps the original beside it, and --revert, which undoes this. The remedy that
    changes least comes first.

    Exit status: 0 nothing is broken (any more), 1 something is, 2 wrong usage or refused, 3 could not be diagnosed.
    """
    if apply_ and revert:
        raise UsageFault("--apply and --revert cannot be used together.", "give one of them")
    if force and not (apply_ or revert):
        raise UsageFault("--force needs --apply or --revert.", "leave out --force to see what fixes the environment")
    writing.require_writable(constraints, "--constraints")
    request = replace(request, verify=True)
    return _revert(request, force) if revert else _fix(request, files, constraints, apply_, force, to)


def _fix(
    request: Request, files: Sequence[str], constraints: str | None, apply_: bool, force: bool, to: Destination
) -> int:
    from ckptdoctor.diagnose import diagnose
    from ckptdoctor.fix import carry_out

    with progress.reporter("fix", progress.of_request(request)) as reporter:
        report = diagnose(request, reporter)
    report = carry_out.with_edits(report, files)
    report = report.with_notes(carry_out.notes(report))
    if not apply_ or report.verdict == "ok":
        to.show(report, probes=False, remedies=True)
    if constraints and report.verdict == "fail":
        printing.write(carry_out.constraints(report), constraints)
    return _apply(request, report, force, to) if apply_ and report.verdict == "fail" else report.status


def _apply(request: Request, report: Report, force: bool, to: Destination) -> int:
    """Patch, and check the result."""
    from ckptdoctor.diagnose import diagnose
    from ckptdoctor.fix import carry_out
    from ckptdoctor.words.escape import plain

    for file, _ in carry_out.apply(report, force):
        click.echo(f"patched {plain(str(file))}; the original is kept beside it (ckptdoctor fix --revert)", err=True)
    again = replace(request, use_cache=False, verify=False)
    with progress.reporter("fix", progress.of_request(again)) as reporter:
        after = diagnose(again, reporter)
    after = after.with_applied(carry_out.applied(report)).with_notes(carry_out.notes(after))
    to.show(after, probes=False, remedies=True)
    return after.status


def _revert(request: Request, force: bool) -> int:
    from ckptdoctor.diagnose import look
    from ckptdoctor.fix import carry_out
    from ckptdoctor.words.escape import plain

    for file in carry_out.revert(look(request), request.options.functions, force):
        click.echo(f"restored {plain(str(file))}", err=True)
    return ExitStatus.OK
