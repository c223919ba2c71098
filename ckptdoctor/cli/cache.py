"""``ckptdoctor cache``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import printing
from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptdoctor.store.cache_contents import Entry
    from ckptdoctor.store.cache_eviction import Outcome


class _ShowByDefault(click.Group):
    """``cache`` alone is ``cache show``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ctx.help_option_names
        return super().parse_args(ctx, ["show", *args] if not args or is_option else args)


@click.group("cache", cls=_ShowByDefault)
def command() -> None:
    """Show, prune or clear the cache.

    \b
    ckptdoctor cache                        show what it holds, and its limit
    ckptdoctor cache prune --dry-run        show what is old, or belongs to environments that are gone
    ckptdoctor cache clear                  delete all but measurements

    When a run makes the cache larger than its limit, the entries that were not used for longest are deleted. The limit is
    10 GB, or CKPTDOCTOR_CACHE_LIMIT. CKPTDOCTOR_CACHE names another folder. What a run uses is never deleted.
    """  # noqa: D301 - click wants the character itself


@command.command("show", short_help="Show what the cache holds.")
@format_options("cache")
def show(to: Destination) -> int:
    """Show where the cache is, how many entries and bytes of each sort it holds, and its limit."""
    from ckptdoctor.store import cache_contents, locations

    folder = locations.cache()
    entries, is_ours = cache_contents.read(folder), locations.is_marked(folder)
    to.show(cache_contents.Cache(folder, entries, locations.limit(), is_ours))
    return ExitStatus.OK


@command.command("prune", short_help="Delete what is old or no longer needed.")
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Delete what was not used for this many days. Default: 30.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
def prune(days: float | None, dry_run: bool) -> int:
    """Delete what was not used for 30 days, what belongs to environments that are gone, and what exceeds the limit.

    The measurements of matrix and bisect are kept. Only `ckptdoctor cache clear --all` deletes them.
    """
    from ckptdoctor.store import cache_eviction, locations

    limit = locations.limit()
    age = cache_eviction.DAYS if days is None else days
    outcome = cache_eviction.prune(locations.cache(), age, limit, dry_run)
    printing.write(_told(outcome, "Would delete" if dry_run else "Deleted"))
    return ExitStatus.OK


@command.command("clear", short_help="Delete all entries but measurements.")
@click.option("--all", "everything", is_flag=True, help="Delete the measurements of matrix and bisect as well.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def clear(everything: bool, yes: bool) -> int:
    """Show what the cache holds, ask, and delete it. The measurements of matrix and bisect are kept without --all."""
    from ckptdoctor.output.layout import page
    from ckptdoctor.output.views.sizes import table
    from ckptdoctor.store import cache_contents, cache_eviction, locations
    from ckptdoctor.words.escape import plain

    folder = locations.cache()
    cache_eviction.require_marked(folder)
    kept = (cache_contents.LEFTOVERS, *(() if everything else (locations.STORE, locations.KNOWLEDGE)))
    entries = [one for one in cache_contents.read(folder) if one.kind not in kept]
    if entries:
        printing.write(page([[plain(str(folder))], table(entries)]) + "\n")
        _confirm(yes)
    printing.write(_told(cache_eviction.clear(folder, entries), "Deleted"))
    return ExitStatus.OK


def _confirm(yes: bool) -> None:
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageFault("Nothing was deleted: there is no terminal to confirm on.", "give --yes")
    click.confirm("Delete all of this?", abort=True)


def _told(outcome: Outcome, verb: str) -> str:
    in_use = f"{_amount(outcome.in_use)} in use: kept.\n" if outcome.in_use else ""
    if not outcome.dropped:
        return f"{in_use}Nothing to delete.\n"
    from ckptdoctor.output.layout import page
    from ckptdoctor.output.views.sizes import table

    return page([table(outcome.dropped), [f"{in_use}{verb} {_amount(outcome.dropped)}."]])


def _amount(entries: Sequence[Entry]) -> str:
    from ckptdoctor.output.views.sizes import size
    from ckptdoctor.words.wording import counted

    return f"{counted(len(entries), 'entry')}, {size(sum(one.size for one in entries))}"
