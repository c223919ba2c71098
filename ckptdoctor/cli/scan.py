"""``ckptdoctor scan``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ckptdoctor.cli import config, progress
from ckptdoctor.cli.options import target_options
from ckptdoctor.cli.printing import Destination, several_formats
from ckptdoctor.errors import TargetError, UsageFault

if TYPE_CHECKING:
    from ckptdoctor.planning.request import Request
    from ckptdoctor.scan.scan import ScanRequest


class _Configured(config.Configured):
    section = "scan"


@click.command("scan", cls=_Configured)
@click.argument("what", metavar="[PATH|PACKAGE]...", nargs=-1)
@target_options
@click.option("--installed", is_flag=True, help="Scan every installed package of the environment as well.")
@click.option(
    "--transformers",
    metavar="RELEASE",
    default="",
    help="Judge for this release of transformers. Default: the one in the environment.",
)
@click.option(
    "--try", "try_functions", is_flag=True, help="Run `ckptdoctor check` on each checkpoint function that is found."
)
@several_formats("scan")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "never"]),
    default="error",
    show_default=True,
    help="Exit 1 on findings of this severity or higher. Without any, exit 3 if a file cannot be scanned.",
)
@click.option("--select", metavar="CODES", multiple=True, help="Count only these rules, e.g. SCAN001. Repeatable.")
@click.option(
    "--ignore",
    metavar="CODES",
    multiple=True,
    help="Do not count these rules. If --select and --ignore both match, the longer prefix wins. Repeatable.",
)
def command(
    request: Request,
    what: Sequence[str],
    installed: bool,
    try_functions: bool,
    destinations: Sequence[Destination],
    **counts: Any,
) -> int:
    """Find code that relies on how transformers checkpoints: in files, folders and installed packages.

    Nothing is imported, and nothing is run without --try. Each finding says what the code assumes, which releases of
    transformers break that, and whether the installed one does. Default: the current folder.

    \b
    ckptdoctor scan                             scan the current folder
    ckptdoctor scan llamafactory src/patches    scan an installed package and a folder
    ckptdoctor scan . --transformers 5.23.0     judge for another release

    The table [tool.ckptdoctor.scan] in pyproject.toml sets format, fail-on (not "never"), select, ignore and transformers;
    variables set options by their names (CKPTDOCTOR_SCAN_FAIL_ON=warning).

    Exit status: 0 nothing that counts, 1 findings, 2 wrong usage, 3 a file could not be scanned.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.scan.scan import scan
    from ckptdoctor.scan.trying import with_trials

    with progress.reporter("scan") as reporter:
        made = _request(request, what, installed, reporter, **counts)
        result = scan(made, reporter)
        if try_functions:
            result = with_trials(result, request, reporter)
    for one in sorted(destinations, key=lambda one: not one.file):
        one.show(result)
    return result.status


def _request(
    request: Request,
    what: Sequence[str],
    installed: bool,
    reporter: Any,
    transformers: str,
    fail_on: Any,
    select: Iterable[str],
    ignore: Iterable[str],
) -> ScanRequest:
    from ckptdoctor.diagnose import look
    from ckptdoctor.scan.scan import ScanRequest

    notes = list(config.notes(click.get_current_context()))
    paths: Sequence[str] = ()
    release = ""
    try:
        environment = look(request, reporter)
        paths, release = environment.paths, environment.version("transformers")
    except TargetError as error:
        if request.python or request.requirements or installed:
            raise
        notes.append(f"No environment was looked at: {error.message}")
    named = [("--python", request.python or ""), *(("--with", one) for one in request.requirements)]
    return ScanRequest(
        what=what or (() if installed else (".",)),
        paths=paths,
        transformers=release,
        asked=transformers,
        options=[part for option, value in named if value for part in (option, value)],
        installed=installed,
        fail_on=fail_on,
        select=_codes(select, "--select"),
        ignore=_codes(ignore, "--ignore"),
        notes=notes,
    )


def _codes(given: Iterable[str], option: str) -> tuple[str, ...]:
    """Codes or prefixes of codes; commas separate several."""
    from ckptdoctor.scan.rules import rules

    found = tuple(part.strip().upper() for text in given for part in text.split(",") if part.strip())
    for code in found:
        if not any(rule.startswith(code) for rule in rules()):
            raise UsageFault(f"{option}: there is no rule '{code}' of a scan.", f"there are {', '.join(rules())}")
    return found
