"""``ckptdoctor rule``."""

from __future__ import annotations

import click

from ckptdoctor.cli import printing
from ckptdoctor.model.exit_status import ExitStatus


@click.command("rule")
@click.argument("code", required=False)
def command(code: str | None) -> int:
    """Explain a rule by its code, e.g. CKPT001. Without a code, list all rules."""
    from ckptdoctor.output.layout import columns, page
    from ckptdoctor.rules import RULES

    if code is None:
        printing.write(page([columns([rule.code, rule.name, rule.meaning] for rule in RULES.values())]))
        return ExitStatus.OK
    rule = RULES.get(code.upper()) or next((one for one in RULES.values() if one.name == code.lower()), None)
    if rule is None:
        raise click.BadParameter(f"there is no rule '{code}'; `ckptdoctor rule` lists them.", param_hint="CODE")
    links = "".join(f"\n  {link}" for link in rule.links)
    seen = f"\n\nReported in:{links}" if links else ""
    printing.write(f"{rule.code} {rule.name}\n{rule.meaning}\n\n{rule.explanation}{seen}\n")
    return ExitStatus.OK
