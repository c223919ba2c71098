"""``ckptdoctor impact``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import progress
from ckptdoctor.cli.options import matrix_options
from ckptdoctor.cli.printing import Destination, several_formats
from ckptdoctor.errors import UsageFault

if TYPE_CHECKING:
    from ckptdoctor.matrix.request import MatrixRequest
    from ckptdoctor.model.impact import Impact


@click.command("impact")
@click.option(
    "--base", metavar="SOURCE", default="", help="Compare with this: NAME==RELEASE, a folder, a wheel, git+URL@REF."
)
@click.option(
    "--head", metavar="SOURCE", default="", help="Judge this change: another release or source of the same package."
)
@click.option("--no-fixes", "fixes", is_flag=True, flag_value=False, default=True, help="Look for no fixes.")
@click.option(
    "--read",
    "file",
    metavar="FILE",
    help="Run nothing: print the impact in this JSON file in other formats. - is stdin.",
)
@matrix_options
@several_formats("impact")
def command(
    base: str, head: str, fixes: bool, file: str | None, request: MatrixRequest, destinations: Sequence[Destination]
) -> int:
    """Say what a change of transformers, a trainer or another package breaks: every trainer, before and after.

    Only code that differs is run, on both sides: model families whose code changed, and the trainers of the catalog at their
    newest releases and at the newest ones that admit base or head. Only what changed is reported. With a trainer in --with,
    that one is tried instead of the catalog's.

    \b
    ckptdoctor impact --base transformers==5.22.2 --head transformers==5.23.0
    ckptdoctor impact --base git+https://github.com/huggingface/transformers@main --head ./transformers
    ckptdoctor impact --base llamafactory==0.9.5 --head ./LLaMA-Factory --format markdown=comment.md --format text

    Exit status: 0 nothing is newly broken, 1 something is, 2 wrong usage, 3 nothing could be compared.
    """  # noqa: D301 - click wants the character itself
    found = _read(file) if file else _compared(base, head, fixes, request)
    for one in destinations:
        one.show(found)
    return found.status


def _compared(base: str, head: str, fixes: bool, request: MatrixRequest) -> Impact:
    from ckptdoctor.impact.impact import impact
    from ckptdoctor.impact.request import ImpactRequest

    if not base or not head:
        raise UsageFault(
            f"Missing option '{'--head' if base else '--base'}'.",
            "name two releases or sources: --base transformers==5.22.2 --head ./transformers",
        )
    with progress.reporter("impact", progress.of_matrix(request)) as reporter:
        return impact(ImpactRequest(base, head, request, fixes), reporter)


def _read(file: str) -> Impact:
    import msgspec

    from ckptdoctor.model.impact import SCHEMA, Impact

    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        found = msgspec.json.decode(content, type=Impact)
    except OSError as error:
        raise UsageFault(
            f"{file} cannot be read: {error.strerror}.", "name a file that --format json=FILE wrote"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageFault(f"{file} is no impact: {error}.", "name a file that --format json=FILE wrote") from error
    if found.schema != SCHEMA:
        raise UsageFault(
            f"{file} is of the format {found.schema}, not {SCHEMA}.", "write it with this version of ckptdoctor"
        )
    return found


_HELP = {
    "models": "Run only this model family, if its code differs. Default: all whose code differs. Repeatable.",
    "functions": "Judge only this checkpoint function. Default: torch's and those of the catalog's trainers. Repeatable.",
    "requirements": "Add this package to both sides; a trainer is tried instead of the catalog's. Repeatable.",
}
"""What options mean here that other commands have as well."""

for _option in command.params:
    if isinstance(_option, click.Option) and _option.name in _HELP:
        _option.help = _HELP[_option.name]
