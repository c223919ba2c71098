"""``ckptdoctor check``."""

from __future__ import annotations

import click

from ckptdoctor.cli import shared

STATUS = {"ok": 0, "fail": 1, "error": 3}


@click.command("check", short_help="Run tiny real training steps in an environment and judge them.")
@shared.target_options
@shared.MODEL
@shared.CHECKPOINT_FN
@shared.engine("all, as far as DeepSpeed is installed")
@click.option(
    "--convention",
    "conventions",
    metavar="NAME",
    multiple=True,
    help="Calling convention of our own model. Default: those that transformers has used. Repeatable.",
)
@shared.TIMEOUT
@click.option("--jobs", type=click.IntRange(min=1), help="Probes to run at a time. Default: one a core.")
@shared.format_options("text", "json")
@click.option("--no-cache", is_flag=True, help="Run the probes even if nothing has changed since the last time.")
@click.option("-v", "--verbose", is_flag=True, help="Add tracebacks and what failed probes printed.")
def command(
    python: str | None,
    requirements: tuple[str, ...],
    with_deps: bool,
    models: tuple[str, ...],
    functions: tuple[str, ...],
    engines: tuple[str, ...],
    conventions: tuple[str, ...],
    timeout: float,
    jobs: int | None,
    format_: str,
    output: str | None,
    no_cache: bool,
    verbose: bool,
) -> int:
    """Run tiny real training steps in an environment, with checkpointing, and say what is broken and what mends it.

    Takes seconds and no GPU. The environment needs torch, and is left as it is, byte for byte.

    Exit status: 0 nothing found, 1 findings, 2 wrong usage, 3 could not be diagnosed.
    """
    from ckptdoctor import output as outputs
    from ckptdoctor.diagnose import diagnose
    from ckptdoctor.plan import CONVENTIONS, Options
    from ckptdoctor.request import Request

    for name in conventions:
        if name not in CONVENTIONS:
            raise click.BadParameter(f"'{name}' is not one of {', '.join(CONVENTIONS)}.", param_hint="--convention")
    shared.require_writable(output)
    request = Request(
        python=python,
        requirements=requirements,
        with_dependencies=with_deps,
        options=Options(models, functions, engines, conventions, timeout),
        workers=jobs or 0,
        use_cache=not no_cache,
    )
    with shared.progress() as progress:
        report = diagnose(request, progress)
    shared.write(outputs.render(format_, report, shared.style(output, verbose)), output)
    return STATUS[report.verdict]
