"""``ckptdoctor matrix``."""

from __future__ import annotations

from pathlib import Path

import click

from ckptdoctor.cli import shared
from ckptdoctor.store import writing


@click.command("matrix", short_help="Judge combinations of releases: which work together?")
@click.option(
    "--vary",
    metavar="REQUIREMENT",
    multiple=True,
    required=True,
    help="An axis: a package and which of its releases, e.g. 'transformers>=4.46'. Every combination of axes is judged; "
    "trainers are alternatives to each other; the same package again adds to its axis. Repeatable.",
)
@shared.matrix_options
@click.option(
    "--every", type=click.Choice(["patch", "minor", "major"]), help="Only the last release of each, on every axis."
)
@click.option("--pre", is_flag=True, help="Pre-releases too.")
@click.option("--yanked", is_flag=True, help="Yanked releases too.")
@click.option("--exhaustive", is_flag=True, help="Run every combination, even where the code that matters is the same.")
@click.option(
    "--audit", type=click.IntRange(min=0), default=0, metavar="N", help="Run N inferred combinations as well."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which ones --audit picks.")
@shared.format_options("text", "json", "markdown", "csv", "html")
def command(
    vary: tuple[str, ...],
    python: str | None,
    requirements: tuple[str, ...],
    models: tuple[str, ...],
    functions: tuple[str, ...],
    engines: tuple[str, ...],
    timeout: float,
    jobs: int | None,
    store: str | None,
    refresh: bool,
    every: str | None,
    pre: bool,
    yanked: bool,
    exhaustive: bool,
    audit: int,
    seed: int,
    format_: str,
    output: str | None,
) -> int:
    """Judge every combination of releases by tiny training steps: which versions work together?

    Releases go into overlays; the environment is not modified. Of releases with the same code only one is run, and results
    that are inferred from it are marked. Results are kept as they come: run the command again to continue after an interrupt.

    \b
    ckptdoctor matrix --vary 'transformers>=4.46' --vary 'llamafactory>=0.9'
    ckptdoctor matrix --vary 'transformers>=4.46' --every minor --checkpoint-fn mine.py:checkpoint

    Exit status: 0 all fine, 1 some fail, 2 wrong usage, 3 nothing could be diagnosed.
    """  # noqa: D301 - click wants the character itself
    from collections import Counter

    from ckptdoctor.cli import live
    from ckptdoctor.matrix.run import Asked, matrix, verdict_status
    from ckptdoctor.output import maps
    from ckptdoctor.planning.plan import Options

    writing.require_writable(output)
    asked = Asked(
        vary=vary,
        python=python,
        requirements=requirements,
        options=Options(models, functions, engines, timeout=timeout),
        every=every,  # type: ignore[arg-type]
        pre=pre,
        yanked=yanked,
        exhaustive=exhaustive,
        audit=audit,
        seed=seed,
        jobs=jobs or 0,
        store=Path(store) if store else None,
        refresh=refresh,
    )
    with live.observer() as observer:
        made = matrix(asked, observer)
    shared.write(maps.render(format_, made, shared.style(output)), output)
    return verdict_status(Counter(cell.verdict for cell in made.cells))
