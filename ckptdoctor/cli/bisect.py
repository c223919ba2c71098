"""``ckptdoctor bisect``."""

from __future__ import annotations

from pathlib import Path

import click

from ckptdoctor.cli import shared
from ckptdoctor.store import writing


@click.command("bisect", short_help="Find the release at which checkpointing begins to fail, or to work.")
@click.argument("axis", metavar="REQUIREMENT")
@click.option("--good", metavar="RELEASE", default="", help="A release that works.")
@click.option("--bad", metavar="RELEASE", default="", help="One that does not; it may be the older of the two.")
@shared.matrix_options
@shared.format_options("text", "json")
def command(
    axis: str,
    good: str,
    bad: str,
    python: str | None,
    requirements: tuple[str, ...],
    models: tuple[str, ...],
    functions: tuple[str, ...],
    engines: tuple[str, ...],
    timeout: float,
    jobs: int | None,
    store: str | None,
    refresh: bool,
    format_: str,
    output: str | None,
) -> int:
    """Find the release of a package at which checkpointing begins to fail, or, with the bad one older, to work.

    Without --good and --bad, all such lines on the axis are found.

    \b
    ckptdoctor bisect transformers --good 4.50.3 --bad 4.51.3 --with llamafactory==0.9.2
    ckptdoctor bisect 'llamafactory>=0.9' --with transformers==4.51.3

    Exit status: 0 found, 2 wrong usage, 3 there is no line, or it cannot be diagnosed.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.cli import live
    from ckptdoctor.errors import UsageFault
    from ckptdoctor.matrix.bisect import bisect
    from ckptdoctor.matrix.run import Asked
    from ckptdoctor.output import bisection
    from ckptdoctor.planning.plan import Options

    if bool(good) != bool(bad):
        raise UsageFault("--good and --bad belong together.", "give both, or neither for all lines on the axis")
    writing.require_writable(output)
    asked = Asked(
        vary=[axis],
        python=python,
        requirements=requirements,
        options=Options(models, functions, engines, timeout=timeout),
        jobs=jobs or 0,
        store=Path(store) if store else None,
        refresh=refresh,
    )
    with live.observer() as observer:
        found = bisect(asked, good, bad, observer)
    shared.write(bisection.render(format_, found, shared.style(output)), output)
    return 0 if found.lines else 3
