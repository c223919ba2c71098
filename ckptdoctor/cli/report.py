"""``ckptdoctor report``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ckptdoctor import catalog
from ckptdoctor.cli import shared

if TYPE_CHECKING:
    from ckptdoctor.bugreport.bundle import Bundle

WHAT = {
    "report.md": "paste it into the issue",
    "report.json": "all that was observed",
    "packages.txt": "every installed package",
    "collect_env.txt": "torch's own facts about the machine",
}


@click.command("report", short_help="Pack a bug report: what is broken, and a script that shows it, nothing private.")
@click.option(
    "-o",
    "--output",
    metavar="FILE.zip",
    default="ckptdoctor-report.zip",
    show_default=True,
    help="Where to write it.",
)
@click.option(
    "--template", type=click.Choice(catalog.templates()), help="Order the Markdown as that project's issue form does."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@shared.target_options
@shared.JOB
@shared.MODEL
@shared.CHECKPOINT_FN
@shared.engine("all, as far as DeepSpeed is installed")
@click.option(
    "--convention",
    "conventions",
    type=click.Choice(list(catalog.conventions())),
    multiple=True,
    help="Calling convention of our own model. Default: those that transformers has used. Repeatable.",
)
@shared.TIMEOUT
@shared.NPROC
@shared.THOROUGH
@shared.JOBS
@click.option("--no-cache", is_flag=True, help="Run the probes even if nothing has changed since the last time.")
def command(
    output: str,
    template: str | None,
    force: bool,
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
    no_cache: bool,
) -> int:
    """Pack all that a maintainer needs into one file to attach to an issue.

    It holds the diagnosis as Markdown to paste and as JSON, a script that shows the fault with the libraries alone and
    was run before it is packed, and what is installed. Secrets, names of people and machines, and private paths are
    replaced in all of it.

    \b
    ckptdoctor report
    ckptdoctor report --with llamafactory==0.9.2 --template llamafactory -o issue.zip

    Exit status: 0 the report was made, whatever it says, 2 wrong usage, 3 there is nothing to report on.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.bugreport import bundle
    from ckptdoctor.planning.plan import Options
    from ckptdoctor.planning.request import Request

    path = bundle.require_place(output, force)
    request = Request(
        python=python,
        requirements=requirements,
        with_dependencies=with_deps,
        options=Options(models, functions, engines, conventions, timeout, ranks=nproc, thorough=thorough),
        workers=jobs or 0,
        use_cache=not no_cache,
        job=job,
    )
    with shared.progress() as progress:
        made = bundle.make(request, template or "", progress)
    bundle.write(made.members, path, force)
    shared.write(_summary(made, output, path.stat().st_size), None)
    return 0


def _summary(made: Bundle, output: str, size: int) -> str:
    """What is in it, where it is, and what to do with it."""
    from ckptdoctor.words.escape import one_line, plain

    scripts = {
        one.name: f"{'reproduces it' if one.reproduced else 'does NOT reproduce it'}: {one.words}"
        for one in made.scripts
    }
    lines = [f"wrote {output} ({len(made.members)} files, {(size + 1023) // 1024} KiB): {made.report.summary}"]
    for name in made.members:
        what = (
            scripts.get(name) or WHAT.get(name) or ("what it printed" if name.endswith(".log") else "read by a script")
        )
        lines.append(f"  {name:<18} {one_line(what, 200)}")
    lines.append(f"Look through it before you send it. What to paste: unzip -p {output} report.md")
    return plain("\n".join(lines)) + "\n"
