"""``ckptdoctor rule``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import printing
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from ckptdoctor.rules import Rule
    from ckptdoctor.scan.rule import ScanRule


@click.command("rule")
@click.argument("code", required=False)
def command(code: str | None) -> int:
    """Explain a rule by its code, e.g. CKPT001. Without a code, list all rules."""
    from ckptdoctor.output.layout import columns, page
    from ckptdoctor.rules import RULES
    from ckptdoctor.scan.rules import rules

    every: dict[str, Rule | ScanRule] = {**RULES, **rules()}
    if code is None:
        printing.write(page([columns([rule.code, rule.name, rule.meaning] for rule in every.values())]))
        return ExitStatus.OK
    rule = every.get(code.upper()) or next((one for one in every.values() if one.name == code.lower()), None)
    if rule is None:
        raise click.BadParameter(f"there is no rule '{code}'; `ckptdoctor rule` lists them.", param_hint="CODE")
    links = "".join(f"\n  {link}" for link in rule.links)
    seen = f"\n\nReported in:{links}" if links else ""
    printing.write(f"{rule.code} {rule.name}\n{rule.meaning}\n\n{rule.explanation}{seen}\n")
    return ExitStatus.OK
