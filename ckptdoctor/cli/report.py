"""``ckptdoctor report``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ckptdoctor import catalog
from ckptdoctor.cli import printing, progress
from ckptdoctor.cli.options import request_options
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from ckptdoctor.bugreport.bundle import Bundle
    from ckptdoctor.planning.request import Request

WHAT = {
    "report.md": "paste it into the issue",
    "report.html": "the same to look at in a browser",
    "report.json": "all that was observed",
    "packages.txt": "every installed package",
    "collect_env.txt": "torch's own facts about the machine",
}


@click.command("report")
@click.option(
    "-o",
    "--output",
    metavar="FILE.zip",
    default="ckptdoctor-report.zip",
    show_default=True,
    help="Write the report to this file.",
)
@click.option(
    "--template", type=click.Choice(catalog.templates()), help="Order the Markdown like this project's issue form."
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@request_options
def command(output: str, template: str | None, force: bool, request: Request) -> int:
    """Pack one file with all that a maintainer needs, to attach to an issue.

    The file holds the diagnosis as Markdown to paste and as JSON, the installed packages, and a script that shows the
    fault without ckptdoctor; the script was run before it was packed. Secrets, names of people and machines, and private
    paths are replaced as far as ckptdoctor recognises them: read the file before you publish it.

    \b
    ckptdoctor report
    ckptdoctor report --with llamafactory==0.9.2 --template llamafactory -o issue.zip

    Exit status: 0 the report was made, 2 wrong usage, 3 there is nothing to report on.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.bugreport import bundle, zip_file

    path = zip_file.require_place(output, force)
    with progress.reporter("report", progress.of_request(request)) as reporter:
        made = bundle.make(request, template or "", reporter)
    zip_file.write(made.members, path, force)
    printing.write(_summary(made, output, path.stat().st_size))
    return ExitStatus.OK


def _summary(made: Bundle, output: str, size: int) -> str:
    """What is in it, where it is, and what to do with it."""
    from ckptdoctor.output.sentences import summary
    from ckptdoctor.words.escape import one_line, plain

    scripts = {
        one.name: f"{'reproduces it' if one.reproduced else 'does NOT reproduce it'}: {one.words}"
        for one in made.scripts
    }
    lines = [f"wrote {output} ({len(made.members)} files, {(size + 1023) // 1024} KiB): {summary(made.report)}"]
    for name in made.members:
        usual = "output of the script" if name.endswith(".log") else "read by a script"
        lines.append(f"  {name:<18} {one_line(scripts.get(name) or WHAT.get(name) or usual, 200)}")
    lines += [f"  {one_line(reason, 200)}" for reason in made.reasons]
    lines.append(f"Look through it before you send it. What to paste: unzip -p {output} report.md")
    return plain("\n".join(lines)) + "\n"
